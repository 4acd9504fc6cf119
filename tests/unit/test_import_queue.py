"""The queue of an import: what shares a key keeps its order, results come in order, nothing follows a failure."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chargewatch.server.imports.queue import OrderedQueue

AT_ONCE = 4
AHEAD = 10


def run(things: list[Any], work: Callable[[Any], Awaitable[Any]], done: Callable[[Any], None]) -> None:
    async def main() -> None:
        queue = OrderedQueue(work, lambda thing: [thing[0], thing[1]], done, at_once=AT_ONCE, ahead=AHEAD)
        try:
            for thing in things:
                await queue.put(thing)
            await queue.finish()
        finally:
            await queue.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(20))
def test_order_is_kept_where_it_counts(seed: int) -> None:
    rng = random.Random(seed)
    things = [(f"session-{rng.randint(0, 30)}", f"connector-{rng.randint(0, 5)}", n) for n in range(100)]
    begun: dict[str, list[int]] = defaultdict(list)
    running: set[int] = set()
    held: dict[str, int] = {}
    most = 0
    results: list[int] = []

    async def work(thing: tuple[str, str, int]) -> int:
        nonlocal most
        session, connector, number = thing
        assert session not in held
        assert connector not in held
        held[session] = held[connector] = number
        running.add(number)
        most = max(most, len(running))
        assert number - len(results) <= AHEAD + AT_ONCE + 1
        for _ in range(rng.randint(0, 4)):
            await asyncio.sleep(0)
        for key in (session, connector):
            begun[key].append(number)
            del held[key]
        running.remove(number)
        return number

    run(things, work, results.append)
    assert results == list(range(100))
    assert all(numbers == sorted(numbers) for numbers in begun.values())
    assert 1 < most <= AT_ONCE


def test_nothing_follows_what_failed_before_it() -> None:
    worked: list[int] = []
    results: list[int] = []

    async def work(thing: tuple[str, str, int]) -> int:
        await asyncio.sleep(0)
        if thing[2] == 1:
            raise ValueError("the second")
        worked.append(thing[2])
        return thing[2]

    things = [("a", "x", 0), ("b", "y", 1), ("c", "y", 2), ("b", "z", 3), ("d", "z", 4)]
    with pytest.raises(ValueError, match="the second"):
        run(things, work, results.append)
    assert results == [0]
    assert worked == [0]


def test_a_queue_that_is_given_up_ends_its_work() -> None:
    ended: list[int] = []

    async def work(thing: tuple[str, str, int]) -> int:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(thing[2])
        return 0

    async def main() -> None:
        queue = OrderedQueue(work, lambda thing: [thing[0]], lambda _: None, at_once=AT_ONCE, ahead=AHEAD)
        for number in range(3):
            await queue.put((str(number), "", number))
        await asyncio.sleep(0)
        await queue.cancel()

    asyncio.run(main())
    assert sorted(ended) == [0, 1, 2]
