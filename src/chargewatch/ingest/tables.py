"""Readings in files: Parquet, CSV and NDJSON, or a folder of them, to whole sessions in bounded memory.

Columns: ``interfaces.md``, ``score``. The rows of a session may stand anywhere; the later of two with the same
key counts. Where every session stands in one piece the rows are streamed, else they go through temporary
files sorted by session. Sessions come in the order of their first rows.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import numpy as np

from chargewatch.ingest.table_blocks import (
    KNOWN,
    READ,
    BadRow,
    Block,
    MissingColumns,
    TableError,
    TableFile,
    check_required,
)
from chargewatch.ingest.table_csv import CsvTable
from chargewatch.ingest.table_ndjson import NdjsonTable
from chargewatch.ingest.table_parquet import ParquetTable
from chargewatch.ingest.table_partitions import Partitions
from chargewatch.ingest.table_rows import Report, Rows, decode
from chargewatch.ingest.table_sessions import MOST_READINGS, Roster, Survey, check_unchanged, numbered
from chargewatch.ingest.table_slices import SessionSlice, Stream, slices
from chargewatch.ingest.table_values import Words

_FORMATS: Final[dict[str, Callable[[Path, str, Sequence[str]], TableFile]]] = {
    ".parquet": ParquetTable,
    ".pq": ParquetTable,
    ".csv": CsvTable,
    ".csv.gz": CsvTable,
    ".ndjson": NdjsonTable,
    ".ndjson.gz": NdjsonTable,
    ".jsonl": NdjsonTable,
    ".jsonl.gz": NdjsonTable,
}
ENDINGS: Final = tuple(_FORMATS)


def ending_of(path: Path) -> str | None:
    """Returns the ending that tells a file's format, None for an unknown one."""
    name = path.name.lower()
    return next((e for e in sorted(ENDINGS, key=len, reverse=True) if name.endswith(e) and name != e), None)


class Opened(NamedTuple):
    """The files of readings that were found, and a line on each file of a folder that is a table of something else."""

    files: list[TableFile]
    passed_over: list[str]


def open_table(
    path: Path,
    leave_out: frozenset[Path] = frozenset(),
    read: Sequence[str] = READ,
    assumed: str | None = None,
) -> Opened:
    """Opens a file, or all files of a folder in sorted order, ``leave_out`` (resolved paths) excepted.

    Of a folder, files that lack the columns of readings are passed over. ``read`` are the columns to look at. A
    file of an unknown ending is taken for one of the ``assumed`` ending.

    Raises:
        TableError: there is none, or one of them cannot hold readings.
    """
    if not path.exists():
        raise TableError(f"{path}: no such file or folder")
    if path.is_file():
        return Opened([_open(path, path.name, read, assumed)], [])
    if not path.is_dir():
        raise TableError(f"{path}: not a file or folder")
    found = [p for p in sorted(path.rglob("*")) if p.is_file() and ending_of(p) and not _hidden(p, path)]
    opened = _open_all({str(p.relative_to(path)): p for p in found if p.resolve() not in leave_out}, read)
    if not opened.files:
        raise TableError(f"{path}: " + _nothing(opened.passed_over))
    return opened


def _open_all(found: Mapping[str, Path], read: Sequence[str]) -> Opened:
    opened = Opened([], [])
    for name, path in found.items():
        try:
            file = _open(path, name, read)
            check_required(name, file.columns)
        except MissingColumns as problem:
            opened.passed_over.append(str(problem))
        else:
            opened.files.append(file)
    return opened


def _nothing(passed_over: Sequence[str]) -> str:
    """Says why a folder has no readings."""
    if not passed_over:
        return f"no {', '.join(ENDINGS)} file in this folder"
    return f"no file of readings in this folder; {passed_over[0]}" + (
        f"; {len(passed_over) - 1} more" if len(passed_over) > 1 else ""
    )


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)


