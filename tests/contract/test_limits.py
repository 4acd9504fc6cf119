"""Every limit at its edge: what just fits is taken, one more is refused, and nothing of it is stored (H10)."""

import gzip
import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
LARGEST_BODY = 16 * MIB
LARGEST_RATIO = 100
MOST_READINGS = 200_000
JSON = {"Content-Type": "application/json"}
GZIP = {**JSON, "Content-Encoding": "gzip"}

Body = dict[str, Any]


def body(**fields: Any) -> Body:
    return {"session_id": "at-the-edge", "charging_station_id": "CP-1", **fields}


def reading(**fields: Any) -> Body:
    return {"meter_values": [{"timestamp": "2026-02-27T10:00:00Z", "value": 1, **fields}]}


def nested(levels: int) -> Body:
    inner: Body = {}
    for _ in range(levels - 1):
        inner = {"x": inner}
    return inner


def metadata_of(size: int) -> str:
    """A JSON text of exactly so many bytes, in which letters have two."""
    rest = size - len('{"x":""}')
    return '{"x":"' + "é" * (rest // 2) + "y" * (rest % 2) + '"}'


def raw(name: str, text: str) -> bytes:
    """A body with a piece of JSON in it as it stands."""
    return json.dumps(body(**{name: "@"})).replace('"@"', text).encode()


EDGES: dict[str, tuple[Callable[[int], Body | bytes], int]] = {
    "session_id": (lambda n: body(session_id="s" * n), 255),
    "session_id of accented letters": (lambda n: body(session_id="e\u0301" * n), 255),
    "charging_station_id": (lambda n: body(charging_station_id="\U0001f50c" * n), 255),
    "charging_point_id": (lambda n: {"session_id": "at-the-edge", "charging_point_id": "p" * n}, 255),
    "evse_id": (lambda n: body(evse_id="e" * n), 255),
    "connector_id": (lambda n: body(connector_id="c" * n), 255),
    "connector_id as a number": (lambda n: raw("connector_id", "1" * n), 255),
    "stop_reason": (lambda n: body(stop_reason="r" * n), 255),
    **{
        name: (lambda n, name=name: body(**reading(**{name: "m" * n})), 255)  # type: ignore[misc]
        for name in ("measurand", "unit", "phase", "location", "context", "format")
    },
    "value as text": (lambda n: body(**reading(value="1" * n)), 64),
    "value as a number": (
        lambda n: raw("meter_values", '[{"timestamp":"2026-02-27T10:00:00Z","value":%s}]' % ("1" * n)),
        64,
    ),
    "value of signed data": (lambda n: body(**reading(value="s" * n, format="SignedData")), 10_000),
    "value as a power of ten": (lambda n: body(**reading(value=f"1e{n}")), 308),
    "metadata in bytes": (lambda n: raw("metadata", metadata_of(n)), 16 * 1024),
    "metadata in levels": (lambda n: body(metadata=nested(n)), 8),
    "digits of a number in metadata": (lambda n: raw("metadata", '{"x":%s}' % ("9" * n)), 40),
    "a number in metadata as a power of ten": (lambda n: raw("metadata", f'{{"x":1e{n}}}'), 308),
    "the year of a reading": (lambda n: body(**reading(timestamp=f"{n}-12-31T23:59:59.999999Z")), 9999),
    "the hour of a reading": (lambda n: body(**reading(timestamp=f"2026-02-27T{n}:59:59Z")), 23),
    "the second of a reading": (lambda n: body(**reading(timestamp=f"2016-12-31T23:59:{n}Z")), 60),
    "the day of a reading": (lambda n: body(**reading(timestamp=f"2024-02-{n}T10:00:00Z")), 29),
    "the offset of a reading": (lambda n: body(**reading(timestamp=f"2026-02-27T10:00:00-23:{n}")), 59),
    "the offset of the last year": (lambda n: body(ended_at=f"9999-12-31T23:{n}:00-00:09"), 50),
}


@pytest.mark.parametrize("levels", [9, 400, 900])
async def test_metadata_that_is_much_too_deep(api: httpx.AsyncClient, levels: int) -> None:
    answer = await post(api, raw("metadata", '{"x":' * levels + "1" + "}" * levels))
    assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "too_deep")


