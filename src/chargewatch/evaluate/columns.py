"""Simulated sessions as the columns that the analysis takes."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np

from chargewatch.csar2.detect import detect
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS, Thresholds
from chargewatch.domain.verdict import Verdict
from chargewatch.ingest.builder import Kind, kind_of
from chargewatch.ingest.columns import ReadingColumns, SessionColumns
from chargewatch.simulate import SimulatedSession


class Columns(NamedTuple):
    """S sessions that are over: their readings, and what is declared about them."""

    readings: ReadingColumns
    declared: SessionColumns
    now_us: int


def microseconds(at: datetime) -> int:
    """Returns a time in microseconds since 1970."""
    return round(at.timestamp() * 1e6)


def columns_of(sessions: Sequence[SimulatedSession]) -> Columns:
    """Returns simulated sessions (at least one) as columns, as they look once all of them are over."""
    declared = SessionColumns.undeclared(len(sessions))._replace(
        managed=np.array([s.managed for s in sessions]),
        rated_power_w=np.array([_declared_w(s) for s in sessions]),
        started_us=np.array([microseconds(s.started_at) for s in sessions]),
        ended_us=np.array([microseconds(s.ended_at) for s in sessions]),
    )
    return Columns(_readings(sessions), declared, microseconds(max(s.ended_at for s in sessions)))


def _declared_w(session: SimulatedSession) -> float:
    """Returns the rated power as it is declared, NaN where the station's is not known."""
    return session.rated_power_kw * 1000.0 if session.rated_power_known else float("nan")


def _readings(sessions: Sequence[SimulatedSession]) -> ReadingColumns:
    """Returns the readings as columns; each distinct kind of reading is looked up once."""
    rows = [reading for session in sessions for reading in session.readings]
    kinds: dict[tuple[str | None, ...], int] = {}
    place = np.fromiter((kinds.setdefault(r[2:], len(kinds)) for r in rows), np.int64, len(rows))
    table = np.array([kind_of(*names) for names in kinds]).reshape(len(kinds), len(Kind._fields))[place]
    return ReadingColumns(
        offsets=np.cumsum([0, *(len(s.readings) for s in sessions)]),
        at_us=np.round(np.fromiter((r[0].timestamp() for r in rows), np.float64, len(rows)) * 1e6).astype(
            np.int64
        ),
        value=np.fromiter((float(r[1]) for r in rows), np.float64, len(rows)),
        measurand=table[:, 0].astype(np.int8),
        unit=table[:, 1].astype(np.int8),
        phase=table[:, 2].astype(np.int8),
        location=table[:, 3].astype(np.int8),
        context=table[:, 4].astype(np.int8),
        unit_assumed=table[:, 5].astype(np.bool_),
        signed=table[:, 6].astype(np.bool_),
    )


def judge(sessions: Sequence[SimulatedSession], thresholds: Thresholds = DEFAULT_THRESHOLDS) -> list[Verdict]:
    """Returns the verdicts on sessions that are over, with what the simulator declares about them."""
    if not sessions:
        return []
    columns = columns_of(sessions)
    return detect(columns.readings, columns.declared, now_us=columns.now_us, thresholds=thresholds)
