"""THERMAL_DERATING: power steps down while the station is hot (``docs/categories.md``)."""

from bisect import bisect_right
from itertools import accumulate
from typing import Final, NamedTuple

from chargewatch.csar2.physics.energy_pit import offer_fell
from chargewatch.csar2.physics.finding import Fact, Finding
from chargewatch.domain.categories import Category, Severity
from chargewatch.domain.thresholds import Thresholds
from chargewatch.features.flow import Step, median
from chargewatch.features.phases import PLACE_NAMES
from chargewatch.features.record import SessionRecord
from chargewatch.features.register import WH_PER_KWH
from chargewatch.ingest.phases import WIDTH

_PLATEAU_STEPS: Final = 5
_EXACT_W: Final = 1e-6
_NEAR_S: Final = 1200.0  # two readings 15 min apart fall into it


class StepDown(NamedTuple):
    """A run of reduced steps ``first`` to ``last``; ``high`` is the last step at the level before (W)."""

    high: int
    first: int
    last: int
    before_w: float


class Heat(NamedTuple):
    """A temperature (degrees Celsius) at a place and time."""

    celsius: float
    place: str
    at_s: float


def find(record: SessionRecord) -> list[Finding]:
    """Reports every step down at the session's highest temperature that SoC and offer do not explain."""
    if not hot(record) or (record.managed and not record.offered_w.at_s):
        return []
    found, places = [], _places(record)
    for down in steps_down(record.flow, record.thresholds):
        heat = _heat(
            places, record.flow[down.high].last_s, record.flow[down.first].first_s, record.thresholds
        )
        if heat is not None and not _explained(record, down):
            found.append(_report(record, down, heat))
    return found


def hot(record: SessionRecord) -> bool:
    """Tells whether the station was ever hot."""
    values = record.side_by_side.temperature.value
    return any(v >= record.thresholds.thermal_celsius for row in values for v in row)


def steps_down(flow: list[Step], limits: Thresholds) -> list[StepDown]:
    """Finds where power falls at once to a level that it then holds."""
    found = []
    position = 1
    while position + 1 < len(flow):
        down = _step_down(flow, position, limits)
        if down is not None:
            found.append(down)
            position = down.last
        position += 1
    return found


def _step_down(flow: list[Step], first: int, limits: Thresholds) -> StepDown | None:
    """Returns the step down whose first reduced step is ``first`` (not the last one): at most one step lies between."""
    for high in (first - 1, first - 2):
        if high < 0 or (high == first - 2 and _seconds(flow, high, first) > limits.thermal_quick_s):
            break
        before_w = _plateau_w(flow, high)
        low_w = (1.0 - limits.thermal_step) * before_w + _EXACT_W
        if (
            before_w < limits.thermal_level_kw * WH_PER_KWH
            or flow[high].power_w < limits.thermal_plateau * before_w
            or flow[first].power_w > low_w
            or flow[first - 1].power_w <= low_w
            or flow[first + 1].power_w < limits.thermal_held * flow[first].power_w
        ):
            continue
        last = _end_of_run(flow, first, low_w, limits)
        if last > first:
            return StepDown(high, first, last, before_w)
    return None


def _seconds(flow: list[Step], high: int, low: int) -> float:
    return flow[low].first_s - flow[high].last_s


def _plateau_w(flow: list[Step], high: int) -> float:
    """Returns the level up to a step: the lower median of up to five steps within 20 min."""
    begin = max(0, high + 1 - _PLATEAU_STEPS)
    return median([s.power_w for s in flow[begin : high + 1] if flow[high].end_s - s.end_s <= _NEAR_S])


def _end_of_run(flow: list[Step], first: int, low_w: float, limits: Thresholds) -> int:
    """Returns the last reduced step; steps without delivery up to the end of the readings are the end of charging."""
    last = first
    while last + 1 < len(flow) and flow[last + 1].power_w <= low_w:
        last += 1
    if last == len(flow) - 1:
        while last >= first and flow[last].power_w <= limits.zero_power_kw * WH_PER_KWH:
            last -= 1
    return last


