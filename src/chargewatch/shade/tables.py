"""Tables of sessions in files (Parquet, CSV, NDJSON), and tables of SHADE's verdicts.

Columns in: ``session_id``, ``station_id``, ``start``, ``energy_kwh``; optional ``connector_id``, ``site_id``, ``end``,
``max_power_kw``, ``is_zero``, ``timezone``, ``country``, ``reference_energy_kwh``. Columns out: `VERDICTS`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as arrow_csv
import pyarrow.json as arrow_json
import pyarrow.parquet as pq

from chargewatch.domain.instants import MICROSECONDS, parse_instant
from chargewatch.domain.station_types import StationState
from chargewatch.shade.arrays import Flags, Floats, Integers
from chargewatch.shade.classify import TYPES
from chargewatch.shade.local_days import zone_of
from chargewatch.shade.run import ZoneReplay
from chargewatch.shade.sessions import Connector, Sessions, Station

Column: TypeAlias = "pa.Array[Any]"

Names: TypeAlias = npt.NDArray[np.object_]
_compute: Final[Any] = pyarrow.compute  # its functions take and return arrays of any kind

REQUIRED: Final = ("session_id", "station_id", "start", "energy_kwh")
OPTIONAL: Final = (
    "connector_id",
    "site_id",
    "end",
    "max_power_kw",
    "is_zero",
    "timezone",
    "country",
    "reference_energy_kwh",
)
_FIELDS: Final["list[pa.Field[Any]]"] = [
    pa.field("station_id", pa.string()),
    pa.field("date", pa.date32()),
    pa.field("is_anomaly", pa.bool_()),
    pa.field("anomaly_score", pa.float64()),
    pa.field("anomaly_type", pa.string()),
    pa.field("expected_energy_kwh", pa.float64()),
    pa.field("actual_energy_kwh", pa.float64()),
    pa.field("state", pa.string()),
]
#: The columns of verdicts.
VERDICTS: Final = pa.schema(_FIELDS)
_ENDINGS: Final = (".parquet", ".pq", ".csv", ".ndjson", ".jsonl")
_STATIONS_AT_ONCE: Final = 512
_UNSPECIFIED: Final = "unspecified"


class SessionTableError(Exception):
    """A table of sessions cannot be used; the text is one line."""


class SessionTable(NamedTuple):
    """Sessions of files: the sessions, how many rows were refused, and which columns mean nothing here."""

    sessions: Sessions
    refused: int
    ignored: tuple[str, ...]


def read_session_table(path: Path) -> SessionTable:
    """Reads a file of sessions, or all of a folder.

    Rows without ids or without any time are refused. Of rows with one session id the last counts. A station's site,
    time zone and country are those of its first row that tells them, by time.

    Raises:
        SessionTableError: there is no such file, it is damaged, or a required column is missing.
    """
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix.lower() in _ENDINGS)
    if not files:
        raise SessionTableError(f"{path}: no file of sessions ({', '.join(_ENDINGS)})")
    tables = [_read(file) for file in files]
    known = [name for name in (*REQUIRED, *OPTIONAL) if any(name in t.column_names for t in tables)]
    ignored = sorted({name for table in tables for name in table.column_names} - {*REQUIRED, *OPTIONAL})
    columns = {name: _joined(tables, name) for name in known}
    sessions, refused = _sessions(columns)
    return SessionTable(sessions, refused, tuple(ignored))


def _read(file: Path) -> pa.Table:
    try:
        if file.suffix.lower() in {".parquet", ".pq"}:
            table = pq.read_table(file)
        elif file.suffix.lower() == ".csv":
            table = _read_csv(file)
        elif file.suffix.lower() in {".ndjson", ".jsonl"}:
            table = arrow_json.read_json(file)
        else:
            raise SessionTableError(f"{file}: unknown ending; known are {', '.join(_ENDINGS)}")
    except (pa.ArrowInvalid, OSError) as problem:
        raise SessionTableError(f"{file}: cannot be read ({str(problem).splitlines()[0]})") from None
    for name in REQUIRED:
        if name not in table.column_names:
            raise SessionTableError(f"{file}: no column {name}; needed are {', '.join(REQUIRED)}")
    return table


def _read_csv(file: Path) -> pa.Table:
    texts = {name: pa.string() for name in (*REQUIRED, *OPTIONAL)}
    convert = arrow_csv.ConvertOptions(column_types=texts, strings_can_be_null=True, null_values=["", "null"])
    return arrow_csv.read_csv(file, convert_options=convert)


def _joined(tables: list[pa.Table], name: str) -> Column:
    """Returns a column of all files as one array; nulls where a file lacks it."""
    parts: list[Column] = []
    for table in tables:
        if name in table.column_names:
            parts += table.column(name).chunks
        else:
            parts.append(pa.nulls(table.num_rows))
    kinds = {part.type for part in parts if not pa.types.is_null(part.type)}
    kind = kinds.pop() if len(kinds) == 1 else pa.string()
    return pa.concat_arrays([part.cast(kind) for part in parts]) if parts else pa.nulls(0)


def _sessions(columns: dict[str, Column]) -> tuple[Sessions, int]:
    rows = len(columns["session_id"])
    start, end = _seconds(columns["start"]), _optional(columns, "end", rows, _seconds)
    named = _present(columns["session_id"]) & _present(columns["station_id"])
    usable = named & ~(np.isnan(start) & np.isnan(end))
    instants = np.where(np.isnan(end), start, end)
    keep = _last_of_each(columns["session_id"], usable)
    order = keep[np.argsort(instants[keep], kind="stable")]
    station_ids, station = _coded(columns["station_id"], order)
    connector_text = columns.get("connector_id", pa.nulls(rows, pa.string()))
    connectors, connector = _connectors(connector_text, order, station, len(station_ids))
    sessions = Sessions(
        station,
        connector,
        start[order],
        end[order],
        _numbers(columns["energy_kwh"])[order],
        _optional(columns, "max_power_kw", rows, _numbers)[order],
        _optional(columns, "reference_energy_kwh", rows, _numbers)[order],
        _truths(columns["is_zero"])[order] if "is_zero" in columns else np.zeros(len(order), np.bool_),
        _stations(columns, order, station, station_ids),
        connectors,
    )
    return sessions, int((~usable).sum())


def _present(column: Column) -> Flags:
    """Marks the rows with a text."""
    texts = _compute.fill_null(column.cast(pa.string()), "")
    present: Flags = _compute.not_equal(texts, "").to_numpy(zero_copy_only=False).astype(np.bool_)
    return present


def _last_of_each(ids: Column, usable: Flags) -> Integers:
    """Returns the usable rows, of those with one id the last."""
    codes = ids.cast(pa.string()).dictionary_encode().indices
    numbers = _compute.fill_null(codes, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    rows = np.flatnonzero(usable)
    last = np.full(int(numbers.max(initial=-1)) + 1, -1, np.int64)
    last[numbers[rows]] = rows  # of equal numbers the last assignment stays
    kept: Integers = rows[last[numbers[rows]] == rows]
    return kept


def _coded(column: Column, order: Integers) -> tuple[list[str], Integers]:
    """Returns the distinct texts of the rows in order of text, and the number of each row's."""
    encoded = column.cast(pa.string()).take(order).dictionary_encode()
    texts = [str(text) for text in encoded.dictionary.to_pylist()]
    ranked = sorted(texts)
    rank = {text: number for number, text in enumerate(ranked)}
    places = np.array([rank[text] for text in texts], np.int64)
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return ranked, places[codes] if len(places) else codes


