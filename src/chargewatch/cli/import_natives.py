"""OCPP logs and OCPI CDRs as sources of an import."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from chargewatch.ingest.ocpi_cdrs import read_cdrs
from chargewatch.ingest.ocpp_log import read_log
from chargewatch.ingest.sent_sessions import Refusal, SentSession
from chargewatch.ingest.session_push import PassedOver, SessionPush
from chargewatch.ingest.table_blocks import TableError

Reader = Callable[[Path], Iterable[SessionPush | PassedOver]]


class PushSource:
    """A file from which a reader makes pushes, the same ones each time; a session may come in several of them.

    Raises:
        TableError: there is no such file.
    """

    by_station = True

    def __init__(self, path: Path, read: Reader) -> None:
        if not path.is_file():
            raise TableError(f"{path}: no such file")
        self._path = path
        self._read = read
        self.paths = [path]
        self.notices: list[str] = []
        self.ignored = 0

    def count(self, _advance: Callable[[int], None]) -> None:
        """See ``Source``."""

    def sessions(
        self, _scratch: Path, refuse: Callable[[Refusal], None], _advance: Callable[[int], None]
    ) -> Iterator[SentSession]:
        """See ``Source``."""
        number = 0
        self.ignored = 0
        try:
            for item in self._read(self._path):
                if isinstance(item, SessionPush):
                    yield _sent(number, item)
                    number += 1
                elif item.refused:
                    refuse(Refusal(self._path.name, None, item.line, None, item.reason))
                else:
                    self.ignored += 1
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise TableError(f"{self._path}: damaged gzip data ({error})") from None


def log_source(path: Path, station: str | None) -> PushSource:
    """A log with OCPP frames; ``station`` is that of all its lines, else each line names its own."""
    return PushSource(path, partial(read_log, station=station))


def cdr_source(path: Path, station: str | None) -> PushSource:
    """A file of OCPI CDRs and Sessions, each of which names its location.

    Raises:
        TableError: there is no such file, or a station is named for it.
    """
    if station is not None:
        raise TableError("--station is not for ocpi-cdrs: each CDR names its own")
    return PushSource(path, read_cdrs)


def _sent(number: int, push: SessionPush) -> SentSession:
    return SentSession(
        number=number,
        session_id=push.session,
        station=push.station,
        evse_id=push.evse_id,
        connector_id=push.connector_id,
        readings=push.readings,
        started_us=push.started_us,
        ended_us=push.ended_us,
        stop_reason=push.stop_reason,
        metadata=push.metadata,
    )
