"""What the fault runs stand on: a connection that knows what it does not know, a log, limits that bite."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.recorder import Reader, Recorder, Tenant
from tests.faults.rounds import Log, Strike, too_long
from tests.faults.wire import Unsent, Wire

NORTH, SOUTH = Tenant("north", "key", "canary-of-north"), Tenant("south", "key", "canary-of-south")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(*answers: bytes | None) -> Serve:
    """A server that gives these answers one after another; None closes the connection without one."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while left:
                await reader.readuntil(b"\r\n\r\n")
                answer = left.pop(0)
                if answer is None:
                    break
                writer.write(answer)
            await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    return serve


def response(status: int, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d X" % status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.mark.anyio
async def test_nobody_listening_is_told_from_no_answer() -> None:
    recorder = Recorder([NORTH, SOUTH])
    server = await asyncio.start_server(
        answering(None, response(503, b"", b"Retry-After: 1")), "127.0.0.1", 0
    )
    where = server.sockets[0].getsockname()
    wire = Wire("key", lambda: where)
    async with server:
        assert await recorder.call(wire, NORTH, "GET", "/v1/sessions/s", "s") is None
        answer = await recorder.call(wire, NORTH, "GET", "/v1/sessions/s", "s")
        assert answer is not None
    wire.close()
    for gone in (where, None):
        with pytest.raises(Unsent):
            await recorder.call(Wire("key", lambda to=gone: to), NORTH, "GET", "/v1/sessions/s", "s")
    assert recorder.unsent == 2
    assert [(call.status, call.retry_after, call.outcome) for call in recorder.calls] == [
        (None, None, "unknown"),
        (503, "1", "unknown"),
    ]


@pytest.mark.anyio
async def test_a_foreign_canary_in_any_body_is_logged() -> None:
    recorder = Recorder([NORTH, SOUTH])
    body = b'{"detail": "CP-canary-of-south"}'
    server = await asyncio.start_server(answering(response(404, body)), "127.0.0.1", 0)
    where = server.sockets[0].getsockname()
    async with server:
        reader = Reader(recorder, [NORTH], lambda: where)
        await reader.get("north", "/v1/sessions/s", "s")
        reader.close()
    (call,) = recorder.calls
    assert call.canaries == {"canary-of-south"}
    assert call.outcome == "refused"


@pytest.mark.anyio
async def test_reading_after_a_fault_outlives_a_connection_but_not_a_failing_service() -> None:
    recorder = Recorder([NORTH])
    lasting = [response(500, b"{}")] * 20
    server = await asyncio.start_server(answering(None, response(200, b"{}"), *lasting), "127.0.0.1", 0)
    where = server.sockets[0].getsockname()
    async with server:
        reader = Reader(recorder, [NORTH], lambda: where)
        assert (await reader.get("north", "/v1/sessions")).status == 200
        with pytest.raises(RuntimeError, match="500"):
            await reader.get("north", "/v1/sessions")
        reader.close()


def log(strike: Strike, **more: object) -> Log:
    fields = {"statuses": {"200": 9}, "longest_busy_s": 0.0, "longest_wait_s": 0.0, "acknowledged": 5} | more
    return Log(number=1, strikes=[strike], lost=0, problems=[], **fields)


GOOD = Strike("kill-backend", 10.0, 10.1, 1.0, 0.2, 0.3)


@pytest.mark.parametrize(
    ("strike", "shown", "said"),
    [
        (GOOD, {}, []),
        (GOOD, {"longest_busy_s": 2.1}, ["a 503 took 2.10 s"]),
        (GOOD, {"longest_wait_s": 2.1}, ["no answer for 2.10 s"]),
        (GOOD, {"statuses": {"200": 9, "none": 3}}, ["3 calls had no answer"]),
        (GOOD, {"acknowledged": 0}, ["nothing was acknowledged"]),
        (GOOD._replace(recovered_s=5.5), {}, ["calls failed for 5.50 s"]),
        (GOOD._replace(fault="kill-everything", over=16.0), {}, ["the start took 6.00 s"]),
        (GOOD._replace(fault="kill-api"), {"statuses": {"200": 9, "none": 3}}, []),
    ],
)
def test_what_takes_too_long_is_a_problem(strike: Strike, shown: dict[str, object], said: list[str]) -> None:
    told = list(too_long(log(strike, **shown), strike.fault))
    assert len(told) == len(said)
    assert all(part in line for part, line in zip(said, told, strict=True))


def test_a_log_tells_strikes_calls_and_problems() -> None:
    shown = log(GOOD)
    shown.problems += ["I1 north/s: a reading is lost"]
    assert list(shown.lines()) == [
        "round 1: kill-backend at 1.00 s, took 0.10 s; database back after 0.20 s, calls succeed 0.30 s later",
        "round 1: calls 200 9; longest 503 0.00 s, wait 0.00 s; 5 readings acknowledged, 0 lost; 1 problems",
        "round 1: I1 north/s: a reading is lost",
    ]


def test_each_fault_says_what_it_is() -> None:
    assert all(name == fault.name and fault.strike.__doc__ for name, fault in FAULTS.items())
