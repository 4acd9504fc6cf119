"""How long one call has waited for database connections so far.

A call may need a connection twice: to look up its key and for its work. It waits no longer for both together
than for one, so that a crowd is asked to come back in time. Work that belongs to no call has all the patience
that there is, each time.
"""

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

#: Even a call that has waited its time asks whether a connection is free just now.
LEAST_SHARE: Final = 0.05

_waited: Final[contextvars.ContextVar[list[float] | None]] = contextvars.ContextVar("waited", default=None)


def begin_call() -> None:
    """Begins to count for the call of the current context."""
    _waited.set([0.0])


def patience_left(all_s: float) -> float:
    """Returns the seconds that the current call may still wait, of ``all_s``."""
    waited = _waited.get()
    return all_s if waited is None else max(all_s - waited[0], all_s * LEAST_SHARE)


@contextmanager
def counted() -> Iterator[None]:
    """Counts what is done in the block as waiting."""
    waited = _waited.get()
    began = monotonic()
    try:
        yield
    finally:
        if waited is not None:
            waited[0] += monotonic() - began
