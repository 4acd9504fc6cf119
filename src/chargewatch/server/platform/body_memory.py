"""How much of the memory and of the processor the bodies of all calls together may take in one process.

Every call holds a share, which grows with what it has read and ends with the call. When there is no room left,
one call may take more than that, so that bodies that wait for each other half read come to an end; others wait
for a moment and are then asked to come back. A small body always has room.

Work on a large body (inflating, decoding) happens in a thread, one body at a time: threads contend with the
event loop for the interpreter, and with one of them other calls wait for milliseconds, with eight for long.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from chargewatch.server.platform import problems
from chargewatch.server.platform.problems import Problem

T = TypeVar("T")

MIB: Final = 1024 * 1024
#: So much of a body is not counted.
FREE_BYTES: Final = 16 * 1024


class BodyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What bodies may cost; most of it is settings."""

    deadline_s: float = 30.0
    """How long a client may take, and the longest that it may fall behind `min_rate`."""
    min_rate: int = 32 * 1024
    """Bytes a second that buy a large body on a slow line more time than that."""
    memory_bytes: int = 128 * MIB
    """For the bodies of all calls together."""
    wait_s: float = 5.0
    """How long a call waits for memory, and for its turn in the thread."""


class BodyMemory:
    """The budget of one process."""

    def __init__(self, limits: BodyLimits) -> None:
        self.limits = limits
        self.used = 0
        """Bytes that all calls hold now."""
        self._beyond: BodyShare | None = None
        """The one call that may take more than there is."""
        self._freed = asyncio.Event()
        self._turn = asyncio.Semaphore(1)

    def share(self) -> "BodyShare":
        """Returns the share of a new call."""
        return BodyShare(self)

    def take(self, size: int, share: "BodyShare") -> bool:
        """Takes bytes for a call, if there are any for it."""
        if self.used + size > self.limits.memory_bytes:
            if self._beyond not in (None, share):
                return False
            self._beyond = share
        self.used += size
        return True

    async def wait(self) -> None:
        """Waits until some bytes are freed."""
        self._freed.clear()
        await self._freed.wait()

    def give_back(self, size: int, share: "BodyShare") -> None:
        """Frees the bytes of a call."""
        self.used -= size
        if self._beyond is share:
            self._beyond = None
        self._freed.set()

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Does work on a large body, after that of others.

        Raises:
            Problem: 503 ``overloaded`` when its turn does not come in time. What the work raises, too.
        """
        try:
            async with asyncio.timeout(self.limits.wait_s):
                await self._turn.acquire()
        except TimeoutError:
            raise _overloaded() from None
        running = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
        running.add_done_callback(lambda _: self._turn.release())
        try:
            return await asyncio.shield(running)  # a call that ends meanwhile does not end the thread's work
        finally:
            del running  # else its exception and this frame hold each other, and the body


class BodyShare:
    """What one call holds."""

    __slots__ = ("_memory", "_read", "_taken")

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._read = 0
        self._taken = 0

    @property
    def limits(self) -> BodyLimits:
        """What bodies may cost."""
        return self._memory.limits

    def grow(self, size: int, factor: int = 1) -> bool:
        """Takes room for bytes of the body, if there is any.

        Args:
            size: how many more bytes of the body there are.
            factor: how many bytes of memory each of them will take.
        """
        more = (self._read + size - FREE_BYTES) * factor - self._taken
        if more > 0:
            if not self._memory.take(more, self):
                return False
            self._taken += more
        self._read += size
        return True

    async def wait_and_grow(self, size: int, factor: int = 1) -> None:
        """Takes room for bytes of the body as soon as there is enough.

        Raises:
            Problem: 503 ``overloaded`` when that takes too long.
        """
        try:
            async with asyncio.timeout(self.limits.wait_s):
                while not self.grow(size, factor):
                    await self._memory.wait()
        except TimeoutError:
            raise _overloaded() from None

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Does work on this call's large body (`BodyMemory.in_thread`)."""
        return await self._memory.in_thread(work, *arguments)

    def release(self) -> None:
        """Ends the share."""
        if self._taken:
            self._memory.give_back(self._taken, self)
            self._read = self._taken = 0


def _overloaded() -> Problem:
    return problems.unavailable("Too many large bodies at once; repeat the call.", "overloaded")
