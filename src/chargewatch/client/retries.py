"""When a call is sent again, and after which wait: a policy, and the course of one call under it. No input or output.

Full jitter as in "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015): the wait is drawn evenly from 0 to
a limit that doubles with every attempt. A wait that the server asks for comes before it and is never cut short.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import httpx
import msgspec

from chargewatch.client.calls import Call, Repeat
from chargewatch.client.errors import ApiError, CallFailed, ConnectionFailed, UnexpectedAnswer, error_of

T = TypeVar("T")

#: What came of one attempt.
Outcome = httpx.Response | httpx.RequestError

#: Nothing was sent yet when these were raised.
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
#: The caller's own mistake: the same again fails the same way.
_HOPELESS: Final = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)
#: What the lost answer of a call that leaves nothing was.
_DONE: Final = httpx.Response(httpx.codes.NO_CONTENT)
#: The server asks to be called again.
_LATER: Final = frozenset({429, 503})
#: A gateway lost the answer.
_LOST: Final = frozenset({502, 504})


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How long a client goes on trying.

    Repeated are 429 and 503, a 409 that names a wait (another attempt with the same idempotency key is under way),
    and failed connections. Where an answer was lost (also 502 and 504, a gateway's words for it), only calls whose
    second run changes nothing more are repeated: all but those with ``if_match`` and no ``idempotency_key``.

    ``clock`` (seconds, monotonic), ``wall_clock`` (seconds since 1970), ``draw`` (0 to 1) and the two ways to sleep
    are there for tests.
    """

    attempts: int = 6
    """The most times that a call is sent."""
    total_s: float = 60.0
    """No attempt begins later than this after the first; a wait that would lead beyond it is not begun."""
    first_wait_s: float = 0.25
    longest_wait_s: float = 10.0
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    draw: Callable[[], float] = random.random
    sleep: Callable[[float], object] = time.sleep
    sleep_async: Callable[[float], Awaitable[object]] = asyncio.sleep

    def wait_s(self, attempt: int, asked_s: float | None) -> float:
        """Returns the wait after the ``attempt``-th attempt (from 1), the server having asked for ``asked_s``."""
        limit = min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(attempt - 1, 60))
        return (asked_s or 0.0) + limit * self.draw()


#: Every call is sent once.
NO_RETRY: Final = Retry(attempts=1)


class Wait(msgspec.Struct, frozen=True):
    """The call is to be sent again after so many seconds."""

    seconds: float


class Attempts(Generic[T]):
    """The course of one call: told what came of each attempt, it says what to do next."""

    def __init__(self, call: Call[T], policy: Retry) -> None:
        self._call = call
        self._policy = policy
        self._began = policy.clock()
        self._made = 0
        self._maybe_done = False

    def timeout_s(self, usual_s: float) -> float:
        """Returns how long the attempt that now begins may wait for the other side."""
        left_s = self._policy.total_s - self._passed_s()
        return usual_s if self._made == 0 else min(usual_s, max(left_s, 0.001))

    def after(self, outcome: Outcome) -> T | Wait:
        """Returns the result, or the wait before the next attempt.

        Raises:
            CallFailed: the call has failed for good.
        """
        self._made += 1
        if isinstance(outcome, httpx.RequestError):
            return self._again(self._failed(outcome), self._may_follow(outcome), None)
        if outcome.status_code < httpx.codes.BAD_REQUEST:
            return self._result(outcome)
        error = error_of(outcome, self._policy.wall_clock())
        if error.status == httpx.codes.NOT_FOUND and self._maybe_done and self._call.gone_is_done:
            return self._call.read(_DONE)
        return self._again(error, self._may_follow_answer(error), error.retry_after)

    def _result(self, response: httpx.Response) -> T:
        try:
            return self._call.read(response)
        except (msgspec.MsgspecError, ValueError) as error:
            raise UnexpectedAnswer(
                f"{self._call.method} {self._call.path}: no answer of this API ({response.status_code}): {error}"
            ) from error

    def _failed(self, error: httpx.RequestError) -> ConnectionFailed:
        reason = str(error) or type(error).__name__
        failed = ConnectionFailed(f"{self._call.method} {self._call.path}: no answer ({reason})")
        failed.__cause__ = error
        return failed

    def _may_follow(self, error: httpx.RequestError) -> bool:
        if isinstance(error, _NOT_SENT):
            return self._call.repeat is not Repeat.NEVER
        if isinstance(error, _HOPELESS):
            return False
        self._maybe_done = True
        return self._call.repeat is Repeat.ALWAYS

    def _may_follow_answer(self, error: ApiError) -> bool:
        if error.status in _LOST:
            self._maybe_done = True
            return self._call.repeat is Repeat.ALWAYS
        asked = error.status == httpx.codes.CONFLICT and error.retry_after is not None
        return (error.status in _LATER or asked) and self._call.repeat is not Repeat.NEVER

    def _again(self, error: CallFailed, allowed: bool, asked_s: float | None) -> Wait:
        wait_s = self._policy.wait_s(self._made, asked_s)
        in_time = self._passed_s() + wait_s <= self._policy.total_s
        if not allowed or self._made >= self._policy.attempts or not in_time:
            raise error
        return Wait(wait_s)

    def _passed_s(self) -> float:
        return self._policy.clock() - self._began
