"""A run of ``import``: from a file to a tenant's sessions, with a progress bar, a report and a summary."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Self
from uuid import UUID

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from chargewatch.cli.import_progress import import_folder, key_of
from chargewatch.cli.import_report import ImportReport, ReportError, check_report
from chargewatch.cli.import_sources import TABLES, open_source
from chargewatch.cli.import_work import ImportWork
from chargewatch.cli.interruption import Interruption
from chargewatch.cli.result_files import stem_of
from chargewatch.domain.ids import external_id
from chargewatch.server.analysis.service import Analyser
from chargewatch.server.db.access import database_for_command, prepare_database
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.connection import connected
from chargewatch.server.db.engine import Database
from chargewatch.server.imports.service import ImportService
from chargewatch.server.process import loop_factory
from chargewatch.server.sessions.service import SessionService
from chargewatch.server.settings import Settings
from chargewatch.server.tenants.service import TenantError, TenantService

_REPORT: Final = ".import-report.ndjson"


class RequestError(Exception):
    """What was asked for cannot be done; the text is one line."""


class NothingTaken(Exception):
    """All was refused, or there was nothing; the text is one line."""


class Request(NamedTuple):
    """What to import for whom; ``report`` is absolute."""

    kind: str
    path: Path
    tenant: str
    station: str | None
    report: Path
    report_asked_for: bool
    concurrency: int
    restart: bool

    @classmethod
    def checked(
        cls,
        kind: str,
        path: Path,
        tenant: str,
        station: str | None,
        report: Path | None,
        concurrency: int,
        *,
        restart: bool,
    ) -> Self:
        """Returns a request that makes sense.

        Raises:
            RequestError: it makes none.
        """
        try:
            where = check_report(report or Path(f"{stem_of(path)}{_REPORT}"))
            name = None if station is None else external_id(station)
        except ReportError as problem:
            raise RequestError(str(problem)) from None
        except ValueError as problem:
            raise RequestError(f"--station {problem}") from None
        if where == path.resolve():
            raise RequestError(f"{report}: the report would replace the file to import")
        return cls(kind, path, tenant, name, where, report is not None, concurrency, restart)


class Summary(msgspec.Struct, frozen=True):
    """What became of a file; a session counts once. ``repeated`` readings had a key that was known already."""

    tenant_id: UUID
    sessions: dict[str, int]
    readings: dict[str, int]
    rows_refused: int
    lines_ignored: int
    report: str | None
    seconds: float

    @property
    def taken(self) -> int:
        """The sessions that are stored."""
        return sum(count for fate, count in self.sessions.items() if fate != "refused")

    def text(self) -> str:
        """Returns the summary for people."""
        sessions = ", ".join(f"{count} {fate}" for fate, count in self.sessions.items())
        readings = ", ".join(f"{count} {fate}" for fate, count in self.readings.items())
        lines = [
            f"sessions  {sessions}",
            f"readings  {readings}",
            f"refused   {self.rows_refused} rows or lines",
        ]
        return "\n".join(lines if self.report is None else [*lines, f"report    {self.report}"])


def run(request: Request, settings: Settings) -> Summary:
    """Imports; says on stderr what is to be said meanwhile.

    Raises:
        NothingTaken: nothing could be taken.
        Stopped: by a signal.
        TableError: the file cannot be read.
        TenantError: there is no such tenant.
        ImportBusy: another process is at it.
        DatabaseError: the database cannot be used.
        OSError: the report cannot be written.
    """
    began_s = time.monotonic()
    with (
        Interruption() as interruption,
        database_for_command(settings) as address,
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        tenant_id = runner.run(_tenant_id(settings, address, request.tenant))
        source = open_source(request.kind, request.path, request.station, frozenset({request.report}))
        key = _key(request, tenant_id)
        console = Console(stderr=True, highlight=False)
        say = partial(console.print, markup=False, soft_wrap=True)
        with (
            import_folder(settings.data_dir.resolve() / "imports", key) as folder,
            ImportReport(request.report, key, say, asked_for=request.report_asked_for) as report,
            _progress_bar(console) as bar,
        ):
            work = ImportWork(request.path, source, folder, report, interruption, bar)
            for notice in [*source.notices, *work.begin(restart=request.restart)]:
                say(notice)
            runner.run(_store(settings, address, tenant_id, request.concurrency, work))
            report.commit()
            folder.forget()
            summary = _summary(tenant_id, work, report, source.ignored, time.monotonic() - began_s)
    if not summary.taken:
        why = f"all was refused, see {request.report}" if report.count else "there is no reading"
        raise NothingTaken(f"{request.path}: nothing to import: {why}")
    return summary


async def _tenant_id(settings: Settings, address: DatabaseAddress, tenant: str) -> UUID:
    await prepare_database(settings, address, may_migrate=False)
    async with connected(address.owner) as owner:
        try:
            return await TenantService(owner, address.roles).find_tenant(tenant)
        except TenantError as problem:
            raise TenantError(f"{problem}; `chargewatch tenant create NAME` makes one") from None


def _key(request: Request, tenant_id: UUID) -> str:
    """Returns what tells this import from others: what would be stored, and for whom."""
    reader = "table" if request.kind in TABLES else request.kind
    return key_of(reader, str(request.path.resolve()), str(tenant_id), request.station or "")


async def _store(
    settings: Settings, address: DatabaseAddress, tenant_id: UUID, concurrency: int, work: ImportWork
) -> None:
    """Works as the app role, with as many connections as sessions are stored at once."""
    sessions = work.read()
    own = msgspec.structs.replace(settings, pool_size=concurrency)
    database = await Database.open(own, address)
    try:
        service = ImportService(
            database,
            SessionService(database, Analyser(), settings.session_idle_s),
            tenant_id,
            concurrency=concurrency,
        )
        await work.store(service, sessions)
    finally:
        await database.close()


def _summary(
    tenant_id: UUID, work: ImportWork, report: ImportReport, ignored: int, seconds: float
) -> Summary:
    progress = work.progress
    return Summary(
        tenant_id=tenant_id,
        sessions={**progress.fates, "refused": report.sessions},
        readings={"added": progress.added, "repeated": progress.repeated},
        rows_refused=report.rows,
        lines_ignored=ignored,
        report=str(report.path) if report.path.exists() else None,
        seconds=round(seconds, 3),
    )


@contextmanager
def _progress_bar(console: Console) -> Iterator[Progress]:
    """Shows progress on a terminal, and nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress
