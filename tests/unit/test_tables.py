"""Readings from files: every format, every type, every kind of bad row, sessions in one piece and scattered."""

import gzip
import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargewatch.ingest import table_parquet, table_partitions, table_sessions, table_slices, table_text
from chargewatch.ingest.table_blocks import TableError
from chargewatch.ingest.tables import ENDINGS, open_table, unknown_columns
from tests.reading_tables import START, assert_same, charging, falling, read, reading, slow, write

ROWS = [
    *charging("a", rated_power_kw=11.0),
    reading("a", 5, 1600.25),
    *charging("b", 3, measurand="power.active.import", unit="kW", context="Sample.Clock", managed=True),
    reading("b", 2, "+7.50", measurand="SoC", location="ev", phase="l1"),
    reading("c", 0, 1, measurand="Engine.Oil", unit="pint"),
    reading("c", 0, 2, measurand="Engine.Water"),
    reading("c", 0, 3, measurand="Engine.Oil"),
]


# Every format


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_holds_the_same(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"readings{ending}"
    if ending in {".parquet", ".pq"}:
        rows = [row | {"value": str(row["value"])} for row in ROWS]
        write(tmp_path / "readings.parquet", rows).rename(path)
    else:
        write(path, ROWS)
    table = read(path, tmp_path)
    assert table.bad == []
    assert table.contiguous
    assert_same(table.sessions, slow(ROWS))


def test_a_folder_is_one_table_in_sorted_order(tmp_path: Path) -> None:
    folder = tmp_path / "readings"
    (folder / "2026").mkdir(parents=True)
    write(folder / "2026" / "c.csv", charging("late"))
    write(folder / "b.ndjson", [*charging("b"), reading("a", 5, 1.0)])
    write(folder / "a.parquet", charging("a"))
    write(folder / ".hidden.csv", charging("hidden"))
    (folder / "_SUCCESS").touch()
    (folder / "notes.txt").touch()
    table = read(folder, tmp_path)
    assert table.ids == ["late", "a", "b"]
    assert not table.contiguous
    assert table.values("a")[1] == 1.0  # of two with one key the later one counts, across files too


def test_what_is_left_out_of_a_folder(tmp_path: Path) -> None:
    kept, left = write(tmp_path / "a.csv", charging("a")), write(tmp_path / "b.csv", charging("b"))
    files = open_table(tmp_path, frozenset({left.resolve()})).files
    assert [file.name for file in files] == [kept.name]


def test_tables_of_something_else_are_passed_over_in_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "labels.csv", [{"session_id": "a", "category": "KWH_DECREASE"}])
    write(tmp_path / "scores.ndjson", [{"session_id": "a", "is_anomaly": True}])
    with pytest.raises(
        TableError, match=r"no file of readings in this folder; labels.csv: no column .*; 1 more"
    ):
        open_table(tmp_path)
    write(tmp_path / "r.parquet", charging("a"))
    opened = open_table(tmp_path)
    assert [file.name for file in opened.files] == ["r.parquet"]
    assert opened.passed_over == [
        "labels.csv: no column timestamp, value (columns found: session_id, category)",
        "scores.ndjson: no column timestamp, value (columns found: is_anomaly, session_id)",
    ]
    with pytest.raises(TableError, match=r"labels.csv: no column timestamp, value"):
        open_table(tmp_path / "labels.csv")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(TableError, match=r"broken.parquet: not a Parquet file"):
        open_table(tmp_path)


