"""Attacks through the body of a call: hostile values at each field, and bodies that are hostile as a whole."""

import copy
import functools
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from tests.hostile.api_document import Call, Place
from tests.hostile.attacks import Attack
from tests.hostile.connection import Headers
from tests.hostile.fragments import CANARY, TWO_IN_A_LIST, Fragment, fragments

JSON: Headers = [(b"Content-Type", b"application/json")]
GZIP: Headers = [*JSON, (b"Content-Encoding", b"gzip")]
_HOLE = "@hole@"
MIB = 1024 * 1024
#: The most that a body may have; one byte more is refused.
LARGEST_BODY = 16 * MIB
LARGEST_BATCH = 128 * MIB


def field_attacks(call: Call, target: bytes, body: Any) -> Iterator[Attack]:
    """Every hostile value at every field, and every field left out, repeated and misspelt."""
    method = call.method.encode()
    values = fragments()
    for place, schema in call.fields(body):
        name = ".".join(map(str, place))
        for value in [*values, *_limits(call, schema)]:
            label = f"{name} = {value.raw[:40]!r}"
            raw = with_fragment(call, body, place, value.raw)
            refused = value.refused and not (isinstance(place[-1], int) and value.raw in TWO_IN_A_LIST)
            yield Attack(value.kind, label, method, target, JSON, raw, refused=refused)
        yield from _misspelt(call, method, target, body, place)


def _limits(call: Call, schema: Mapping[str, Any]) -> Iterator[Fragment]:
    """Values at and just beyond the limits that a schema states."""
    for one in call.alternatives(schema):
        if "maxLength" in one:
            yield from (Fragment("limit", b'"' + b"q" * (one["maxLength"] + more) + b'"') for more in (0, 1))
        for word, step in (("minimum", -1), ("maximum", 1)):
            if word in one:
                for value in (one[word], one[word] + step, one[word] + step * 1e-9):
                    yield Fragment("limit", json.dumps(value).encode())
        for value in one.get("enum", ()):
            for text in (str(value), str(value).swapcase(), f"{value} ", f"{value}\u0000"[:-1] + "\u200b"):
                yield Fragment("limit", json.dumps(text).encode())


def with_fragment(call: Call, body: Any, place: Place, raw: bytes) -> bytes:
    """A body as JSON with raw bytes in one place, which is made where it is not there yet."""
    whole = copy.deepcopy(body)
    here = whole
    for depth, step in enumerate(place[:-1]):
        if isinstance(here, Mapping) and not isinstance(here.get(step), dict | list):
            here[step] = call.sample(call.schema_at(place[: depth + 1]))
            if not isinstance(here[step], dict | list):
                here[step] = [None] if isinstance(place[depth + 1], int) else {}
        here = here[step]
    if isinstance(here, list) and not here:
        here.append(None)
    here[place[-1]] = _HOLE
    return _dumped(whole).replace(f'"{_HOLE}"'.encode(), raw, 1)


