"""The standard suite: which sessions, how many, and what is true about each. Seeded and streamed.

Three purposes never share a seed: the suite that is reported on, and training and calibration for methods that
learn. Only the suite holds mechanisms that are kept out of training.
"""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Final, NamedTuple

from chargewatch.domain.categories import Category
from chargewatch.evaluate.cases import Case, Purpose, Split, named, seed_of
from chargewatch.evaluate.fault_strata import hard_faults, noisy_normals
from chargewatch.evaluate.strata import Stratum, ordinary_session, ordinary_strata
from chargewatch.evaluate.window import counted_labels
from chargewatch.simulate import (
    FAULTS,
    HELD_OUT,
    HELD_OUT_NEAR_MISSES,
    NEAR_MISSES,
    simulate_session,
)
from chargewatch.simulate.catalogue import fault_named, near_miss_named
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.meters import SAMPLINGS_S
from chargewatch.simulate.records import Kind

ORDINARY_EACH: Final = 100
NEAR_MISS_EACH: Final = 100
ANOMALIES_EACH: Final = 120
"""Sessions of a stratum, of a near-miss, and sessions with a fault of a category that counts, at scale 1."""
_TO_LEARN: Final = (80, 40, 120)

_SLOWEST_DC_S: Final = 300.0
_TRIES: Final = 8  # faults that do not count are drawn anew, up to so many times as often


class SuiteSize(NamedTuple):
    """How many sessions: of each stratum, of each near-miss, and faults of each category that count."""

    ordinary: int
    near_miss: int
    anomalies: int

    @classmethod
    def scaled(cls, scale: float) -> "SuiteSize":
        """Returns the standard size times ``scale``, at least one of everything.

        Raises:
            ValueError: a scale that is not above 0.
        """
        return cls._times(scale, (ORDINARY_EACH, NEAR_MISS_EACH, ANOMALIES_EACH))

    @classmethod
    def to_learn(cls, scale: float) -> "SuiteSize":
        """Returns the size of a set to learn from: near-misses have a smaller share in it.

        Raises:
            ValueError: a scale that is not above 0.
        """
        return cls._times(scale, _TO_LEARN)

    @classmethod
    def _times(cls, scale: float, size: tuple[int, int, int]) -> "SuiteSize":
        if not scale > 0:
            raise ValueError("the scale must be above 0")
        return cls(*(max(ceil(n * scale), 1) for n in size))


def suite(seed: int, size: SuiteSize) -> Iterator[Case]:
    """Yields the cases of the suite, all mechanisms, both splits.

    Ordinary sessions, near-misses, faults; ordinary sessions of noisy meters, and faults under harder conditions.
    """
    for number, stratum in enumerate(ordinary_strata()):
        yield from _ordinary((Purpose.SUITE, seed, 0, number), stratum, size.ordinary)
    for number, name in enumerate(NEAR_MISSES):
        split = Split.HELD_OUT if name in HELD_OUT_NEAR_MISSES else Split.TRAINING
        yield from _near_misses((Purpose.SUITE, seed, 1, number), name, split, size.near_miss)
    for category in FAULTS:
        yield from _faults((Purpose.SUITE, seed, 2), category, FAULTS[category], size.anomalies)
    yield from noisy_normals(seed, size.ordinary)
    yield from hard_faults(seed, size.anomalies)


def training(seed: int, size: SuiteSize, purpose: Purpose = Purpose.TRAINING) -> Iterator[Case]:
    """Yields sessions to learn from: ordinary ones, near-misses and faults of the training mechanisms only."""
    yield from normals_to_learn(purpose, seed, size)
    for category in FAULTS:
        names = [m for m in FAULTS[category] if m not in HELD_OUT[category]]
        yield from _faults((purpose, seed, 2), category, names, size.anomalies)


def normals_to_learn(purpose: Purpose, seed: int, size: SuiteSize) -> Iterator[Case]:
    """Yields normal sessions of the training kinds; another purpose gives other sessions."""
    for number, stratum in enumerate(ordinary_strata()):
        yield from _ordinary((purpose, seed, 0, number), stratum, size.ordinary)
    for number, name in enumerate(NEAR_MISSES):
        if name not in HELD_OUT_NEAR_MISSES:
            yield from _near_misses((purpose, seed, 1, number), name, Split.TRAINING, size.near_miss)


def _ordinary(key: tuple[int, ...], stratum: Stratum, count: int) -> Iterator[Case]:
    for number in range(count):
        session = ordinary_session(stratum, seed_of(*key, number))
        yield Case(named(session, "n", *key, number), stratum.name, Split.TRAINING)


def _near_misses(key: tuple[int, ...], name: str, split: Split, count: int) -> Iterator[Case]:
    mechanism = near_miss_named(name)
    possible = _samplings(mechanism)
    for number in range(count):
        sampling_s = _in_turn(possible, number)
        drawn = simulate_session(
            seed_of(*key, number), near_miss=name, sampling_s=sampling_s, kind=_kind(mechanism, sampling_s)
        )
        yield Case(named(drawn, "m", *key, number), f"near-miss: {name}", split)


def _faults(key: tuple[int, ...], category: Category, names: Sequence[str], count: int) -> Iterator[Case]:
    """Yields faults, of each mechanism until as many count as it takes for ``count`` of the category."""
    place = list(Category).index(category)
    each = ceil(count / max(len(names), 1))
    for name in names:
        mechanism = fault_named(category, name)
        possible = _samplings(mechanism)
        split = Split.HELD_OUT if name in HELD_OUT[category] else Split.TRAINING
        which = FAULTS[category].index(name)
        counted = number = 0
        while counted < each and number < each * _TRIES:
            sampling_s = _in_turn(possible, number)
            drawn = simulate_session(
                seed_of(*key, place, which, number),
                fault=category,
                mechanism=name,
                sampling_s=sampling_s,
                kind=_kind(mechanism, sampling_s),
            )
            yield Case(named(drawn, "f", *key, place, which, number), category.value, split)
            counted += bool(counted_labels(drawn))
            number += 1


def _samplings(mechanism: Mechanism) -> tuple[float, ...]:
    """Returns the sampling intervals that a mechanism can be seen at, as far as its needs say."""
    needs = mechanism.needs
    return tuple(
        s
        for s in SAMPLINGS_S
        if (needs.sampling_at_most_s is None or s <= needs.sampling_at_most_s)
        and (needs.kind != "dc" or s <= _SLOWEST_DC_S)
        and (not needs.clock_aligned or s >= _SLOWEST_DC_S)
    )


def _kind(mechanism: Mechanism, sampling_s: float | None) -> Kind | None:
    """Returns the kind of station: no DC station samples as seldom as each 15 minutes."""
    slow = sampling_s is not None and sampling_s > _SLOWEST_DC_S
    return "ac" if slow else mechanism.needs.kind


def _in_turn(possible: tuple[float, ...], number: int) -> float | None:
    """Every second session has its station's own sampling, the others go through all that are possible."""
    return possible[number // 2 % len(possible)] if number % 2 and possible else None
