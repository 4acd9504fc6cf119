"""Work that met another transaction is done again: deadlocks, serialization failures, locks not to be had.

PostgreSQL ends one of the transactions that are in each other's way, wholly; the same work from its start will
find the other one finished. Clients need not see that.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from chargewatch.server.db.errors import Contention

T = TypeVar("T")

ATTEMPTS: Final = 5
#: Before the second attempt, at most; twice as long before each further one.
FIRST_PAUSE_S: Final = 0.01


async def retrying(work: Callable[[], Awaitable[T]]) -> T:
    """Returns what the work returns, after a few attempts if need be.

    Args:
        work: one or more whole transactions, which can be done again from the start.

    Raises:
        Contention: another transaction was in the way each time.
    """
    longest_pause_s = FIRST_PAUSE_S
    for _ in range(ATTEMPTS - 1):
        try:
            return await work()
        except Contention:
            # at random, so that two that met do not meet again
            await asyncio.sleep(random.uniform(0, longest_pause_s))  # noqa: S311
            longest_pause_s *= 2
    return await work()
