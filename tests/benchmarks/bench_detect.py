"""`detect`: core time a session of 60 readings, in batches of 1,000 and alone, and the memory of the network's runtime.

The sessions are the first 60 readings of simulated ones, at their own sampling or every second, third or fourth
instant, no two alike: as sent (of most meters several measurands at each instant), and the energy register alone (60
instants). "Faulty" are those of which the readings reach a fault that was put in, whether it is found or not.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Final, NamedTuple

import numpy as np

from chargewatch.csar2.detect import detect
from chargewatch.evaluate.columns import columns_of
from chargewatch.evaluate.suite import SuiteSize, suite
from chargewatch.features.batch import one_session
from chargewatch.ingest.columns import ReadingColumns, SessionColumns
from chargewatch.simulate import SimulatedSession
from chargewatch.simulate.records import SimulatedReading
from tests.benchmarks.machine import core_seconds, spread

READINGS: Final = 60
SESSIONS: Final = 2_000
BATCH: Final = 1_000
LIMIT_BATCH_MS: Final = 0.5
LIMIT_P50_MS: Final = 1.0
LIMIT_P99_MS: Final = 5.0
LIMIT_RUNTIME_MB: Final = 60.0
_RAREST: Final = 4  # every fourth instant
_SEED: Final = 60
_SCALE: Final = 0.1
_REGISTER: Final = "Energy.Active.Import.Register"
_WARM_UP: Final = 50

_RUNTIME: Final = """
import psutil
from chargewatch.csar2 import shape_model
before = psutil.Process().memory_info().rss
shape_model.base_model()
print(psutil.Process().memory_info().rss - before)
"""


class Kind(NamedTuple):
    """Sessions to time: ``register``: the energy register alone."""

    faulty: bool
    register: bool

    @property
    def name(self) -> str:
        """What the table calls them."""
        sent = "register alone" if self.register else "as sent"
        return f"{'faulty' if self.faulty else 'normal'}, {sent}"


KINDS: Final = tuple(Kind(faulty, register) for register in (False, True) for faulty in (False, True))


def drawn(count: int) -> dict[Kind, list[SimulatedSession]]:
    """Returns ``count`` sessions of each kind, drawn until all are there."""
    found: dict[Kind, list[SimulatedSession]] = {kind: [] for kind in KINDS}
    for seed in range(_SEED, _SEED + 100):
        for case in suite(seed, SuiteSize.scaled(_SCALE)):
            for kind, sessions in found.items():
                if kind.faulty == bool(case.session.labels) and len(sessions) < count:
                    sessions += islice(_stretches(case.session, kind), count - len(sessions))
        if all(len(sessions) == count for sessions in found.values()):
            return found
    raise RuntimeError("the simulator gives too few sessions with enough readings")


def _stretches(session: SimulatedSession, kind: Kind) -> Iterator[SimulatedSession]:
    """Yields the first 60 readings of a session, as sampled and more rarely; of a faulty one where the fault shows."""
    readings = [r for r in session.readings if not kind.register or _is_register(r)]
    instants = sorted({r.timestamp for r in readings})
    for every in range(1, _RAREST + 1):
        kept = set(instants[::every])
        part = [r for r in readings if r.timestamp in kept][:READINGS]
        if len(part) == READINGS and (not kind.faulty or _touched(session, part)):
            yield replace(session, readings=part, ended_at=max(r.timestamp for r in part))


def _is_register(reading: SimulatedReading) -> bool:
    return reading.measurand == _REGISTER and not reading.phase


def _touched(session: SimulatedSession, part: Sequence[SimulatedReading]) -> bool:
    first, last = min(r.timestamp for r in part), max(r.timestamp for r in part)
    return any(label.start <= last and label.end >= first for label in session.labels)


def _alone_ms(
    readings: ReadingColumns, declared: SessionColumns, now_us: int
) -> "np.typing.NDArray[np.float64]":
    """Core time of each session as a batch of one, in ms."""
    singles = [
        (one_session(readings, s), SessionColumns(*(column[s : s + 1] for column in declared)))
        for s in range(readings.sessions)
    ]
    for one, own in islice(cycle(singles), _WARM_UP):
        detect(one, own, now_us=now_us)
    times = []
    for one, own in singles:
        start = time.thread_time()
        detect(one, own, now_us=now_us)
        times.append(time.thread_time() - start)
    return 1000.0 * np.array(times)


def _runtime_mb() -> float:
    """What loading onnxruntime and the model adds to a process, in MB."""
    told = subprocess.run([sys.executable, "-c", _RUNTIME], check=True, capture_output=True, text=True)
    return int(told.stdout) / 1e6


def main() -> bool:
    """Prints the table; returns whether the limits hold."""
    fine = True
    print(f"detect, core time a session of {READINGS} readings, {SESSIONS} different sessions of each kind")
    for kind, sessions in drawn(SESSIONS).items():
        columns = columns_of(sessions)
        alone = _alone_ms(*columns)
        p50, p99 = np.percentile(alone, (50, 99))
        many = columns_of(sessions[:BATCH])

        def judged(c: tuple[ReadingColumns, SessionColumns, int] = many) -> int:
            return sum(v.is_anomaly for v in detect(c[0], c[1], now_us=c[2]))

        batch = core_seconds(judged)
        fine &= (
            p50 <= LIMIT_P50_MS and p99 <= LIMIT_P99_MS and sorted(batch)[3] <= LIMIT_BATCH_MS * BATCH / 1000
        )
        print(
            f"  {kind.name:<24} alone p50 {p50:.2f} ms (limit {LIMIT_P50_MS}), p99 {p99:.2f} ms"
            f" (limit {LIMIT_P99_MS}); batch of {BATCH} {spread(batch, 1000.0 / BATCH, 'ms')}"
            f" (limit {LIMIT_BATCH_MS}); {judged()} of {BATCH} reported"
        )
    runtime = _runtime_mb()
    fine &= runtime <= LIMIT_RUNTIME_MB
    print(f"  onnxruntime and the model add {runtime:.0f} MB (limit {LIMIT_RUNTIME_MB:.0f})")
    return bool(fine)


if __name__ == "__main__":
    raise SystemExit(not main())
