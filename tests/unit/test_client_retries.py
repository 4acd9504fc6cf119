"""Which calls are repeated, after which waits, and when a client gives up; both clients do the very same."""

import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from chargewatch.client import (
    NO_RETRY,
    Conflict,
    ConnectionFailed,
    MeterValue,
    NotFound,
    PreconditionFailed,
    RateLimited,
    Retry,
    Unavailable,
    UnexpectedAnswer,
)
from tests.scripted_api import Course, Outcome, answer, problem

NEVER_SENT = httpx.ConnectError("refused")
LOST = httpx.ReadError("reset")
READING = MeterValue("2026-02-27T10:00:00Z", 1)


def append(client: Any) -> Any:
    return client.update_session("s", [READING])


def append_to_version(client: Any) -> Any:
    return client.update_session("s", [READING], if_match=3)


def append_with_key(client: Any) -> Any:
    return client.update_session("s", [READING], if_match=3, idempotency_key="k-1")


@pytest.mark.parametrize("refusal", [problem(503), problem(429), NEVER_SENT, httpx.PoolTimeout("full")])
@pytest.mark.parametrize("do", [append, append_to_version, append_with_key])
def test_what_was_certainly_not_done_is_repeated(refusal: Outcome, do: Callable[[Any], Any]) -> None:
    course = Course([refusal, refusal, answer()], do)
    assert course.result.session_id == "s"
    assert len(course.requests) == 3


@pytest.mark.parametrize("loss", [LOST, httpx.ReadTimeout("slow"), problem(502), problem(504)])
@pytest.mark.parametrize(
    ("do", "repeated"), [(append, True), (append_to_version, False), (append_with_key, True)]
)
def test_a_lost_answer_is_asked_for_again_unless_a_version_is_at_stake(
    loss: Outcome, do: Callable[[Any], Any], repeated: bool
) -> None:
    course = Course([loss, answer()], do)
    assert len(course.requests) == 1 + repeated
    assert (course.error is None) is repeated


def test_calls_that_cannot_be_sent_are_not_repeated() -> None:
    course = Course([httpx.LocalProtocolError("illegal header")], append)
    assert isinstance(course.error, ConnectionFailed)
    assert len(course.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 500])
def test_refusals_stand(status: int) -> None:
    course = Course([problem(status), answer()], append)
    assert course.error is not None
    assert course.error.status == status  # type: ignore[attr-defined]
    assert (len(course.requests), course.waits) == (1, [])


def test_a_key_in_flight_is_waited_for() -> None:
    in_flight = problem(409, "idempotency_key_in_flight", Retry_After="2")
    course = Course([in_flight, answer()], append_with_key)
    assert course.error is None
    assert course.waits[0] >= 2
    endless = Course([in_flight], append_with_key, attempts=3)
    assert isinstance(endless.error, Conflict)
    assert len(endless.requests) == 3


@pytest.mark.parametrize(
    ("announced", "least_s"),
    [
        ("3", 3.0),
        ("Fri, 27 Feb 2026 10:00:20 GMT", 20.0),
        ("Fri, 27 Feb 2026 09:00:00 GMT", 0.0),
        ("soon", 0.0),
        ("-5", 0.0),
    ],
)
def test_the_wait_that_the_server_asks_for_comes_first(announced: str, least_s: float) -> None:
    course = Course([problem(503, Retry_After=announced), answer()], append, first_wait_s=0.5)
    assert least_s <= course.waits[0] <= least_s + 0.5


def test_a_longer_wait_than_there_is_time_for_is_not_begun() -> None:
    course = Course([problem(429, Retry_After="3600"), answer()], append)
    assert isinstance(course.error, RateLimited)
    assert course.error.retry_after == 3600.0
    assert course.waits == []


def test_waits_double_up_to_a_limit() -> None:
    course = Course([problem(503)], append, attempts=8, longest_wait_s=2.0, draw=lambda: 1.0)
    assert course.waits == [0.25, 0.5, 1.0, 2.0, 2.0, 2.0, 2.0]
    assert isinstance(course.error, Unavailable)


def test_jitter_is_drawn_anew_between_nothing_and_the_limit() -> None:
    waits = [w for seed in range(200) for w in Course([problem(503)], append, attempts=2, seed=seed).waits]
    assert all(0 <= wait <= 0.25 for wait in waits)
    assert min(waits) < 0.02
    assert max(waits) > 0.23
    assert 0.1 < sum(waits) / len(waits) < 0.15


def test_attempts_that_take_long_use_up_the_time() -> None:
    course = Course([LOST], append, attempts=100, takes_s=20.0, total_s=60.0)
    assert isinstance(course.error, ConnectionFailed)
    assert len(course.requests) == 3


def test_later_attempts_wait_no_longer_than_there_is_time() -> None:
    course = Course([LOST], append, takes_s=5.0, total_s=12.0, draw=lambda: 0.0, options={"timeout_s": 9.0})
    timeouts = [request.extensions["timeout"]["read"] for request in course.requests]
    assert timeouts == [9.0, 7.0, 2.0]


