"""ZERO_SESSION: a vehicle was connected and imported nothing (``docs/categories.md``)."""

from chargewatch.csar2.physics.finding import Fact, Finding
from chargewatch.domain.categories import Category, Severity
from chargewatch.features.record import SessionRecord
from chargewatch.features.register import WH_PER_KWH


def find(record: SessionRecord) -> list[Finding]:
    """Reports a session without energy once it has lasted long enough to say so."""
    limits = record.thresholds
    energy_wh = record.imported_wh
    if energy_wh is None or energy_wh >= limits.zero_energy_kwh * WH_PER_KWH:
        return []
    if record.connected_s < limits.zero_connected_s or _drew_power(record) or record.falls:
        return []
    if record.exported(0.0, record.last_s):
        return []
    if record.soc.value and record.soc.value[0] >= limits.zero_soc_percent:
        return []
    unused_s = offer_unused_s(record)
    waits = not record.over and not record.is_dc and not record.soc.value and unused_s is None
    if waits and record.connected_s < limits.zero_live_ac_s:
        return []
    return [_report(record, energy_wh, unused_s)]


def _drew_power(record: SessionRecord) -> bool:
    """Tells whether power was above the limit, as measured or, where it is not, as the register proves."""
    limit_w = record.thresholds.zero_power_kw * WH_PER_KWH
    if record.power.at_s:
        return max(record.power.value) > limit_w
    at, wh = record.steady_register
    slack = record.tolerance_wh
    return any(
        (wh[i] - wh[i - 1] - slack) * 3600.0 > limit_w * (at[i] - at[i - 1]) for i in range(1, len(at))
    )


def offer_unused_s(record: SessionRecord) -> float | None:
    """Returns how long an offer of at least 1.4 kW stands unused at the end of the readings, None without one."""
    limit_w = record.thresholds.expected_offer_kw * WH_PER_KWH
    at, offered = record.offered_w
    if not at or offered[-1] < limit_w:
        return None
    since = at[-1]
    for moment, power in zip(reversed(at), reversed(offered), strict=True):
        if power < limit_w:
            break
        since = moment
    return record.last_s - since


def _report(record: SessionRecord, energy_wh: float, unused_s: float | None) -> Finding:
    limits = record.thresholds
    certain = record.over or record.is_dc or bool(record.soc.value)
    if not certain and unused_s is not None:
        certain = unused_s >= limits.zero_offer_unused_s
    facts = [
        Fact("energy imported", "kWh", energy_wh / WH_PER_KWH, limits.zero_energy_kwh),
        Fact("connected", "min", record.connected_s / 60.0, limits.zero_connected_s / 60.0),
    ]
    if record.power.at_s:
        facts.append(Fact("highest power", "kW", max(record.power.value) / WH_PER_KWH, limits.zero_power_kw))
    if unused_s is not None:
        facts.append(Fact("offer standing unused", "kW", record.offered_w.value[-1] / WH_PER_KWH))
    if record.soc.value:
        facts.append(Fact("state of charge at the start", "%", record.soc.value[0], None, record.soc.at_s[0]))
    return Finding(
        category=Category.ZERO_SESSION,
        start_s=0.0,
        end_s=record.last_s,
        severity=Severity.WARNING if certain else Severity.INFO,
        strength=(record.connected_s / limits.zero_connected_s - 1.0) / 3.0
        + 2.0 * (1.0 - energy_wh / (limits.zero_energy_kwh * WH_PER_KWH)),
        facts=tuple(facts),
        confidence_limit=1.0 if certain else limits.zero_live_confidence,
    )
