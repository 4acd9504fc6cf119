"""``thresholds`` and ``tenant thresholds``: the limits of the categories, and those of one tenant."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from chargewatch.cli.administration import (
    AsJson,
    DataDir,
    Tenant,
    administer,
    failed,
    print_result,
    reports_errors,
    tenant_commands,
)

if TYPE_CHECKING:
    from chargewatch.domain.limits import Limit
    from chargewatch.domain.thresholds import Thresholds
    from chargewatch.server.thresholds.service import StoredThresholds

ALL = "all"


def register(app: typer.Typer) -> None:
    """Adds these commands to the program's."""
    app.command("thresholds")(list_limits)
    tenant_commands.command("thresholds")(tenant_thresholds)


def list_limits(
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a page for the documentation.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Lists every limit: its default, the bounds within which a tenant may set it, and what it means."""
    from chargewatch.domain.limits import LIMITS
    from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS

    if as_markdown:
        typer.echo(markdown(), nl=False)
        return
    answer = {"thresholds": [_row(name, limit, DEFAULT_THRESHOLDS) for name, limit in LIMITS.items()]}
    print_result(as_json, answer, _table(DEFAULT_THRESHOLDS))


@reports_errors
def tenant_thresholds(
    tenant: Tenant,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="LIMIT=VALUE", help="Set a limit; may be repeated.", show_default=False
        ),
    ] = None,
    resets: Annotated[
        list[str] | None,
        typer.Option(
            "--reset",
            metavar="LIMIT",
            help="Set a limit's default again, or that of all of them; may be repeated.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Shows the limits that a tenant's sessions are judged by, and changes them.

    Sessions are judged by new values within two seconds; a session keeps its verdict until it is judged again.
    """
    from chargewatch.domain.limits import ThresholdError

    try:
        values = changes_of(settings or [], resets or [])
    except ThresholdError as problem:
        raise failed(str(problem), status=2) from None
    if values:
        stored = administer(data_dir, lambda service: service.change_thresholds(tenant, values))
    else:
        stored = administer(data_dir, lambda service: service.thresholds(tenant))
    print_result(as_json, _answer(stored), f"{_table(stored.effective)}\n{_last_change(stored)}")


def changes_of(settings: Sequence[str], resets: Sequence[str]) -> dict[str, float | None]:
    """Returns what ``--set`` and ``--reset`` ask for; None means the default.

    >>> changes_of(["pit_depth=0.2"], ["pit_level_kw"])
    {'pit_level_kw': None, 'pit_depth': 0.2}

    Raises:
        ThresholdError: one of them cannot be done.
    """
    from chargewatch.domain.limits import (
        LIMITS,
        OutOfBounds,
        ThresholdError,
        bounds_text,
        checked,
        default_of,
    )

    values: dict[str, float | None] = {}
    for name in resets:
        if name != ALL:
            default_of(name)  # there must be one
        values.update(dict.fromkeys(LIMITS if name == ALL else [name]))
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals:
            raise ThresholdError(f"--set takes LIMIT=VALUE, as in --set pit_depth=0.2, not {text!r}")
        name = name.strip()
        if values.get(name) is not None or name in resets:
            raise ThresholdError(f"{name} is given twice")
        default_of(name)
        try:
            number = float(value)
        except ValueError:
            raise OutOfBounds(f"{name} must be a number, {bounds_text(LIMITS[name])}") from None
        values[name] = checked(name, number)
    return values


def markdown() -> str:
    """Returns the page on all limits."""
    from chargewatch.domain.limits import LIMITS, default_of

    lines = [
        "# Thresholds",
        "",
        "Made by `chargewatch thresholds --markdown`. The values stand in `src/chargewatch/domain/thresholds.py`,",
        "their meanings and bounds in `src/chargewatch/domain/limits.py`. What the categories are: `categories.md`.",
        "",
        "A tenant may set each limit within its bounds (`chargewatch tenant thresholds`, `PUT /v1/thresholds`).",
        "A limit is *relaxed* where fewer sessions are reported with it; `KWH_DECREASE` and the categories of safety",
        "cannot be relaxed beyond the defaults. A session keeps its verdict until it is judged again.",
    ]
    for category in dict.fromkeys(limit.category for limit in LIMITS.values()):
        lines += ["", f"## {category or 'Shared'}", ""]
        lines += ["| limit | default | bounds | unit | relaxed by | meaning |", "|---|---|---|---|---|---|"]
        lines += [
            f"| `{name}` | {default_of(name):g} | {_bounds(limit)} | {limit.unit} | {limit.relaxed_by}"
            f" | {limit.meaning} |"
            for name, limit in LIMITS.items()
            if limit.category == category
        ]
    return "\n".join(lines) + "\n"


def _bounds(limit: "Limit") -> str:
    return f"{limit.least:g}" if limit.least == limit.most else f"{limit.least:g} to {limit.most:g}"


def _table(thresholds: "Thresholds") -> str:
    """Returns the limits as text; what differs from its default is marked."""
    from chargewatch.domain.limits import LIMITS, default_of

    lines = [f"{'LIMIT':32}{'VALUE':>10}{'DEFAULT':>10}  {'BOUNDS':16}  UNIT"]
    for name, limit in LIMITS.items():
        value, default = getattr(thresholds, name), default_of(name)
        mark = "* " if value != default else "  "
        lines.append(f"{mark}{name:30}{value:>10g}{default:>10g}  {_bounds(limit):16}  {limit.unit}")
    return "\n".join(lines)


def _last_change(stored: "StoredThresholds") -> str:
    if stored.changed_at is None:
        return "version 1: all defaults, never changed"
    who = "on the command line" if stored.changed_by is None else f"with key {stored.changed_by}"
    return f"version {stored.version}, changed {stored.changed_at:%Y-%m-%d %H:%M} UTC {who}"


def _answer(stored: "StoredThresholds") -> dict[str, object]:
    from chargewatch.domain.limits import LIMITS

    effective = stored.effective
    return {
        "version": stored.version,
        "changed_at": stored.changed_at,
        "changed_by": stored.changed_by,
        "changes": dict(stored.changes),
        "thresholds": [_row(name, limit, effective) for name, limit in LIMITS.items()],
    }


def _row(name: str, limit: "Limit", thresholds: "Thresholds") -> dict[str, object]:
    from chargewatch.domain.limits import default_of

    return {
        "name": name,
        "value": getattr(thresholds, name),
        "default": default_of(name),
        "minimum": limit.least,
        "maximum": limit.most,
        "unit": limit.unit,
        "category": limit.category,
        "relaxed_by": limit.relaxed_by,
        "meaning": limit.meaning,
    }
