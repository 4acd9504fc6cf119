"""Waiting for a state: as long as a machine needs that is many times slower than this one, and no longer."""

import asyncio
import time
from collections.abc import Awaitable, Callable

#: Only a test that fails waits this long. How fast something is, `make bench`, `make faults` and `make soak` say.
PATIENCE_S = 60.0
POLL_S = 0.005


def wait_until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s"
        time.sleep(POLL_S)


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Returns when the condition holds; other tasks of the loop go on meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while not (await holds if isinstance(holds := condition(), Awaitable) else holds):
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s"
        await asyncio.sleep(POLL_S)