def test_unknown_columns(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", charging("a", station_id="s", connector_id=1, colour="red"))
    write(tmp_path / "b.ndjson", charging("b", evse="2"))
    assert unknown_columns(open_table(tmp_path).files) == ["colour", "evse"]


# Types of Parquet


def parquet(path: Path, **columns: Any) -> Path:
    base = {
        "session_id": pa.array(["a"] * 3),
        "timestamp": pa.array([START + timedelta(minutes=i) for i in range(3)], pa.timestamp("us", "UTC")),
        "value": pa.array([1.0, 2.0, 3.0]),
    }
    pq.write_table(pa.table(base | columns), path)
    return path


MINUTES = [START.replace(tzinfo=None) + timedelta(minutes=i) for i in range(3)]


@pytest.mark.parametrize(
    "timestamps",
    [
        *(pa.array(MINUTES, pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")),
        pa.array(MINUTES, pa.timestamp("ms")).cast(pa.timestamp("ms", "UTC")),
        pa.array(MINUTES, pa.timestamp("us")).cast(pa.timestamp("us", "America/New_York")),
        pa.array([f"{m.isoformat()}Z" for m in MINUTES]),
        pa.array([f"{m.isoformat()}+00:00" for m in MINUTES], pa.large_string()),
        pa.array([m.isoformat(sep=" ") for m in MINUTES]).dictionary_encode(),
        pa.array([m.isoformat().encode() for m in MINUTES]),
    ],
    ids=lambda array: str(array.type),
)
def test_types_of_timestamps(tmp_path: Path, timestamps: "pa.Array[Any]") -> None:
    table = read(parquet(tmp_path / "t.parquet", timestamp=timestamps), tmp_path)
    start_us = int(START.timestamp()) * 1_000_000
    assert table.sessions[0].readings.at_us.tolist() == [start_us + i * 60_000_000 for i in range(3)]
    assert table.bad == []


def test_fractions_of_a_microsecond_are_cut(tmp_path: Path) -> None:
    ns = pa.array([-1, 1_999, 2_000], pa.int64()).cast(pa.timestamp("ns"))
    table = read(parquet(tmp_path / "t.parquet", timestamp=ns), tmp_path)
    assert table.sessions[0].readings.at_us.tolist() == [-1, 1, 2]


def test_timestamps_outside_the_calendar(tmp_path: Path) -> None:
    far = pa.array([2**62, -(2**62), 0], pa.int64()).cast(pa.timestamp("ms"))
    table = read(parquet(tmp_path / "t.parquet", timestamp=far), tmp_path)
    assert [bad.row for bad in table.bad] == [1, 2]
    assert table.values("a") == [3.0]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2, 3], pa.int8()),
        pa.array([1, 2, 3], pa.uint64()),
        pa.array([1, 2, 3], pa.float32()),
        pa.array([Decimal("1.00"), Decimal("2.00"), Decimal("3.00")]),
        pa.array(["1", "+2.0", "3e0"]),
        pa.array(["1", "2", "3"]).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)
def test_types_of_values(tmp_path: Path, values: "pa.Array[Any]") -> None:
    table = read(parquet(tmp_path / "v.parquet", value=values), tmp_path)
    assert table.values("a") == [1.0, 2.0, 3.0]
    assert table.bad == []


@pytest.mark.parametrize(
    ("ids", "name"),
    [
        (pa.array([7, 7, 7]), "7"),
        (pa.array(["é"] * 3, pa.large_string()), "é"),
        (pa.array(["x"] * 3).dictionary_encode(), "x"),
        (pa.array([b"x"] * 3), "x"),
        (pa.array([b"\xff\xe9"] * 3).view(pa.string()), "\\xff\\xe9"),
    ],
    ids=["integer", "large", "dictionary", "bytes", "not UTF-8"],
)
def test_types_of_ids(tmp_path: Path, ids: "pa.Array[Any]", name: str) -> None:
    assert read(parquet(tmp_path / "i.parquet", session_id=ids), tmp_path).ids == [name]


@pytest.mark.parametrize(
    "managed",
    [
        pa.array([None, True, None]),
        pa.array([0, 1, None]),
        pa.array([0.0, float("nan"), 1.0]),
        pa.array(["false", "TRUE", ""]),
        pa.array(["0", "1", None]).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)
def test_the_last_declaration_counts(tmp_path: Path, managed: "pa.Array[Any]") -> None:
    rated = pa.array([3.7, 11.0, float("nan")])
    table = read(parquet(tmp_path / "m.parquet", managed=managed, rated_power_kw=rated), tmp_path)
    assert table.bad == []
    assert table.sessions[0].declared.managed.tolist() == [True]
    assert table.sessions[0].declared.rated_power_w.tolist() == [11_000.0]


def test_columns_without_any_value(tmp_path: Path) -> None:
    nothing = pa.nulls(3)
    path = parquet(
        tmp_path / "n.parquet", unit=nothing, phase=nothing, managed=nothing, rated_power_kw=nothing
    )
    table = read(path, tmp_path)
    assert table.bad == []
    assert table.sessions[0].readings.unit_assumed.all()
    path = parquet(tmp_path / "n.parquet", session_id=nothing)
    assert [bad.reason for bad in read(path, tmp_path).bad] == ["no session_id"] * 3
    path = parquet(tmp_path / "n.parquet", timestamp=nothing)
    assert [bad.reason for bad in read(path, tmp_path).bad] == ["no timestamp"] * 3
    path = parquet(tmp_path / "n.parquet", value=nothing)
    assert [bad.reason for bad in read(path, tmp_path).bad] == ["no value"] * 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"timestamp": pa.array([1, 2, 3])},
            "column timestamp is int64; expected a timestamp or text as in RFC 3339",
        ),
        ({"timestamp": pa.array([date(2026, 1, 1)] * 3)}, "column timestamp is date32"),
        ({"value": pa.array([True] * 3)}, "column value is bool; expected a number"),
        ({"session_id": pa.array([1.0] * 3)}, "column session_id is double; expected text or an integer"),
        ({"managed": pa.array([date(2026, 1, 1)] * 3)}, "column managed is date32"),
        ({"unit": pa.array([1, 2, 3])}, "column unit is int64; expected text"),
    ],
)
def test_types_that_cannot_be_meant(
    tmp_path: Path, columns: dict[str, "pa.Array[Any]"], message: str
) -> None:
    with pytest.raises(TableError, match=message):
        open_table(parquet(tmp_path / "x.parquet", **columns))