def _open(path: Path, name: str, read: Sequence[str], assumed: str | None = None) -> TableFile:
    ending = ending_of(path) or assumed
    if ending is None:
        raise TableError(f"{name}: unknown ending; known are {', '.join(ENDINGS)}")
    try:
        return _FORMATS[ending](path, name, read)
    except OSError as error:
        raise TableError(f"{name}: cannot be read ({error.strerror or error})") from None


def unknown_columns(files: Sequence[TableFile]) -> list[str]:
    """Returns the columns that have no meaning for readings."""
    return sorted({column for file in files for column in file.columns} - KNOWN)


def read_sessions(
    files: Sequence[TableFile], survey: Survey, report: Report, scratch: Path
) -> Generator[SessionSlice]:
    """Yields the sessions of a table, each with all its rows; reports every row that is no reading.

    A session of which no row is a reading is there, without readings. ``scratch`` is a folder for temporary
    files.

    Raises:
        TableError: a file is damaged, or was changed since the survey.
    """
    if survey.roster is None:
        yield from _streamed(files, survey, report)
        return
    with TemporaryDirectory(prefix=".chargewatch-", dir=scratch) as folder:
        partitions = Partitions(Path(folder), survey.counts)
        try:
            _distribute(files, survey, survey.roster, report, partitions)
            for part in partitions.parts():
                yield from slices(part.rows, part.first_session, part.ids)
        finally:
            partitions.close()


def _streamed(files: Sequence[TableFile], survey: Survey, report: Report) -> Iterator[SessionSlice]:
    stream = Stream()
    limit = _Limit(survey, report)
    for file in files:
        for block in file.blocks(READ):
            sessions, rows = decode(file.name, block, report)
            numbers = stream.number(sessions.words, rows.session)
            check_unchanged(survey.sessions, stream.sessions)
            yield from stream.add(limit.apply(file.name, block, sessions, rows._replace(session=numbers)))
    yield from stream.end()


def _distribute(
    files: Sequence[TableFile], survey: Survey, roster: Roster, report: Report, partitions: Partitions
) -> None:
    limit = _Limit(survey, report)
    for file in files:
        for block in file.blocks(READ):
            sessions, rows = decode(file.name, block, report)
            numbers = numbered(roster, sessions)
            check_unchanged(survey.sessions, len(roster))
            fresh = ~partitions.seen[numbers]
            words = (str(sessions.words[i]) for i in rows.session[fresh].tolist())
            ids = dict(zip(numbers[fresh].tolist(), words, strict=True))
            partitions.add(limit.apply(file.name, block, sessions, rows._replace(session=numbers)), ids)


class _Limit:
    """Leaves out the readings of sessions that are too large, with one report for each of these."""

    def __init__(self, survey: Survey, report: Report) -> None:
        self._counts = survey.counts
        self._too_large = survey.too_large if survey.too_large.any() else None
        self._told: set[int] = set()
        self._report = report

    def apply(self, file: str, block: Block, sessions: Words, rows: Rows) -> Rows:
        """Returns the rows that stay: of a session that is too large one a block, which is no reading."""
        if self._too_large is None or not (over := self._too_large[rows.session]).any():
            return rows
        places = np.flatnonzero(sessions.number >= 0)
        large = np.flatnonzero(over)
        numbers, first = np.unique(rows.session[large], return_index=True)
        for number, i in zip(numbers.tolist(), places[large[first]].tolist(), strict=True):
            self._tell(file, block, number, i)
        stays = ~over
        stays[large[first]] = True
        return rows._replace(good=rows.good & ~over).take(stays)

    def _tell(self, file: str, block: Block, session: int, i: int) -> None:
        if session not in self._told:
            self._told.add(session)
            reason = (
                f"its session has {self._counts[session]} rows, more than {MOST_READINGS}; none is analysed"
            )
            self._report(BadRow(file, block.first_row + i, block.line_of(i), reason))
