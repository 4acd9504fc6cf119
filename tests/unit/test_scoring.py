"""Scoring a stream: the verdicts of ``detect``, as a table, in one process and in several."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import msgspec
import numpy as np
import pytest

from chargewatch.csar2 import scoring
from chargewatch.csar2.detect import detect
from chargewatch.csar2.scoring import RESULTS, Results, score, score_all
from chargewatch.domain.thresholds import Thresholds
from chargewatch.ingest.columns import ReadingColumns, SessionColumns
from chargewatch.ingest.table_sessions import survey
from chargewatch.ingest.table_slices import SessionSlice
from chargewatch.ingest.tables import open_table, read_sessions
from tests.reading_tables import START, charging, falling, reading, singles, write

NOW_US = int(START.timestamp() * 1_000_000) + 86_400_000_000
SESSIONS = [
    *charging("normal", 8),
    *falling("falls"),
    *[reading("idle", 5 * i, 500.0) for i in range(6)],
    *charging("two", 2),
    *[reading("once", 0, 1.0) for _ in range(5)],
    reading("bad", 0, "x"),
    *[reading("odd", i, i, measurand="Own.Thing") for i in range(4)],
    *charging("ahead", 3, context="Sample.Clock"),
    *[row | {"timestamp": "2031-01-01T00:00:00Z"} for row in charging("wrong clock", 1)],
]


@pytest.fixture
def part(tmp_path: Path) -> SessionSlice:
    files = open_table(write(tmp_path / "r.csv", SESSIONS)).files
    parts = list(read_sessions(files, survey(files, lambda rows: None), lambda bad: None, tmp_path))
    assert len(parts) == 1
    return parts[0]


def copies(part: SessionSlice, count: int) -> Iterator[SessionSlice]:
    for i in range(count):
        yield part._replace(ids=[f"{name}-{i}" for name in part.ids])


def test_rows_are_what_detect_says(part: SessionSlice) -> None:
    results = score(part, NOW_US)
    assert results.rows.schema == RESULTS
    assert results.readings == len(part.readings.at_us)
    verdicts = detect(part.readings, part.declared, now_us=NOW_US)
    anomalous = 0
    for row, verdict, one in zip(results.rows.to_pylist(), verdicts, singles(part), strict=True):
        assert row["session_id"] == one.ids[0]
        assert row["sequence_length"] == verdict.sequence_length
        assert row["data_quality"].encode() == msgspec.json.encode(verdict.data_quality)
        if len(one.readings.at_us) < 3:
            continue
        assert row["is_anomaly"] == verdict.is_anomaly
        assert row["anomaly_score"] == verdict.score
        assert row["anomaly_confidence"] == verdict.confidence
        assert row["anomalies"].encode() == msgspec.json.encode(verdict.anomalies)
        assert row["categories"] == list(dict.fromkeys(a["category"] for a in json.loads(row["anomalies"])))
        anomalous += verdict.is_anomaly
    assert anomalous >= 2


def test_fewer_than_three_readings_have_no_verdict(part: SessionSlice) -> None:
    rows = {row["session_id"]: row for row in score(part, NOW_US).rows.to_pylist()}
    pending = ["two", "once", "bad", "wrong clock"]
    assert [name for name, row in rows.items() if row["is_anomaly"] is None] == pending
    for name in pending:
        row = rows[name]
        assert row["anomaly_score"] is row["anomaly_confidence"] is None
        assert (row["categories"], row["anomalies"]) == ([], "[]")
    assert json.loads(rows["once"]["data_quality"])[0] | {"detail": ""} == {
        "code": "unit_assumed",
        "count": 1,
        "detail": "",
    }
    assert rows["bad"]["sequence_length"] == 0


def test_each_session_alone_gets_the_same(part: SessionSlice) -> None:
    together = score(part, NOW_US).rows.to_pylist()
    assert [score(one, NOW_US).rows.to_pylist()[0] for one in singles(part)] == together


def test_nothing_to_score() -> None:
    empty = np.zeros(0)
    codes, flags = empty.astype(np.int8), empty.astype(np.bool_)
    readings = ReadingColumns(
        np.zeros(1, np.int64), empty.astype(np.int64), empty, codes, codes, codes, codes, codes, flags, flags
    )
    assert score(SessionSlice([], readings, SessionColumns.undeclared(0)), NOW_US).rows.num_rows == 0
    assert list(score_all([], NOW_US, 1)) == []


def test_workers_change_nothing(part: SessionSlice) -> None:
    alone = list(score_all(copies(part, 9), NOW_US, 1))
    several = list(score_all(copies(part, 9), NOW_US, 2))
    assert several == alone


def test_few_slices_are_in_memory(part: SessionSlice, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def counted() -> Iterator[SessionSlice]:
        nonlocal taken
        for one in copies(part, 30):
            taken += 1
            yield one

    most = 0
    results = score_all(counted(), NOW_US, 2)
    for given, _ in enumerate(results):
        most = max(most, taken - given)
    assert taken == 30
    assert most <= 2 * (1 + scoring._AHEAD) + 1


def test_stopping_half_way_ends_the_workers(part: SessionSlice) -> None:
    results = score_all(copies(part, 500), NOW_US, 2)
    assert isinstance(next(results), Results)
    results.close()


def test_a_killed_worker_is_an_error(part: SessionSlice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "score", _killed)
    with pytest.raises(BrokenProcessPool):
        list(score_all(copies(part, 3), NOW_US, 2))


def _killed(part: SessionSlice, now_us: int, thresholds: Thresholds) -> Results:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_available_cores() -> None:
    assert 1 <= scoring.available_cores() <= (os.cpu_count() or 1)
