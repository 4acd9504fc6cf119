"""Every data-quality note as a client sees it (contract, section 2): repaired or left out, told, never an anomaly."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from chargewatch.domain.data_quality import DETAILS, INFORMATIVE, NoteCode

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
START = datetime(2026, 2, 27, 10, tzinfo=UTC)


def reading(minute: float, value: object, unit: str | None = "Wh", **fields: object) -> Json:
    at = (START + timedelta(minutes=minute)).isoformat()
    return {"timestamp": at, "value": value, **({"unit": unit} if unit else {}), **fields}


def rising(
    count: int = 12, first: float = 0, step: float = 1000, every: float = 5, **fields: object
) -> list[Json]:
    """A register that rises as it should."""
    return [reading(every * i, first + step * i, **fields) for i in range(count)]


def begin(value: float) -> Json:
    return reading(-1, value, context="Transaction.Begin")


def end(value: float, minute: float = 56) -> Json:
    return reading(minute, value, context="Transaction.End")


def phases(value: float) -> list[Json]:
    return [
        reading(5 * i, value, "W", measurand="Power.Active.Import", phase=f"L{phase}")
        for i in range(12)
        for phase in (1, 2, 3)
    ]


LIFETIME = 20_711_340.6
#: note -> the readings that lead to it, and how often it applies.
CASES: dict[NoteCode, tuple[list[Json], int]] = {
    NoteCode.UNIT_ASSUMED: ([reading(5 * i, 1000 * i, None) for i in range(12)], 12),
    NoteCode.DUPLICATE: ([*rising(), rising()[3], rising()[4]], 2),
    NoteCode.OUT_OF_ORDER: ([*rising()[:3], rising()[4], rising()[3], *rising()[5:]], 1),
    NoteCode.CLOCK_FAULT: ([{"timestamp": "2000-01-01T00:03:12Z", "value": 0, "unit": "Wh"}, *rising()], 1),
    NoteCode.BEGIN_ZERO_PLACEHOLDER: ([begin(0), *rising(first=LIFETIME)], 1),
    NoteCode.PHASES_SUMMED: ([*rising(), *phases(4000)], 1),
    NoteCode.UNIT_SWITCHED: (
        [*rising()[:6], *[r | {"value": r["value"] / 1000} for r in rising()[6:]]],
        1,
    ),
    NoteCode.REGISTER_MIXED: ([begin(LIFETIME), *rising()], 1),
    NoteCode.UNKNOWN_MEASURAND: (
        [*rising(), reading(3, 7, "bananas"), reading(4, 7, measurand="Vendor.Thing"),
         reading(6, "a sealed value", "Wh", format="SignedData")],
        3,
    ),
    NoteCode.NOT_NUMERIC: ([*rising(), reading(7, 1e300, "W", measurand="Power.Active.Import")], 1),
    NoteCode.UNIT_SCALE_SUSPECT: (
        [*rising(unit="kWh"), *[reading(5 * i, 12_000, "W", measurand="Power.Active.Import") for i in range(12)]],
        12,
    ),
    NoteCode.GAP: ([r for i, r in enumerate(rising(24)) if i not in range(8, 16)], 1),
}  # fmt: skip


async def judged(api: httpx.AsyncClient, values: list[Json], **fields: object) -> Json:
    body = {
        "session_id": f"s-{uuid4()}",
        "charging_station_id": f"CP-{uuid4()}",
        "ended_at": (START + timedelta(hours=3)).isoformat(),
        "meter_values": values,
        **fields,
    }
    answer = await api.post("/v1/sessions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("code", CASES, ids=str)
async def test_a_note_is_told_and_is_no_anomaly(api: httpx.AsyncClient, code: NoteCode) -> None:
    values, count = CASES[code]
    state = await judged(api, values)
    assert {"code": code.value, "count": count, "detail": DETAILS[code]} in state["data_quality"]
    assert (state["is_anomaly"], state["anomalies"]) == (False, [])
    clean = await judged(api, rising())
    assert clean["data_quality"] == []
    if code in INFORMATIVE:
        assert state["anomaly_confidence"] == clean["anomaly_confidence"]
        assert state["anomaly_score"] == clean["anomaly_score"]
    else:
        assert state["anomaly_confidence"] < clean["anomaly_confidence"]


async def test_an_overlap_is_told(api: httpx.AsyncClient) -> None:
    place = {"charging_station_id": f"CP-{uuid4()}", "connector_id": "1"}
    await judged(api, rising(), **place)
    state = await judged(api, rising(), **place)
    code = NoteCode.OVERLAPS_SESSION
    assert state["data_quality"] == [{"code": code.value, "count": 1, "detail": DETAILS[code]}]
    assert state["is_anomaly"] is False


def test_every_note_has_a_case() -> None:
    assert set(CASES) | {NoteCode.OVERLAPS_SESSION} == set(NoteCode)


async def test_all_readings_come_back_whatever_was_noted(api: httpx.AsyncClient) -> None:
    for values, _ in CASES.values():
        state = await judged(api, values)
        detail = (await api.get(f"/v1/sessions/{state['session_id']}?raw=true")).json()
        assert len(detail["meter_values"]) == len({_key(value) for value in values})


def _key(value: Json) -> tuple[object, ...]:
    return tuple(value.get(name) for name in ("timestamp", "measurand", "phase", "location", "context"))
