"""Sessions of tables for storing: texts, names, places and order as sent, against a slow twin; what is refused."""

import random
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chargewatch.domain.instants import parse_instant
from chargewatch.ingest import table_sessions
from chargewatch.ingest.readings import Reading, source_of
from chargewatch.ingest.sent_sessions import Refusal, SentSession
from chargewatch.ingest.table_blocks import NAMES, STORED, BadRow
from chargewatch.ingest.table_history import read_history
from chargewatch.ingest.table_sessions import survey
from chargewatch.ingest.tables import open_table
from tests.reading_tables import charging, reading, write

FORMATS = (".parquet", ".csv", ".csv.gz", ".ndjson", ".jsonl.gz")


class History(NamedTuple):
    sessions: list[SentSession]
    refused: list[Refusal]
    bad: list[BadRow]

    @property
    def readings(self) -> dict[str, list[str]]:
        return {session.session_id: [r.text for r in session.readings] for session in self.sessions}


def history(path: Path, scratch: Path, station: str | None = None) -> History:
    files = open_table(path, read=STORED, assumed=".csv").files
    found = History([], [], [])
    for item in read_history(files, survey(files, lambda _: None), found.bad.append, scratch, station):
        (found.refused if isinstance(item, Refusal) else found.sessions).append(item)  # type: ignore[arg-type]
    assert not list(scratch.glob("rows-*"))
    assert [s.number for s in found.sessions] == sorted({s.number for s in found.sessions})
    return found


def slow(rows: Sequence[dict[str, Any]], station: str) -> list[SentSession]:
    """What should be found in rows that are all readings."""
    sessions = []
    for number, name in enumerate(dict.fromkeys(row["session_id"] for row in rows)):
        own = [row for row in rows if row["session_id"] == name]
        managed = [row["managed"] for row in own if row.get("managed") is not None]
        place = {
            column: next((str(row[column]) for row in own if row.get(column) is not None), None)
            for column in ("station_id", "evse_id", "connector_id")
        }
        readings = [
            Reading(
                parse_instant(row["timestamp"]),
                row["value"],
                source_of(*(row.get(column) for column in NAMES), None),
            )
            for row in own
        ]
        sessions.append(
            SentSession(
                number,
                name,
                place["station_id"] or station,
                place["evse_id"],
                place["connector_id"],
                readings,
                managed[-1] if managed else None,
            )
        )
    return sessions


def random_rows(rng: random.Random, sessions: int) -> list[dict[str, Any]]:
    """Rows of sessions with places that not every row names, names of any case, and repeated keys."""
    rows = []
    for number in range(sessions):
        place = {"station_id": f"S{number % 3}", "evse_id": "1", "connector_id": str(number % 2)}
        for minute in range(rng.randint(1, 12)):
            names = {
                "measurand": rng.choice([None, "energy.active.import.register", "Voltage", "My.Own"]),
                "unit": rng.choice([None, "kwh", "Wh", "furlong"]),
                "phase": rng.choice([None, "L1", "l2-n"]),
                "location": rng.choice([None, "ev", "Outlet"]),
                "context": rng.choice([None, "Sample.Clock", "mine"]),
                "managed": rng.choice([None, True, False]),
            }
            value = rng.choice(["5.50", "0.1", "-3", "1e3", "+.5"])
            said = {name: text for name, text in place.items() if rng.random() < 0.7}
            rows.append(reading(f"n-{number}", minute // 2, value, **said, **names))
    return rows


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("scattered", [False, True])
def test_what_was_sent_is_what_is_found(tmp_path: Path, ending: str, scattered: bool) -> None:
    rng = random.Random(20260301)
    rows = random_rows(rng, 40)
    if scattered:
        rng.shuffle(rows)
    found = history(write(tmp_path / f"r{ending}", rows), tmp_path, "S9")
    assert found.sessions == slow(rows, "S9")
    assert found.refused == []
    assert found.bad == []


def test_blocks_and_files_are_seams_that_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chargewatch.ingest.table_parquet._ROWS", 7)
    monkeypatch.setattr("chargewatch.ingest.table_history._AT_ONCE", 5)
    rows = random_rows(random.Random(5), 30)
    cut = len(rows) // 2
    folder = tmp_path / "parts"
    folder.mkdir()
    write(folder / "a.parquet", rows[:cut])
    write(folder / "b.parquet", rows[cut:])
    assert history(folder, tmp_path, "S9").sessions == slow(rows, "S9")


def test_parts_of_scattered_rows_are_seams_that_do_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chargewatch.ingest.table_partitions._ROWS", 20)
    rng = random.Random(6)
    rows = random_rows(rng, 30)
    rng.shuffle(rows)
    assert history(write(tmp_path / "r.parquet", rows), tmp_path, "S9").sessions == slow(rows, "S9")


def test_the_digits_that_were_sent_stay(tmp_path: Path) -> None:
    rows = [reading("a", i, value, station_id="S") for i, value in enumerate(["5.50", "007", "1E3", "+1."])]
    assert history(write(tmp_path / "r.csv", rows), tmp_path).readings == {"a": ["5.50", "007", "1E3", "+1."]}


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pa.array([0.1, 1500.0, 1e22, -0.0]), ["0.1", "1500", "1e+22", "-0"]),
        (pa.array([1, 2**60, -3, 0]), ["1", "1152921504606846976", "-3", "0"]),
        (pa.array([Decimal("5.50"), Decimal("0.01"), Decimal(3), Decimal(-7)]), ["5.50", "0.01", "3.00", "-7.00"]),
        (
            pa.array([Decimal(10) ** 70, Decimal(1), Decimal(2), Decimal(3)], pa.decimal256(76, 0)),
            ["1e+70", "1", "2", "3"],
        ),
        (pa.array(["5.50", "2", "3", "4"]).dictionary_encode(), ["5.50", "2", "3", "4"]),
    ],
)  # fmt: skip
def test_numbers_of_any_type_as_text(tmp_path: Path, values: "pa.Array[Any]", texts: list[str]) -> None:
    rows = [reading("a", i, 0) for i in range(4)]
    table = pa.table(
        {
            "session_id": ["a"] * 4,
            "timestamp": [row["timestamp"] for row in rows],
            "station_id": pa.array([7] * 4),
            "value": values,
        }
    )
    pq.write_table(table, tmp_path / "r.parquet")
    found = history(tmp_path / "r.parquet", tmp_path)
    assert found.readings == {"a": texts}
    assert found.sessions[0].station == "7"


