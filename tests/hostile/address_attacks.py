"""Attacks through everything but the body: path, query, headers, and what is no HTTP at all."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from tests.hostile.api_document import Call
from tests.hostile.attacks import Attack
from tests.hostile.body_attacks import JSON
from tests.hostile.fragments import BROKEN_TEXTS, CANARY, INJECTIONS, NUMBER_TEXTS, TEXTS, TIMES

#: Longer heads are refused by every server; what is tried here should reach the application.
LONGEST_VALUE = 16 * 1024
_WORD = CANARY.encode()
_TEXTS = [text for text in [*TEXTS, *INJECTIONS, *NUMBER_TEXTS, *TIMES] if len(text) < LONGEST_VALUE]


def path_of(call: Call, known: Mapping[str, str], **other: bytes) -> bytes:
    """The path of a call with its parameters filled in; ``other`` ones stand there as they are."""
    path = call.path.encode()
    for parameter in call.parameters("path"):
        name = parameter.name
        value = other[name] if name in other else quote(known[name], safe="").encode()
        path = path.replace(b"{%s}" % name.encode(), value)
    return path


def path_attacks(call: Call, known: Mapping[str, str], body: Any) -> Iterator[Attack]:
    """Hostile steps in place of each parameter, and hostile ways of writing the address."""
    for parameter in call.parameters("path"):
        for step in [*(quote(text, safe="").encode() for text in _TEXTS), *_STEPS]:
            target = path_of(call, known, **{parameter.name: step[:LONGEST_VALUE]})
            yield request_of(call, "path", target, target, body, elsewhere=True)
    path = path_of(call, known)
    for target in _spellings(path):
        yield request_of(call, "path", target, target, body, elsewhere=True)


_STEPS = [
    *(
        b"%2f",
        b"a%2fb",
        b"a%2Fb",
        b"%5c",
        b".",
        b"..",
        b"%2e",
        b"%2e%2e",
        b"..%2f..%2f",
        b"%2e%2e/%2e%2e",
        b"..;",
    ),
    *(
        b"%00",
        b"a%00b",
        b"%c0%ae",
        b"%c0%af",
        b"%e0%80%af",
        b"%ff",
        b"%ed%a0%80",
        b"%f4%90%80%80",
        b"%C3",
        b"%",
    ),
    *(
        b"%zz",
        b"%2",
        b"%u0041",
        b"%252f",
        b"%25%32%66",
        b"%20",
        b"+",
        b"a+b",
        b"%0d%0aX-Injected:%20yes",
        b"%0a",
    ),
    *(
        b"batch",
        b"%62atch",
        b"a;b=c",
        b"a,b",
        b"*",
        b"~",
        b"@",
        b":",
        b"&",
        b"=",
        b"!",
        b"$",
        b"'",
        b"(",
        b"%7f",
    ),
    *(
        b"x" * 255,
        b"x" * 256,
        b"x" * 4096,
        b"%C3%A9" * 255,
        b"%C3%A9" * 256,
        b"e%CC%81" * 255,
        b"%F0%9F%94%8C" * 255,
    ),
    *(b"00000000-0000-0000-0000-000000000000", b"0" * 32, b"urn:uuid:00000000-0000-0000-0000-000000000000"),
    *(b"\xc3\xa9", b"\xff", b"\x80" + _WORD, _WORD, _WORD * 400, b"%EF%BB%BF" + _WORD, b"%E2%80%AE" + _WORD),
    *(
        b"%D9%A1",
        b"9223372036854775808",
        b"-1",
        b"1e9",
        b"null",
        b"undefined",
        b"{session_id}",
        b"<" + _WORD + b">",
    ),
]


def _spellings(path: bytes) -> list[bytes]:
    head, _, last = path.rpartition(b"/")
    return [
        *(
            path + b"/",
            path + b"//",
            head + b"//" + last,
            b"/" + path,
            path + b"%2f",
            path + b"%00",
            path + b";x=1",
        ),
        *(path + b"%20", path + b".", path + b"/.", path + b"/..", path + b"/../" + last, path + b".json"),
        *(
            b"/v1/.." + path,
            b"/./" + path.lstrip(b"/"),
            b"/%2e" + path,
            path.upper(),
            path.replace(b"/", b"%2f"),
        ),
        *(
            path.replace(b"/", b"\\"),
            b"http://127.0.0.1" + path,
            b"http://user@evil.example" + path,
            b"//evil" + path,
        ),
        *(
            path + b"#" + _WORD,
            path + b"%23",
            path + b"%3f",
            path + b"?",
            path + b"/" + _WORD,
            path + b"/%2e%2e/x",
        ),
        *(
            head + b"/%" + b"%02x" % last[0] + last[1:],
            path + b"/" + b"x/" * 200,
            path + b"x" * 8000,
            b"*",
            b"x",
            b"/",
        ),
        *(
            path + b" HTTP/1.1\r\nX-Injected: yes",
            path + b"\t",
            path + b"\x00",
            path + b"\x7f",
            path + b"\xff",
        ),
    ]


def query_attacks(call: Call, target: bytes, body: Any) -> Iterator[Attack]:
    """Hostile values of each parameter, and parameters that do not exist."""
    names = [parameter.name for parameter in call.parameters("query")]
    for name in names:
        for text in _TEXTS:
            query = f"{name}={quote(text, safe='')}".encode()
            yield request_of(call, "query", query, target + b"?" + query, body)
        for raw in _QUERY_VALUES:
            query = name.encode() + b"=" + raw
            yield request_of(call, "query", query, target + b"?" + query, body)
        twice = b"%s=1&%s=2" % (name.encode(), name.encode())
        yield request_of(call, "query", twice, target + b"?" + twice, body, refused=True)
    for text in _TEXTS:
        query = f"{quote(text, safe='')}={CANARY}".encode()
        yield request_of(call, "query", query, target + b"?" + query, body, refused=True)
    for query in _QUERIES:
        yield request_of(call, "query", query, target + b"?" + query, body)


_QUERY_VALUES = [
    *(
        b"",
        b"%00",
        b"%ff",
        b"%c0%80",
        b"%ed%a0%80",
        b"%",
        b"%zz",
        b"\xff",
        b"\xc3\xa9",
        b"%0d%0a",
        b"+",
        b"%2b1",
    ),
    *(
        b"0",
        b"-1",
        b"1.0",
        b"101",
        b"10000001",
        b"99999999999999999999",
        b"true",
        b"True",
        b"1;2",
        b"[]",
        b"{}",
    ),
    *(
        b"0.0000000000000000000000000000000001",
        b"1e-1",
        b"-0",
        b"1.0000000000000002",
        b"nan",
        b"1e400",
        b"01",
    ),
]
_QUERIES = [
    *(
        b"",
        b"&",
        b"&&&",
        b"=",
        b"=x",
        b"x",
        b"?",
        b"%00=1",
        b"%ff=1",
        b"x=%ff",
        b"%",
        b"\xff=1",
        b"x[]=1",
        b"x[a]=1",
    ),
    *(b"&".join(b"p%d=1" % n for n in range(count)) for count in (99, 100, 101, 2000)),
    *(
        b"x=" + b"y" * 8000,
        _WORD + b"=1",
        b"x=" + _WORD,
        b"a=1;b=2",
        b"__proto__=1",
        b"x=1#y",
        b"access_token=" + _WORD,
    ),
]


def header_attacks(call: Call, target: bytes, body: Any) -> Iterator[Attack]:
    """Hostile values of the headers that the service reads, and of some that it must not heed."""
    for name in _READ:
        for value in _VALUES[name] + _HEADER_TEXTS:
            yield request_of(call, "header", name + b": " + value, target, body, headers=[(name, value)])
    for name, value in _MISLEADING:
        yield request_of(call, "header", name + b": " + value, target, body, headers=[(name, value)])
    for name in (b"If-Match", b"Idempotency-Key", b"X-Request-Id", b"Accept"):
        twice = [(name, b'"1"'), (name, _WORD)]
        yield request_of(call, "header", name + b" twice", target, body, headers=twice)
    many = [(b"X-%d" % n, _WORD) for n in range(200)]
    yield request_of(call, "header", b"200 headers", target, body, headers=many, elsewhere=True)
    for value in _CREDENTIALS:
        headers = [] if value is None else [(b"Authorization", value)]
        label = b"Authorization: " + (value or b"")
        yield request_of(
            call, "key", label, target, body, headers=headers, refused=call.is_protected
        )._replace(anonymous=True)


_HEADER_TEXTS = [
    *(text.encode() for text in [*INJECTIONS, *NUMBER_TEXTS] if "\n" not in text and "\x1b" not in text),
    *(raw.strip(b'"') for raw in BROKEN_TEXTS if not set(raw) & {0, 10, 13, 27}),
    *(
        b"",
        _WORD,
        b"x" * 255,
        b"x" * 256,
        _WORD * 400,
        b"\xff\xfe",
        "é漢".encode(),
        b'"',
        b'""',
        b"a\tb",
        b",",
        b";",
    ),
]
_VALUES: Mapping[bytes, list[bytes]] = {
    b"If-Match": [
        *(
            b'"1"',
            b"1",
            b'W/"1"',
            b"*",
            b'"1", "2"',
            b'"0"',
            b'"-1"',
            b'"' + b"9" * 18 + b'"',
            b'"' + b"9" * 19 + b'"',
        ),
        *(b'"' + b"9" * 400 + b'"', b'"\xd9\xa1"', b"''", b'"1"x', b'w/"1"', b'"*"', b'"1', b'1"', b"*, *"),
    ],
    b"If-None-Match": [b'"1"', b'W/"1"', b"*", b'"1", "2"', b'"' + b"9" * 400 + b'"'],
    b"Idempotency-Key": [b"k" * 255, b"k" * 256, b'"k"', b"a b", b"k,k", b"\xc3\xa9", b"../x", b"k" * 8000],
    b"X-Correlation-ID": [b"x" * 128, b"x" * 129, b"a b", b"a\xff"],
    b"X-Request-Id": [b"x" * 128, b"x" * 129, b"a b", b"a/b", b'{"a":1}', b"\xc3\xa9", b"-", b"."],
    b"traceparent": [
        b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01",
        b"ff-" + b"a" * 32 + b"-" + b"a" * 16 + b"-01",
        b"00-" + b"a" * 32 + b"-" + b"a" * 16 + b"-01-x",
        b"00-" + b"A" * 32 + b"-" + b"a" * 16 + b"-01",
    ],
    b"Accept": [
        b"text/html",
        b"*/*;q=0",
        b"application/json;q=0",
        b"application/json;q=x",
        b"a/b," * 500,
        b"*",
        b"/",
    ],
}
_READ = tuple(_VALUES)
_MISLEADING = [
    *(
        (b"X-HTTP-Method-Override", b"DELETE"),
        (b"X-Method-Override", b"DELETE"),
        (b"X-Original-URL", b"/metrics"),
    ),
    *(
        (b"X-Forwarded-For", b"127.0.0.1"),
        (b"X-Forwarded-For", _WORD),
        (b"X-Forwarded-Host", b"evil.example"),
    ),
    *((b"X-Forwarded-Proto", b"javascript"), (b"Forwarded", b"for=" + _WORD), (b"X-Real-IP", b"127.0.0.1")),
    *(
        (b"X-Tenant", b"south"),
        (b"X-Tenant-Id", b"00000000-0000-0000-0000-000000000000"),
        (b"Cookie", b"a=" + _WORD),
    ),
    *(
        (b"Origin", b"null"),
        (b"Origin", b"http://evil.example"),
        (b"Range", b"bytes=0-0"),
        (b"Expect", b"100-continue"),
    ),
    *(
        (b"Expect", _WORD),
        (b"Upgrade", b"h2c"),
        (b"Connection", b"close, x"),
        (b"TE", b"trailers"),
        (b"Via", _WORD),
    ),
    *(
        (b"User-Agent", b"() { :;}; " + _WORD),
        (b"Referer", b"\xff" + _WORD),
        (b"Accept-Encoding", b"br;q=x, " + _WORD),
    ),
    *((b"Accept-Language", b"x" * 5000), (b"tracestate", b"a=" + _WORD), (b"baggage", _WORD), (b"X", b"")),
]
_CREDENTIALS: list[bytes | None] = [
    *(
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer " + _WORD,
        b"Basic Og==",
        b"Basic " + _WORD,
        b"Token",
        b"Digest x",
    ),
    *(
        b"Bearer cw_" + b"0" * 36,
        b"Bearer cw_" + b"z" * 5000,
        b"Bearer \xff",
        b"Bearer \xc3\xa9",
        b"bearer null",
    ),
    *(
        b"Bearer ' OR 1=1 --",
        b"Bearer " + b"x" * 32,
        b"Bearer " + b"x" * 128,
        b"Bearer a b",
        b"Bearer Bearer x",
    ),
    *(
        b"Token " + _WORD,
        b"Token " + b"x" * 64,
        b"Token \xff",
        b"Token eHg=",
        b"Bearer eyJhbGciOiJub25lIn0.e30.",
    ),
]


def request_of(
    call: Call,
    kind: str,
    label: bytes,
    target: bytes,
    body: Any,
    *,
    headers: list[tuple[bytes, bytes]] | None = None,
    refused: bool = False,
    elsewhere: bool = False,
) -> Attack:
    """A request of a call with its right body."""
    has_body = body is not None
    sent = json.dumps(body).encode() if has_body else b""
    return Attack(
        kind,
        label[:60].decode("latin-1"),
        call.method.encode(),
        target,
        [*(JSON if has_body else ()), *(headers or ())],
        sent,
        refused=refused,
        elsewhere=elsewhere or not target.isascii(),  # raw bytes beyond ASCII make it no HTTP
    )
