"""The electrical definitions of ``categories.md``, read slowly from the readings alone."""

from collections import defaultdict
from datetime import date, datetime, timedelta
from itertools import groupby, pairwise
from statistics import median

import pytest

from chargewatch.domain.categories import Category
from chargewatch.simulate import FAULTS, NEAR_MISSES, SimulatedSession, simulate_fleet, simulate_session
from tests.unit.test_simulate_definitions import anomalies, seen

NOMINAL_V = (120.0, 208.0, 230.0, 240.0, 277.0)
ELECTRICAL = (
    Category.SOC_DROP,
    Category.PHASE_LOSS,
    Category.VOLTAGE_OUT_OF_RANGE,
    Category.THERMAL_DERATING,
)
MECHANISMS = [(category, name) for category in ELECTRICAL for name in FAULTS[category]]
Column = dict[datetime, float]


def columns(session: SimulatedSession, measurand: str) -> dict[tuple[str | None, str | None], Column]:
    """Values by instant, for each phase and location that are sent; powers in kW."""
    found: dict[tuple[str | None, str | None], Column] = defaultdict(dict)
    for r in sorted(session.readings, key=lambda r: r.timestamp):
        if r.measurand == measurand:
            value = float(r.value) / (1000 if r.unit in ("W", "Wh") else 1)
            found[r.phase, r.location][r.timestamp] = value
    return found


def total(session: SimulatedSession, measurand: str) -> Column:
    added: Column = defaultdict(float)
    for column in columns(session, measurand).values():
        for at, value in column.items():
            added[at] += value
    return dict(added)


def charge(session: SimulatedSession) -> Column:
    known = next(iter(columns(session, "SoC").values()), {})
    return {at: soc for at, soc in known.items() if 0 < soc <= 100}


def soc_drops(session: SimulatedSession) -> list[datetime]:
    soc, low, highest = charge(session), [], 0.0
    exported = total(session, "Power.Active.Export")
    for at, value in soc.items():
        highest = max(highest, value)
        if highest - value >= 3 and value < 97 and not any(exported.values()):
            low.append(at)
    return low


def phase_losses(session: SimulatedSession) -> list[datetime]:
    rows = list(columns(session, "Current.Import").values())
    soc, low = charge(session), []
    if session.kind == "dc" or len(rows) < 2:
        return []
    times = list(rows[0])
    for row in rows:
        for i in range(1, len(times)):
            run = times[i : i + 2]
            carried = row[times[i - 1]] >= 3
            gone = carried and all(row[t] <= 0.5 for t in run) and len(run) == 2
            others = any(
                other[run[0]] >= 0.5 * other[times[i - 1]] >= 1.5 for other in rows if other is not row
            )
            if gone and others and soc.get(run[0], 0) <= 90:
                low.append(run[0])
    return low


def voltages_out(session: SimulatedSession) -> list[datetime]:
    sent = columns(session, "Voltage")
    if session.kind == "dc" or not sent or any(phase == "L1-L2" for phase, _ in sent):
        return []
    rows = list(sent.values())
    middle, low = median(v for row in rows for v in row.values()), []
    nominal = min(NOMINAL_V, key=lambda v: abs(v - middle))
    for row in rows:
        for (_, a), (at, b) in pairwise(row.items()):
            if all(abs(v / nominal - 1) > 0.11 for v in (a, b)):
                low.append(at)
    return low


def deratings(session: SimulatedSession) -> list[datetime]:
    """Steps of 30 % or more to a level that goes on, at the temperature's high of 60 °C or more."""
    hot = [
        c for (_, place), c in columns(session, "Temperature").items() if place in ("Body", "Outlet", "Cable")
    ]
    offered = total(session, "Current.Offered") or total(session, "Power.Offered")
    power, low = total(session, "Power.Active.Import"), []
    times = list(power)
    for before, at, then in zip(times, times[1:], times[2:], strict=False):
        stepped = 0.05 * power[before] < power[then] and max(power[at], power[then]) <= 0.7 * power[before]
        high = any(max(c[before], c[at]) >= max(60.0, max(c.values()) - 1.0) for c in hot)
        if stepped and high and not session.managed and offered.get(at, 1) >= 0.75 * offered.get(before, 1):
            low.append(at)
    return low


