"""The contract's section 4 and what section 3 says of long sessions, sentence by sentence: windows, units, verdicts."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from chargewatch.client import AsyncClient, BucketRange, MeterValue

pytestmark = pytest.mark.anyio

START = datetime(2026, 2, 27, 10, tzinfo=UTC)
FALL = (0, 5000, 10000, 1000)


def register(*values: float, start: datetime = START, every: float = 15, **fields: Any) -> list[MeterValue]:
    return [
        MeterValue(start + timedelta(minutes=every * i), v, unit="Wh", **fields) for i, v in enumerate(values)
    ]


NORMAL = register(0, 1000, 2000)


def new_id() -> str:
    return f"s-{uuid4()}"


@pytest.mark.parametrize(
    ("minutes", "length"),
    [((0, 15, 30), 3), ((0, 14.9, 29.9), 2), ((0, 1, 359), 24), ((0, 1, 360), 24), ((0, 300, 500), 14)],
)  # fmt: skip
async def test_units_are_quarters_of_an_hour_since_the_windows_first_reading(
    client: AsyncClient, minutes: Sequence[float], length: int
) -> None:
    values = [MeterValue(START + timedelta(minutes=m), 1000 * i, unit="Wh") for i, m in enumerate(minutes)]
    assert (await client.create_session(new_id(), "CP-1", values)).sequence_length == length


@pytest.mark.parametrize("earlier_hours", [0, 4])
async def test_ranges_are_those_of_the_readings_that_show_the_anomaly(
    client: AsyncClient, earlier_hours: int
) -> None:
    """A fall from 11:00 to 11:45 in a window that begins at 10:00 is in units 4 to 7."""
    values = [
        MeterValue(START + timedelta(minutes=m), 20000 + 100 * m, unit="Wh") for m in (0, 15, 30, 45, 60)
    ]
    values += [
        MeterValue(START + timedelta(minutes=m), 5000 + 100 * m, unit="Wh") for m in range(105, 361, 15)
    ]
    before = range(-60 * earlier_hours, 0, 15)
    values += [MeterValue(START + timedelta(minutes=m), 20000 + 10 * m, unit="Wh") for m in before]
    state = await client.create_session(new_id(), "CP-1", values)
    (anomaly,) = state.anomalies
    assert anomaly.bucket_range == BucketRange(start_unit=4, end_unit=7)
    assert anomaly.time_range.start_timestamp == START + timedelta(hours=1)
    assert anomaly.time_range.end_timestamp == START + timedelta(hours=1, minutes=45)
    assert state.sequence_length == 24


async def test_what_happened_before_the_window_is_past_and_stays_known(client: AsyncClient) -> None:
    station = f"CP-{uuid4()}"
    values = register(*FALL, *range(2000, 20000, 1000))
    name = new_id()
    state = await client.create_session(name, station, values)
    assert (state.is_anomaly, len(state.anomalies), state.past_anomalies) == (True, 1, [])
    later = register(*range(20000, 60000, 1000), start=START + timedelta(minutes=15 * len(values)))
    state = await client.update_session(name, later)
    assert (state.is_anomaly, state.anomalies, state.was_anomalous) == (False, [], True)
    assert [a.category for a in state.past_anomalies] == ["KWH_DECREASE"]
    assert state.energy_kwh == 10 + 58, "all readings are kept and count"
    assert len((await client.get_session(name)).meter_values) == len(values) + len(later)
    for was_anomalous, is_anomaly, found in ((True, False, 1), (False, None, 0), (None, True, 0)):
        page = await client.list_sessions(
            charging_station_id=station, was_anomalous=was_anomalous, is_anomaly=is_anomaly
        )
        assert (page.total, len(page.items)) == (found, found)
    assert (await client.get_station(station)).anomalous_sessions == 0, "what counts is the newest"


async def test_a_zero_session_is_one_as_a_whole(client: AsyncClient) -> None:
    ended = START + timedelta(hours=10)
    nothing = await client.create_session(new_id(), "CP-1", register(*[0] * 40), ended_at=ended)
    (anomaly,) = nothing.anomalies
    assert (anomaly.category, anomaly.time_range.start_timestamp) == ("ZERO_SESSION", START)
    assert anomaly.bucket_range == BucketRange(start_unit=0, end_unit=23)
    delivered = await client.create_session(
        new_id(), "CP-1", register(0, 2000, 3500, 4000, *[4100] * 36), ended_at=ended
    )
    assert "ZERO_SESSION" not in {a.category for a in delivered.anomalies}


async def test_the_score_decides(client: AsyncClient) -> None:
    for values in (NORMAL, register(*FALL), register(0, 0, 0)):
        state = await client.create_session(new_id(), "CP-1", values)
        assert state.anomaly_score is not None
        assert state.is_anomaly == (state.anomaly_score >= 0.5) == bool(state.anomalies)
        assert state.is_incident is False


async def test_scores_confidences_and_evidence_are_in_their_bounds(client: AsyncClient) -> None:
    state = await client.create_session(new_id(), "CP-1", register(*FALL))
    (anomaly,) = state.anomalies
    for figure in (state.anomaly_score, state.anomaly_confidence, anomaly.score, anomaly.confidence):
        assert figure is not None
        assert 0 <= figure <= 1
    assert (anomaly.severity, anomaly.concern) == ("critical", "billing")
    seen = [(e.what, e.unit, e.observed, e.timestamp) for e in anomaly.evidence]
    assert {observed for _, _, observed, _ in seen} >= {10.0, 1.0}
    assert {at for *_, at in seen} >= {START + timedelta(minutes=30), START + timedelta(minutes=45)}
    assert (state.model_id, bool(state.model_version)) == ("model-csar2-base", True)


async def test_confidence_falls_with_thin_and_doubtful_data(client: AsyncClient) -> None:
    rich = await client.create_session(new_id(), "CP-1", register(*range(0, 12000, 500), every=5))
    thin = await client.create_session(new_id(), "CP-1", register(0, 5500, 11000))
    gap = register(*range(0, 6000, 500), every=5) + register(9000, 9500, start=START + timedelta(hours=4))
    doubtful = await client.create_session(new_id(), "CP-1", gap)
    for doubt in (thin, doubtful):
        assert (doubt.is_anomaly, rich.is_anomaly) == (False, False)
        assert (doubt.anomaly_confidence or 0) < (rich.anomaly_confidence or 0)
    assert "gap" in {note.code for note in doubtful.data_quality}


RECURRING: dict[str, tuple[list[float], bool]] = {
    "two before": ([1, 2], True),
    "one before": ([1], False),
    "older than thirty days": ([31, 32], False),
    "one of them is later": ([1, -1], False),
    "thirty days exactly": ([1, 30], True),
}


@pytest.mark.parametrize("what", RECURRING)
async def test_recurring_is_what_was_found_twice_on_the_connector_in_thirty_days(
    client: AsyncClient, what: str
) -> None:
    days_before, expected = RECURRING[what]
    station = f"CP-{uuid4()}"
    for days in days_before:
        start = START - timedelta(days=days)
        await client.create_session(new_id(), station, register(*FALL, start=start), connector_id=1)
    elsewhere = await client.create_session(new_id(), station, register(*FALL), connector_id=2)
    assert elsewhere.is_recurring is False
    state = await client.create_session(new_id(), station, register(*FALL), connector_id=1)
    assert state.is_recurring is expected
    normal = await client.create_session(new_id(), station, NORMAL, connector_id=1)
    assert normal.is_recurring is False


async def test_only_the_newest_twenty_sessions_of_the_connector_count(client: AsyncClient) -> None:
    station = f"CP-{uuid4()}"

    async def push(hours_before: int, values: Sequence[float]) -> bool | None:
        start = START - timedelta(hours=3 * hours_before)
        return (await client.create_session(new_id(), station, register(*values, start=start))).is_recurring

    for hours in (21, 20):
        await push(hours, FALL)
    for hours in range(19, 1, -1):
        await push(hours, (0, 1000, 2000))
    assert await push(0, FALL) is True
    assert await push(0, FALL) is True, "the one of the same time is no earlier one"
    await push(1, (0, 1000, 2000))
    assert await push(0, FALL) is False