async def stored(api: httpx.AsyncClient) -> Any:
    return (await api.get("/v1/sessions", params={"status": "all"})).json()


@pytest.mark.parametrize("edge", EDGES)
async def test_a_body_at_the_edge_of_a_limit(api: httpx.AsyncClient, edge: str) -> None:
    make, limit = EDGES[edge]
    before = await stored(api)
    beyond = await post(api, make(limit + 1))
    assert beyond.status_code == 422, beyond.text
    assert beyond.json()["errors"]
    assert await stored(api) == before
    fits = await post(api, make(limit))
    assert fits.status_code == 200, fits.text


async def post(api: httpx.AsyncClient, what: Body | bytes) -> httpx.Response:
    content = what if isinstance(what, bytes) else json.dumps(what).encode()
    return await api.post("/v1/sessions", content=content, headers=JSON)


@pytest.mark.parametrize(
    "first",
    ["0001-01-01T00:00:00Z", "0001-01-01T23:59:00+23:59", "9999-12-31T23:59:59.9999999Z"],
)
async def test_the_first_and_the_last_instant_come_back(api: httpx.AsyncClient, first: str) -> None:
    answer = await post(api, body(session_id=f"instant {first}", **reading(timestamp=first)))
    assert answer.status_code == 200, answer.text
    (shown,) = (await api.get(f"/v1/sessions/instant {first}")).json()["meter_values"]
    assert shown["timestamp"] in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")


@pytest.mark.parametrize("before", ["0000-12-31T23:59:59Z", "0001-01-01T00:00:00+00:01"])
async def test_what_is_before_the_first_instant(api: httpx.AsyncClient, before: str) -> None:
    assert (await post(api, body(**reading(timestamp=before)))).status_code == 422


@pytest.mark.parametrize("number", ["1e131071", "-1e131071", "1e309", "9" * 41, "0." + "1" * 39])
async def test_numbers_in_metadata_that_a_database_would_spell_out(
    api: httpx.AsyncClient, number: str
) -> None:
    answer = await post(api, raw("metadata", f'{{"deep":[{{"x":{number}}}]}}'))
    assert answer.status_code == 422
    assert number not in answer.text


@pytest.mark.parametrize("size", [255, 256])
async def test_ids_in_paths(api: httpx.AsyncClient, size: int) -> None:
    await post(api, body(session_id="p" * 255))
    answer = await api.get("/v1/sessions/" + "p" * size)
    assert answer.status_code == (200 if size == 255 else 404)


@pytest.mark.parametrize(
    ("path", "name", "least", "most"),
    [
        ("/v1/sessions", "page_size", 1, 100),
        ("/v1/sessions", "page", 1, 10_000_000),
        ("/v1/sessions", "min_score", 0, 1),
        ("/v1/sessions", "min_confidence", 0, 1),
        ("/v1/stations", "page_size", 1, 100),
        ("/v1/stations", "page", 1, 10_000_000),
    ],
)
async def test_parameters(api: httpx.AsyncClient, path: str, name: str, least: int, most: int) -> None:
    for value, status in ((least, 200), (most, 200), (least - 1, 422), (most + 1, 422)):
        answer = await api.get(path, params={name: value})
        assert answer.status_code == status, (value, answer.text)


@pytest.mark.parametrize(("size", "status"), [(1, 200), (255, 200), (256, 422), (0, 422)])
async def test_idempotency_keys(api: httpx.AsyncClient, size: int, status: int) -> None:
    headers = {"Idempotency-Key": "k" * size}
    answer = await api.post("/v1/sessions", json=body(session_id=f"keyed {size}"), headers=headers)
    assert answer.status_code == status, answer.text


# --- sizes of bodies


