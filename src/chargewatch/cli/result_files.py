"""Tables of results in files: Parquet, CSV or NDJSON by the ending, whole or not at all.

Rows go to a hidden file beside the output, which takes the output's name when all of them are there.
"""

import contextlib
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Protocol, Self

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from chargewatch.ingest.tables import ending_of

STDOUT: Final = Path("-")
_ROW_GROUP: Final = 65_536


class ResultsError(Exception):
    """The output cannot be written; the text is one line for whoever named it."""


class Writer(Protocol):
    """Writes batches of rows in one format."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Writes rows."""

    def close(self) -> None:
        """Writes what is still to be written; does not close the file."""


class _ParquetWriter:
    def __init__(self, sink: BinaryIO, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(sink, schema, compression="zstd")
        self._schema = schema
        self._batches: list[pa.RecordBatch] = []

    def write(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        if sum(b.num_rows for b in self._batches) >= _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches, self._schema))
            self._batches = []

    def close(self) -> None:
        try:
            self._flush()
            self._writer.close()
        finally:
            self._writer.is_open = False  # else it tries again when it is collected


class _CsvWriter:
    """Lists are joined with semicolons."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema) -> None:
        flat = [pa.field(f.name, pa.string()) if pa.types.is_list(f.type) else f for f in schema]
        self._schema = pa.schema(flat)
        self._writer = arrow_csv.CSVWriter(sink, self._schema)

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [pc.binary_join(c, ";") if pa.types.is_list(c.type) else c for c in batch.columns]
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


class _NdjsonWriter:
    def __init__(self, sink: BinaryIO, _schema: pa.Schema) -> None:
        self._sink = sink
        self._encoder = msgspec.json.Encoder()

    def write(self, batch: pa.RecordBatch) -> None:
        self._sink.write(self._encoder.encode_lines(batch.to_pylist()))

    def close(self) -> None:
        self._sink.flush()


_WRITERS: Final[dict[str, Callable[[BinaryIO, pa.Schema], Writer]]] = {
    "": _ParquetWriter,
    ".parquet": _ParquetWriter,
    ".pq": _ParquetWriter,
    ".csv": _CsvWriter,
    ".ndjson": _NdjsonWriter,
    ".jsonl": _NdjsonWriter,
}


def check_output(path: Path) -> Path:
    """Returns where an output really goes; ``-`` stays as it is.

    Raises:
        ResultsError: unknown ending, no such folder, or something that is no file stands there.
    """
    if path == STDOUT:
        return path
    if path.suffix.lower() not in _WRITERS:
        known = ", ".join(ending for ending in _WRITERS if ending)
        raise ResultsError(
            f"{path}: unknown ending of an output; known are {known}, and - for NDJSON on stdout"
        )
    real = path.resolve()
    if real.exists() and not real.is_file():
        raise ResultsError(f"{path}: there is something else than a file")
    if not real.parent.is_dir():
        raise ResultsError(f"{path}: no such folder")
    if not os.access(real.parent, os.W_OK):
        raise ResultsError(f"{path}: this folder cannot be written to")
    return real


#: Files that were begun: a signal may come between opening one and the block that would discard it.
_unfinished: Final[set[Path]] = set()


def discard_unfinished() -> None:
    """Removes what was begun and not committed, for a process that ends."""
    while _unfinished:
        _unfinished.pop().unlink(missing_ok=True)


class WholeFile:
    """A file that appears under its name when ``commit`` is called, and not otherwise."""

    def __init__(self, path: Path, token: str | None = None) -> None:
        """``token``, where given, is of the only one who writes it: what a killed process left is written over."""
        self.path = path
        self._part = path.with_name(f".{path.name}.{token or secrets.token_hex(4)}.part")
        _unfinished.add(self._part)
        self.sink: BinaryIO = self._part.open("xb" if token is None else "wb")

    def commit(self) -> None:
        """Gives the file its name."""
        self.sink.flush()
        os.fsync(self.sink.fileno())
        self.sink.close()
        self._part.replace(self.path)
        _unfinished.discard(self._part)

    def discard(self) -> None:
        """Removes what was not committed."""
        self.sink.close()
        self._part.unlink(missing_ok=True)
        _unfinished.discard(self._part)


class ResultFile:
    """Where results go: a file (a checked path), or NDJSON on stdout as it comes.

    Used in a ``with`` block; what was not committed in it leaves nothing behind.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = None if path == STDOUT else WholeFile(path)
        make = _NdjsonWriter if self._file is None else _WRITERS[path.suffix.lower()]
        self._done = False
        self._writer = make(self._file.sink if self._file else sys.stdout.buffer, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Writes rows."""
        self._writer.write(batch)

    def commit(self) -> None:
        """Ends the writing; the file gets its name."""
        self._writer.close()
        self._done = True
        if self._file is not None:
            self._file.commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            with contextlib.suppress(OSError):
                self._writer.close()
        if self._file is not None:
            self._file.discard()


def stem_of(path: Path) -> str:
    """Returns the name of a file or folder of readings without the ending that tells its format."""
    name = path.resolve().name
    return name[: -len(ending)] if (ending := ending_of(Path(name))) else name or "readings"


def json_line(item: dict[str, Any]) -> bytes:
    """Returns an object as a line of NDJSON."""
    return msgspec.json.encode(item) + b"\n"
