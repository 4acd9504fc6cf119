"""``tenant``, ``key``, ``migrate`` and ``config``: setting an installation up and looking after it.

They work beside a running service with the same data folder, and alone. What they make goes to stdout (with
``--json`` as exactly one object); everything said about it goes to stderr. Exit status: 1 when it could not be
done, 2 when the command line or the settings are wrong.
"""

import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec, TypeVar

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from chargewatch.server.db.address import DatabaseAddress
    from chargewatch.server.settings import Settings
    from chargewatch.server.tenants.service import KeyRecord, TenantService

P = ParamSpec("P")
T = TypeVar("T")

DataDir = Annotated[
    Path | None,
    typer.Option(help="The data folder (CHARGEWATCH_DATA_DIR, else ./.chargewatch).", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Tenant = Annotated[str, typer.Argument(help="The tenant's name or id.")]

tenant_commands = typer.Typer(help="Tenants.", no_args_is_help=True)
key_commands = typer.Typer(help="API keys.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds these commands to the program's."""
    app.add_typer(tenant_commands, name="tenant")
    app.add_typer(key_commands, name="key")
    app.command()(migrate)
    app.command()(config)


def reports_errors(command: Callable[P, T]) -> Callable[P, T]:
    """What can go wrong is told in one line on stderr, without a traceback."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        from chargewatch.server.db.backups.archive import BackupError
        from chargewatch.server.db.embedded import EmbeddedPostgresError
        from chargewatch.server.db.errors import DatabaseError
        from chargewatch.server.settings import SettingsError
        from chargewatch.server.tenants.service import TenantError

        try:
            return command(*args, **kwargs)
        except SettingsError as problem:
            raise failed(str(problem), status=2) from None
        except (DatabaseError, EmbeddedPostgresError, TenantError, BackupError) as problem:
            raise failed(str(problem), status=1) from None

    return wrapped


@tenant_commands.command("create")
@reports_errors
def create_tenant(
    name: Annotated[str, typer.Argument(help="The tenant's name.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Creates a tenant and prints its first API key, once."""
    made = administer(data_dir, lambda service: service.create_tenant(name))
    answer = {"tenant_id": str(made.tenant_id), "api_key": made.api_key.reveal()}
    print_result(as_json, answer, f"tenant_id  {answer['tenant_id']}\napi_key    {answer['api_key']}")


@tenant_commands.command("retention")
@reports_errors
def set_retention(
    tenant: Tenant,
    days: Annotated[str, typer.Argument(help="How many days sessions are kept, or off: for ever.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Erases a tenant's sessions once they are older than so many days (off by default)."""
    from chargewatch.server.tenants.service import TenantError

    if days != "off" and not (days.isascii() and days.isdigit()):
        raise TenantError("the retention is a number of days, or off")
    kept = None if days == "off" else int(days)
    tenant_id = administer(data_dir, lambda service: service.set_retention(tenant, kept))
    answer = {"tenant_id": str(tenant_id), "retention_days": kept}
    text = "sessions are kept for ever" if kept is None else f"sessions are kept for {kept} days"
    print_result(as_json, answer, text)


@key_commands.command("create")
@reports_errors
def create_key(
    tenant: Tenant,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="read, write, models or admin; may be repeated.", show_default="read, write, models"
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(help="When it ends: 2027-12-31, 2027-12-31T12:00:00Z or 90d.", show_default="never"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the key is for.", show_default=False)] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Creates one more API key for a tenant and prints it, once."""
    from chargewatch.server.tenants.keys import parse_scopes

    try:
        scopes = parse_scopes(scope or [])
        ends = None if expires is None else _moment(expires)
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from None
    made = administer(data_dir, lambda service: service.create_key(tenant, scopes, ends, name))
    answer = {"key_id": str(made.key_id), "api_key": made.api_key.reveal(), "scopes": list(made.scopes)}
    text = f"key_id   {made.key_id}\napi_key  {answer['api_key']}\nscopes   {', '.join(made.scopes)}"
    print_result(as_json, answer, text)


@key_commands.command("revoke")
@reports_errors
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `key list` shows it.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Ends an API key; every process refuses it within two seconds."""
    from uuid import UUID

    try:
        wanted = UUID(key_id)
    except ValueError:
        raise typer.BadParameter(f"{key_id!r} is no key id; `chargewatch key list` shows them") from None
    administer(data_dir, lambda service: service.revoke_key(wanted))
    print_result(as_json, {"key_id": str(wanted), "revoked": True}, f"key {wanted} is revoked")


@key_commands.command("list")
@reports_errors
def list_keys(tenant: Tenant, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Lists a tenant's API keys; the keys themselves are not stored."""
    from msgspec import to_builtins

    keys = administer(data_dir, lambda service: service.list_keys(tenant))
    lines = [f"{'KEY ID':36}  {'HINT':8}  {'STATE':8}  {'LAST USED':16}  SCOPES  NAME"]
    lines += [_key_line(key) for key in keys]
    print_result(as_json, {"keys": to_builtins(keys)}, "\n".join(lines))


@reports_errors
def migrate(
    reset_app_password: Annotated[
        bool,
        typer.Option(
            "--reset-app-password", help="Also give the app role the password of this CHARGEWATCH_SECRET_KEY."
        ),
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Brings the database to the newest schema; does nothing when it is there."""
    import asyncio

    from msgspec import to_builtins

    from chargewatch.server.db.access import database_for_command, prepare_database

    settings = settings_from(data_dir)
    with database_for_command(settings) as address:
        preparation = prepare_database(
            settings, address, may_migrate=True, reset_app_password=reset_app_password
        )
        result = asyncio.run(preparation)
    before = "" if result.before == result.after else f" (was {result.before or 'empty'})"
    print_result(as_json, to_builtins(result), f"the database is at schema {result.after}{before}")


@reports_errors
def config(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Shows the effective settings and where each comes from; secrets are hidden."""
    from chargewatch.server.settings import effective_settings

    settings = settings_from(data_dir)
    rows = effective_settings(settings)
    answer = {
        "settings": {row.name: {"value": row.value, "origin": row.origin} for row in rows},
        "notices": list(settings.notices),
    }
    width = max(len(row.name) for row in rows)
    lines = [f"{row.name:{width}}  {_shown(row.value)}  ({row.origin})" for row in rows]
    print_result(as_json, answer, "\n".join(lines))


def failed(text: str, status: int) -> typer.Exit:
    """Says what went wrong; raise what it returns."""
    typer.echo(f"chargewatch: {text}", err=True)
    return typer.Exit(status)


def print_result(as_json: bool, answer: object, text: str) -> None:
    """Prints what a command made: one JSON object, or text."""
    if as_json:
        from msgspec.json import encode

        text = encode(answer).decode()
    typer.echo(text)


def settings_from(data_dir: Path | None) -> "Settings":
    """The effective settings, notices told on stderr."""
    from chargewatch.server.settings import load_settings

    settings = load_settings({"data_dir": data_dir})
    for notice in settings.notices:
        typer.echo(f"chargewatch: {notice}", err=True)
    return settings


def administer(data_dir: Path | None, work: "Callable[[TenantService], Awaitable[T]]") -> T:
    """Runs one piece of administration on the database of this data folder."""
    import asyncio

    from chargewatch.server.db.access import database_for_command

    settings = settings_from(data_dir)
    with database_for_command(settings) as address:
        return asyncio.run(_as_owner(settings, address, work))


async def _as_owner(
    settings: "Settings", address: "DatabaseAddress", work: "Callable[[TenantService], Awaitable[T]]"
) -> T:
    from chargewatch.server.db.access import prepare_database
    from chargewatch.server.db.connection import connected
    from chargewatch.server.tenants.service import TenantService

    await prepare_database(settings, address, may_migrate=False)
    async with connected(address.owner) as owner:
        return await work(TenantService(owner, address.roles))


def _moment(text: str) -> "datetime":
    """A date (its midnight in UTC), a time (UTC without an offset), or a number of days from now."""
    from datetime import UTC, datetime, timedelta

    if text.endswith("d") and text[:-1].isdecimal():
        return datetime.now(UTC) + timedelta(days=int(text[:-1]))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date, time or number of days such as 90d") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _key_line(key: "KeyRecord") -> str:
    from datetime import UTC, datetime

    expired = key.expires_at is not None and key.expires_at <= datetime.now(UTC)
    state = "revoked" if key.revoked_at else "expired" if expired else "live"
    used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never"
    return (
        f"{key.key_id}  {key.hint:8}  {state:8}  {used:16}  {','.join(key.scopes)}  {key.name or ''}".rstrip()
    )


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