def padded(size: int, padding: bytes = b" ") -> bytes:
    """A body of exactly so many bytes."""
    whole = json.dumps(body(session_id="large")).encode()
    return whole + (padding * (size // len(padding) + 1))[: size - len(whole)]


@pytest.mark.parametrize(("size", "status"), [(LARGEST_BODY, 200), (LARGEST_BODY + 1, 413)])
async def test_the_size_of_a_body(api: httpx.AsyncClient, size: int, status: int) -> None:
    answer = await api.post("/v1/sessions", content=padded(size), headers=JSON)
    assert answer.status_code == status, answer.text
    assert status == 200 or "16 MiB" in answer.json()["detail"]


@pytest.mark.parametrize(("size", "status"), [(LARGEST_BODY, 200), (LARGEST_BODY + 1, 413)])
async def test_the_size_of_an_inflated_body(api: httpx.AsyncClient, size: int, status: int) -> None:
    noise = bytes(random.Random(1).choices(b" \t\r\n", k=MIB))
    sent = gzip.compress(padded(size, noise), 1, mtime=0)
    assert len(sent) * LARGEST_RATIO > size
    answer = await api.post("/v1/sessions", content=sent, headers=GZIP)
    assert answer.status_code == status, answer.text


def gzip_of(whole: bytes, size: int) -> bytes:
    """A gzip member of exactly so many bytes: a name of a file fills it up."""
    deflated = zlib.compress(whole, 9, -15)
    tail = struct.pack("<II", zlib.crc32(whole), len(whole))
    head = b"\x1f\x8b\x08\x08" + bytes(6)
    room = size - len(head) - len(deflated) - len(tail) - 1
    assert room >= 0
    return head + b"n" * room + b"\0" + deflated + tail


async def test_the_ratio_of_a_compressed_body(api: httpx.AsyncClient) -> None:
    size = 10 * MIB // LARGEST_RATIO
    for inflated, status in ((size * LARGEST_RATIO, 200), (size * LARGEST_RATIO + 1, 413)):
        sent = gzip_of(padded(inflated), size)
        answer = await api.post("/v1/sessions", content=sent, headers=GZIP)
        assert (len(sent), answer.status_code) == (size, status), answer.text


# --- readings of a session


def readings(count: int, begin: int = 0) -> bytes:
    """The meter values from one number to another, as JSON."""
    return b",".join(
        b'{"timestamp":"2026-02-27T%02d:%02d:%02d.%03d","value":%d}'
        % (n // 36_000, n // 600 % 60, n // 10 % 60, n % 10, n)
        for n in range(begin, begin + count)
    )


@pytest.mark.parametrize("most", [10_000, pytest.param(MOST_READINGS, marks=pytest.mark.soak)])
async def test_the_readings_of_a_session_through_many_calls(
    api: httpx.AsyncClient, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a smaller limit beside other tests; that it is 200,000 is in ``test_contract_section_2.py``."""
    monkeypatch.setattr("chargewatch.server.sessions.service.MOST_READINGS", most)
    head = b'{"session_id":"long-%d","charging_station_id":"CP-1","meter_values":[' % most
    full = await api.post("/v1/sessions", content=head + readings(most - 1) + b"]}", headers=JSON)
    assert full.status_code == 200, full.text

    async def append(count: int, begin: int) -> httpx.Response:
        sent = b'{"meter_values":[' + readings(count, begin) + b"]}"
        return await api.patch(f"/v1/sessions/long-{most}", content=sent, headers=JSON)

    two = await append(2, most - 1)
    assert (two.status_code, two.json()["code"]) == (413, "too_many_readings")
    one = await append(1, most - 1)
    assert (one.status_code, one.json()["version"]) == (200, 2), one.text
    more = await append(1, most)
    assert (more.status_code, more.json()["code"]) == (413, "too_many_readings")
    repeat = await append(1, 0)
    assert (repeat.status_code, repeat.json()["version"]) == (200, 2)
    replaced = await api.post("/v1/sessions", content=head + readings(most + 1) + b"]}", headers=JSON)
    assert replaced.status_code == 413
    kept = (await api.get(f"/v1/sessions/long-{most}")).json()
    assert (kept["version"], len(kept["meter_values"])) == (2, most)