CHECKS = dict(zip(ELECTRICAL, (soc_drops, phase_losses, voltages_out, deratings), strict=True))


def electrical(session: SimulatedSession) -> dict[Category, list[datetime]]:
    return {category: low for category, check in CHECKS.items() if (low := check(session))}


@pytest.mark.parametrize(("category", "mechanism"), MECHANISMS)
def test_a_visible_fault_is_what_its_definition_says(category: Category, mechanism: str) -> None:
    visible = 0
    for seed in range(8):
        session = simulate_session(seed, fault=category, mechanism=mechanism)
        found = electrical(session)
        assert set(found) <= {category}, (seed, found.keys())
        assert anomalies(seen(session)) == [], seed
        for label in session.labels:
            if label.visible:
                visible += 1
                slack = timedelta(seconds=2 * session.sampling_s)
                assert any(label.start - slack <= at <= label.end + slack for at in found[category]), seed
    assert visible >= 6


@pytest.mark.parametrize("mechanism", FAULTS[Category.SOC_DROP])
def test_a_fall_of_the_charge_is_labelled_from_its_top_to_its_lowest_reading(mechanism: str) -> None:
    """Not for as long as the figure stays low: the readings after the fall show none."""
    several = checked = 0
    for seed in range(60, 66):
        session = simulate_session(seed, fault=Category.SOC_DROP, mechanism=mechanism)
        soc, labels = charge(session), [label for label in session.labels if label.visible]
        for label in labels:
            within = [value for at, value in soc.items() if label.start <= at <= label.end]
            assert within[0] - within[-1] >= 3
            assert (max(within), min(within)) == (within[0], within[-1])
            later = [value for at, value in soc.items() if at > label.end]
            assert not later or later[0] >= within[-1] or mechanism in ("soc_slides", "soc_saw_tooth")
            checked += 1
        assert all(a.end <= b.start for a, b in pairwise(labels))
        several += len(labels) > 1
    assert checked >= 5
    assert several >= 3 or mechanism != "soc_saw_tooth"


# --- shapes that are more than one event ----------------------------------------------------------


def lost_phases(session: SimulatedSession) -> list[set[str | None]]:
    """For each label the phases that carry less than 0.5 A at its first reading."""
    rows = {phase: column for (phase, _), column in columns(session, "Current.Import").items()}
    return [{phase for phase, row in rows.items() if row[label.start] <= 0.5} for label in session.labels]


def times_down(session: SimulatedSession) -> int:
    """How often the power falls by 30 % or more and is back afterwards."""
    power = list(total(session, "Power.Active.Import").values())
    level, down, times = max(power), False, 0
    charging = next(i for i, value in enumerate(power) if value > 0.8 * level)
    for value in power[charging:]:
        times += down and value > 0.8 * level
        down = value <= 0.8 * level and (down or 0.05 * level < value <= 0.7 * level)
    return times


def readings_out(session: SimulatedSession) -> list[bool]:
    return [any(v > 0.11 for v in column) for column in zip(*off_by_row(session), strict=True)]


