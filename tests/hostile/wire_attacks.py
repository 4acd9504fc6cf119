"""Attacks through what is around a request: its framing and its method."""

import json
from collections.abc import Iterator
from typing import Any

from tests.hostile.address_attacks import request_of
from tests.hostile.api_document import Call
from tests.hostile.attacks import Attack
from tests.hostile.body_attacks import JSON
from tests.hostile.fragments import CANARY

_WORD = CANARY.encode()


def wire_attacks(call: Call, target: bytes, body: Any) -> Iterator[Attack]:
    """Requests that two servers could take for different ones, or that are not HTTP."""
    raw = json.dumps(body).encode() if body is not None else b""
    size = (b"Content-Length", b"%d" % len(raw))
    chunked = (b"Transfer-Encoding", b"chunked")
    for label, headers, sent in (
        ("two lengths", [size, (b"Content-Length", b"1")], raw),
        ("length and chunks", [size, chunked], raw),
        ("chunks and length", [chunked, size], b"0\r\n\r\n"),
        ("length that is no number", [(b"Content-Length", _WORD)], b""),
        ("negative length", [(b"Content-Length", b"-1")], b""),
        ("length with a sign", [(b"Content-Length", b"+5")], b""),
        ("two lengths in one", [(b"Content-Length", b"5, 5")], b"12345"),
        ("endless length", [(b"Content-Length", b"9" * 30)], b""),
        ("chunks of no size", [chunked], b"zz\r\n\r\n"),
        ("chunks with a sign", [chunked], b"-1\r\n\r\n"),
        ("endless chunk", [chunked], b"f" * 20 + b"\r\n"),
        ("unknown coding", [(b"Transfer-Encoding", b"chunked, " + _WORD)], b""),
        ("space before the colon", [(b"Content-Length ", b"0")], b""),
        ("NUL in a header", [(b"X", b"a\x00b"), size], raw),
        ("bare CR in a header", [(b"X", b"a\rb: c"), size], raw),
        ("line folding", [(b"X", b"a\r\n b"), size], raw),
        ("space in a name", [(b"X Y", _WORD), size], raw),
        ("no name", [(b"", _WORD), size], raw),
    ):
        yield request_of(call, "wire", label.encode(), target, None, headers=[*JSON, *headers])._replace(
            body=sent, elsewhere=True, framed=True
        )
    for method in (
        b"GE T",
        b"",
        b"\xff",
        b"BREW",
        b"TRACE",
        b"CONNECT",
        b"PROPFIND",
        b"x" * 5000,
        call.method.lower().encode(),
    ):
        yield request_of(call, "wire", method[:20], target, body)._replace(method=method, elsewhere=True)
