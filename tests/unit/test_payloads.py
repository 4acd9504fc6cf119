"""From request bodies to readings and attributes; every fault is named with its place."""

import msgspec
import pytest

from chargewatch.server.sessions import payloads
from chargewatch.server.sessions.payloads import InvalidField
from chargewatch.server.sessions.schemas import ReadingsIn, SessionIn


def session(text: str) -> SessionIn:
    return msgspec.json.decode(text, type=SessionIn)


def readings(text: str) -> ReadingsIn:
    return msgspec.json.decode(text, type=ReadingsIn)


def one_reading(**fields: object) -> ReadingsIn:
    value = {"timestamp": "2026-02-27T10:00:00Z", "value": 1, **fields}
    return readings(msgspec.json.encode({"meter_values": [value]}).decode())


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ("5.5", "5.5"),
        ('"5.50"', "5.50"),
        ("1e3", "1e3"),
        ("-0.0", "-0.0"),
        ('"007"', "007"),
        ("12345678901234567890", "12345678901234567890"),
    ],
)
def test_the_digits_of_a_value_are_kept(sent, text):
    body = readings(f'{{"meter_values": [{{"timestamp": "2026-02-27T10:00:00Z", "value": {sent}}}]}}')
    assert payloads.readings(body.meter_values)[0].text == text


@pytest.mark.parametrize(
    "sent", ['""', '"1,5"', '" 1"', "true", "null", "[1]", "{}", '"NaN"', '"Infinity"', '"0x10"', "1e999"]
)
def test_what_is_no_number_is_refused_with_its_place(sent):
    body = readings(f'{{"meter_values": [{{"timestamp": "2026-02-27T10:00:00Z", "value": {sent}}}]}}')
    with pytest.raises(InvalidField) as refused:
        payloads.readings(body.meter_values)
    assert refused.value.place == ("meter_values", 0, "value")


@pytest.mark.parametrize(
    "sent", ["2026-02-27", "yesterday", "1772186400", "2026-02-30T00:00:00Z", "2026-02-27T24:00:00Z", ""]
)
def test_what_is_no_time_is_refused_with_its_place(sent):
    with pytest.raises(InvalidField) as refused:
        payloads.readings(one_reading(timestamp=sent).meter_values)
    assert refused.value.place == ("meter_values", 0, "timestamp")


def test_signed_data_is_taken_as_text():
    reading = payloads.readings(one_reading(value="OCMF|{}|x", format="SignedData").meter_values)[0]
    assert reading.text == "OCMF|{}|x"


def test_control_characters_in_names_are_refused():
    with pytest.raises(InvalidField) as refused:
        payloads.readings(one_reading(measurand="So\x07C").meter_values)
    assert refused.value.place == ("meter_values", 0, "measurand")


def test_the_charging_point_is_another_name_of_the_station():
    assert payloads.location(session('{"session_id": "s", "charging_point_id": "CP"}')).station == "CP"
    with pytest.raises(InvalidField):
        payloads.location(
            session('{"session_id": "s", "charging_point_id": "A", "charging_station_id": "B"}')
        )
    with pytest.raises(InvalidField) as refused:
        payloads.location(session('{"session_id": "s"}'))
    assert refused.value.kind == "missing"


def test_numbers_are_accepted_as_connector_and_kept_as_text():
    where = payloads.location(
        session('{"session_id": "s", "charging_station_id": "A", "connector_id": 1, "evse_id": 2}')
    )
    assert (where.evse_id, where.connector_id) == ("2", "1")


@pytest.mark.parametrize("bad", ["", "a/b", ".", "..", " a", "a ", "a\x00", "x" * 256, "batch"])
def test_ids_that_cannot_be_ids_are_refused(bad):
    with pytest.raises(InvalidField) as refused:
        payloads.session_id(SessionIn(session_id=bad))
    assert refused.value.place == ("session_id",)


def test_ids_are_compared_in_normal_form():
    assert payloads.session_id(SessionIn(session_id="Cafe\u0301")) == "Caf\u00e9"


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    ("metadata", "fine"),
    [
        ("{}", True),
        (nested(8), True),
        (nested(9), False),
        ("[]", False),
        ('"text"', False),
        (f'{{"a": "{"x" * (16 * 1024 - 9)}"}}', True),
        (f'{{"a": "{"x" * (16 * 1024)}"}}', False),
        (f'{{"a": {"1" * 40}}}', True),
        (f'{{"a": {"1" * 41}}}', False),
    ],
)
def test_metadata_is_a_bounded_object(metadata, fine):
    body = session(f'{{"session_id": "s", "charging_station_id": "A", "metadata": {metadata}}}')
    if fine:
        assert payloads.attributes(body).metadata == metadata
    else:
        with pytest.raises(InvalidField) as refused:
            payloads.attributes(body)
        assert refused.value.place == ("metadata",)


def test_null_equals_absent():
    body = session(
        '{"session_id": "s", "charging_station_id": "A", "metadata": null, "managed": null, "started_at": null,'
        ' "ended_at": null, "stop_reason": null, "meter_values": null, "connector_id": null}'
    )
    assert payloads.attributes(body) == (None, None, None, None, None)
    assert payloads.readings(body.meter_values) == []


def test_an_end_before_the_start_is_refused():
    with pytest.raises(InvalidField) as refused:
        payloads.attributes(
            SessionIn(session_id="s", started_at="2026-02-27T10:00:00Z", ended_at="2026-02-27T09:00:00Z")
        )
    assert refused.value.place == ("ended_at",)