SHAPES = {
    "soc_saw_tooth": lambda s: sum(a - b >= 3 for a, b in pairwise(charge(s).values())) >= 2,
    "phase_comes_and_goes": lambda s: len(s.labels) >= 2 and len({frozenset(p) for p in lost_phases(s)}) == 1,
    "one_phase_then_another": lambda s: len({frozenset(p) for p in lost_phases(s)}) == 2,
    "sag_under_load": lambda s: (
        not any(readings_out(s)[: len(readings_out(s)) // 2]) and max(row[-2] for row in off_by_row(s)) > 0.11
    ),
    "voltage_drifts_away": lambda s: any(0.04 < v < 0.08 for row in off_by_row(s) for v in row),
    "hot_cycles": lambda s: times_down(s) >= 2,
    "hot_outlet": lambda s: s.kind == "ac" and {p for _, p in columns(s, "Temperature")} == {"Outlet"},
    "hot_cable": lambda s: s.kind == "dc" and {p for _, p in columns(s, "Temperature")} == {"Cable"},
}


@pytest.mark.parametrize(("category", "mechanism"), [m for m in MECHANISMS if m[1] in SHAPES])
def test_a_fault_has_the_shape_that_its_name_says(category: Category, mechanism: str) -> None:
    sessions = [simulate_session(seed, fault=category, mechanism=mechanism) for seed in range(40, 46)]
    assert sum(SHAPES[mechanism](session) for session in sessions) >= 5


# --- likeness: what each near-miss shows of a fault, and its excuse -------------------------------


def values(session: SimulatedSession, measurand: str) -> list[list[float]]:
    return [list(column.values()) for column in columns(session, measurand).values()]


def soc_fall(session: SimulatedSession) -> float:
    (soc,) = values(session, "SoC")
    return max(a - b for a, b in pairwise(soc))


def hottest(session: SimulatedSession) -> float:
    return max(v for row in values(session, "Temperature") for v in row)


def steps_to(session: SimulatedSession) -> float:
    """The smallest share of the power before that a reading while charging has."""
    power = list(total(session, "Power.Active.Import").values())
    charging = power[power.index(max(power)) :]
    return min(b / a for a, b in pairwise(charging) if b > 0.05 * max(power))


def phases_carrying(session: SimulatedSession) -> list[int]:
    return [sum(v > 1 for v in row) for row in zip(*values(session, "Current.Import"), strict=True)]


def switches(phases: list[int]) -> int:
    """How often the phases in use change between one and three, with none in between."""
    shown = [carrying for carrying, _ in groupby(phases)]
    return sum(b == 0 and {a, c} == {1, 3} for a, b, c in zip(shown, shown[1:], shown[2:], strict=False))


def fallen_to(session: SimulatedSession) -> float:
    """The share of the highest power that is left at the end of charging."""
    power = [p for p in total(session, "Power.Active.Import").values() if p > 0.05]
    return power[-2] / max(power)


def offer_follows(session: SimulatedSession) -> bool:
    """The offer is lower whenever the power is lower by 30 % or more."""
    offered = total(session, "Current.Offered") or total(session, "Power.Offered")
    power = total(session, "Power.Active.Import")
    low = [at for at, p in power.items() if 0.05 * max(power.values()) < p <= 0.65 * max(power.values())]
    return bool(low) and sum(offered[at] < 0.9 * max(offered.values()) for at in low) >= 0.8 * len(low)


def off_by_row(session: SimulatedSession) -> list[list[float]]:
    rows = values(session, "Voltage")
    middle = median(v for row in rows for v in row)
    nominal = min(NOMINAL_V, key=lambda n: abs(n - middle))
    return [[abs(v / nominal - 1) for v in row] for row in rows]


def off_nominal(session: SimulatedSession) -> list[float]:
    return [v for row in off_by_row(session) for v in row]


LIKENESS = {
    "soc_two_points": lambda s: soc_fall(s) == 2,
    "soc_recalibration": lambda s: soc_fall(s) == 3 and min(values(s, "SoC")[0][-3:]) >= 97,
    "soc_placeholders": lambda s: bool({0.0, 255.0, 65535.0} & set(values(s, "SoC")[0])),
    "soc_above_full": lambda s: any(100 < soc < 255 for soc in values(s, "SoC")[0]),
    "v2g_soc_falls": lambda s: (
        max(values(s, "SoC")[0]) - values(s, "SoC")[0][-1] >= 4
        and max(total(s, "Power.Active.Export").values()) > 1
    ),
    "one_phase_car": lambda s: set(phases_carrying(s)) <= {0, 1} and len(values(s, "Current.Import")) == 3,
    "two_phase_car": lambda s: max(phases_carrying(s)) == 2 and len(values(s, "Current.Import")) == 3,
    "switch_through_zero": lambda s: {0, 1, 3} <= set(phases_carrying(s)),
    "solar_switching": lambda s: switches(phases_carrying(s)) >= 3,
    "phase_drop_nearly_full": lambda s: {1, 3} <= set(phases_carrying(s)) and values(s, "SoC")[0][-1] > 90,
    "voltage_within_band": lambda s: 0.08 < max(off_nominal(s)) <= 0.1,
    "voltage_one_reading": lambda s: max(off_nominal(s)) > 0.2,
    "voltage_meter_offset": lambda s: 0.1 < max(off_nominal(s)) < 0.11,
    "dc_voltage": lambda s: s.kind == "dc" and max(values(s, "Voltage")[0]) > 300,
    "line_voltage": lambda s: any(phase == "L1-L2" for phase, _ in columns(s, "Voltage")),
    "ev_side_hot": lambda s: hottest(s) >= 60 and steps_to(s) <= 0.7,
    "hot_small_step": lambda s: hottest(s) >= 60 and 0.7 < steps_to(s) < 0.9,
    "warm_step": lambda s: 53 < hottest(s) < 60 and steps_to(s) <= 0.7,
    "cold_step": lambda s: hottest(s) < 58.5 and steps_to(s) <= 0.7,
    "hot_without_step": lambda s: hottest(s) >= 60 and steps_to(s) > 0.85,
    "hot_offer_steps_down": lambda s: hottest(s) >= 60 and steps_to(s) <= 0.7,
    "hot_taper": lambda s: hottest(s) >= 60 and steps_to(s) > 0.7 and fallen_to(s) <= 0.6,
    "dc_shared_outlets": lambda s: times_down(s) >= 2 and offer_follows(s),
}


@pytest.mark.parametrize("name", LIKENESS)
def test_near_misses_look_like_a_fault(name: str) -> None:
    sessions = [simulate_session(seed, near_miss=name) for seed in range(100, 106)]
    assert sum(LIKENESS[name](session) for session in sessions) >= 4


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_near_misses_show_nothing(name: str) -> None:
    for seed in range(6):
        assert electrical(simulate_session(seed, near_miss=name)) == {}, seed


def test_normal_sessions_show_nothing() -> None:
    checked = 0
    for session in simulate_fleet(stations=40, days=3, seed=20, anomaly_share=0.0, near_miss_share=0.0):
        assert electrical(session) == {}, session.session_id
        checked += 1
    assert checked > 400


def test_a_few_healthy_sessions_are_hot_in_summer_and_none_in_winter() -> None:
    hot = {}
    for start in (date(2026, 1, 5), date(2026, 7, 6)):
        fleet = simulate_fleet(
            stations=60, days=3, seed=5, start=start, anomaly_share=0.0, near_miss_share=0.0
        )
        warm = [s for s in fleet if values(s, "Temperature")]
        hot[start.month] = [s for s in warm if hottest(s) >= 60]
        assert len(hot[start.month]) <= 0.1 * len(warm)
        assert all(electrical(s) == {} for s in warm)
    assert len(hot[7]) >= 3
    assert any(place in ("Body", "Outlet", "Cable") for s in hot[7] for _, place in columns(s, "Temperature"))
    assert hot[1] == []


@pytest.mark.parametrize("category", sorted(set(FAULTS) - set(ELECTRICAL)))
def test_other_faults_show_no_electrical_one(category: Category) -> None:
    for seed in range(10):
        assert electrical(simulate_session(seed, fault=category)) == {}, seed
