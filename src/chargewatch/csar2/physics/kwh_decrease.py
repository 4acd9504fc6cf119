"""KWH_DECREASE: the import register falls (``docs/categories.md``)."""

from chargewatch.csar2.physics.finding import Fact, Finding
from chargewatch.domain.categories import Category, Severity
from chargewatch.features.record import SessionRecord
from chargewatch.features.register import WH_PER_KWH, Fall


def find(record: SessionRecord) -> list[Finding]:
    """Reports every fall of the register by more than its resolution."""
    found = record.falls
    following = [*found[1:], None]
    return (
        [_report(record, fall, after) for fall, after in zip(found, following, strict=True)] if found else []
    )


def _report(record: SessionRecord, fall: Fall, following: Fall | None) -> Finding:
    at, wh = record.register
    lowest = min(range(fall.low, fall.end + 1), key=lambda i: wh[i])
    fallen = wh[fall.before] - wh[lowest]
    facts = [
        Fact("register before the fall", "kWh", wh[fall.before] / WH_PER_KWH, None, at[fall.before]),
        Fact(
            f"register after the fall ({fall.kind})",
            "kWh",
            wh[lowest] / WH_PER_KWH,
            wh[fall.before] / WH_PER_KWH,
            at[lowest],
        ),
        Fact(
            "fall against the meter's resolution",
            "kWh",
            fallen / WH_PER_KWH,
            record.tolerance_wh / WH_PER_KWH,
        ),
    ]
    if fall.back is not None:
        facts.append(Fact("register back", "kWh", wh[fall.back] / WH_PER_KWH, None, at[fall.back]))
    return Finding(
        category=Category.KWH_DECREASE,
        start_s=at[fall.before],
        end_s=at[fall.end],
        severity=Severity.WARNING if fall.kind == "drop_out" else Severity.CRITICAL,
        strength=fallen / record.tolerance_wh - 1.0,
        facts=tuple(facts),
        disputed_wh=_disputed_wh(record, fall, following),
    )


def _disputed_wh(record: SessionRecord, fall: Fall, following: Fall | None) -> float:
    """The energy that is counted but doubtful: the step over a drop-out, what is counted again after a rollback.

    What is counted again ends where the register is back at its old level or falls anew.
    """
    wh = record.register.value
    if fall.back is not None:
        return max(wh[fall.back] - wh[fall.before], 0.0)
    if fall.kind == "rollback":
        highest = max(wh[fall.end :]) if following is None else wh[following.before]
        return min(highest, wh[fall.before]) - wh[fall.end]
    return 0.0
