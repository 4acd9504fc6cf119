"""The contract's section 2, sentence by sentence: meter values, their vocabulary, keys, notes and preferences."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import pytest

from chargewatch.client import AsyncClient, MeterValue, SessionDetail, SessionState, TooLarge
from chargewatch.domain import vocabulary
from chargewatch.server.sessions.service import MOST_READINGS

pytestmark = pytest.mark.anyio

START = datetime(2026, 2, 27, 10, tzinfo=UTC)
INTERVAL = "Energy.Active.Import.Interval"
POWER = "Power.Active.Import"


def at(minute: float, value: object, unit: str | None = "Wh", **fields: Any) -> MeterValue:
    return MeterValue(START + timedelta(minutes=minute), value, unit=unit, **fields)


def rising(*values: float, every: float = 10, **fields: Any) -> list[MeterValue]:
    return [at(every * i, v, **fields) for i, v in enumerate(values)]


async def pushed(client: AsyncClient, values: Sequence[MeterValue], **fields: Any) -> SessionState:
    return await client.create_session(f"s-{uuid4()}", f"CP-{uuid4()}", values, **fields)


async def stored(client: AsyncClient, values: Sequence[MeterValue], *, raw: bool = False) -> SessionDetail:
    state = await pushed(client, values)
    return await client.get_session(state.session_id, raw=raw)


# --- what a meter value is ---------------------------------------------------------------------------------

EVERY_FIELD = MeterValue(
    "2026-02-27T10:00:00Z", 16, "Current.Import", "A", phase="L2", location="Body", context="Trigger", format="Raw"
)  # fmt: skip


async def test_a_meter_value_has_the_same_fields_in_post_put_and_patch(client: AsyncClient) -> None:
    name = f"s-{uuid4()}"
    await client.create_session(name, "CP-1", [EVERY_FIELD])
    by_post = (await client.get_session(name)).meter_values
    await client.replace_session(name, [at(0, 1)])
    await client.replace_session(name, [EVERY_FIELD])
    by_put = (await client.get_session(name)).meter_values
    await client.replace_session(name, [at(-1, 1)])
    await client.update_session(name, [EVERY_FIELD])
    by_patch = (await client.get_session(name)).meter_values[1:]
    assert by_post == by_put == by_patch
    (one,) = by_post
    assert (one.measurand, one.unit, one.phase, one.location, one.context, one.format) == (
        "Current.Import", "A", "L2", "Body", "Trigger", "Raw",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("1.50", "1.50"), ("1e3", "1e3"), ("-0", "-0"), ("12345678901234567890", "12345678901234567890"),
        ("0.12345678901234567890", "0.12345678901234567890"), ('"1.50"', "1.50"), ('"-0.0"', "-0.0"),
        ('"007"', "7"), ('".5"', "0.5"), ('"+5."', "5"), ('"1E3"', "1e3"), ("0", "0"),
    ],
)  # fmt: skip
async def test_a_value_comes_back_as_a_number_with_its_digits_and_raw_as_sent(
    api: httpx.AsyncClient, sent: str, answered: str
) -> None:
    name = f"s-{uuid4()}"
    body = (
        f'{{"session_id":"{name}","charging_station_id":"CP-1",'
        f'"meter_values":[{{"timestamp":"2026-02-27T10:00:00Z","value":{sent}}}]}}'
    )
    answer = await api.post("/v1/sessions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    text = (await api.get(f"/v1/sessions/{name}")).text
    assert f'"value":{answered},' in text
    assert "raw_value" not in text
    detail = json.loads((await api.get(f"/v1/sessions/{name}?raw=true")).text)
    assert detail["meter_values"][0]["raw_value"] == sent.strip('"')


@pytest.mark.parametrize(
    "bad", ['""', '"1,5"', '" 1"', '"1 "', '"0x10"', '"NaN"', '"Infinity"', '"1_000"', '"1e400"', "true", "[1]",
     '"\u0661"']
)  # fmt: skip
async def test_a_value_that_is_no_number_is_refused(api: httpx.AsyncClient, bad: str) -> None:
    name = f"s-{uuid4()}"
    body = (
        f'{{"session_id":"{name}","charging_station_id":"CP-1",'
        f'"meter_values":[{{"timestamp":"2026-02-27T10:00:00Z","value":{bad}}}]}}'
    )
    answer = await api.post(
        "/v1/sessions", content=body.encode(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/meter_values/0/value"
    assert (await api.get(f"/v1/sessions/{name}")).status_code == 404


# --- vocabulary --------------------------------------------------------------------------------------------


async def test_every_name_of_the_standards_is_known_in_any_case(client: AsyncClient) -> None:
    names = [
        *(("measurand", m.value) for m in vocabulary.MEASURANDS),
        *(("unit", u.name) for u in vocabulary.UNITS),
        *(("phase", p) for p in vocabulary.PHASES if p),
        *(("location", p) for p in vocabulary.LOCATIONS),
        *(("context", c) for c in vocabulary.CONTEXTS),
    ]
    sent = [
        at(i, 1, None, **{field: name.swapcase()}) for i, (field, name) in enumerate(names) if field != "unit"
    ]
    sent += [at(i, 1, name.swapcase()) for i, (field, name) in enumerate(names) if field == "unit"]
    values = {v.timestamp: v for v in (await stored(client, sent)).meter_values}
    for minute, (field, name) in enumerate(names):
        assert getattr(values[START + timedelta(minutes=minute)], field) == name


async def test_defaults_are_filled_in_as_ocpp_has_them(client: AsyncClient) -> None:
    sent = [
        at(0, 1, None),
        *(at(i, 1, None, measurand=m.value) for i, m in enumerate(vocabulary.MEASURANDS, 1)),
    ]
    first, *others = (await stored(client, sent)).meter_values
    assert (first.measurand, first.unit) == ("Energy.Active.Import.Register", "Wh")
    assert (first.context, first.location, first.phase) == ("Sample.Periodic", "Outlet", None)
    assert {v.measurand: v.unit for v in others} == {
        m.value: vocabulary.DEFAULT_UNITS[m] for m in vocabulary.MEASURANDS
    }


UNKNOWN = {
    "measurand": at(5, 7, None, measurand="Vendor.Thing"),
    "unit": at(5, 7, "furlong", measurand=POWER),
    "signed": at(
        5, "AP;0;3;ALCV3ABBBISHMA2RYEGAZE3HV5YQBQRAEHAK2MNY;;", "Wh", format="SignedData", context="Other"
    ),
}


@pytest.mark.parametrize("what", UNKNOWN)
async def test_what_is_unknown_or_signed_is_stored_noted_and_refuses_no_neighbour(
    client: AsyncClient, what: str
) -> None:
    plain = await pushed(client, rising(0, 1000, 2000, 3000))
    odd = UNKNOWN[what]
    state = await pushed(client, [*rising(0, 1000, 2000, 3000), odd])
    assert {n.code: n.count for n in state.data_quality}["unknown_measurand"] == 1
    assert (state.energy_kwh, state.is_anomaly) == (plain.energy_kwh, False) == (3.0, False)
    back = (await client.get_session(state.session_id, raw=True)).meter_values[1]
    assert back.raw_value == str(odd.value)
    assert str(back.value) == str(odd.value)
    if odd.measurand:
        assert back.measurand == odd.measurand
    assert back.unit == odd.unit
    assert back.format == (odd.format or "Raw")


# --- keys, repeats, order ----------------------------------------------------------------------------------

OTHER_KEYS = [
    {"minute": 1}, {"measurand": INTERVAL}, {"phase": "L1"}, {"location": "Inlet"}, {"context": "Sample.Clock"},
]  # fmt: skip


async def test_a_readings_key_is_time_measurand_phase_location_context(client: AsyncClient) -> None:
    sent = [at(0, 1), *(at(fields.pop("minute", 0), 2, **fields) for fields in map(dict, OTHER_KEYS))]
    detail = await stored(client, sent)
    assert len(detail.meter_values) == len(sent)


@pytest.mark.parametrize("again", ["5.5", "5.50", "55e-1", "+5.5"])
async def test_a_repeat_with_the_same_value_changes_nothing(client: AsyncClient, again: str) -> None:
    state = await pushed(client, [at(0, 0), at(10, "5.5"), at(20, 9)])
    repeated = await client.update_session(state.session_id, [at(10, again)])
    assert repeated == state
    detail = await client.get_session(state.session_id, raw=True)
    assert [v.raw_value for v in detail.meter_values] == ["0", "5.5", "9"]


@pytest.mark.parametrize(
    ("before", "after"),
    [("5", "6"), ("12345678901234567890", "12345678901234567891"), ("0.1", "0.10000000000000000001")],
)
async def test_of_conflicting_values_the_later_call_wins_and_within_a_call_the_later_element(
    client: AsyncClient, before: str, after: str
) -> None:
    state = await pushed(client, [at(0, 0), at(10, after), at(10, before), at(20, 9)])

    async def value() -> Decimal | str:
        return (await client.get_session(state.session_id)).meter_values[1].value

    assert await value() == Decimal(before)
    changed = await client.update_session(state.session_id, [at(10, before), at(10, after)])
    assert (await value(), changed.version) == (Decimal(after), 2)
    back = await client.replace_session(state.session_id, [at(0, 0), at(10, before), at(20, 9)])
    assert (await value(), back.version) == (Decimal(before), 3)


async def test_a_unit_is_part_of_the_value_not_of_the_key(client: AsyncClient) -> None:
    state = await pushed(client, rising(0, 5000, 9000))
    await client.update_session(state.session_id, [at(10, 5, "kWh")])
    values = (await client.get_session(state.session_id)).meter_values
    assert [(v.value, v.unit) for v in values] == [(0, "Wh"), (5, "kWh"), (9000, "Wh")], (
        "units are not converted"
    )


async def test_a_session_holds_200_000_readings_and_no_more(client: AsyncClient) -> None:
    assert MOST_READINGS == 200_000
    name, part = f"s-{uuid4()}", MOST_READINGS // 4

    def quarter(number: int) -> list[MeterValue]:
        seconds = range(number * part, (number + 1) * part)
        return [MeterValue(f"{START + timedelta(seconds=s):%Y-%m-%dT%H:%M:%SZ}", s) for s in seconds]

    await client.create_session(name, "CP-1", quarter(0))
    for number in (1, 2, 3):
        state = await client.update_session(name, quarter(number))
    assert (state.version, state.status) == (4, "active")
    one_more = [MeterValue(START - timedelta(seconds=1), 0)]
    with pytest.raises(TooLarge) as refused:
        await client.update_session(name, one_more)
    assert refused.value.code == "too_many_readings"
    assert await client.update_session(name, quarter(0)[:5]) == state, "repeats take no room"


# --- for the analysis --------------------------------------------------------------------------------------


def twice(worse: dict[str, Any], better: dict[str, Any]) -> list[MeterValue]:
    """Registers at the same instants: the worse one would show a fall."""
    return [
        *(at(10 * i, v, **better) for i, v in enumerate((0, 1000, 2000, 3000))),
        *(at(10 * i, v, **worse) for i, v in enumerate((9000, 5000, 1000, 500))),
    ]


PREFERENCES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"context": "Sample.Clock"}, {"context": "Sample.Periodic"}),
    ({"context": "Trigger"}, {"context": "Sample.Clock"}),
    ({"context": "Other"}, {"context": "Sample.Periodic"}),
    ({"context": "Interruption.Begin"}, {"context": "Sample.Clock"}),
    ({"location": "Inlet"}, {"location": "Outlet"}),
    ({"location": "Cable"}, {"location": "Inlet"}),
    ({"location": "EV"}, {"location": "Cable"}),
    ({"location": "Body"}, {"location": "EV"}),
    ({"phase": "L1"}, {}),
]


@pytest.mark.parametrize(("worse", "better"), PREFERENCES, ids=str)
@pytest.mark.parametrize("turned", [False, True])
async def test_per_instant_the_better_reading_counts_wherever_it_stands(
    client: AsyncClient, worse: dict[str, Any], better: dict[str, Any], turned: bool
) -> None:
    values = twice(worse, better)
    state = await pushed(client, values[::-1] if turned else values)
    assert (state.is_anomaly, state.energy_kwh) == (False, 3.0)
    alone = await pushed(client, values[4:])
    assert alone.is_anomaly is True, "the worse one alone would be judged"


async def test_a_reading_at_the_transactions_end_comes_before_the_sample_of_its_instant(
    client: AsyncClient,
) -> None:
    values = [*rising(0, 1000, 2000, 3000), at(30, 3500, context="Transaction.End")]
    assert (await pushed(client, values)).energy_kwh == 3.5


async def test_register_and_interval_are_never_mixed(client: AsyncClient) -> None:
    registers = rising(5000, 6000, 7000)
    intervals = rising(100, 90, 80, measurand=INTERVAL)
    both = await pushed(client, [*registers, *intervals])
    assert (both.energy_kwh, both.energy_source, both.is_anomaly) == (2.0, "register", False)
    alone = await pushed(client, intervals)
    assert (alone.energy_kwh, alone.energy_source, alone.is_anomaly) == (0.27, "interval", False)


async def test_a_lifetime_register_is_as_good_as_one_from_zero(client: AsyncClient) -> None:
    for values in ((0, 1000, 2000, 3000), (0, 5000, 1000, 2000)):
        zero = await pushed(client, rising(*values))
        lifetime = await pushed(client, rising(*(20_711_340 + v for v in values)))
        assert (lifetime.is_anomaly, lifetime.anomaly_score, lifetime.energy_kwh) == (
            zero.is_anomaly, zero.anomaly_score, zero.energy_kwh,
        )  # fmt: skip
        assert [a.time_range for a in lifetime.anomalies] == [a.time_range for a in zero.anomalies]


def power(*watts: float, every: float = 10) -> list[MeterValue]:
    return [at(every * i, w, "W", measurand=POWER) for i, w in enumerate(watts)]


ENERGIES: dict[str, tuple[list[MeterValue], float | None, str | None]] = {
    "register": ([*rising(0, 1000, 2500), *power(6000, 6000, 6000)], 2.5, "register"),
    "interval": ([*rising(1000, 1500, 500, measurand=INTERVAL), *power(6000, 6000, 6000)], 3.0, "interval"),
    "power": (power(6000, 6000, 3000), 1.75, "power"),
    "one register reading": ([at(0, 500), *power(6000, 6000, 3000)], 1.75, "power"),
    "nothing": (
        [at(10 * i, 50 + i, "Percent", measurand="SoC", location="EV") for i in range(3)],
        None,
        None,
    ),
    "falls add nothing": (rising(0, 2000, 500, 1500), 3.0, "register"),
}


@pytest.mark.parametrize("what", ENERGIES)
async def test_energy_comes_from_the_register_else_intervals_else_power(
    client: AsyncClient, what: str
) -> None:
    values, kwh, source = ENERGIES[what]
    state = await pushed(client, values)
    assert (state.energy_kwh, state.energy_source) == (kwh, source)


async def test_the_product_of_current_and_voltage_is_power_whether_or_not_rules_run(
    client: AsyncClient,
) -> None:
    electric = [
        v
        for i in range(4)
        for v in (at(10 * i, 10, "A", measurand="Current.Import"), at(10 * i, 230, "V", measurand="Voltage"))
    ]
    steady = await pushed(client, electric)
    assert (steady.energy_kwh, steady.energy_source) == (1.15, "power")


async def test_steps_that_an_anomaly_disputes_are_counted_as_disputed_too(client: AsyncClient) -> None:
    normal = await pushed(client, rising(0, 1000, 2000))
    assert normal.energy_disputed_kwh == 0
    fallen = await pushed(client, rising(0, 5000, 10000, 6000, 11000, 16000))
    assert fallen.energy_kwh == 20.0
    assert fallen.energy_disputed_kwh == 4.0, "what the rolled-back register counts again"


async def test_notes_and_anomalies_leave_the_raw_readings_alone(
    client: AsyncClient, other_client: AsyncClient
) -> None:
    values = [MeterValue("1999-12-31T23:59:59Z", 77, unit="Wh"), *rising(0, 5000, 10000, 6000)]
    detail = await stored(client, values, raw=True)
    assert [v.raw_value for v in detail.meter_values] == ["77", "0", "5000", "10000", "6000"]
    assert detail.is_anomaly
    assert [n.code for n in detail.data_quality] == ["clock_fault"]
    assert (await other_client.list_sessions(status="all")).total == 0
