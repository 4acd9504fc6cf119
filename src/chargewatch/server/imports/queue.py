"""Storing sessions side by side in such an order that the result is always the same.

What a session is judged to be can depend on the sessions of its connector that were stored before it. So sessions of
one connector, and parts of one session, are stored one after the other; all others may overtake each other, and share
the commits of the database.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")
Result = TypeVar("Result")


class _Begun(NamedTuple):
    task: "asyncio.Task[Any]"
    keys: tuple[Hashable, ...]


class OrderedQueue(Generic[T, Result]):
    """Works on things, a few at once; those that share a key one after the other, in the order given."""

    def __init__(
        self,
        work: Callable[[T], Awaitable[Result]],
        keys: Callable[[T], Iterable[Hashable]],
        done: Callable[[Result], None],
        *,
        at_once: int,
        ahead: int,
    ) -> None:
        """Makes a queue.

        Args:
            work: done for each thing.
            keys: what a thing has in common with others that it must not overtake.
            done: told the results in the order given, each when all work before it is done as well.
            at_once: how many things are worked on.
            ahead: how many may be begun before the first of them is done.
        """
        self._work = work
        self._keys = keys
        self._done = done
        self._turns = asyncio.Semaphore(at_once)
        self._ahead = ahead
        self._begun: deque[_Begun] = deque()
        self._last: dict[Hashable, asyncio.Task[Result]] = {}

    async def put(self, thing: T) -> None:
        """Begins work on a thing, as soon as there is room.

        Raises:
            Exception: what the work on the first thing that is not done yet raised.
        """
        keys = tuple(self._keys(thing))
        before = {self._last[key] for key in keys if key in self._last}
        task = asyncio.create_task(self._after(before, thing))
        self._last.update(dict.fromkeys(keys, task))
        self._begun.append(_Begun(task, keys))
        while self._begun and (self._begun[0].task.done() or len(self._begun) > self._ahead):
            await self._finish_first()

    async def finish(self) -> None:
        """Waits until everything is done.

        Raises:
            Exception: as ``put``.
        """
        while self._begun:
            await self._finish_first()

    async def cancel(self) -> None:
        """Gives up what is not done."""
        for begun in self._begun:
            begun.task.cancel()
        await asyncio.gather(*(begun.task for begun in self._begun), return_exceptions=True)
        self._begun.clear()

    async def _after(self, before: "set[asyncio.Task[Result]]", thing: T) -> Result:
        await asyncio.gather(*before)  # what one of them raised keeps this one from being worked on
        async with self._turns:
            return await self._work(thing)

    async def _finish_first(self) -> None:
        task, keys = self._begun[0]
        result = await task
        self._begun.popleft()
        for key in keys:
            if self._last.get(key) is task:
                del self._last[key]
        self._done(result)
