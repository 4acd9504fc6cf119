"""The work of an import: what a file holds goes to the service, what becomes of it into progress and report."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from rich.progress import Progress as Bar
from rich.progress import TaskID

from chargewatch.cli.import_progress import ImportFolder, Progress, fingerprint_of
from chargewatch.cli.import_report import ImportReport
from chargewatch.cli.import_sources import Source
from chargewatch.cli.interruption import Interrupted, Interruption
from chargewatch.ingest.sent_sessions import Refusal, SentSession
from chargewatch.server.imports.service import Done, Fate, ImportService


class Stopped(Exception):
    """The import was stopped before its end; the text is one line that says how to go on."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class ImportWork:
    """One import that is at work; ``progress`` is how far it has come."""

    def __init__(
        self,
        path: Path,
        source: Source,
        folder: ImportFolder,
        report: ImportReport,
        interruption: Interruption,
        bar: Bar,
    ) -> None:
        self.progress = Progress("")
        self._path = path
        self._source = source
        self._folder = folder
        self._report = report
        self._interruption = interruption
        self._bar = bar
        self._task = TaskID(0)
        self._total: int | None = None
        self._fates: dict[str, Fate | None] = {}
        self._is_at_end = False

    def begin(self, *, restart: bool) -> list[str]:
        """Looks up how far an earlier run came, unless it is to ``restart``; returns what is to be said about it."""
        if restart:
            self._folder.forget()
        self.progress, notice = self._folder.load(fingerprint_of(self._source.paths))
        for refusal in self.progress.refused:
            self._report.add(refusal)
        if self.progress.done:
            return [f"goes on after {self.progress.sessions} sessions; --restart begins anew"]
        return [] if notice is None else [notice]

    def read(self) -> Iterator[SentSession]:
        """Passes over the file as far as the first session, and returns those that are to be stored.

        Raises:
            Stopped: by a signal.
            TableError: the file cannot be read.
        """
        try:
            looking = self._bar.add_task("finding sessions", total=None)
            self._total = self._source.count(lambda rows: self._advance(looking, rows))
            sessions = self._sessions(looking)
            first = next(sessions, None)
        except Interrupted:
            raise self.stopped() from None
        self._bar.remove_task(looking)
        self._task = self._bar.add_task(
            "importing sessions", total=self._total, completed=self.progress.sessions
        )
        return sessions if first is None else chain([first], sessions)

    async def store(self, service: ImportService, sessions: Iterator[SentSession]) -> None:
        """Stores sessions.

        Raises:
            Stopped: by a signal; what was begun is stored.
            TableError: the file cannot be read any further.
            DatabaseError: the database cannot be used.
        """
        if self.progress.began is None:
            self.progress.began = await service.present()
            self._folder.save(self.progress, now=True)
        try:
            await service.store(
                sessions,
                self.progress.began,
                self._done,
                by_station=self._source.by_station,
                stopped=self._interruption.noted,
            )
        finally:
            self._folder.save(self.progress, now=True)
        if not self._is_at_end:
            raise self.stopped()

    def stopped(self) -> Stopped:
        """Returns what a stopped import says."""
        of = "" if self._total is None else f" of {self._total}"
        return Stopped(
            f"interrupted after {self.progress.sessions}{of} sessions; the same command goes on from there",
            self._interruption.status,
        )

    def _sessions(self, looking: TaskID) -> Iterator[SentSession]:
        """Yields the sessions that may not be stored yet."""
        found = self._source.sessions(
            self._folder.path, self._report.add, lambda rows: self._advance(looking, rows)
        )
        for session in found:
            if session.number >= self.progress.done:
                yield session
            elif self._source.by_station:
                self._fates[session.session_id] = None
            if self._interruption.noted():
                return
        self._is_at_end = True

    def _advance(self, task: TaskID, rows: int) -> None:
        self._interruption.check()
        self._bar.advance(task, rows)

    def _done(self, done: Done) -> None:
        progress = self.progress
        if done.reason is not None:
            refusal = Refusal(self._path.name, None, None, done.sent.session_id, done.reason)
            progress.refused.append(refusal)
            self._report.add(refusal)
        else:
            self._count(done.sent.session_id, done.fate)
            progress.added += done.added
            progress.repeated += done.repeated
        progress.done = done.sent.number + 1
        self._folder.save(progress)
        self._bar.advance(self._task)

    def _count(self, session: str, fate: Fate) -> None:
        """Counts a session once, also where it comes in parts; a later one may change what the first did not."""
        counts = self.progress.fates
        if self._source.by_station and session in self._fates:
            if fate == "changed" and self._fates[session] == "unchanged":
                self._fates[session] = fate
                counts["unchanged"] -= 1
                counts["changed"] += 1
            return
        if self._source.by_station:
            self._fates[session] = fate
        counts[fate] += 1