class _Place(NamedTuple):
    """The temperatures at one place (degrees Celsius), and the highest up to each of them."""

    name: str
    at_s: list[float]
    celsius: list[float]
    highest: list[float]


def _places(record: SessionRecord) -> list[_Place]:
    places = []
    for i in range(WIDTH):
        readings = record.side_by_side.temperature.column(i)
        celsius = [v for _, v in readings]
        places.append(
            _Place(PLACE_NAMES[i], [at for at, _ in readings], celsius, list(accumulate(celsius, max)))
        )
    return places


def _heat(places: list[_Place], high_s: float, at_s: float, limits: Thresholds) -> Heat | None:
    """Returns the hottest place at a step if it was hot and about as hot as it had ever been.

    The step happened between two readings, at ``high_s`` and ``at_s``: what it cooled until the second does not count.
    """
    hottest: Heat | None = None
    for place in places:
        after = bisect_right(place.at_s, at_s)
        newest = (bisect_right(place.at_s, high_s) - 1, after - 1)
        near = [i for i in newest if i >= 0 and place.at_s[i] >= at_s - limits.thermal_stale_s]
        if after < len(place.at_s) and place.at_s[after] <= at_s + limits.thermal_quick_s:
            near.append(after)
        if not near:
            continue
        hot = max(near, key=lambda i: place.celsius[i])
        high = place.highest[near[-1]] - limits.thermal_below_high_celsius
        now = Heat(place.celsius[hot], place.name, place.at_s[hot])
        if now.celsius >= max(limits.thermal_celsius, high):
            hottest = max(hottest or now, now, key=lambda h: h.celsius)
    return hottest


def _explained(record: SessionRecord, down: StepDown) -> bool:
    flow = record.flow
    start_s, end_s = flow[down.first].first_s, flow[down.last].last_s
    return (
        _battery(record, down, start_s)
        or offer_fell(record, start_s, end_s)
        or record.exported(start_s, end_s)
        or _fewer_phases(record, flow[down.high].last_s, start_s, end_s)
    )


def _battery(record: SessionRecord, down: StepDown, start_s: float) -> bool:
    """Tells whether the battery may have asked for it: nearly full, or on DC in the taper and not all at once."""
    limits = record.thresholds
    soc = record.soc.last_before(start_s)
    if soc is None:
        return False
    sharp = (
        down.high == down.first - 1 and _seconds(record.flow, down.high, down.first) <= limits.thermal_sharp_s
    )
    return soc >= limits.thermal_soc_percent or (
        record.is_dc and not sharp and soc >= limits.thermal_taper_soc_percent
    )


def _fewer_phases(record: SessionRecord, before_s: float, start_s: float, end_s: float) -> bool:
    before = record.phases.between(before_s - _NEAR_S, before_s)
    during = record.phases.between(start_s, end_s)
    return bool(before and during) and median(during) < median(before)


def _report(record: SessionRecord, down: StepDown, heat: Heat) -> Finding:
    limits, flow = record.thresholds, record.flow
    run = flow[down.first : down.last + 1]
    highest_w = max(step.power_w for step in run)
    limit_w = (1.0 - limits.thermal_step) * down.before_w
    facts = (
        Fact("power before", "kW", down.before_w / WH_PER_KWH, None, flow[down.high].last_s),
        Fact("power after", "kW", run[0].power_w / WH_PER_KWH, limit_w / WH_PER_KWH, run[0].last_s),
        Fact(f"temperature ({heat.place})", "Celsius", heat.celsius, limits.thermal_celsius, heat.at_s),
        Fact("duration", "min", (run[-1].end_s - run[0].start_s) / 60.0),
    )
    return Finding(
        category=Category.THERMAL_DERATING,
        start_s=run[0].first_s,
        end_s=run[-1].last_s,
        severity=Severity.WARNING,
        strength=2.0 * (1.0 - highest_w / limit_w) + (heat.celsius - limits.thermal_celsius) / 20.0,
        facts=facts,
    )
