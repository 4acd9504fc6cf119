"""The standards' own JSON schemas (package `ocpp`) as twin: what they allow is read; and what checking them costs.

The readers are decoders of their own, since a schema refuses what an operator wants to keep (vendors' measurands, a
transactionId as text) and takes ten times as long. So the schemas are used from the other side: whatever
they allow, the readers take.
"""

import functools
import json
import time
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargewatch.ingest.ocpp_frames import read_frame, read_message
from chargewatch.ingest.transaction_messages import MeterValuesReported, TransactionEnded, TransactionStarted
from tests.ocpp_frames import values16

Schema = dict[str, Any]
SAID = MeterValuesReported | TransactionStarted | TransactionEnded

CASES = {
    ("v16", "MeterValues"): "ocpp1.6",
    ("v16", "StartTransaction"): "ocpp1.6",
    ("v16", "StopTransaction"): "ocpp1.6",
    ("v201", "TransactionEvent"): "ocpp2.0.1",
    ("v201", "MeterValues"): "ocpp2.0.1",
    ("v21", "TransactionEvent"): "ocpp2.1",
    ("v21", "MeterValues"): "ocpp2.1",
}


@functools.cache
def schema_of(version: str, action: str) -> Schema:
    name = f"{action}.json" if version == "v16" else f"{action}Request.json"
    text = files("ocpp").joinpath(version, "schemas", name).read_text(encoding="utf-8-sig")
    schema: Schema = json.loads(text)
    return schema


TIMES = st.datetimes(allow_imaginary=False).map(lambda at: at.isoformat() + "Z")
#: What schemas leave open and the standards' text does not: a value of 1.6 is a number as text, ids are readable.
TEXTS = {
    "value": st.decimals(-1000, 10**9, allow_nan=False, allow_infinity=False, places=3).map(str),
    "transactionId": st.text("abcdefghijklmnopqrstuvwxyz0123456789-*=:+|@._", min_size=1, max_size=36),
}
INTEGERS = {"multiplier": st.integers(-9, 9), "transactionId": st.integers(1, 2**31 - 2)}


def values(schema: Schema, root: Schema, name: str = "") -> st.SearchStrategy[Any]:
    """Values that a schema allows."""
    if "$ref" in schema:
        return values(
            functools.reduce(lambda at, step: at[step], schema["$ref"][2:].split("/"), root), root, name
        )
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if kind == "object":
        return objects(schema, root)
    if kind == "array":
        most = min(schema.get("maxItems", 3), 3)
        return st.lists(
            values(schema["items"], root, name), min_size=schema.get("minItems", 0), max_size=most
        )
    if kind == "string":
        if schema.get("format") == "date-time":
            return TIMES
        return TEXTS.get(name, st.text("aä-7 ", max_size=min(schema.get("maxLength", 20), 20)))
    if kind == "integer":
        least, most = int(schema.get("minimum", 0)), int(schema.get("maximum", 1000))
        return INTEGERS.get(name, st.integers(least, most))
    if kind == "number":
        return st.floats(schema.get("minimum", -1e9), schema.get("maximum", 1e9))
    return st.booleans() if kind == "boolean" else st.just({})


def objects(schema: Schema, root: Schema) -> st.SearchStrategy[Any]:
    required = set(schema.get("required", ()))
    properties = {n: values(p, root, n) for n, p in schema.get("properties", {}).items() if n != "customData"}
    return st.fixed_dictionaries(
        {n: s for n, s in properties.items() if n in required},
        optional={n: s for n, s in properties.items() if n not in required},
    )


@pytest.mark.parametrize(("version", "action"), CASES)
def test_what_the_schema_allows_is_read(version: str, action: str) -> None:
    schema = schema_of(version, action)
    validator = jsonschema.validators.validator_for(schema)(schema)

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(payload=values(schema, schema))
    def check(payload: Any) -> None:
        validator.validate(payload)
        frame = read_frame(json.dumps([2, "m", action, payload]).encode())
        for protocol in (None, CASES[version, action]):
            message = read_message(frame, protocol)
            assert isinstance(message, SAID)
            assert len(message.readings) == sampled(payload)

    check()


def sampled(payload: Any) -> int:
    """How many readings a payload has, its registers at begin and end left out of the count for starts."""
    listed = payload.get("meterValue", []) + payload.get("transactionData", [])
    return sum(len(value["sampledValue"]) for value in listed) + ("meterStop" in payload)


def test_the_readers_are_much_faster_than_the_schema() -> None:
    schema = schema_of("v16", "MeterValues")
    validator = jsonschema.Draft4Validator(schema)
    frame = values16("m", 0, 1000, 3)
    frame[3]["meterValue"][0]["sampledValue"] *= 8
    raw = json.dumps(frame).encode()

    def seconds(work: Any, times: int) -> float:
        best = float("inf")
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(times):
                work()
            best = min(best, (time.perf_counter() - began) / times)
        return best

    reading = seconds(lambda: read_message(read_frame(raw)), 200)
    checking = seconds(lambda: validator.validate(frame[3]), 20)
    print(f"reading a frame: {reading * 1e6:.1f} µs; only checking its schema: {checking * 1e6:.0f} µs")
    assert reading < checking