# Bad rows

BAD: list[tuple[dict[str, object], str]] = [
    (reading("", 0, 1), "no session_id"),
    (reading("x" * 256, 0, 1), "session_id is longer than 255 characters"),
    (reading("a", 0, 1) | {"timestamp": ""}, "no timestamp"),
    (
        reading("a", 0, 1) | {"timestamp": "yesterday"},
        "timestamp is not a time: expected a time as in RFC 3339",
    ),
    (reading("a", 0, 1) | {"timestamp": "2026-02-30T00:00:00Z"}, "timestamp is not a time"),
    (reading("a", 0, 1) | {"timestamp": "0000-01-01T00:00:00Z"}, "timestamp is not a time"),
    (reading("a", 0, ""), "no value"),
    (reading("a", 0, "1,5"), "value is not a number: expected a number with a decimal point"),
    (reading("a", 0, "1e999"), "value is not a number"),
    (reading("a", 0, "NaN"), "value is not a number"),
    (reading("a", 0, 1, managed="maybe"), "managed is not true or false"),
    (reading("a", 0, 1, rated_power_kw="much"), "rated_power_kw is not a number above 0"),
    (reading("a", 0, 1, rated_power_kw="0"), "rated_power_kw is not a number above 0"),
]


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".ndjson"])
def test_every_kind_of_bad_row(tmp_path: Path, ending: str) -> None:
    texts: list[dict[str, object]] = [{k: str(v) for k, v in row.items()} for row, _ in BAD]
    rows = [*charging("good", 1), *texts, *charging("good", 2)[1:]]
    rows = [row | {"value": str(row["value"])} for row in rows]
    table = read(write(tmp_path / f"bad{ending}", rows), tmp_path)
    assert [bad.row for bad in table.bad] == list(range(2, len(BAD) + 2))
    for bad, (_, reason) in zip(table.bad, BAD, strict=True):
        assert bad.reason.startswith(reason)
        assert bad.file == f"bad{ending}"
    assert table.values("good") == [1000.0, 1500.0]


def test_a_session_of_bad_rows_is_there(tmp_path: Path) -> None:
    rows = [reading("bad", 0, "x"), *charging("good"), reading("bad", 1, "y")]
    table = read(write(tmp_path / "r.csv", rows), tmp_path)
    assert table.ids == ["bad", "good"]
    assert table.values("bad") == []
    assert [(bad.row, bad.line) for bad in table.bad] == [(1, 2), (8, 9)]


def test_numbers_that_are_no_numbers(tmp_path: Path) -> None:
    values = pa.array([float("nan"), float("inf"), 1.0])
    table = read(parquet(tmp_path / "v.parquet", value=values), tmp_path)
    assert [(bad.row, bad.line) for bad in table.bad] == [(1, None), (2, None)]


def test_sessions_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_sessions, "MOST_READINGS", 5)
    monkeypatch.setattr(table_parquet, "_ROWS", 4)
    rows = [*charging("a", 5), *charging("b", 6), *charging("c", 2)]
    for order in (rows, [*rows[2:], *rows[:2]]):
        table = read(write(tmp_path / "r.parquet", order), tmp_path)
        assert sorted(table.ids) == ["a", "b", "c"]
        assert table.values("b") == []
        assert len(table.values("a")) == 5
        assert [bad.row for bad in table.bad] == [order.index(rows[5]) + 1]
        assert table.bad[0].reason.startswith("its session has 6 rows, more than")


