"""`detect`: core time a session in batches of 1,000 and as a batch of one, for sessions of 60 readings."""

import random
from typing import NamedTuple

import numpy as np

from chargewatch.csar2.detect import detect
from chargewatch.ingest.builder import Kind, build_columns, kind_of
from chargewatch.ingest.columns import ReadingColumns, SessionColumns
from tests.benchmarks.machine import core_seconds, spread

T0 = 1_772_186_400_000_000
NOW = T0 + 30 * 86_400_000_000
LIMIT_BATCH_MS = 0.5
LIMIT_SINGLE_MS = 1.0

REGISTER = kind_of(None, "kWh", None, None, None)
POWER = kind_of("Power.Active.Import", "kW", None, None, None)
SOC = kind_of("SoC", "Percent", None, "EV", None)
OFFERED = kind_of("Current.Offered", "A", None, None, None)

Row = tuple[int, float, Kind]


class Case(NamedTuple):
    """One kind of session to time."""

    name: str
    anomalous: float  # share of sessions with a fault


def register_only(rng: random.Random, faulty: bool) -> list[Row]:
    """60 register readings, one a minute."""
    pace = rng.uniform(0.05, 0.4)
    wh = np.cumsum([0.0] + [pace * rng.uniform(0.9, 1.1) for _ in range(59)])
    if faulty:
        wh = _break(rng, wh, pace)
    return [(T0 + i * 60_000_000, round(float(v), 3), REGISTER) for i, v in enumerate(wh)]


def four_measurands(rng: random.Random, faulty: bool) -> list[Row]:
    """15 instants, one a minute, with register, power, SoC and offer."""
    pace = rng.uniform(0.05, 0.4)
    wh = np.cumsum([0.0] + [pace * rng.uniform(0.9, 1.1) for _ in range(14)])
    if faulty:
        wh = _break(rng, wh, pace)
    rows: list[Row] = []
    for i, energy in enumerate(wh):
        at = T0 + i * 60_000_000
        power = max(float(wh[i] - wh[i - 1]) if i else pace, 0.0) * 60
        rows += [
            (at, round(float(energy), 3), REGISTER),
            (at, round(power, 3), POWER),
            (at, 20.0 + i, SOC),
            (at, 32.0, OFFERED),
        ]
    return rows


def _break(
    rng: random.Random, wh: "np.typing.NDArray[np.float64]", pace: float
) -> "np.typing.NDArray[np.float64]":
    kind = rng.randrange(3)
    half = len(wh) // 2
    if kind == 0:
        wh[half:] -= wh[half]  # reset
    elif kind == 1:
        wh[half : half + 5] = wh[half]
        wh[half + 5 :] -= 5 * pace  # pit
    else:
        wh[:] = wh[0]  # nothing delivered
    return wh


def batch(make, sessions: int, faulty_share: float, seed: int = 7) -> tuple[ReadingColumns, SessionColumns]:
    """A seeded batch of sessions."""
    rng = random.Random(seed)
    rows = [make(rng, rng.random() < faulty_share) for _ in range(sessions)]
    return build_columns(rows), SessionColumns.undeclared(sessions)


def main() -> bool:
    """Prints the table; returns whether the limits hold."""
    fine = True
    print("detect, core time a session of 60 readings")
    for make in (register_only, four_measurands):
        for share in (0.0, 0.03, 0.3):
            columns, sessions = batch(make, 1000, share)
            many = core_seconds(lambda c=columns, s=sessions: detect(c, s, now_us=NOW))
            fine &= sorted(many)[3] <= LIMIT_BATCH_MS
            label = f"{make.__name__}, {share:.0%} faulty"
            print(f"  batch of 1,000  {label:32} {spread(many, 1.0, 'ms')}  limit {LIMIT_BATCH_MS}")
        for faulty in (0.0, 1.0):
            columns, sessions = batch(make, 1, faulty)

            def hundred(c: ReadingColumns = columns, s: SessionColumns = sessions) -> None:
                for _ in range(100):
                    detect(c, s, now_us=NOW)

            single = core_seconds(hundred)
            fine &= sorted(single)[3] * 10 <= LIMIT_SINGLE_MS
            label = f"{make.__name__}, {'faulty' if faulty else 'normal'}"
            print(f"  batch of one    {label:32} {spread(single, 10.0, 'ms')}  limit {LIMIT_SINGLE_MS}")
    return fine


if __name__ == "__main__":
    raise SystemExit(not main())