def _connectors(
    column: Column, order: Integers, station: Integers, stations: int
) -> tuple[tuple[Connector, ...], Integers]:
    names, code = _coded(_compute.fill_null(column.cast(pa.string()), _UNSPECIFIED), order)
    keys, number = np.unique(station * max(len(names), 1) + code, return_inverse=True)
    found = tuple(Connector(int(key) // len(names), names[int(key) % len(names)]) for key in keys)
    assert all(connector.station < stations for connector in found)
    return found, number.astype(np.int64)


def _stations(
    columns: dict[str, Column], order: Integers, station: Integers, ids: list[str]
) -> tuple[Station, ...]:
    """Returns the stations with what their first rows tell, in order of time."""
    told: dict[str, list[str]] = {}
    for name in ("site_id", "timezone", "country"):
        values = [""] * len(ids)
        if name in columns:
            names, code = _coded(_compute.fill_null(columns[name].cast(pa.string()), ""), order)
            known = (
                np.array([text != "" for text in names], np.bool_)[code]
                if len(names)
                else np.zeros(0, np.bool_)
            )
            places, first = np.unique(station[known], return_index=True)
            for place, row in zip(places, np.flatnonzero(known)[first], strict=True):
                values[int(place)] = names[int(code[row])]
        told[name] = values
    for zone in set(told["timezone"]):
        try:
            zone_of(zone)
        except ValueError as problem:
            raise SessionTableError(str(problem)) from None
    triples = zip(ids, told["site_id"], told["timezone"], told["country"], strict=True)
    return tuple(Station(name, site, zone or "UTC", country) for name, site, zone, country in triples)


def _optional(columns: dict[str, Column], name: str, rows: int, read: Callable[[Column], Floats]) -> Floats:
    return read(columns[name]) if name in columns else np.full(rows, np.nan)


def _numbers(column: Column) -> Floats:
    """Returns numbers; NaN for what is none."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array([_number(text) for text in column.to_pylist()], np.float64)
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _number(text: str | None) -> float:
    try:
        value = float(text) if text is not None else np.nan
    except ValueError:
        return float("nan")
    return value if np.isfinite(value) else float("nan")


def _truths(column: Column) -> Flags:
    if pa.types.is_boolean(column.type):
        truths: Flags = _compute.fill_null(column, False).to_numpy(zero_copy_only=False).astype(np.bool_)
        return truths
    return np.array(
        [str(value).strip().lower() in {"true", "1", "1.0"} for value in column.to_pylist()], np.bool_
    )


def _seconds(column: Column) -> Floats:
    """Returns times as seconds since 1970 in UTC (a time without zone is UTC); NaN for what is none."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        times = column.cast(pa.timestamp("us", tz="UTC")) if pa.types.is_date(column.type) else column
        values = _compute.cast(times, pa.timestamp("us", tz=times.type.tz), safe=False).cast(pa.int64())
        seconds: Floats = values.to_numpy(zero_copy_only=False).astype(np.float64) / MICROSECONDS
        return seconds
    return np.array([_instant(value) for value in column.to_pylist()], np.float64)


def _instant(value: object) -> float:
    if value is None:
        return float("nan")
    try:
        return parse_instant(str(value).strip()) / MICROSECONDS
    except ValueError:
        return float("nan")


def verdict_batches(
    sessions: Sessions, found: ZoneReplay, start_day: int | None, end_day: int | None
) -> Iterator[pa.RecordBatch]:
    """Yields the verdicts on the stations of a time zone, a row a station and day from its first session on.

    Args:
        sessions: the whole table.
        found: the verdicts on the stations of one of its time zones.
        start_day: the first day wanted; None for the first there is.
        end_day: the last day wanted, likewise.
    """
    replay = found.replay
    first = replay.days.first_day
    rows = np.arange(replay.days.days)
    wanted = (rows + first >= (start_day if start_day is not None else first)) & (
        rows + first <= (end_day if end_day is not None else first + len(rows))
    )
    names = np.array([sessions.stations[int(number)].station_id for number in found.stations], dtype=object)
    for begin in range(0, len(names), _STATIONS_AT_ONCE):
        columns = np.arange(begin, min(begin + _STATIONS_AT_ONCE, len(names)))
        there = wanted[None, :] & (rows[None, :] >= replay.days.born[columns][:, None])
        place, row = np.nonzero(there)
        if len(row):
            yield _batch(found, names, columns[place], row)


def _batch(found: ZoneReplay, names: Names, station: Integers, row: Integers) -> pa.RecordBatch:
    replay = found.replay
    at = (row, station)
    types = np.array([*(kind.value for kind in TYPES), None], dtype=object)
    states = np.array([StationState.LEARNING.value, StationState.WATCHING.value], dtype=object)
    expected = replay.expected_kwh[at].astype(np.float64)
    actual = np.where(replay.days.known[at], replay.days.actual_kwh[at], np.nan).astype(np.float64)
    return pa.record_batch(
        [
            pa.array(names[station], pa.string()),
            pa.array((row + replay.days.first_day).astype("datetime64[D]"), pa.date32()),
            pa.array(replay.is_anomaly[at]),
            pa.array(np.round(replay.score[at].astype(np.float64), 6)),
            pa.array(types[replay.kind[at]], pa.string()),
            pa.array(np.round(expected, 3), mask=np.isnan(expected)),
            pa.array(np.round(actual, 3), mask=np.isnan(actual)),
            pa.array(states[replay.watching[at].astype(np.int64)], pa.string()),
        ],
        schema=VERDICTS,
    )