# CSV

HEADER = "session_id,timestamp,value,note\n"
T = "2026-03-02T10:00:00Z"


def text(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def faults(path: Path) -> list[tuple[int, int | None, str]]:
    return [(bad.row, bad.line, bad.reason) for bad in read(path, path.parent).bad]


def test_csv_dialects(tmp_path: Path) -> None:
    plain = text(tmp_path / "plain.csv", f"{HEADER}a,{T},1,x\na,2026-03-02T10:01:00Z,2,y\n")
    crlf = text(tmp_path / "crlf.csv", plain.read_bytes().replace(b"\n", b"\r\n"))
    marked = text(tmp_path / "bom.csv", b"\xef\xbb\xbf" + plain.read_bytes().rstrip(b"\n"))
    blank = text(tmp_path / "blank.csv", b"\n\n" + plain.read_bytes().replace(b"\n", b"\n\n"))
    quoted = text(
        tmp_path / "quoted.csv",
        f'"session_id",timestamp,"value","the\nnote"\n"a",{T},"1","x, ""y""\nz"\na,"2026-03-02T10:01:00Z",2,\n',
    )
    for path in (plain, crlf, marked, blank, quoted):
        table = read(path, tmp_path)
        assert table.values("a") == [1.0, 2.0], path
        assert table.bad == []


def test_lines_of_bad_rows(tmp_path: Path) -> None:
    path = text(
        tmp_path / "r.csv",
        f'\n{HEADER}\na,{T},1,"two\nlines"\n\na,{T},x,\na,{T}\n a,{T},1,2,3\na,{T},y,\n',
    )
    assert [(row, line) for row, line, _ in faults(path)] == [(2, 7), (3, 8), (4, 9), (5, 10)]
    assert faults(path)[1][2] == "2 columns instead of 4"
    plain = text(tmp_path / "p.csv", f"{HEADER}a,{T},1,\n\na,{T},x,\n")
    assert [(row, line) for row, line, _ in faults(plain)] == [(2, 4)]
    quotes = text(tmp_path / "q.csv", f'{HEADER}a,{T},1,"two\nlines"\n\na,{T},x,\n')
    assert [(row, line) for row, line, _ in faults(quotes)] == [(2, 5)]


def test_csv_that_is_not_utf8(tmp_path: Path) -> None:
    note = f"{HEADER}a,{T},1,caf\xe9\n".encode("latin-1") + f"\xe9,{T},3,\n".encode()
    assert read(text(tmp_path / "r.csv", note), tmp_path).ids == ["a", "é"]
    assert faults(tmp_path / "r.csv") == []  # a column that nobody looks at
    value = f"{HEADER}a,{T},\xb11,\nb,{T},2,\n".encode("latin-1")
    assert faults(text(tmp_path / "r.csv", value)) == [(1, 2, "not UTF-8")]
    name = f"{HEADER}a\xe9,{T},1,\nb,{T},2,\n".encode("latin-1")
    assert faults(text(tmp_path / "r.csv", name)) == [(1, 2, "not UTF-8")]
    assert read(tmp_path / "r.csv", tmp_path).ids == ["b"]


def test_a_quote_that_is_never_closed_costs_one_row(tmp_path: Path) -> None:
    good = "".join(f"s{i},{T},{i},\n" for i in range(300))
    for broken in (f'x,{T},"1,\n', f'"x,{T},1,\n', f'x,{T},1,"5\n'):
        path = text(tmp_path / "r.csv", HEADER + good + broken + good)
        table = read(path, tmp_path)
        assert [(bad.row, bad.line) for bad in table.bad] == [(301, 302)], broken
        assert table.bad[0].reason == "not CSV: a quoted value does not end"
        assert len(table.ids) == 300
    stray = text(tmp_path / "r.csv", f'{HEADER}a,{T},1,5" pipe\nb,{T},2,6" pipe\nc,{T},3,"x"\n')
    assert read(stray, tmp_path).ids == ["a", "b", "c"]
    assert faults(stray) == []


def test_every_unclosed_quote_is_reported(tmp_path: Path) -> None:
    for broken in (f'x,{T},1,"5\n', f'x,{T},"1,\n', f'"x,{T},1,\n'):
        assert [row for row, _, _ in faults(text(tmp_path / "r.csv", HEADER + broken * 20_001))] == list(
            range(1, 20_002)
        )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet='a1,"\n\r \xe9', max_size=60), st.integers(5, 80))