def _dumped(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _misspelt(call: Call, method: bytes, target: bytes, body: Any, place: Place) -> Iterator[Attack]:
    """A field that is missing, twice there, or called by another name."""
    name = place[-1]
    if isinstance(name, int) or CANARY in name:
        return
    label = ".".join(map(str, place))
    whole = with_fragment(call, body, place, f'"{_HOLE}"'.encode())
    key = json.dumps(name).encode() + b": "
    before, _, after = whole.partition(key + f'"{_HOLE}"'.encode())
    here = json.dumps(_at(body, place), ensure_ascii=False).encode()
    twice = [
        here + b", " + key + here,
        b'null, "%s": null' % name.encode(),
        b'1, "' + _escaped(name) + b'":1',
    ]
    for value in twice:
        whole = before + key + value + after
        yield Attack("duplicate key", f"{label} twice", method, target, JSON, whole, refused=True)
    for other in (
        name.upper(),
        f"{name} ",
        f" {name}",
        f"{name}\u200b",
        f"{name}.x",
        f"${name}",
        name + CANARY,
    ):
        renamed = before + json.dumps(other).encode() + b": " + here + after
        yield Attack("unknown field", f"{label} as {other!r}", method, target, JSON, renamed)
    missing = (before.rstrip(b", ") if before.endswith(b", ") else before) + after
    if missing.startswith(b"{, "):
        missing = b"{" + missing[3:]
    yield Attack("missing field", label, method, target, JSON, missing.replace(b"{, ", b"{"))


def _escaped(name: str) -> bytes:
    """The same name spelt with escapes."""
    return "".join(f"\\u{ord(letter):04x}" for letter in name).encode()


def _at(body: Any, place: Place) -> Any:
    for step in place:
        try:
            body = body[step]
        except (KeyError, IndexError, TypeError):
            return "x"
    return body


def document_attacks(call: Call, target: bytes, body: Any) -> Iterator[Attack]:
    """Bodies that are hostile as a whole, each declared as JSON."""
    method = call.method.encode()
    good = _dumped(body)
    for raw in _broken_documents(good):
        yield Attack("document", repr(raw[:40]), method, target, JSON, raw, refused=True)
    for cut in sorted({len(good) * part // 40 for part in range(1, 40)}):
        yield Attack("document", f"cut after {cut}", method, target, JSON, good[:cut], refused=True)
    for position in sorted({len(good) * part // 25 for part in range(25)}):
        for byte in (b"\x00", b"\xff"):
            raw = good[:position] + byte + good[position:]
            yield Attack("document", f"{byte!r} at {position}", method, target, JSON, raw, refused=True)
    for raw in (
        b"[]",
        b"[" + good + b"]",
        b"{}",
        b'{"' + CANARY.encode() + b'":1}',
        b" " * 5000 + good + b"\r\n\t ",
    ):
        yield Attack("document", repr(raw[:40]), method, target, JSON, raw)


def _broken_documents(good: bytes) -> list[bytes]:
    text = good.decode("utf-8", "replace")
    return [
        *(b"", b" ", b"\n" * 1000, b"null", b"true", b"1", b'"x"', b"nul", b"{", b"}", b"[", b'{"', b"\x00"),
        *(b"\xef\xbb\xbf" + good, good + b"\xef\xbb\xbf", good + b"x", good + good, good + b"\n" + good),
        *(good + b"\x00", b"\x00" + good, good[:-1] + b",}", good + b",", b"(" + good + b")", b"/**/" + good),
        *(text.encode("utf-16"), text.encode("utf-16-le"), text.encode("utf-16-be"), text.encode("utf-32")),
        *(b"\x1e" + good, b")]}',\n" + good, b"data: " + good, good.replace(b'"', b"'"), good.hex().encode()),
        *(b"[" * 100_000, b'{"a":' * 100_000, (b'{"a":' * 50_000) + b"1" + b"}" * 50_000),
        *(b"[" * 100_000 + b"]" * 100_000, good.replace(b"{", b'{"' + CANARY.encode() + b'":1e400,', 1)),
        *(
            good.replace(b"{", b'{"\\u0000":1,', 1),
            good.replace(b"{", b"{,", 1),
            b"\xff\xfe",
            b"\x1f\x8b",
            b"%7B%7D",
        ),
        *(
            b"a=1&b=" + CANARY.encode(),
            b"--x\r\n\r\n" + good,
            b"<a>" + CANARY.encode() + b"</a>",
            b"a: 1\nb: [2]",
        ),
        CANARY.encode() * 1000,
    ]


def encoding_attacks(call: Call, target: bytes, body: Any, largest: int) -> Iterator[Attack]:
    """Bodies whose type, compression or size is not what it should be."""
    method = call.method.encode()
    good = _dumped(body)
    for kind, accepted in _CONTENT_TYPES.items():
        headers = [(b"Content-Type", kind)]
        yield Attack("content type", repr(kind), method, target, headers, good, refused=not accepted)
    for encoding in _ENCODINGS:
        headers = [*JSON, (b"Content-Encoding", encoding)]
        yield Attack("encoding", repr(encoding), method, target, headers, good, refused=True)
    for label, raw in _gzips(good, largest):
        yield Attack("gzip", label, method, target, GZIP, raw, refused=True)
    for label, raw in _whole_gzips(good):
        yield Attack("gzip", label, method, target, GZIP, raw)
    large = b'{"' + CANARY.encode() + b'":"' + b"x" * largest
    for size in (largest + 1, largest):
        whole = large[: size - 2] + b'"}'
        yield Attack("size", f"{size} bytes", method, target, JSON, whole, refused=size > largest)
    for declared in (largest + 1, 10**15, 10**18):
        headers = [*JSON, (b"Content-Length", b"%d" % declared)]
        yield Attack("size", f"declared {declared}", method, target, headers, b"", refused=True, framed=True)


def packed(raw: bytes, level: int = 9) -> bytes:
    """The same bytes whenever it is called."""
    return gzip.compress(raw, level, mtime=0)


@functools.cache
def _spaces(size: int) -> bytes:
    return packed(b" " * size)


def _whole_gzips(good: bytes) -> list[tuple[str, bytes]]:
    """Those that are odd and right."""
    whole = packed(good)
    return [
        ("whole", whole),
        ("two members", packed(good[:7]) + packed(good[7:])),
        ("an empty member first", packed(b"") + whole),
        ("a long name", whole[:3] + b"\x08" + whole[4:10] + b"n" * 100_000 + b"\x00" + whole[10:]),
        ("stored, not compressed", packed(good, 0)),
    ]


_CONTENT_TYPES: Mapping[bytes, bool] = {
    b"application/json; charset=utf-8": True,
    b"APPLICATION/JSON": True,
    b"application/vnd.x+json": True,
    **dict.fromkeys(
        [
            *(b"", b" ", b"text/plain", b"text/json", b"text/html", b"application/xml", b"*/*", b"json"),
            *(
                b"application/x-www-form-urlencoded",
                b"multipart/form-data; boundary=x",
                b"multipart/form-data",
            ),
            *(
                b"application/json; charset=utf-16",
                b"application/json; charset=latin-1",
                b"application/jsonp",
            ),
            *(b"application/json, text/plain", b"application/json\x0b", b"application/octet-stream"),
            *(
                b"application/msgpack",
                b"application/x-ndjson",
                b"\xff\xfe",
                b"application/json; boundary=" + b"x" * 4096,
            ),
            *(b"application/" + CANARY.encode(), b"application/json;charset=" + CANARY.encode()),
        ],
        False,
    ),
}
_ENCODINGS = [
    *(
        b"gzip",
        b"deflate",
        b"br",
        b"zstd",
        b"compress",
        b"gzip, gzip",
        b"gzip, identity",
        b"x-" + CANARY.encode(),
    ),
    *(b"", b"*", b"\xff", b"gzip;q=1", b"identity, gzip", b"utf-8", b"aws-chunked", b"gzip" * 1000),
]


def _gzips(good: bytes, largest: int) -> list[tuple[str, bytes]]:
    whole = packed(good)
    bomb = _spaces(100 * MIB)
    return [
        *((f"cut after {cut}", whole[:cut]) for cut in (0, 1, 2, 9, 10, len(whole) // 2, len(whole) - 9)),
        *((f"cut after {cut}", whole[:cut]) for cut in (len(whole) - 8, len(whole) - 4, len(whole) - 1)),
        *(
            (f"bit {bit} flipped", _flipped(whole, bit))
            for bit in range(80, len(whole) * 8, len(whole) // 4 * 8)
        ),
        ("wrong checksum", whole[:-8] + b"\x00\x00\x00\x00" + whole[-4:]),
        ("wrong length", whole[:-4] + b"\xff\xff\xff\xff"),
        ("rest behind", whole + b"rest"),
        ("NUL behind", whole + b"\x00" * 512),
        ("twice", whole + whole),
        ("65 members", b"".join(packed(b" ") for _ in range(65)) + whole),
        ("1,000 empty members", packed(b"") * 1000 + whole),
        ("zlib", zlib.compress(good)),
        ("raw deflate", zlib.compress(good)[2:-4]),
        ("gzip of gzip", packed(whole)),
        ("plain", good),
        ("100 MiB of spaces", bomb),
        ("100 MiB in ten members", _spaces(10 * MIB) * 10),
        ("one byte too many", packed(good) + _spaces(largest + 1 - len(good))),
        ("a bomb in a bomb", packed(bomb, 9)),
        ("no end of the name", whole[:3] + b"\x08" + whole[4:10] + b"n" * 100_000),
        ("unknown method", whole[:2] + b"\x09" + whole[3:]),
        ("reserved flags", whole[:3] + b"\xe0" + whole[4:]),
    ]


def _flipped(raw: bytes, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)
