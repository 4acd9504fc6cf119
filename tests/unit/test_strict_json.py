"""Bodies that are meant to hurt: each is refused with its code, or taken as what it says."""

import json
import time
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargewatch.server.platform import strict_json
from chargewatch.server.platform.problems import Problem


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Item(msgspec.Struct, forbid_unknown_fields=True):
    value: msgspec.Raw
    name: Annotated[str, msgspec.Meta(max_length=5)] | None = None


class Body(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    number: float | None = None
    count: int | None = None
    flag: bool | None = None
    colour: Colour | None = None
    kind: Literal["a", "b"] | None = None
    items: list[Item] | None = None
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    metadata: Any = None


def refused(body: bytes, type_: type = Body) -> Problem:
    with pytest.raises(Problem) as caught:
        strict_json.decode(body, type_)
    return caught.value


NOT_JSON = [
    b"",
    b" ",
    b"\x00",
    b"nope",
    b"{",
    b"}",
    b'{"id"}',
    b'{"id":}',
    b'{"id":"x",}',
    b"{'id':'x'}",
    b'{id:"x"}',
    b'{"id":"x"} {}',
    b'{"id":"x"}x',
    b'{"id":"x"}\x00',
    b'{"id":"x" "number":1}',
    b'{"id":"a\x00b"}',
    b'{"id":"a\nb"}',
    b'{"id":"\\x41"}',
    b'{"id":"\\u12"}',
    b'{"id":"x","number":01}',
    b'{"id":"x","number":1.}',
    b'{"id":"x","number":.5}',
    b'{"id":"x","number":+1}',
    b'{"id":"x","number":0x10}',
    b'{"id":"x","number":1_000}',
    b'{"id":"x","number":nan}',
    b'{"id":"x","number":inf}',
    b'{"id":"x","flag":True}',
    b'{"id":"x","flag":undefined}',
    b'// comment\n{"id":"x"}',
    b'{"id":"x" /* comment */}',
    b'\xef\xbb\xbf{"id":"x"}',
    b'\xff\xfe{\x00"\x00',
    '{"id":"x"}'.encode("utf-16"),
    '{"id":"x"}'.encode("utf-32-le"),
    b'{"id":"\xff"}',
    b'{"id":"\xc3"}',
    b'{"id":"\xed\xa0\x80"}',
    b'{"id":"\xc0\x80"}',
    b'{"id":"\xf5\x80\x80\x80"}',
    b'\xa0{"id":"x"}',
    '\u00a0{"id":"x"}'.encode(),
    '\u2028{"id":"x"}'.encode(),
]

REFUSED = [
    (b'{"id":"x","id":"x"}', "duplicate_key"),
    (b'{"id":"x","id":"y"}', "duplicate_key"),
    (b'{"id":"x","\\u0069d":"y"}', "duplicate_key"),
    (b'{"id":"x","metadata":{"a":1,"a":2}}', "duplicate_key"),
    (b'{"id":"x","metadata":[[{"a":{"b":1,"b":1}}]]}', "duplicate_key"),
    (b'{"id":"x","items":[{"value":1,"value":2}]}', "duplicate_key"),
    (b'{"id":"x","metadata":{"":1,"":2}}', "duplicate_key"),
    (b'{"id":"\\u0000"}', "invalid_character"),
    (b'{"id":"x","metadata":{"\\u0000":1}}', "invalid_character"),
    (b'{"id":"x\\\\\\u0000"}', "invalid_character"),
    (b'{"id":"\\ud800"}', "invalid_character"),
    (b'{"id":"\\udc00"}', "invalid_character"),
    (b'{"id":"\\uD83D"}', "invalid_character"),
    (b'{"id":"\\ud83d\\ud83d\\ude00"}', "invalid_character"),
    (b'{"id":"\\ud83d \\ude00"}', "invalid_character"),
    (b'{"id":"\\ud83d\\n\\ude00"}', "invalid_character"),
    (b'{"id":"\\ud83d\\u0041"}', "invalid_character"),
    (b'{"id":"\\ude00\\ud83d"}', "invalid_character"),
    (b'{"id":"\\ud83d","metadata":"\\ude00"}', "invalid_character"),
    (b'{"id":"x","metadata":{"\\udfff":1}}', "invalid_character"),
    (b'{"id":"x","number":NaN}', "number_out_of_range"),
    (b'{"id":"x","number":Infinity}', "number_out_of_range"),
    (b'{"id":"x","number":-Infinity}', "number_out_of_range"),
    (b'{"id":"x","metadata":{"a":[NaN]}}', "number_out_of_range"),
    (b'{"id":"x","number":1e400}', "number_out_of_range"),
    (b'{"id":"x","number":-1e400}', "number_out_of_range"),
    (b'{"id":"x","items":[{"value":1e309}]}', "number_out_of_range"),
    (b'{"id":"x","metadata":1e131071}', "number_out_of_range"),
    (b'{"id":"x","metadata":' + b"9" * 309 + b"}", "number_out_of_range"),
    (b'{"id":"x","count":' + b"1" * 5001 + b"}", "number_out_of_range"),
    (b'{"id":"x","metadata":-' + b"1" * 400 + b".5}", "number_out_of_range"),
    (b"[" * 100_000, "too_deep"),
    (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep"),
    (b'{"id":"x","metadata":' + b'[{"a":' * 50_000 + b"1" + b"}]" * 50_000 + b"}", "too_deep"),
]

WRONG = [
    (b"[]", [], "type_error"),
    (b"null", [], "type_error"),
    (b'"text"', [], "type_error"),
    (b"1", [], "type_error"),
    (b"{}", ["id"], "missing"),
    (b'{"id":null}', ["id"], "type_error"),
    (b'{"id":1}', ["id"], "type_error"),
    (b'{"id":"x","number":true}', ["number"], "type_error"),
    (b'{"id":"x","number":"1"}', ["number"], "type_error"),
    (b'{"id":"x","count":1.5}', ["count"], "type_error"),
    (b'{"id":"x","flag":0}', ["flag"], "type_error"),
    (b'{"id":"x","colour":"SECRET"}', ["colour"], "unknown_value"),
    (b'{"id":"x","kind":"SECRET"}', ["kind"], "unknown_value"),
    (b'{"id":"x","share":1.5}', ["share"], "constraint"),
    (b'{"id":"x","SECRET":1}', [], "unknown_field"),
    (b'{"id":"x","items":{}}', ["items"], "type_error"),
    (b'{"id":"x","items":[{"value":1},{}]}', ["items", 1, "value"], "missing"),
    (b'{"id":"x","items":[{"value":1,"SECRET":2}]}', ["items", 0], "unknown_field"),
    (b'{"id":"x","items":[{"value":1,"name":"SECRET"}]}', ["items", 0, "name"], "constraint"),
    (b'{"id":"x","items":[{"value":1,"name":[]}]}', ["items", 0, "name"], "type_error"),
]

TAKEN = [
    (b'{"id":"x"}', Body(id="x")),
    (b' \t\r\n{ "id" : "x" } \n', Body(id="x")),
    (b'{"id":"","number":null}', Body(id="")),
    (b'{"id":"\\ud83d\\ude00"}', Body(id="\U0001f600")),
    ('{"id":"\U0001f600"}'.encode(), Body(id="\U0001f600")),
    (b'{"id":"\\\\u0000"}', Body(id="\\u0000")),
    (b'{"id":"\\\\ud800"}', Body(id="\\ud800")),
    (b'{"id":"a\\"b:\\/"}', Body(id='a"b:/')),
    (b'{"id":"\\u00fc\\u0001"}', Body(id="\u00fc\u0001")),
    (b'{"id":"x","number":1e308}', Body(id="x", number=1e308)),
    (b'{"id":"x","number":1e-400}', Body(id="x", number=0.0)),
    (b'{"id":"x","number":-0}', Body(id="x", number=0.0)),
    (b'{"id":"x","metadata":{"a":{"b":1},"b":1}}', Body(id="x", metadata={"a": {"b": 1}, "b": 1})),
    (b'{"id":"NaN, Infinity"}', Body(id="NaN, Infinity")),
]


@pytest.mark.parametrize("body", NOT_JSON)
def test_what_is_not_json_is_a_400(body: bytes) -> None:
    problem = refused(body)
    assert (problem.status, problem.code) == (400, "malformed_json")


@pytest.mark.parametrize(("body", "code"), REFUSED, ids=lambda case: str(case)[:40])
def test_json_that_is_not_acceptable_is_a_422(body: bytes, code: str) -> None:
    problem = refused(body)
    assert (problem.status, problem.code) == (422, code)
    assert [(error.loc, error.type) for error in problem.errors] == [((), code)]


@pytest.mark.parametrize(("body", "loc", "kind"), WRONG)
def test_a_wrong_type_is_a_422_with_its_place(body: bytes, loc: list[str | int], kind: str) -> None:
    problem = refused(body)
    assert (problem.status, problem.code) == (422, "validation_error")
    assert [([*error.loc], error.type) for error in problem.errors] == [(loc, kind)]
    assert b"SECRET" not in problem.document("r")


@pytest.mark.parametrize(("body", "value"), TAKEN)
def test_what_is_right_is_taken(body: bytes, value: Body) -> None:
    assert strict_json.decode(body, Body) == value


def test_there_are_enough_hostile_bodies() -> None:
    assert len(NOT_JSON) + len(REFUSED) + len(WRONG) >= 90


def test_an_error_names_what_would_be_right() -> None:
    assert refused(b'{"id":"x","colour":"pink"}').errors[0].msg == "must be one of red, blue"
    assert "id, number, count" in refused(b'{"id":"x","typo":1}').errors[0].msg
    assert "it takes value, name" in refused(b'{"id":"x","items":[{"valeu":1}]}').errors[0].msg


def test_a_name_of_the_client_s_own_is_no_part_of_a_place() -> None:
    problem = refused(b'{"SECRET":{"deep":"x"}}', dict[str, dict[str, int]])
    assert problem.errors[0].loc == ("*", "*")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_problem(body: bytes) -> None:
    problem = None
    try:
        strict_json.decode(body, Any)
    except Problem as caught:
        problem = caught
    assert problem is None or problem.status in (400, 422)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_VALUES, st.booleans())
def test_any_sane_value_passes_however_it_is_written(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    sane = not any("\0" in part or _is_lone(part) for part in _texts(value))
    try:
        strict_json.check(text.encode())
    except (Problem, UnicodeEncodeError):
        assert not sane
    else:
        assert sane


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return []


def _is_lone(text: str) -> bool:
    return any(0xD800 <= ord(character) <= 0xDFFF for character in text)


def test_25_readings_cost_little() -> None:
    readings = [
        {"timestamp": f"2026-02-27T10:{i:02}:00Z", "value": i * 1.5, "unit": "kWh", "measurand": "Energy"}
        for i in range(25)
    ]
    body = json.dumps({"id": "x", "metadata": readings}).encode()
    best_us = min(_microseconds(body) for _ in range(20))
    print(f"strict_json.decode of 25 readings ({len(body)} bytes): {best_us:.1f} µs")
    assert best_us < 150  # 25 µs on an idle machine; the bound leaves room for a busy one


def _microseconds(body: bytes, rounds: int = 100) -> float:
    began = time.process_time()
    for _ in range(rounds):
        strict_json.decode(body, Body)
    return (time.process_time() - began) / rounds * 1e6
