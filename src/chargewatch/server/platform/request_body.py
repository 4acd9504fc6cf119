"""A request's body as bytes: bounded in size and time, inflated where it came compressed.

The limit holds for what arrives and for what it inflates to, and is noticed before more is read than that.
A body that is refused half read is left to the server, which throws the rest away for a moment and then
closes the connection (`http_protocol`), so that the answer still reaches the client.
"""

import asyncio
import zlib
from typing import Any, Final

from litestar import Request

from chargewatch.server.platform.problems import Problem
from chargewatch.server.platform.request_context import context_in

LARGEST_BODY: Final = 16 * 1024 * 1024
#: How long a client may take to send its body.
BODY_DEADLINE_S: Final = 30.0
#: Honest JSON shrinks to a twentieth; a body that inflates by more than this is an attack.
LARGEST_RATIO: Final = 100
_SMALL: Final = 64 * 1024
_MOST_MEMBERS: Final = 64


class ClientDisconnected(Exception):
    """The client went away while its body was being read; there is nobody to answer."""


async def read_body(
    request: Request[Any, Any, Any], limit: int = LARGEST_BODY, deadline_s: float = BODY_DEADLINE_S
) -> bytes:
    """Reads and inflates the whole body.

    Args:
        request: the call.
        limit: the most bytes, as sent and as inflated.
        deadline_s: the most time that sending it may take.

    Raises:
        Problem: 413 too large; 408 too slow; 415 an encoding other than gzip; 400 broken gzip.
        ClientDisconnected: the client went away.
    """
    headers = context_in(request.scope).headers
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit:
        raise too_large(limit)
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"identity", b"gzip", b"x-gzip"):
        detail = "The body is compressed in another way than gzip."
        raise Problem(415, "unsupported_encoding", detail, headers={"Accept-Encoding": "gzip"})
    try:
        async with asyncio.timeout(deadline_s):
            body = await _receive(request, limit)
    except TimeoutError:
        detail = f"The body did not arrive within {deadline_s:g} seconds."
        raise Problem(408, "body_too_slow", detail, headers={"Connection": "close"}) from None
    if encoding == b"identity":
        return body
    return inflate(body, limit) if len(body) < _SMALL else await asyncio.to_thread(inflate, body, limit)


async def _receive(request: Request[Any, Any, Any], limit: int) -> bytes:
    chunks = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientDisconnected
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunk if len(chunks) == 1 else b"".join(chunks)


def inflate(body: bytes, limit: int) -> bytes:
    """Inflates gzip, all members of it, never beyond the limit.

    Raises:
        Problem: 413 too large, or out of proportion; 400 broken or cut off.
    """
    room = min(limit, max(len(body) * LARGEST_RATIO, _SMALL))
    parts: list[bytes] = []
    rest = body
    while rest or not parts:
        if len(parts) == _MOST_MEMBERS:
            raise Problem(400, "malformed_gzip", f"The gzip body has more than {_MOST_MEMBERS} members.")
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            part = member.decompress(rest, room + 1)
        except zlib.error:
            raise Problem(400, "malformed_gzip", "The body is not gzip.") from None
        room -= len(part)
        if room < 0:
            raise too_large(limit)
        if not member.eof:
            raise Problem(400, "malformed_gzip", "The gzip body is cut off.")
        parts.append(part)
        rest = member.unused_data
    return b"".join(parts)


def too_large(limit: int) -> Problem:
    """Returns the 413."""
    shown = f"{limit // 1024 // 1024} MiB" if limit % (1024 * 1024) == 0 else f"{limit} bytes"
    return Problem(413, "body_too_large", f"The body is larger than {shown}, or inflates to more.")
