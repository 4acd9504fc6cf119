"""A call waits for connections once its patience in all, however often it needs one."""

import asyncio
from contextvars import Context

import pytest

from chargewatch.server.db.patience import LEAST_SHARE, begin_call, counted, patience_left

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def wait(seconds: float) -> None:
    with counted():
        await asyncio.sleep(seconds)


async def test_what_a_call_has_waited_counts_the_next_time() -> None:
    begin_call()
    assert patience_left(2.0) == 2.0
    await wait(0.05)
    left = patience_left(100.0)
    assert 50.0 < left <= 99.95
    await asyncio.sleep(0.02)
    assert patience_left(100.0) == left, "work is no waiting"
    await wait(0.05)
    assert patience_left(0.08) == pytest.approx(0.08 * LEAST_SHARE)


async def test_a_wait_that_ends_in_an_error_counts_too() -> None:
    begin_call()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.03):
            await wait(10)
    assert patience_left(1.0) < 0.98


async def test_calls_do_not_count_for_each_other() -> None:
    async def call(seconds: float) -> float:
        begin_call()
        await wait(seconds)
        return patience_left(100.0)

    short, long = await asyncio.gather(call(0.0), call(0.1))
    assert 99.0 < long <= 99.9 < short, "each only its own"


async def test_work_of_no_call_always_has_all_the_patience() -> None:
    begin_call()

    async def work() -> float:
        await wait(0.05)
        return patience_left(1.0)

    assert await asyncio.create_task(work(), context=Context()) == 1.0
    assert patience_left(1.0) == 1.0
