"""Normal sessions made odd at random: what the head learns from beside simulated odd shapes.

The few kinds of odd shapes in training say little of the others. So channels of normal sessions are changed in ways
that are drawn and not designed: a companion of power takes levels of its own, or power follows a random course below
its own.
"""

from typing import Final

import numpy as np

from chargewatch.features.channel_table import COMPANIONS, CONTEXT, Place
from chargewatch.features.tensor import SessionTensors, Singles
from chargewatch.ingest.columns import Floats, Integers

#: One in so many normal sessions is spoilt, and one in so many modulated.
SPOILT_OF: Final = 6
MODULATED_OF: Final = 6
_LEAST: Final = 6  # buckets
_LEAST_MODULATED: Final = 10
_CHARGING: Final = 0.2  # share of the peak
_DEPTHS: Final = (0.15, 0.65)  # so that power never falls as low as in a pit
_WAVES: Final = 3
_STEPPED: Final = 0.4
_MANAGED: Final = [row.name for row in CONTEXT].index("managed")


def spoilt(normal: SessionTensors, seed: int) -> SessionTensors:
    """Returns normal sessions of which one companion channel wanders off on a stretch.

    The few odd kinds of companions in training say little of the others; here each goes wrong at random: levels that
    change for no reason, piece by piece, by 2 to 30 % of what is usual.
    """
    rng = np.random.default_rng((seed, len(normal.shown)))
    rows = rng.permutation(len(normal.shown))[: len(normal.shown) // SPOILT_OF]
    values, kept = normal.values[rows].copy(), []
    for row in range(len(rows)):
        masks = normal.masks[rows[row]]
        places = [place for place in COMPANIONS if masks[place].sum() >= _LEAST]
        if not places:
            continue
        place = places[int(rng.integers(len(places)))]
        known = np.flatnonzero(masks[place])
        length = int(rng.integers(_LEAST, len(known) + 1))
        first = int(rng.integers(0, len(known) - length + 1))
        stretch = known[first : first + length]
        pieces = np.repeat(rng.normal(0.0, 1.0, length), rng.integers(1, 6, length))[:length]
        size = np.exp(rng.uniform(np.log(0.02), np.log(0.3))) * max(float(values[row, place].max()), 0.3)
        values[row, place, stretch] += (size * pieces).astype(np.float32)
        kept.append(row)
    return normal.of(rows[kept])._replace(values=values[kept])


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
