"""What is in a file to import, kind by kind, in one form: sessions with numbers, and what is refused."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from chargewatch.cli.import_natives import cdr_source, log_source
from chargewatch.ingest.sent_sessions import Refusal, SentSession
from chargewatch.ingest.table_blocks import STORED, BadRow, TableError
from chargewatch.ingest.table_history import read_history
from chargewatch.ingest.table_sessions import Survey, survey
from chargewatch.ingest.tables import open_table, unknown_columns

TABLES: Final = {"csv": ".csv", "parquet": ".parquet"}
NATIVES: Final = {"ocpp-log": log_source, "ocpi-cdrs": cdr_source}

Refuse = Callable[[Refusal], None]
Advance = Callable[[int], None]


class Source(Protocol):
    """A file to import."""

    @property
    def notices(self) -> list[str]:
        """What is to be said about it before anything is read."""

    @property
    def paths(self) -> list[Path]:
        """The files that are read."""

    @property
    def by_station(self) -> bool:
        """Whether a session may come in several parts, which name its connector or not."""

    @property
    def ignored(self) -> int:
        """Lines that are about no session, as far as the file was read."""

    def count(self, advance: Advance) -> int | None:
        """Returns the number of sessions, None where only reading would tell; ``advance`` is told rows as they pass."""

    def sessions(self, scratch: Path, refuse: Refuse, advance: Advance) -> Iterator[SentSession]:
        """Yields the sessions, the same ones each time.

        Raises:
            TableError: the file is damaged.
        """


class TableSource:
    """A file or folder of readings; the columns are those of ``score``.

    Raises:
        TableError: it cannot hold readings.
    """

    by_station = False
    ignored = 0

    def __init__(self, kind: str, path: Path, station: str | None, leave_out: frozenset[Path]) -> None:
        files, passed_over = open_table(path, leave_out, STORED, TABLES[kind])
        self._files = files
        self._station = station
        self._found: Survey | None = None
        self.paths = [path if path.is_file() else path / file.name for file in files]
        self.notices = [f"passed over: {line}" for line in passed_over]
        columns = {column for file in files for column in file.columns}
        if ignored := unknown_columns(files):
            self.notices.append(f"ignored columns: {', '.join(ignored)}")
        if "rated_power_kw" in columns:
            self.notices.append("not imported: rated_power_kw, which belongs to the station")
        if station is None and "station_id" not in columns:
            raise TableError(
                f"{path}: there is no column station_id; --station names the station of all sessions"
            )

    def count(self, advance: Advance) -> int:
        """See ``Source``."""
        self._found = survey(self._files, advance)
        return self._found.sessions

    def sessions(self, scratch: Path, refuse: Refuse, advance: Advance) -> Iterator[SentSession]:
        """See ``Source``."""
        found = self._found or survey(self._files, advance)

        def report(bad: BadRow) -> None:
            refuse(Refusal(bad.file, bad.row, bad.line, None, bad.reason))

        for item in read_history(self._files, found, report, scratch, self._station, advance):
            if isinstance(item, Refusal):
                refuse(item)
            else:
                yield item


def open_source(kind: str, path: Path, station: str | None, leave_out: frozenset[Path]) -> Source:
    """Opens what is to be imported.

    Args:
        kind: one of ``TABLES`` and ``NATIVES``.
        path: the file, or a folder of tables.
        station: the station of what does not name one.
        leave_out: files of a folder that are none of its tables, as resolved paths.

    Raises:
        TableError: it cannot be read as what it is said to be.
    """
    if kind in NATIVES:
        return NATIVES[kind](path, station)
    return TableSource(kind, path, station, leave_out)
