"""A request's body as bytes: bounded in size, time and memory, inflated where it came compressed.

The limit holds for what arrives and for what it inflates to, and is noticed before more is read than that.
A client has `BodyLimits.deadline_s` seconds. Each byte buys it 1/`min_rate` seconds more, but never so many
that it could then pause for longer than the deadline: a body that arrives at that rate is never cut, one that
drips is cut at the deadline, and one that stops is cut a deadline later.

A body that is refused half read is left to the server, which throws the rest away for a moment and then
closes the connection (`http_protocol`), so that the answer still reaches the client.
"""

import asyncio
import zlib
from collections.abc import Iterator
from typing import Any, Final

from litestar import Request

from chargewatch.server.platform.body_memory import BodyShare
from chargewatch.server.platform.problems import Problem
from chargewatch.server.platform.request_context import context_in

LARGEST_BODY: Final = 16 * 1024 * 1024
#: Honest JSON shrinks to a twentieth; a body that inflates by more than this is an attack.
LARGEST_RATIO: Final = 100
_SMALL: Final = 64 * 1024
#: A body compressed to less than this is inflated at once, others in a thread.
_SMALL_COMPRESSED: Final = 8 * 1024
_MOST_MEMBERS: Final = 64
#: So much is inflated in one go.
_PIECE: Final = 1024 * 1024


class ClientDisconnected(Exception):
    """The client went away while its body was being read; there is nobody to answer."""


async def read_body(request: Request[Any, Any, Any], limit: int = LARGEST_BODY, *, factor: int = 1) -> bytes:
    """Reads and inflates the whole body.

    Args:
        request: the call.
        limit: the most bytes, as sent and as inflated.
        factor: how many bytes of memory the call will take for each byte of its body.

    Raises:
        Problem: 413 too large; 408 too slow; 415 an encoding other than gzip; 400 broken gzip; 503 too much
            at once.
        ClientDisconnected: the client went away.
    """
    context = context_in(request.scope)
    declared = context.headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit:
        raise too_large(limit)
    encoding = context.headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"identity", b"gzip", b"x-gzip"):
        detail = "The body is compressed in another way than gzip."
        raise Problem(415, "unsupported_encoding", detail, headers={"Accept-Encoding": "gzip"})
    body = await _receive(request, context.body_share, limit, factor)
    if encoding == b"identity":
        return body
    inflated = await _inflate(context.body_share, body, limit)
    if not context.body_share.grow(len(inflated), factor):
        await context.body_share.wait_and_grow(len(inflated), factor)
    return inflated


async def _inflate(share: BodyShare, body: bytes, limit: int) -> bytes:
    if len(body) < _SMALL_COMPRESSED:
        return inflate(body, limit)
    return await share.in_thread(inflate, body, limit)


async def _receive(request: Request[Any, Any, Any], share: BodyShare, limit: int, factor: int) -> bytes:
    """Reads the body as it arrives.

    Raises:
        Problem: 408, 413 or 503.
        ClientDisconnected: the client went away.
    """
    limits = share.limits
    body = bytearray()
    try:
        async with asyncio.timeout(limits.deadline_s) as clock:
            while True:
                message = await request.receive()
                if message["type"] != "http.request":
                    raise ClientDisconnected
                chunk = message.get("body", b"")
                if len(body) + len(chunk) > limit:
                    raise too_large(limit)
                if not share.grow(len(chunk), factor):
                    await _wait_and_grow(share, len(chunk), factor, clock)
                more = message.get("more_body", False)
                if not more and not body:
                    return chunk
                body += chunk  # cheap, however small the pieces are
                if not more:
                    return bytes(body)
                _prolong(clock, len(chunk) / limits.min_rate, limits.deadline_s)
    except TimeoutError:
        raise _too_slow(limits.deadline_s) from None


async def _wait_and_grow(share: BodyShare, size: int, factor: int, clock: asyncio.Timeout) -> None:
    """Waits for memory; this time is not the client's."""
    now = asyncio.get_running_loop().time
    left_s = _deadline(clock) - now()
    clock.reschedule(None)
    await share.wait_and_grow(size, factor)
    clock.reschedule(now() + left_s)


def _prolong(clock: asyncio.Timeout, seconds: float, longest_s: float) -> None:
    latest = asyncio.get_running_loop().time() + longest_s
    clock.reschedule(min(_deadline(clock) + seconds, latest))


def _deadline(clock: asyncio.Timeout) -> float:
    when = clock.when()
    assert when is not None
    return when


def _too_slow(deadline_s: float) -> Problem:
    detail = f"The body did not arrive within {deadline_s:g} seconds, or came too slowly after that."
    return Problem(408, "body_too_slow", detail, headers={"Connection": "close"})


def inflate(body: bytes, limit: int) -> bytes:
    """Inflates gzip, all members of it, never beyond the limit.

    Raises:
        Problem: 413 too large, or out of proportion; 400 broken or cut off.
    """
    room = min(limit, max(len(body) * LARGEST_RATIO, _SMALL))
    parts: list[bytes] = []
    rest, members = body, 0
    while rest or not members:
        if members == _MOST_MEMBERS:
            raise Problem(400, "malformed_gzip", f"The gzip body has more than {_MOST_MEMBERS} members.")
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        members += 1
        for part in _inflated(member, rest):
            room -= len(part)
            if room < 0:
                raise too_large(limit)
            parts.append(part)
        rest = member.unused_data
    return b"".join(parts)


def _inflated(member: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    """Yields what a member of a gzip body holds, in pieces."""
    while not member.eof:
        try:
            part = member.decompress(data, _PIECE)
        except zlib.error:
            raise Problem(400, "malformed_gzip", "The body is not gzip.") from None
        data = member.unconsumed_tail
        if not part and not data and not member.eof:
            raise Problem(400, "malformed_gzip", "The gzip body is cut off.")
        yield part


def too_large(limit: int) -> Problem:
    """Returns the 413."""
    shown = f"{limit // 1024 // 1024} MiB" if limit % (1024 * 1024) == 0 else f"{limit} bytes"
    return Problem(413, "body_too_large", f"The body is larger than {shown}, or inflates to more.")
