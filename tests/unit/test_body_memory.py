"""The budget of bodies: who gets room, who waits, who is asked to come back; one thread for the heavy work."""

import asyncio
import contextlib
import gc
import threading
import time
import weakref

import pytest

from chargewatch.server.platform.body_memory import FREE_BYTES, BodyLimits, BodyMemory
from chargewatch.server.platform.problems import Problem
from tests.patience import PATIENCE_S, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def memory(size: int = 1000, wait_s: float = 0.05) -> BodyMemory:
    return BodyMemory(BodyLimits(memory_bytes=size, wait_s=wait_s))


def test_small_bodies_are_not_counted() -> None:
    budget = memory()
    share = budget.share()
    assert share.grow(FREE_BYTES, factor=8)
    assert budget.used == 0
    assert share.grow(10, factor=8)
    assert budget.used == 80
    share.release()
    share.release()
    assert budget.used == 0


def test_one_call_may_go_beyond_the_budget_and_others_may_not() -> None:
    budget = memory()
    large, other, small = budget.share(), budget.share(), budget.share()
    assert large.grow(FREE_BYTES + 5000)
    assert not other.grow(FREE_BYTES + 1)
    assert large.grow(5000), "it goes on to its end"
    assert small.grow(FREE_BYTES)
    large.release()
    assert other.grow(FREE_BYTES + 900)
    assert budget.used == 900


async def test_who_waits_gets_what_is_freed() -> None:
    budget = memory(wait_s=PATIENCE_S)
    large, other = budget.share(), budget.share()
    assert large.grow(FREE_BYTES + 5000)
    waiting = asyncio.create_task(other.wait_and_grow(FREE_BYTES + 500))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    large.release()
    await asyncio.wait_for(waiting, PATIENCE_S)
    assert budget.used == 500


async def test_who_waits_too_long_is_asked_to_come_back() -> None:
    budget = memory()
    large, other = budget.share(), budget.share()
    assert large.grow(FREE_BYTES + 5000)
    with pytest.raises(Problem) as caught:
        await other.wait_and_grow(FREE_BYTES + 1)
    assert (caught.value.status, caught.value.code) == (503, "overloaded")
    assert caught.value.headers["Retry-After"] == "1"
    other.release()
    assert budget.used == 5000


async def test_half_read_bodies_never_block_each_other() -> None:
    budget = memory(size=400, wait_s=PATIENCE_S)
    finished = []

    async def read(name: int) -> None:
        share = budget.share()
        for _ in range(30):
            if not share.grow(FREE_BYTES // 4):
                await share.wait_and_grow(FREE_BYTES // 4)
            await asyncio.sleep(0)
        finished.append(name)
        share.release()

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*map(read, range(8)))
    assert len(finished) == 8
    assert budget.used == 0


async def test_heavy_work_is_done_one_after_another() -> None:
    budget = memory(wait_s=PATIENCE_S)
    running, most = 0, 0
    lock = threading.Lock()

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return number

    assert await asyncio.gather(*(budget.in_thread(work, number) for number in range(5))) == [0, 1, 2, 3, 4]
    assert most == 1


async def test_a_turn_that_does_not_come_is_a_503_and_a_cancelled_call_keeps_its_turn() -> None:
    budget = memory()
    go_on = threading.Event()
    leaving = asyncio.create_task(budget.in_thread(go_on.wait, PATIENCE_S))
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    with pytest.raises(Problem) as caught:
        await budget.in_thread(int)
    assert caught.value.code == "overloaded"
    go_on.set()

    async def has_a_turn() -> bool:
        with contextlib.suppress(Problem):
            return await budget.in_thread(int) == 0
        return False

    await until(has_a_turn)


async def test_a_refused_body_is_forgotten_at_once() -> None:
    class Body:
        pass

    budget = memory()
    body = Body()
    gone = weakref.ref(body)

    def refuse(_body: Body) -> None:
        raise Problem(422, "wrong", "Wrong.")

    gc.disable()
    try:
        with contextlib.suppress(Problem):
            await budget.in_thread(refuse, body)
        del body
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()
