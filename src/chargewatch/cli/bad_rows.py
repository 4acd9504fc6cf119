"""Rows of an input that were left out: the first ones on stderr, all of them in a file beside the output."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from chargewatch.cli.result_files import WholeFile, json_line

if TYPE_CHECKING:
    from chargewatch.ingest.table_blocks import BadRow

_SHOWN: Final = 20


class BadRows:
    """Counts, shows and keeps bad rows. A file of an earlier run goes when this run has none."""

    def __init__(self, path: Path, show: Callable[[str], None]) -> None:
        self.path = path
        self.count = 0
        self._show = show
        self._file: WholeFile | None = None

    def add(self, bad: "BadRow") -> None:
        """Takes a bad row."""
        self.count += 1
        if self._file is None:
            self._file = WholeFile(self.path)
        self._file.sink.write(json_line(bad._asdict()))
        if self.count <= _SHOWN:
            line = "" if bad.line is None else f" (line {bad.line})"
            self._show(f"{bad.file}: row {bad.row}{line}: {bad.reason}")
        elif self.count == _SHOWN + 1:
            self._show(f"... more bad rows: all of them in {self.path}")

    def commit(self) -> None:
        """Gives the file its name."""
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
