"""What the base model learns from: simulated sessions as tensors, in processes.

Training sees neither the mechanisms nor the near-misses that the simulator holds out. A quarter of the normal sessions
are cut where a push could have found them, so that a running session is nothing unusual; of some the rated power is
not declared.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final, NamedTuple

import numpy as np

from chargewatch.domain.categories import Category
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS
from chargewatch.features.batch import SessionBatch
from chargewatch.features.tensor import SessionTensors, session_tensors
from chargewatch.ingest.builder import Kind, build_columns, kind_of
from chargewatch.ingest.columns import NO_TIME, SessionColumns
from chargewatch.simulate import (
    FAULTS,
    HELD_OUT,
    HELD_OUT_NEAR_MISSES,
    NEAR_MISSES,
    SimulatedSession,
    simulate_session,
)

CHUNK: Final = 250
_CUT_SHARE: Final = 0.25
_UNRATED_SHARE: Final = 0.3  # of stations nobody has declared the rated power
_SEEDS_A_PART: Final = 1_000_000
_SEEDS_A_RUN: Final = 100_000_000


class Amounts(NamedTuple):
    """How many sessions of each part are simulated; near-misses and odd shapes of each kind."""

    normal: int = 16_000
    near_misses: int = 150
    odd: int = 400
    calibration: int = 24_000
    calibration_near_misses: int = 40
    test_normal: int = 8_000
    test_near_misses: int = 20
    test_odd: int = 150

    def times(self, share: float) -> "Amounts":
        """Returns a share of all amounts, at least one of each."""
        return Amounts(*(max(round(share * amount), 1) for amount in self))


class Wanted(NamedTuple):
    """A chunk of sessions of one kind: seeds from ``seed`` on. Neither fault nor near-miss: ordinary ones."""

    part: str
    seed: int
    sessions: int
    odd: str | None = None
    near_miss: str | None = None


def chunks(seed: int, amounts: Amounts) -> list[Wanted]:
    """Returns all that must be simulated; every part has seeds, and so stations, of its own."""
    odd = FAULTS.get(Category.UNUSUAL_PROFILE, ())
    held_out = HELD_OUT.get(Category.UNUSUAL_PROFILE, ())
    known = [name for name in NEAR_MISSES if name not in HELD_OUT_NEAR_MISSES]
    plan: list[tuple[str, int, Sequence[str | None], Sequence[str | None]]] = [
        ("normal", amounts.normal, (None,), (None,)),
        ("normal", amounts.near_misses, (None,), known),
        ("odd", amounts.odd, [kind for kind in odd if kind not in held_out], (None,)),
        ("calibration", amounts.calibration, (None,), (None,)),
        ("calibration", amounts.calibration_near_misses, (None,), known),
        ("test_normal", amounts.test_normal, (None,), (None,)),
        ("test_normal", amounts.test_near_misses, (None,), NEAR_MISSES),
        ("test_odd", amounts.test_odd, held_out, (None,)),
    ]
    wanted = []
    for number, (part, amount, kinds, near_misses) in enumerate(plan):
        first = (seed + 1) * _SEEDS_A_RUN + number * _SEEDS_A_PART
        for kind in kinds:
            for near_miss in near_misses:
                for begin in range(0, amount, CHUNK):
                    count = min(CHUNK, amount - begin)
                    wanted.append(Wanted(part, first + begin, count, kind, near_miss))
                first += amount
    return wanted


def simulated(wanted: Sequence[Wanted], workers: int | None) -> Iterator[tuple[Wanted, SessionTensors]]:
    """Simulates chunks with so many processes (None: one for each core); yields them in their order."""
    if workers == 1:
        yield from ((one, tensors_of(one)) for one in wanted)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from zip(wanted, pool.map(tensors_of, wanted), strict=True)


def tensors_of(wanted: Wanted) -> SessionTensors:
    """Simulates one chunk; left out are sessions without a shape, and odd ones whose readings do not show it."""
    drawn = [_session(wanted, wanted.seed + number) for number in range(wanted.sessions)]
    sessions = [one for one in drawn if all(label.visible for label in one.labels)] or drawn[:1]
    rows = [_rows(session, _end_us(wanted, session, number)) for number, session in enumerate(sessions)]
    rated_w = np.array([s.rated_power_kw * 1000.0 for s in sessions])
    unknown = np.random.default_rng((wanted.seed, wanted.sessions)).random(len(sessions)) < _UNRATED_SHARE
    declared = SessionColumns.undeclared(len(sessions))._replace(
        managed=np.array([s.managed for s in sessions]),
        rated_power_w=np.where(unknown, np.nan, rated_w),
        started_us=np.full(len(sessions), NO_TIME),
    )
    now_us = max(_microseconds(s) for s in sessions)
    return with_a_shape(SessionBatch(build_columns(rows), declared, now_us, DEFAULT_THRESHOLDS))


def with_a_shape(batch: SessionBatch) -> SessionTensors:
    """Returns the tensors of the sessions that the network would judge."""
    from chargewatch.csar2.shape_model import telling

    tensors = session_tensors(batch)
    return tensors.of(telling(tensors, batch.selection.instants))


def _session(wanted: Wanted, seed: int) -> SimulatedSession:
    fault = None if wanted.odd is None else Category.UNUSUAL_PROFILE
    return simulate_session(seed, fault=fault, mechanism=wanted.odd, near_miss=wanted.near_miss)


def _end_us(wanted: Wanted, session: SimulatedSession, number: int) -> int:
    """Returns until when the readings are taken: of some normal sessions only the beginning."""
    end_us = _microseconds(session)
    rng = np.random.default_rng((wanted.seed, number))
    if wanted.odd is not None or rng.random() >= _CUT_SHARE:
        return end_us
    begin_us = round(session.started_at.timestamp() * 1e6)
    return begin_us + round(float(rng.uniform(0.2, 1.0)) * (end_us - begin_us))


def _microseconds(session: SimulatedSession) -> int:
    return round(session.ended_at.timestamp() * 1e6) + 60_000_000


def _rows(session: SimulatedSession, end_us: int) -> list[tuple[int, float, Kind]]:
    kinds: dict[tuple[str | None, ...], Kind] = {}
    rows = []
    for reading in session.readings:
        at_us = round(reading.timestamp.timestamp() * 1e6)
        if at_us > end_us:
            continue
        names = reading[2:]
        if names not in kinds:
            kinds[names] = kind_of(*names)
        rows.append((at_us, float(reading.value), kinds[names]))
    return rows
