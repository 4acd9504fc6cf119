"""Readings from Parquet files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from chargewatch.ingest.table_blocks import NAMES, PLACES, Block, TableError, check_columns, no_line

_ROWS: Final = 65_536
_BUFFER: Final = 1 << 20
#: Columns in which few texts stand again and again.
_WORDS: Final = frozenset(("session_id", *NAMES, *PLACES))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)


def _why_not(column: str, kind: pa.DataType) -> str | None:
    """Says what a column should be, None when its type will do."""
    if pa.types.is_null(kind) or _is_text(kind):
        return None
    if column == "timestamp":
        return None if pa.types.is_timestamp(kind) else "a timestamp or text as in RFC 3339"
    if column in {"value", "rated_power_kw"}:
        return None if _is_number(kind) else "a number"
    if column == "managed":
        return None if pa.types.is_boolean(kind) or _is_number(kind) else "true or false"
    if column in {"session_id", *PLACES}:
        return None if pa.types.is_integer(kind) else "text or an integer"
    return "text"


class ParquetTable:
    """A Parquet file of readings, of which the columns ``read`` are looked at.

    Raises:
        TableError: it is no Parquet file, lacks a column, or has a column of a type that cannot be meant.
    """

    def __init__(self, path: Path, name: str, read: Sequence[str]) -> None:
        self.name = name
        self._path = path
        try:
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise TableError(f"{name}: not a Parquet file ({_first_line(error)})") from None
        self.columns: Sequence[str] = list(schema.names)
        check_columns(name, self.columns, read)
        for column in read:
            wanted = _why_not(column, schema.field(column).type) if column in self.columns else None
            if wanted is not None:
                raise TableError(f"{name}: column {column} is {schema.field(column).type}; expected {wanted}")
        texts = (c for c in read if c in _WORDS and c in self.columns)
        self._encoded: list[str] = [c for c in texts if _is_text(schema.field(c).type)]

    def blocks(self, wanted: Sequence[str]) -> Iterator[Block]:
        """Yields the file's rows in blocks; see ``TableFile``."""
        columns = [c for c in wanted if c in self.columns]
        row = 1
        try:
            # Neither mapped nor buffered ahead: a row group may be as large as the file.
            with pq.ParquetFile(
                self._path, read_dictionary=self._encoded, buffer_size=_BUFFER, pre_buffer=False
            ) as file:
                for batch in file.iter_batches(_ROWS, columns=columns, use_threads=False):
                    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
                    yield Block(row, batch.num_rows, arrays, {}, no_line)
                    row += batch.num_rows
        except (pa.ArrowInvalid, OSError) as error:
            raise TableError(f"{self.name}: damaged after row {row - 1} ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