# What is refused


@pytest.mark.parametrize("ending", [".csv", ".ndjson", ".parquet"])
def test_a_bad_row_costs_no_other(tmp_path: Path, ending: str) -> None:
    rows = [
        *charging("a", 2, station_id="S", measurand=None),
        reading("a", 11, "x", station_id="S"),
        reading("a", 12, 1.0, station_id="S", measurand="Vol\ttage"),
        reading("a", 13, 1.0, station_id="S", measurand="V" * 256),
        reading("a", 14, 1.0, station_id="S", measurand="V" * 255),
        reading(None, 15, 1.0, station_id="S"),
        reading("only-bad", 16, "", station_id="S"),
    ]
    for row in rows:
        row["value"] = str(row["value"])
    found = history(write(tmp_path / f"r{ending}", rows), tmp_path)
    assert [(bad.row, bad.reason.split(":")[0]) for bad in found.bad] == [
        (3, "value is not a number"),
        (4, "measurand has more than 255 characters or control characters"),
        (5, "measurand has more than 255 characters or control characters"),
        (7, "no session_id"),
        (8, "no value"),
    ]
    assert [bad.line for bad in found.bad] == {
        ".csv": [4, 5, 6, 8, 9],
        ".ndjson": [3, 4, 5, 7, 8],
        ".parquet": [None] * 5,
    }[ending]
    assert {name: len(texts) for name, texts in found.readings.items()} == {"a": 3}


def test_sessions_that_cannot_be_stored_are_refused_alone(tmp_path: Path) -> None:
    rows = [
        *charging("a/b", 2, station_id="S"),
        *charging("batch", 2, station_id="S"),
        *charging("two-stations", 1, station_id="S"),
        *charging("two-stations", 1, station_id="T"),
        *charging("two-connectors", 1, station_id="S", connector_id="1"),
        *charging("two-connectors", 1, station_id="S", connector_id="2"),
        *charging("nowhere", 2),
        *charging("bad-station", 2, station_id="S/1"),
        *charging("fine", 2, station_id="S"),
    ]
    found = history(write(tmp_path / "r.csv", rows), tmp_path)
    assert list(found.readings) == ["fine"]
    assert [(r.session_id, r.row, r.reason) for r in found.refused] == [
        ("a/b", 1, 'session_id must not be "." or ".." and must not contain "/"'),
        ("batch", 3, 'session_id "batch" is reserved'),
        ("two-stations", 5, "its rows have more than one station_id; a session takes place at one"),
        ("two-connectors", 7, "its rows have more than one connector_id; a session takes place at one"),
        ("nowhere", 9, "no row says its station_id; --station names it for sessions without"),
        ("bad-station", 11, 'station_id must not be "." or ".." and must not contain "/"'),
    ]
    assert {r.file for r in found.refused} == {"r.csv"}


@pytest.mark.parametrize("scattered", [False, True])
def test_a_session_that_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scattered: bool
) -> None:
    monkeypatch.setattr(table_sessions, "MOST_READINGS", 5)
    rows = [*charging("most", 5, station_id="S"), *charging("large", 6, station_id="S")]
    rows = rows[::-1] if not scattered else [*rows[::2], *rows[1::2]]
    found = history(write(tmp_path / "r.parquet", rows), tmp_path)
    assert list(found.readings) == ["most"]
    assert [(r.session_id, r.reason.split(";")[0]) for r in found.refused] == [
        ("large", "the session has 6 rows")
    ]


def test_ids_come_in_normal_form(tmp_path: Path) -> None:
    rows = charging("e\u0301", 2, station_id="S\u0065\u0301")
    (session,) = history(write(tmp_path / "r.parquet", rows), tmp_path).sessions
    assert (session.session_id, session.station) == ("\u00e9", "S\u00e9")


def test_a_file_of_another_ending_is_what_it_is_said_to_be(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", charging("a", 2, station_id="S")).rename(tmp_path / "export.txt")
    assert list(history(path, tmp_path).readings) == ["a"]


def test_the_power_of_a_station_refuses_no_row(tmp_path: Path) -> None:
    rows = charging("a", 2, station_id="S", rated_power_kw="none")
    found = history(write(tmp_path / "r.csv", rows), tmp_path)
    assert (list(found.readings), found.bad) == (["a"], [])
