"""``serve``: the service with everything it needs, on this machine.

On a terminal there is one line when it is ready (on stdout) and the log (on stderr). What keeps it from
starting is told in one line on stderr, with exit status 1. Ctrl-C and SIGTERM end it with status 0.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from chargewatch.server.db.address import DatabaseAddress
    from chargewatch.server.settings import Settings

MOST_PROCESSES: Final = 64


def register(app: typer.Typer) -> None:
    """Adds the command to the program's."""
    app.command()(serve)


def serve(
    host: Annotated[
        str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="The port to listen on; 0 picks a free one.", show_default="8000"
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="The data folder (CHARGEWATCH_DATA_DIR; default ./.chargewatch).", show_default=False
        ),
    ] = None,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Run no background jobs here; `chargewatch worker` does them.")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=1, max=MOST_PROCESSES, help="Processes that answer calls.")
    ] = 1,
    first_key: Annotated[
        bool,
        typer.Option(
            "--first-key", help="On an empty database: make the tenant `default` and print its key, once."
        ),
    ] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="As --first-key, and then push a simulated fleet to the service.")
    ] = False,
) -> None:
    """Starts the service, with its own PostgreSQL unless CHARGEWATCH_DATABASE_URL names a server.

    Ready when GET /readyz answers 200. Ctrl-C stops it.
    """
    flags = {"host": host, "port": port, "data_dir": data_dir}
    try:
        _serve(flags, processes, first_key=first_key or demo, demo=demo, worker=not no_worker)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _serve(flags: dict[str, Any], processes: int, *, first_key: bool, demo: bool, worker: bool) -> None:
    import signal

    from chargewatch.server.db.embedded import EmbeddedPostgresError
    from chargewatch.server.db.errors import DatabaseError
    from chargewatch.server.process import ServeError
    from chargewatch.server.settings import SettingsError, load_settings
    from chargewatch.server.tenants.service import TenantError

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the server minds it: stop as on Ctrl-C
    try:
        _start(load_settings(flags), flags, processes, first_key=first_key, demo=demo, worker=worker)
    except (SettingsError, DatabaseError, EmbeddedPostgresError, TenantError, ServeError) as problem:
        typer.echo(f"chargewatch: {problem}", err=True)
        raise typer.Exit(1) from None


def _start(
    settings: "Settings",
    flags: dict[str, Any],
    processes: int,
    *,
    first_key: bool,
    demo: bool,
    worker: bool,
) -> None:
    import asyncio
    import sys

    import structlog

    from chargewatch.server.db.access import database_for_service, prepare_database
    from chargewatch.server.platform.logging import configure_logging, secrets_of
    from chargewatch.server.process import ServeError, listen, run_process, url_of
    from chargewatch.server.supervisor import supervise

    if processes > 1 and sys.platform == "win32":
        raise ServeError("--processes needs a system on which processes can share a socket; Windows is none")
    with listen(settings.host, settings.port) as listener, database_for_service(settings) as address:
        asyncio.run(prepare_database(settings, address, may_migrate=False))
        key = asyncio.run(_first_key(address)) if first_key else None
        configure_logging(settings.log_level, secrets_of(settings))
        for notice in settings.notices:
            structlog.get_logger().warning("settings", notice=notice)

        def announce() -> None:
            typer.echo(f"chargewatch is ready: {url_of(listener)}")
            if key is not None:
                typer.echo(f"API key of the tenant default, shown this once: {key}")
                if demo:
                    _start_demo(url_of(listener), key)

        if processes == 1:
            run_process(settings, address, listener, announce, worker_flags=flags if worker else None)
        else:
            supervise(flags, listener, processes, announce, worker=worker)


async def _first_key(address: "DatabaseAddress") -> str | None:
    """Makes the first tenant of an empty database; None where there is one already."""
    from chargewatch.server.db.connection import connected
    from chargewatch.server.tenants.service import TenantService

    async with connected(address.owner) as owner:
        tenants = TenantService(owner, address.roles)
        if await tenants.has_tenants():
            return None
        return (await tenants.create_tenant("default")).api_key.reveal()


def _start_demo(url: str, key: str) -> None:
    """Starts the demo fleet as a client of its own; it ends by itself, or with the service."""
    import subprocess
    import sys

    client = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "chargewatch.cli.demo", url], stdin=subprocess.PIPE, text=True
    )
    assert client.stdin is not None
    client.stdin.write(key + "\n")
    client.stdin.close()
