"""A simulated fleet as Parquet files: readings, sessions, labels. Written as a stream, in bounded memory."""

from collections.abc import Callable, Iterable
from itertools import repeat
from pathlib import Path
from typing import Final, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from chargewatch.simulate.records import SimulatedSession

READINGS_PER_ROW_GROUP: Final = 200_000
ZERO_KWH: Final = 0.1

_TIME: Final = pa.timestamp("ms", tz="UTC")


def _schema(columns: Iterable[tuple[str, pa.DataType]]) -> pa.Schema:
    return pa.schema(columns)


#: Columns of ``chargewatch score``. ``value`` is the decimal text as the meter sent it.
READINGS_SCHEMA: Final = _schema(
    [
        ("session_id", pa.string()),
        ("station_id", pa.string()),
        ("connector_id", pa.string()),
        ("timestamp", _TIME),
        ("value", pa.string()),
        ("measurand", pa.string()),
        ("unit", pa.string()),
        ("phase", pa.string()),
        ("location", pa.string()),
        ("context", pa.string()),
        ("rated_power_kw", pa.float64()),
        ("managed", pa.bool_()),
    ]
)
#: Columns of ``chargewatch shade``: the truth at the outlet, whatever the meter says.
SESSIONS_SCHEMA: Final = _schema(
    [
        ("session_id", pa.string()),
        ("station_id", pa.string()),
        ("connector_id", pa.string()),
        ("start", _TIME),
        ("end", _TIME),
        ("energy_kwh", pa.float64()),
        ("max_power_kw", pa.float64()),
        ("is_zero", pa.bool_()),
    ]
)
#: One row a fault, and one row a near-miss (then only ``near_miss`` is set). Ordinary sessions have none.
LABELS_SCHEMA: Final = _schema(
    [
        ("session_id", pa.string()),
        ("station_id", pa.string()),
        ("kind", pa.string()),
        ("sampling_s", pa.float64()),
        ("category", pa.string()),
        ("mechanism", pa.string()),
        ("start", _TIME),
        ("end", _TIME),
        ("visible", pa.bool_()),
        ("near_miss", pa.string()),
    ]
)


class FleetFiles(NamedTuple):
    """Where a fleet was written."""

    readings: Path
    sessions: Path
    labels: Path


class _Table:
    """A Parquet file to which rows are added, kept as columns until a row group is full."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._columns: list[list[object]] = [[] for _ in schema]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self._writer.close()

    def add(self, *row: object) -> None:
        """Adds one row."""
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)

    def extend(self, columns: Iterable[Iterable[object]]) -> None:
        """Adds many rows, given by column."""
        for column, values in zip(self._columns, columns, strict=True):
            column.extend(values)

    def rows(self) -> int:
        """Rows that wait to be written."""
        return len(self._columns[0])

    def flush(self) -> None:
        """Writes what waits as one row group."""
        if not self.rows():
            return
        arrays = [pa.array(c, f.type) for c, f in zip(self._columns, self._schema, strict=True)]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._columns = [[] for _ in self._schema]


def write_fleet(
    output: Path, sessions: Iterable[SimulatedSession], on_session: Callable[[int], None] | None = None
) -> FleetFiles:
    """Writes ``readings.parquet``, ``sessions.parquet`` and ``labels.parquet`` into the folder ``output``.

    Memory stays bounded by a row group and one session, however many there are.

    Args:
        output: folder; made when it does not exist. Files of these names are replaced.
        sessions: taken one by one.
        on_session: called after each with the number written so far.

    Returns:
        the paths of the three files.
    """
    output.mkdir(parents=True, exist_ok=True)
    files = FleetFiles(*(output / f"{name}.parquet" for name in FleetFiles._fields))
    with (
        _Table(files.readings, READINGS_SCHEMA) as readings,
        _Table(files.sessions, SESSIONS_SCHEMA) as ended,
        _Table(files.labels, LABELS_SCHEMA) as labels,
    ):
        for number, session in enumerate(sessions, start=1):
            readings.extend(_reading_columns(session))
            ended.add(*_session_row(session))
            for row in _label_rows(session):
                labels.add(*row)
            if readings.rows() >= READINGS_PER_ROW_GROUP:
                for table in (readings, ended, labels):
                    table.flush()
            if on_session is not None:
                on_session(number)
    return files


def _reading_columns(session: SimulatedSession) -> list[Iterable[object]]:
    count = len(session.readings)
    timestamps, values, measurands, units, phases, locations, contexts = zip(*session.readings, strict=True)
    return [
        repeat(session.session_id, count),
        repeat(session.station_id, count),
        repeat(session.connector_id, count),
        timestamps,
        values,
        measurands,
        units,
        phases,
        locations,
        contexts,
        repeat(session.rated_power_kw if session.rated_power_known else None, count),
        repeat(session.managed, count),
    ]


def _session_row(session: SimulatedSession) -> tuple[object, ...]:
    return (
        session.session_id,
        session.station_id,
        session.connector_id,
        session.started_at,
        session.ended_at,
        round(session.energy_kwh, 3),
        round(session.max_power_kw, 3),
        session.energy_kwh < ZERO_KWH,
    )


def _label_rows(session: SimulatedSession) -> list[tuple[object, ...]]:
    what = (session.session_id, session.station_id, session.kind, session.sampling_s)
    if session.near_miss is not None:
        return [(*what, None, None, None, None, None, session.near_miss)]
    return [(*what, x.category.value, x.mechanism, x.start, x.end, x.visible, None) for x in session.labels]