def test_every_attempt_carries_the_same_key_and_the_same_bytes() -> None:
    course = Course(
        [LOST, problem(503), problem(429), answer()], append_with_key, options={"compress_from": 1}
    )
    assert {request.headers["Idempotency-Key"] for request in course.requests} == {"k-1"}
    assert len({request.content for request in course.requests}) == 1
    assert len(course.requests) == 4


def test_an_erased_session_that_is_gone_at_the_repeat_is_erased() -> None:
    erase = Course([LOST, problem(404)], lambda client: client.delete_session("s"))
    assert (erase.error, erase.result) == (None, None)
    refused = Course([problem(503), problem(404)], lambda client: client.delete_session("s"))
    assert isinstance(refused.error, NotFound), "it was never there: nothing had been erased"
    other = Course([LOST, problem(404)], lambda client: client.get_session("s"))
    assert isinstance(other.error, NotFound)


def test_how_things_are_is_asked_once() -> None:
    for ask in (lambda client: client.get_readiness(), lambda client: client.get_health()):
        for outcome in (problem(503, Retry_After="1"), NEVER_SENT, LOST):
            assert len(Course([outcome, answer()], ask).requests) == 1


def test_no_retry() -> None:
    assert NO_RETRY.attempts == 1
    assert len(Course([problem(503), answer()], append, attempts=1).requests) == 1


def test_an_answer_of_another_service_is_not_repeated_or_taken() -> None:
    for other in (
        httpx.Response(200, text="<html>"),
        httpx.Response(200, content=b"\xff"),
        answer(200, {"hello": "world"}),
        httpx.Response(302, headers={"Location": "http://elsewhere.test/"}),
    ):
        course = Course([other, answer()], append)
        assert isinstance(course.error, UnexpectedAnswer), other
        assert len(course.requests) == 1


def test_erasing_takes_no_other_answer_for_success() -> None:
    for other in (httpx.Response(302, headers={"Location": "http://elsewhere.test/"}), answer(), answer(202)):
        assert isinstance(Course([other], lambda c: c.delete_session("s")).error, UnexpectedAnswer)


def test_an_answer_that_cannot_be_inflated_is_a_lost_one() -> None:
    broken = httpx.DecodingError("Error -3 while decompressing data")
    assert Course([broken, answer()], append).error is None
    assert isinstance(Course([broken], append_to_version).error, ConnectionFailed)


def test_the_error_that_is_raised_is_the_last_one() -> None:
    course = Course([LOST, problem(503), problem(412)], append_with_key)
    assert isinstance(course.error, PreconditionFailed)
    lost = Course([LOST], append, attempts=2)
    assert isinstance(lost.error, ConnectionFailed)
    assert isinstance(lost.error.__cause__, httpx.ReadError)
    assert "PATCH /v1/sessions/s" in str(lost.error)


OUTCOMES: list[Callable[[], Outcome]] = [
    lambda: LOST,
    lambda: NEVER_SENT,
    lambda: problem(503),
    lambda: problem(503, Retry_After="1"),
    lambda: problem(429, Retry_After="4"),
    lambda: problem(409, Retry_After="1"),
    lambda: problem(409),
    lambda: problem(422),
    lambda: problem(502),
    answer,
]


@pytest.mark.parametrize("seed", range(300))
def test_any_course_keeps_within_its_bounds(seed: int) -> None:
    rng = random.Random(seed)
    outcomes = [rng.choice(OUTCOMES)() for _ in range(rng.randrange(1, 12))]
    policy = Retry(attempts=rng.randrange(1, 8), total_s=rng.uniform(0, 30), first_wait_s=rng.uniform(0, 2))
    takes_s = rng.choice([0.0, 0.5])
    course = Course(
        outcomes,
        rng.choice([append, append_to_version, append_with_key]),
        takes_s=takes_s,
        seed=seed,
        attempts=policy.attempts,
        total_s=policy.total_s,
        first_wait_s=policy.first_wait_s,
    )
    assert 1 <= len(course.requests) <= policy.attempts
    assert len(course.waits) == len(course.requests) - 1
    assert course.took_s - takes_s <= max(policy.total_s, 0)
    for outcome, wait in zip(outcomes, course.waits, strict=False):
        asked = outcome.headers.get("Retry-After", "0") if isinstance(outcome, httpx.Response) else "0"
        assert float(asked) <= wait <= float(asked) + policy.longest_wait_s
    last = outcomes[min(len(course.requests), len(outcomes)) - 1]
    assert (course.error is None) is (isinstance(last, httpx.Response) and last.status_code == 200)
    earlier = [o for o in outcomes[: len(course.requests) - 1] if isinstance(o, httpx.Response)]
    assert {o.status_code for o in earlier} <= {409, 429, 502, 503}
