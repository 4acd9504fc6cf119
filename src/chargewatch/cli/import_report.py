"""The report of an import: what was not taken and why, all of it as JSON lines or CSV, the first ones on stderr too."""

import csv
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from chargewatch.cli.result_files import WholeFile, json_line
from chargewatch.ingest.sent_sessions import Refusal

_SHOWN: Final = 20
_ENDINGS: Final = (".ndjson", ".jsonl", ".csv")


class ReportError(Exception):
    """The report cannot be written; the text is one line for whoever named it."""


def check_report(path: Path) -> Path:
    """Returns where a report really goes.

    Raises:
        ReportError: unknown ending, no such folder, or something that is no file stands there.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise ReportError(f"{path}: unknown ending of a report; known are {', '.join(_ENDINGS)}")
    real = path.resolve()
    if real.exists() and not real.is_file():
        raise ReportError(f"{path}: there is something else than a file")
    if not real.parent.is_dir():
        raise ReportError(f"{path}: no such folder")
    if not os.access(real.parent, os.W_OK):
        raise ReportError(f"{path}: this folder cannot be written to; --report names another place")
    return real


class ImportReport:
    """Counts, shows and keeps refusals. Used in a ``with`` block; what is not committed in it leaves no file.

    A report that was not asked for is only there when something was refused.
    """

    def __init__(self, path: Path, token: str, show: Callable[[str], None], *, asked_for: bool) -> None:
        self.path = path
        self.rows = 0
        self.sessions = 0
        self._token = token
        self._show = show
        self._file = self._begun() if asked_for else None

    @property
    def count(self) -> int:
        """How much was refused."""
        return self.rows + self.sessions

    def add(self, refusal: Refusal) -> None:
        """Takes a refusal."""
        if refusal.session_id is None:
            self.rows += 1
        else:
            self.sessions += 1
        self._file = self._file or self._begun()
        self._file.sink.write(self._line(refusal._asdict()))
        if self.count <= _SHOWN:
            self._show(_shown(refusal))
        elif self.count == _SHOWN + 1:
            self._show(f"... more was refused: all of it in {self.path}")

    def commit(self) -> None:
        """Gives the file its name; that of an earlier import goes when there is none now."""
        if self._file is None:
            self.path.unlink(missing_ok=True)
        else:
            self._file.commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.discard()

    def _begun(self) -> WholeFile:
        file = WholeFile(self.path, self._token)
        if self._is_csv:
            file.sink.write(_csv_line(Refusal._fields))
        return file

    @property
    def _is_csv(self) -> bool:
        return self.path.suffix.lower() == ".csv"

    def _line(self, fields: dict[str, object]) -> bytes:
        return _csv_line(fields.values()) if self._is_csv else json_line(fields)


def _csv_line(fields: Iterable[object]) -> bytes:
    sink = io.StringIO(newline="")
    csv.writer(sink, lineterminator="\n").writerow(fields)
    return sink.getvalue().encode("utf-8", "backslashreplace")


def _shown(refusal: Refusal) -> str:
    """Returns a refusal as a line for people."""
    place = [] if refusal.row is None else [f"row {refusal.row}"]
    place += [] if refusal.line is None else [f"line {refusal.line}"]
    if refusal.session_id is not None:
        place.insert(0, f"session {refusal.session_id}")
    first, *rest = place or ["the file"]
    more = f" ({', '.join(rest)})" if rest else ""
    return f"{refusal.file}: {first}{more}: {refusal.reason}"
