"""Strata of faults under harder conditions: two at once, few readings, long sessions, noise, measured curves.

Only the suite has them. No method learns from them, and their seeds are of no other purpose. The truth is that of
the labels: what the readings prove, sampled as they are. ``UNUSUAL_PROFILE`` is left out: nothing defines it.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from math import ceil
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from chargewatch.domain.categories import Category
from chargewatch.evaluate.cases import Case, Purpose, Split, named, seed_of
from chargewatch.evaluate.window import counted_labels
from chargewatch.simulate import FAULTS, HELD_OUT, SimulatedSession, simulate_session
from chargewatch.simulate.pairs import FIRST, SECOND
from chargewatch.simulate.real_curves import inject

DEFINED: Final = tuple(c for c in FAULTS if c is not Category.UNUSUAL_PROFILE)
_FIRST_KEY: Final = 3  # after ordinary sessions, near-misses and faults
_MEASURED_KEY: Final = 20
_TRIES: Final = 40  # sessions without a fault that counts are drawn anew, up to so many times as often
_THIN: Final = (3, 20)
_LONG_H: Final = (6.1, 9.0)  # for longer ones most faults lie before the last 6 h
_NOISE: Final = (0.02, 0.03)
_SHARES: Final = (3, 8, 12, 8)  # of a category's anomalies: one in so many for each pair, or category


class FaultStratum(StrEnum):
    """What makes faults of a stratum hard; ``MEASURED`` is never mixed with the simulated ones."""

    TWO = "two faults"
    THIN = "3–20 readings"
    LONG = "over 6 h"
    NOISY = "noisy"
    MEASURED = "in measured curves"


SIMULATED: Final = (FaultStratum.TWO, FaultStratum.THIN, FaultStratum.LONG, FaultStratum.NOISY)
NOISY_NORMALS: Final = ("AC, noisy", "DC, noisy")


class _Wanted(NamedTuple):
    """Sessions of a category, and of a second one where there are two, of which ``each`` must count."""

    category: Category
    second: Category | None
    each: int


def hard_faults(seed: int, anomalies: int) -> Iterator[Case]:
    """Yields the simulated strata. ``anomalies``: how many of each category the suite has beside them."""
    for number, (stratum, share) in enumerate(zip(SIMULATED, _SHARES, strict=True)):
        each = ceil(anomalies / share)
        for place, wanted in enumerate(_wanted(stratum, each)):
            yield from _counting((Purpose.SUITE, seed, _FIRST_KEY + number, place), stratum, wanted)


def noisy_normals(seed: int, count: int) -> Iterator[Case]:
    """Yields ordinary sessions of bad meters, ``count`` of each kind."""
    for place, stratum in enumerate(NOISY_NORMALS):
        key = (Purpose.SUITE, seed, _FIRST_KEY + len(SIMULATED), place)
        for number in range(count):
            rng = np.random.default_rng(seed_of(*key, number, 1))
            session = simulate_session(
                seed_of(*key, number), kind="ac" if place == 0 else "dc", noise=float(rng.uniform(*_NOISE))
            )
            yield Case(named(session, "q", *key, number), stratum, Split.TRAINING)


def measured_faults(file: Path, seed: int) -> Iterator[Case]:
    """Yields each measured session of a file with a fault injected (``simulate/real_curves.py``).

    Raises:
        ValueError: the file has no curve.
        OSError: it cannot be read.
    """
    of = seed_of(Purpose.SUITE, seed, _MEASURED_KEY)
    for session in inject(file, of, faulty_share=1.0):
        yield Case(session, FaultStratum.MEASURED, _split(session))


def _wanted(stratum: FaultStratum, each: int) -> Sequence[_Wanted]:
    if stratum is FaultStratum.TWO:
        return [_Wanted(first, second, each) for first in FIRST for second in SECOND]
    return [_Wanted(category, None, each) for category in DEFINED]


def _counting(key: tuple[int, ...], stratum: FaultStratum, wanted: _Wanted) -> Iterator[Case]:
    """Yields sessions until ``each`` of them count; their mechanisms come in turn."""
    counted = number = 0
    while counted < wanted.each and number < wanted.each * _TRIES:
        session = _drawn(stratum, wanted, number, key)
        number += 1
        if session is None:
            continue
        yield Case(named(session, "h", *key, number), stratum, _split(session))
        counted += bool(counted_labels(session))


def _drawn(
    stratum: FaultStratum, wanted: _Wanted, number: int, key: tuple[int, ...]
) -> SimulatedSession | None:
    """Returns a session of a stratum; None where there was no time in the window for both faults."""
    seed, rng = seed_of(*key, number), np.random.default_rng(seed_of(*key, number, 1))
    if wanted.second is not None:
        both = simulate_session(seed, fault=wanted.category, second_fault=wanted.second)
        return both if len({label.category for label in counted_labels(both)}) > 1 else None
    names = FAULTS[wanted.category]
    return simulate_session(
        seed, fault=wanted.category, mechanism=names[number % len(names)], **_CONDITIONS[stratum](rng)
    )


_CONDITIONS: Final[dict[FaultStratum, Callable[[np.random.Generator], dict[str, Any]]]] = {
    FaultStratum.THIN: lambda rng: {"readings": int(rng.integers(_THIN[0], _THIN[1] + 1))},
    FaultStratum.LONG: lambda rng: {"stay_s": 3600.0 * float(rng.uniform(*_LONG_H))},
    FaultStratum.NOISY: lambda rng: {"noise": float(rng.uniform(*_NOISE))},
}


def _split(session: SimulatedSession) -> Split:
    held_out = any(label.mechanism in HELD_OUT[label.category] for label in session.labels)
    return Split.HELD_OUT if held_out else Split.TRAINING
