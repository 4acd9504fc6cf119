"""Normal sessions made odd at random: what the head learns from beside simulated odd shapes.

The few kinds of odd shapes in training say little of the others. So channels of normal sessions are changed in ways
that are drawn and not designed: a companion of power takes a course of its own, or power follows a random course below
its own.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from chargewatch.features.channel_table import COMPANIONS, CONTEXT, OF_THE_BATTERY, Place
from chargewatch.features.grid import Singles
from chargewatch.features.tensor import SessionTensors
from chargewatch.ingest.columns import Floats, Integers

#: One in so many normal sessions is spoilt in each companion, and one in so many modulated.
SPOILT_OF: Final = 20
MODULATED_OF: Final = 6
_LEAST: Final = 8  # buckets
_SIZES: Final = (0.04, 0.4)  # of what is usual
_WHOLE: Final = 0.3  # share of those that are off from beginning to end
_LEAST_OFF: Final = 0.03  # what differs less is not odd
_HIGHEST: Final[Mapping[Place, float]] = {Place.OFFERED: 4.0, Place.DIVERGENCE: 3.0}
_LEAST_MODULATED: Final = 10
_CHARGING: Final = 0.2  # share of the peak
_DEPTHS: Final = (0.15, 0.65)  # so that power never falls as low as in a pit
_WAVES: Final = 3
_STEPPED: Final = 0.4
_IS_DC: Final = [row.name for row in CONTEXT].index("is_dc")
_MANAGED: Final = [row.name for row in CONTEXT].index("managed")


def spoilt(normal: SessionTensors, seed: int) -> SessionTensors:
    """Returns normal sessions of which one companion channel takes a course of its own on a stretch.

    The few odd kinds of companions in training say little of the others; here each goes wrong at random, as often as
    the others: by levels, by waves, by a ramp, the state of charge also by standing still and leaping, and by rising
    at another pace.
    """
    rng = np.random.default_rng((seed, len(normal.shown)))
    rows, values = [], []
    for place in COMPANIONS:
        judged = normal.context[:, _IS_DC] < 0.5 if place in OF_THE_BATTERY else np.True_
        able = np.flatnonzero((normal.masks[:, place].sum(axis=1) >= _LEAST) & judged)
        wanted = min(len(normal.shown) // SPOILT_OF, len(able))
        for row in rng.choice(able, wanted, replace=False).tolist():
            known = np.flatnonzero(normal.masks[row, place])
            changed = _spoilt(rng, place, normal.values[row, place, known].astype(np.float64))
            if changed is not None:
                rows.append(row)
                values.append(normal.values[row].copy())
                values[-1][place, known] = changed
    if not rows:
        return normal.of(np.zeros(0, np.int64))
    return normal.of(np.array(rows))._replace(values=np.stack(values))


def _spoilt(rng: np.random.Generator, place: Place, level: Floats) -> Floats | None:
    """Returns another course of a companion (its known buckets); None where it hardly differs."""
    length = len(level) if rng.random() < _WHOLE else int(rng.integers(_LEAST, len(level) + 1))
    first = int(rng.integers(0, len(level) - length + 1))
    stretch = level[first : first + length]
    size = float(np.exp(rng.uniform(*np.log(_SIZES)))) * max(float(level.max()), 0.3)
    ways = [*_WAYS, *_WAYS_OF_CHARGE] if place == Place.SOC else _WAYS
    way = ways[int(rng.integers(len(ways)))]
    off = way(rng, stretch, size)
    changed = level.copy()
    changed[first : first + length] += off
    if way is _another_pace:
        changed[first + length :] += off[-1]
    highest = _HIGHEST.get(place, 1.0)
    changed = np.clip(changed, -highest if place == Place.DIVERGENCE else 0.0, highest)
    return changed if float(np.abs(changed - level).max()) >= _LEAST_OFF else None


_Way = Callable[[np.random.Generator, Floats, float], Floats]


def _levels(rng: np.random.Generator, stretch: Floats, size: float) -> Floats:
    pieces = np.repeat(rng.normal(0.0, 1.0, len(stretch)), rng.integers(1, 8, len(stretch)))
    return size * pieces[: len(stretch)]


def _waves(rng: np.random.Generator, stretch: Floats, size: float) -> Floats:
    return size * (2.0 * _course(rng, len(stretch)) - 1.0)


def _ramp(rng: np.random.Generator, stretch: Floats, size: float) -> Floats:
    return float(rng.choice((-size, size))) * np.linspace(0.0, 1.0, len(stretch))


def _stand_and_leap(rng: np.random.Generator, stretch: Floats, _size: float) -> Floats:
    length = len(stretch)
    piece = int(rng.integers(max(4, length // 6), max(5, length // 2) + 1))
    return stretch[np.arange(length) // piece * piece] - stretch


def _another_pace(rng: np.random.Generator, stretch: Floats, _size: float) -> Floats:
    factor = float(rng.choice((rng.uniform(0.1, 0.5), rng.uniform(2.0, 4.0))))
    off: Floats = (factor - 1.0) * (stretch - stretch[0])
    return off


_WAYS: Final[tuple[_Way, ...]] = (_levels, _waves, _ramp)
_WAYS_OF_CHARGE: Final[tuple[_Way, ...]] = (_stand_and_leap, _another_pace)


def modulated(normal: SessionTensors, seed: int) -> SessionTensors:
    """Returns normal sessions, charging without management, whose power follows a random course on a stretch.

    The course is a sum of waves of random lengths, or its steps; it takes 15 to 65 % of the power. Energy, state of
    charge and current follow the power.
    """
    rng = np.random.default_rng((seed, 1, len(normal.shown)))
    unmanaged = np.flatnonzero(normal.context[:, _MANAGED] < 0.5)
    rows = rng.permutation(unmanaged)[: len(normal.shown) // MODULATED_OF]
    values, kept = normal.values[rows].copy(), []
    for row in range(len(rows)):
        masks = normal.masks[rows[row]]
        place = Place.MEASURED_POWER if masks[Place.MEASURED_POWER].any() else Place.REGISTER_POWER
        charging = np.flatnonzero(masks[place] & (values[row, place] > _CHARGING))
        if len(charging) < _LEAST_MODULATED:
            continue
        length = int(rng.integers(_LEAST_MODULATED, len(charging) + 1))
        first = int(rng.integers(0, len(charging) - length + 1))
        stretch = np.arange(charging[first], charging[first + length - 1] + 1)
        factor = np.ones(values.shape[2])
        factor[stretch] = 1.0 - float(rng.uniform(*_DEPTHS)) * _course(rng, len(stretch))
        _slow_down(values[row], masks, factor)
        kept.append(row)
    return normal.of(rows[kept])._replace(values=values[kept])


def _course(rng: np.random.Generator, length: int) -> Floats:
    """Returns a random course between 0 and 1, shape (length,)."""
    at = np.arange(length)
    cycles = np.exp(rng.uniform(np.log(0.5), np.log(length / 3.0), _WAVES)) / length
    turns = rng.uniform(0.0, 2.0 * np.pi, _WAVES)
    sizes = rng.uniform(0.2, 1.0, _WAVES)
    course: Floats = (sizes[:, None] * np.sin(2.0 * np.pi * cycles[:, None] * at + turns[:, None])).sum(
        axis=0
    )
    if rng.random() < _STEPPED:
        levels = int(rng.integers(2, 6))
        course = np.round(_between_0_and_1(course) * levels)
    return _between_0_and_1(course)


def _between_0_and_1(course: Floats) -> Floats:
    span = float(course.max() - course.min())
    return (course - course.min()) / span if span > 0 else np.zeros(len(course))


def _slow_down(values: Singles, masks: "np.typing.NDArray[np.bool_]", factor: Floats) -> None:
    """Scales the power of one session, values (C, T), by ``factor`` (T,), in every channel that shows it."""
    moves = np.abs(np.diff(factor, prepend=factor[0])) * np.maximum(
        values[Place.MEASURED_POWER], values[Place.REGISTER_POWER]
    )
    travel = np.log1p(np.expm1(values[Place.MEASURED_TRAVEL]) * factor + moves)
    for place in (
        Place.REGISTER_POWER,
        Place.MEASURED_POWER,
        Place.MEASURED_RANGE,
        Place.DIVERGENCE,
        Place.CURRENT,
    ):
        values[place] *= factor
    values[Place.MEASURED_TRAVEL] = np.where(masks[Place.MEASURED_TRAVEL], np.minimum(travel, 3.0), 0.0)
    energy = np.expm1(4.0 * values[Place.ENERGY])
    _follow(energy, np.flatnonzero(masks[Place.ENERGY]), factor)
    values[Place.ENERGY] = np.where(masks[Place.ENERGY], np.log1p(energy) / 4.0, 0.0)
    _follow(values[Place.SOC], np.flatnonzero(masks[Place.SOC]), factor)
    peak = max(float(values[Place.REGISTER_POWER].max()), float(values[Place.MEASURED_POWER].max()))
    if _CHARGING < peak < 1.0:  # channels are shares of the session's own peak
        for place in (Place.REGISTER_POWER, Place.MEASURED_POWER, Place.MEASURED_RANGE, Place.DIVERGENCE):
            values[place] /= peak
    strongest = float(values[Place.CURRENT].max())
    if strongest > 0:
        values[Place.CURRENT] /= strongest


def _follow(course: "np.typing.NDArray[np.floating]", known: Integers, factor: Floats) -> None:
    """Scales the rises between known buckets of a channel that grows with energy."""
    if len(known) > 1:
        rises = np.diff(course[known]) * factor[known[1:]]
        course[known[1:]] = course[known[0]] + np.cumsum(rises)
