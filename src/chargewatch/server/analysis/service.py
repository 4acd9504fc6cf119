"""Runs CSAR-2 on one session for the other slices."""

from datetime import datetime
from typing import Final, NamedTuple

import numpy as np

from chargewatch.csar2.detect import detect
from chargewatch.domain.verdict import Verdict
from chargewatch.ingest.columns import NO_TIME, SessionColumns
from chargewatch.ingest.readings import ReadingSet
from chargewatch.server.clock import microseconds

#: Fewer stored readings than this are not analysed (contract, section 3).
FEWEST_READINGS: Final = 3


class Declared(NamedTuple):
    """What is declared about a session and its station, beside the readings."""

    managed: bool
    rated_power_kw: float | None
    started_at: datetime | None
    ended_at: datetime | None
    over: bool
    duplicates: int
    out_of_order: int


def analyse(readings: ReadingSet, declared: Declared, now: datetime) -> Verdict:
    """Judges one session."""
    rated_w = np.nan if declared.rated_power_kw is None else declared.rated_power_kw * 1000.0
    sessions = SessionColumns(
        managed=np.array([declared.managed]),
        over=np.array([declared.over]),
        rated_power_w=np.array([rated_w]),
        started_us=np.array([_moment(declared.started_at)]),
        ended_us=np.array([_moment(declared.ended_at)]),
        duplicates=np.array([declared.duplicates]),
        out_of_order=np.array([declared.out_of_order]),
    )
    return detect(readings.columns(), sessions, now_us=microseconds(now))[0]


def _moment(at: datetime | None) -> int:
    return int(NO_TIME) if at is None else microseconds(at)
