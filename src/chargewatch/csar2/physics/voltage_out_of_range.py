"""VOLTAGE_OUT_OF_RANGE: a phase's voltage beyond what the station's nominal allows (``docs/categories.md``)."""

from typing import Final, NamedTuple

from chargewatch.csar2.physics.finding import Fact, Finding
from chargewatch.domain.categories import Category, Severity
from chargewatch.domain.thresholds import Thresholds
from chargewatch.features.flow import median
from chargewatch.features.phases import PHASE_NAMES
from chargewatch.features.record import SessionRecord
from chargewatch.ingest.phases import WIDTH

#: Nominal voltages between a phase and neutral, in V.
NOMINALS_V: Final = (120.0, 208.0, 230.0, 240.0, 277.0)

_EXACT: Final = 1e-9

Volts = list[tuple[float, float]]


class AllowedRange(NamedTuple):
    """The lowest and the highest voltage (V) that are in order, and the nominal nearest to what was measured."""

    lowest_v: float
    highest_v: float
    nominal_v: float


def find(record: SessionRecord) -> list[Finding]:
    """Reports every run of readings of one phase outside the range."""
    signals = phase_voltages(record)
    voltages = [v for _, signal in signals for _, v in signal if v >= record.thresholds.voltage_off_v]
    if not voltages:
        return []
    middle_v = median(voltages)
    limits = record.thresholds
    if not limits.voltage_lowest_v <= middle_v <= limits.voltage_highest_v:
        return []
    allowed = allowed_range(middle_v, limits)
    by_phase = bool(record.side_by_side.voltage.at_s)
    if not by_phase and abs(middle_v / allowed.nominal_v - 1.0) > limits.voltage_deviation + _EXACT:
        return []
    return [
        _report(name, run, allowed)
        for name, signal in signals
        for run in _runs(_judged(record, name, signal), allowed, limits)
    ]


def phase_voltages(record: SessionRecord) -> list[tuple[str, Volts]]:
    """Returns the voltage of each phase, else on AC the one without a phase, as (name, [(time, V)])."""
    rows = record.side_by_side.voltage
    if rows.at_s:
        return [(PHASE_NAMES[i], rows.column(i)) for i in range(WIDTH)]
    return [] if record.is_dc else [("", list(zip(*record.voltage, strict=True)))]


def allowed_range(middle_v: float, limits: Thresholds) -> AllowedRange:
    """Returns the range around the nominal nearest to the median voltage, as wide as others that fit as well."""
    nearest = min(NOMINALS_V, key=lambda n: abs(middle_v / n - 1.0))
    fitting = [n for n in NOMINALS_V if abs(middle_v / n - 1.0) <= limits.voltage_nominal_fit + _EXACT] + [
        nearest
    ]
    off = limits.voltage_deviation + limits.voltage_offset
    return AllowedRange(round((1.0 - off) * min(fitting), 3), round((1.0 + off) * max(fitting), 3), nearest)


def _judged(record: SessionRecord, name: str, signal: Volts) -> Volts:
    """Leaves out readings near zero while no current flows: a contactor is open."""
    limits = record.thresholds
    if all(v >= limits.voltage_off_v for _, v in signal):
        return signal
    current = (
        record.side_by_side.current.column(PHASE_NAMES.index(name))
        if name
        else list(zip(*record.current, strict=True))
    )
    flowing = {at for at, a in current if a >= limits.phase_carried_a}
    return [(at, v) for at, v in signal if v >= limits.voltage_off_v or at in flowing]


def _runs(signal: Volts, allowed: AllowedRange, limits: Thresholds) -> list[Volts]:
    """Returns the runs of readings outside the range that are long enough."""
    runs: list[Volts] = [[]]
    for at, v in signal:
        if allowed.lowest_v <= v <= allowed.highest_v:
            runs.append([])
        else:
            runs[-1].append((at, v))
    return [run for run in runs if len(run) >= limits.voltage_readings]


def _report(name: str, run: Volts, allowed: AllowedRange) -> Finding:
    at, worst = max(run, key=lambda reading: abs(reading[1] / allowed.nominal_v - 1.0))
    what = f"voltage of {name}" if name else "voltage"
    facts = (
        Fact(
            f"worst {what}",
            "V",
            worst,
            allowed.lowest_v if worst < allowed.nominal_v else allowed.highest_v,
            at,
        ),
        Fact(f"first {what} out of range", "V", run[0][1], None, run[0][0]),
        Fact("nominal voltage", "V", allowed.nominal_v),
        Fact("readings out of range", "1", float(len(run))),
    )
    beyond_v = max(allowed.lowest_v - worst, worst - allowed.highest_v)
    return Finding(
        category=Category.VOLTAGE_OUT_OF_RANGE,
        start_s=run[0][0],
        end_s=run[-1][0],
        severity=Severity.WARNING,
        strength=20.0 * beyond_v / allowed.nominal_v + 0.1 * (len(run) - 2),
        facts=facts,
    )
