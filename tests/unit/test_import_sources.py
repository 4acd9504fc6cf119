"""Files of every kind as one stream of sessions, and how sessions that come in parts are counted and gone on with."""

import asyncio
import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress as Bar

from chargewatch.cli.import_natives import PushSource, cdr_source, log_source
from chargewatch.cli.import_progress import import_folder
from chargewatch.cli.import_report import ImportReport
from chargewatch.cli.import_sources import open_source
from chargewatch.cli.import_work import ImportWork, Stopped
from chargewatch.cli.interruption import Interruption
from chargewatch.ingest.sent_sessions import Refusal, SentSession
from chargewatch.ingest.session_push import PassedOver, SessionPush
from chargewatch.ingest.table_blocks import TableError
from chargewatch.server.imports.service import Done, Fate
from tests.reading_tables import charging, write


def all_of(source: Any, scratch: Path) -> tuple[list[SentSession], list[Refusal]]:
    refused: list[Refusal] = []
    source.count(lambda _: None)
    return list(source.sessions(scratch, refused.append, lambda _: None)), refused


def frames(minutes: Iterable[int]) -> str:
    def values(minute: int) -> str:
        taken = {"timestamp": f"2026-03-04T10:{minute:02}:00Z", "sampledValue": [{"value": str(minute)}]}
        payload = {"connectorId": 1, "transactionId": 17, "meterValue": [taken]}
        return json.dumps([2, str(minute), "MeterValues", payload])

    return "\n".join(["[2,", *map(values, minutes), '[2,"h","Heartbeat",{}]'])


def test_a_log(tmp_path: Path) -> None:
    path = tmp_path / "ocpp.log"
    path.write_text(frames(range(5)))
    source = log_source(path, "CP-1")
    (session,), refused = all_of(source, tmp_path)
    assert (session.number, session.session_id, session.station) == (0, "CP-1:17", "CP-1")
    assert [reading.text for reading in session.readings] == ["0", "1", "2", "3", "4"]
    assert [(one.line, one.session_id) for one in refused] == [(1, None)]
    assert source.ignored == 1
    assert all_of(source, tmp_path) == ([session], refused)
    assert source.ignored == 1


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: data[:30] + b"x" * 30, lambda _: b"x"]
)
def test_damaged_gzip(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "ocpp.log.gz"
    path.write_bytes(damage(gzip.compress(frames(range(50)).encode())))
    with pytest.raises(TableError, match=r"ocpp.log.gz: damaged gzip data"):
        all_of(log_source(path, "CP-1"), tmp_path)


def test_what_there_is_no_source_for(tmp_path: Path) -> None:
    for kind in ("ocpp-log", "ocpi-cdrs"):
        with pytest.raises(TableError, match="no such file"):
            open_source(kind, tmp_path / "none", None, frozenset())
    with pytest.raises(TableError, match="each CDR names its own"):
        cdr_source(write(tmp_path / "r.csv", charging("a")), "CP-1")


def test_what_is_said_about_a_table(tmp_path: Path) -> None:
    write(tmp_path / "r.csv", charging("a", rated_power_kw=11, colour="red"))
    write(tmp_path / "other.csv", [{"session_id": "a"}])
    with pytest.raises(TableError, match="there is no column station_id; --station names the station"):
        open_source("csv", tmp_path, None, frozenset())
    source = open_source("csv", tmp_path, "CP-1", frozenset())
    assert [notice.partition(":")[0] for notice in source.notices] == [
        "passed over",
        "ignored columns",
        "not imported",
    ]
    assert source.paths == [tmp_path / "r.csv"]
    (session,), refused = all_of(source, tmp_path)
    assert (session.station, len(session.readings), refused) == ("CP-1", 6, [])


# Parts of sessions


def parts(names: str) -> Callable[[Path], Iterator[SessionPush | PassedOver]]:
    """A reader of sessions, each named by a letter; a dash is a line that is refused."""

    def read(_: Path) -> Iterator[SessionPush | PassedOver]:
        for line, name in enumerate(names, 1):
            yield PassedOver(line, "is broken", True) if name == "-" else SessionPush(name, "CP-1")

    return read


class _Service:
    """Stands in for the service: every part of a session has the fate that is given for it."""

    def __init__(self, fates: list[Fate], stop: Interruption | None = None, after: int = 0) -> None:
        self.fates = fates
        self.sent: list[SentSession] = []
        self._stop, self._after = stop, after

    async def present(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC)

    async def store(
        self, sent: Iterable[SentSession], began: datetime, done: Callable[[Done], None], **_: Any
    ) -> None:
        for session in sent:
            if self._stop is not None and len(self.sent) == self._after:
                return
            fate = self.fates[session.number]
            self.sent.append(session)
            done(Done(session, fate, 1, 0, "too large" if fate == "refused" else None))


def work_on(tmp_path: Path, names: str, service: _Service) -> tuple[ImportWork, list[str]]:
    path = tmp_path / "log"
    if not path.exists():
        path.touch()
    shown: list[str] = []
    with (
        import_folder(tmp_path, "k") as folder,
        ImportReport(tmp_path / "r.csv", "t", shown.append, asked_for=False) as report,
        Interruption() as interruption,
        Bar(disable=True) as bar,
    ):
        work = ImportWork(path, PushSource(path, parts(names)), folder, report, interruption, bar)
        work.begin(restart=False)
        asyncio.run(work.store(service, work.read()))  # type: ignore[arg-type]
        folder.forget()
    return work, shown


def test_a_session_in_parts_counts_once(tmp_path: Path) -> None:
    fates: list[Fate] = ["created", "unchanged", "created", "changed", "unchanged", "refused", "changed"]
    work, shown = work_on(tmp_path, "ab-abcdc", _Service(fates))
    assert work.progress.fates == {"created": 1, "changed": 2, "unchanged": 0}
    assert (work.progress.added, work.progress.done) == (6, 7)
    assert shown == ["log: line 3: is broken", "log: session d: too large"]


def test_going_on_counts_what_earlier_parts_were(tmp_path: Path) -> None:
    fates: list[Fate] = ["created", "refused", "created", "created", "unchanged"]
    first = _Service(fates, Interruption(), after=3)
    with pytest.raises(Stopped, match="interrupted after 2 sessions; the same command goes on from there"):
        work_on(tmp_path, "ab-cad", first)
    second = _Service(fates)
    work, shown = work_on(tmp_path, "ab-cad", second)
    assert [session.number for session in first.sent + second.sent] == [0, 1, 2, 3, 4]
    assert work.progress.fates == {"created": 2, "changed": 0, "unchanged": 1}
    assert sorted(shown) == ["log: line 3: is broken", "log: session b: too large"]
