"""Whether the database answers at all: one small question after another, on a connection of its own.

A server that is down refuses connections, and every call learns that at once. One that hangs (its processes
stopped, its machine gone from the network) says nothing, and each call would wait for its own time limit. So each
process asks ``SELECT 1`` all the time; when no answer at all has come for a while, calls that wait are ended and new
ones refused, until an answer comes.

Only time in which this process could have heard an answer counts: not while its event loop was held up, or the
process or the whole machine stood still. An answer to any other statement is a sign of life as well.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

import structlog

from chargewatch.server.db.connection import Connection
from chargewatch.server.db.errors import one_line

#: Between an answer and the next question, and how often silence is measured: shares of the limit.
_PAUSE_SHARE: Final = 1 / 6
_TICK_SHARE: Final = 1 / 30
#: A tick that came later than this many ticks was held up; the rest of it does not count.
_LONGEST_TICK: Final = 2.0

_log = structlog.get_logger(__name__)


class _Heard(Enum):
    """What came of a question."""

    ANSWER = "answer"
    REFUSAL = "refusal"
    OTHERS_ONLY = "others only"
    """Other statements are answered: this one connection is stuck."""
    LATE = "late"
    """Opening a connection took longer than any silence: it was this process that was held up."""
    NOTHING = "nothing"


class Pulse:
    """Watches one database.

    Args:
        connect: opens a connection.
        limit_s: how long a silence may be.
        on_silence: called when it is longer; must make an end of what waits.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], limit_s: float, on_silence: Callable[[], None]
    ) -> None:
        self.signs = 0
        """Grows with every statement that was answered; whoever gets an answer adds to it."""
        self.silent = False
        """Whether the database is silent: asking it makes no sense now."""
        self._connect = connect
        self._limit_s = limit_s
        self._on_silence = on_silence
        self._connection: Connection | None = None
        self._trouble_since: float | None = None

    async def keep(self) -> None:
        """Asks until cancelled."""
        try:
            while True:
                await self._beat()
                await asyncio.sleep(self._limit_s * _PAUSE_SHARE)
        finally:
            self._hang_up()

    async def _beat(self) -> None:
        question = asyncio.create_task(self._ask())
        try:
            heard = await self._listen(question)
        finally:
            if not question.done():
                self._hang_up()
                question.cancel()
        await asyncio.wait([question])
        problem = None if question.cancelled() else question.exception()
        if heard is _Heard.ANSWER:
            self._note_answer()
        elif heard is _Heard.REFUSAL and problem is not None:
            self._hang_up()
            self._note_trouble("database_down", reason=one_line(problem))
        elif heard is _Heard.NOTHING:
            self.silent = True
            self._note_trouble("database_silent", limit_s=self._limit_s)
            self._on_silence()

    async def _ask(self) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        await self._connection.execute("SELECT 1")

    async def _listen(self, question: "asyncio.Task[None]") -> _Heard:
        """Waits for the answer as long as that makes sense."""
        tick_s = self._limit_s * _TICK_SHARE
        asked_s = silent_s = 0.0
        signs, at = self.signs, time.monotonic()
        while True:
            await asyncio.wait([question], timeout=tick_s)
            if question.done():
                return _outcome(question.exception())
            passed_s = min(time.monotonic() - at, _LONGEST_TICK * tick_s)
            at = time.monotonic()
            asked_s += passed_s
            silent_s = silent_s + passed_s if self.signs == signs else 0.0
            signs = self.signs
            if silent_s >= self._limit_s:
                return _Heard.NOTHING
            if asked_s >= self._limit_s:
                return _Heard.OTHERS_ONLY

    def _note_answer(self) -> None:
        if self._trouble_since is not None:
            _log.warning("database_back", after_s=round(time.monotonic() - self._trouble_since, 3))
        self._trouble_since = None
        self.silent = False

    def _note_trouble(self, event: str, **details: object) -> None:
        """Says it once, not with every question."""
        if self._trouble_since is None:
            self._trouble_since = time.monotonic()
            _log.error(event, **details)

    def _hang_up(self) -> None:
        """Drops the connection, without a word to a server that may not listen."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None


def _outcome(problem: BaseException | None) -> _Heard:
    if problem is None:
        return _Heard.ANSWER
    return _Heard.LATE if isinstance(problem, TimeoutError) else _Heard.REFUSAL