def test_any_csv_can_be_read(tmp_path: Path, content: str, piece: int) -> None:
    path = text(tmp_path / "r.csv", f"{HEADER}good,{T},1,\n{content}\ngood,2026-03-02T10:01:00Z,2,\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_text, "_PIECE", piece)
        table = read(path, tmp_path)
    assert table.values("good") == [1.0, 2.0]  # whatever stands between them


# NDJSON


def test_lines_that_are_no_readings(tmp_path: Path) -> None:
    good = json.dumps(reading("a", 0, 1))
    lines: list[tuple[bytes, str]] = [
        (b"{", "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (good.encode() + good.encode(), "not JSON"),
        (b'{"session_id": "\xff"}', "not UTF-8"),
        (b"{}", "no session_id"),
        (b'{"session_id": 1.5}', "session_id is not text or an integer"),
        (b'{"session_id": "a", "timestamp": 1772186400}', "timestamp is not text as in RFC 3339"),
        (b'{"session_id": "a", "timestamp": "%s"}' % T.encode(), "no value"),
        (b'{"session_id": "a", "timestamp": "%s", "value": true}' % T.encode(), "value is not a number"),
        (b'{"session_id": "a", "timestamp": "%s", "value": 1e999}' % T.encode(), "value is not a number"),
        (b'{"session_id": "a", "timestamp": "%s", "value": [1]}' % T.encode(), "value is not a number"),
        (b'{"session_id": "a", "timestamp": "%s", "value": 1, "unit": 2}' % T.encode(), "unit is not text"),
        (
            b'{"session_id": "a", "timestamp": "%s", "value": 1, "managed": []}' % T.encode(),
            "managed is not true",
        ),
    ]
    content = good.encode() + b"\n\n" + b"\n".join(line for line, _ in lines) + b"\n  \n" + good.encode()
    table = read(text(tmp_path / "r.ndjson", content), tmp_path)
    assert [(bad.row, bad.line) for bad in table.bad] == [(i, i + 1) for i in range(2, len(lines) + 2)]
    for bad, (_, reason) in zip(table.bad, lines, strict=True):
        assert bad.reason.startswith(reason)
    assert table.ids == ["a"]


def test_numbers_and_texts_may_stand_side_by_side(tmp_path: Path) -> None:
    rows = [reading("a", 0, 1), reading("a", 1, "2.50"), reading("a", 2, 3.0), reading("a", 3, 10**30)]
    rows += [reading(7, 0, 0.1), reading("7", 1, "0.1")]  # type: ignore[arg-type]
    table = read(write(tmp_path / "r.jsonl", rows), tmp_path)
    assert table.values("a") == [1.0, 2.5, 3.0, 1e30]
    assert table.values("7") == [0.1, 0.1]


# Sessions anywhere

NAMES = st.fixed_dictionaries(
    {},
    optional={
        "measurand": st.sampled_from(
            ["Power.Active.Import", "power.active.import", "SoC", "Own.Thing", "Own.Other"]
        ),
        "unit": st.sampled_from(["kW", "W", "Percent", "furlong"]),
        "phase": st.sampled_from(["L1", "L1-N", "L2"]),
        "context": st.sampled_from(["Sample.Clock", "Transaction.End", "Own.Context"]),
        "location": st.sampled_from(["Inlet", "EV", "outlet"]),
        "managed": st.booleans(),
        "rated_power_kw": st.sampled_from([3.7, 11.0]),
    },
)
READINGS = st.builds(
    lambda session, minute, value, names: reading(session, minute, value, **names),
    st.sampled_from(["a", "b", "c", "d"]),
    st.integers(0, 6),
    st.integers(0, 3).map(float),
    NAMES,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(READINGS, min_size=1, max_size=40),
    in_one_piece=st.booleans(),
    block=st.integers(1, 12),
    slice_rows=st.integers(1, 20),
    part=st.integers(1, 20),
)
def test_any_order_gives_what_the_api_keeps(
    tmp_path: Path, rows: list[dict[str, object]], in_one_piece: bool, block: int, slice_rows: int, part: int
) -> None:
    if in_one_piece:
        rows = sorted(rows, key=lambda row: str(row["session_id"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_parquet, "_ROWS", block)
        patch.setattr(table_slices, "SLICE_ROWS", slice_rows)
        patch.setattr(table_slices, "SLICE_SESSIONS", 2)
        patch.setattr(table_partitions, "_ROWS", part)
        table = read(write(tmp_path / "r.parquet", rows), tmp_path)
    assert table.bad == []
    assert table.contiguous or not in_one_piece
    assert_same(table.sessions, slow(rows))


def test_many_blocks_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_text, "_PIECE", 200)
    rows = [row for i in range(40) for row in charging(f"s{i}", 3)]
    rows[50] = rows[50] | {"value": "x"}
    good = [*rows[:50], *rows[51:]]
    for ending in (".csv", ".ndjson", ".csv.gz"):
        table = read(write(tmp_path / f"r{ending}", rows), tmp_path)
        assert_same(table.sessions, slow(good))
        assert [(bad.row, bad.line) for bad in table.bad] == [(51, 52 if "csv" in ending else 51)]


def test_both_ways_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_parquet, "_ROWS", 3)
    sessions = [charging("a"), falling("b"), charging("c")]
    rows = [row for session in sessions for row in session]
    assert read(write(tmp_path / "r.parquet", rows), tmp_path).contiguous
    assert not read(write(tmp_path / "r.parquet", [*rows, rows[0]]), tmp_path).contiguous
    assert not read(write(tmp_path / "r.parquet", [*rows[5:], *rows[:5]]), tmp_path).contiguous


# Files that cannot be read


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.parquet", b"", "r.parquet: not a Parquet file"),
        ("r.parquet", b"session_id,timestamp,value\n", "r.parquet: not a Parquet file"),
        ("r.csv", b"", "r.csv: the file is empty"),
        ("r.csv", b"session_id;timestamp;value\n", "r.csv: no column session_id, timestamp, value"),
        (
            "r.csv",
            b"session_id,timestamp\n",
            r"r.csv: no column value \(columns found: session_id, timestamp\)",
        ),
        ("r.csv", b"session_id,timestamp,value,unit,unit\n", "r.csv: more than one column unit"),
        ("r.csv", b"\xff\xfes\x00e\x00\n", "r.csv: the header is not UTF-8"),
        ("r.csv.gz", b"session_id", "r.csv.gz: damaged gzip data"),
        ("r.ndjson", b"", "r.ndjson: the file is empty"),
        (
            "r.ndjson.gz",
            gzip.compress(b'{"session_id": "a"}\n' * 99, mtime=0)[:-9],
            "r.ndjson.gz: damaged gzip data",
        ),
        ("r.xlsx", b"", "r.xlsx: unknown ending; known are .parquet"),
    ],
)
def test_what_is_no_table(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read(text(tmp_path / name, content), tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such file or folder"):
        open_table(tmp_path / "none.csv")
    with pytest.raises(TableError, match="in this folder"):
        open_table(tmp_path)


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_text, "_PIECE", 10)
    monkeypatch.setattr(table_text, "_LONGEST", 100)
    with pytest.raises(TableError, match="line 2 is longer than"):
        read(text(tmp_path / "r.ndjson", b"{}\n" + b"x" * 1000), tmp_path)


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    path = write(tmp_path / "r.parquet", [row for i in range(500) for row in charging(f"s{i}")])
    data = bytearray(path.read_bytes())
    data[8:2000] = b"\xff" * 1992
    path.write_bytes(bytes(data))
    with pytest.raises(TableError, match=r"r\.parquet: damaged after row 0"):
        read(path, tmp_path)


def test_tables_without_rows(tmp_path: Path) -> None:
    for path in (text(tmp_path / "r.csv", HEADER), text(tmp_path / "r.ndjson", "\n\n")):
        assert read(path, tmp_path).sessions == []
    assert (
        read(write(tmp_path / "r.parquet", [], ["session_id", "timestamp", "value"]), tmp_path).sessions == []
    )


def test_long_columns_of_texts_without_repetition(tmp_path: Path) -> None:
    rows = 150_000
    ids = pa.array(np.repeat(np.arange(rows // 10), 10)).cast(pa.string())
    times = pa.array(np.arange(rows) * 1_000_000).cast(pa.timestamp("us"))
    names = pa.array([f"Own.{i}" for i in range(rows)])
    pq.write_table(
        pa.table(
            {"session_id": ids, "timestamp": times, "value": pa.array(np.ones(rows)), "measurand": names}
        ),
        tmp_path / "r.parquet",
    )
    table = read(tmp_path / "r.parquet", tmp_path)
    assert len(table.ids) == rows // 10
    assert all(len(part.readings.value) == 10 for part in table.sessions)
