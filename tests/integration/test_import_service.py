"""Imports into a real database: what the API would store, once and for all, of one tenant, in any order of commits."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from chargewatch.domain.instants import parse_instant
from chargewatch.ingest.readings import Reading, source_of
from chargewatch.ingest.sent_sessions import SentSession
from chargewatch.server.analysis.service import Analyser
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseUnavailable
from chargewatch.server.imports.service import Done, ImportService
from chargewatch.server.sessions import service as sessions_service
from chargewatch.server.sessions.payloads import Attributes, Whereabouts
from chargewatch.server.sessions.service import SessionNotFound, SessionService
from chargewatch.server.tenants.service import NewKey
from tests.imported_state import state_of

pytestmark = pytest.mark.anyio

WH = source_of(None, "Wh", None, None, None, None)
MINUTE_US = 60_000_000
START_US = parse_instant("2026-03-02T10:00:00Z")
NOTHING_SAID = Attributes(None, None, None, None, None)
IDLE_S = 21600.0


def session(
    number: int, name: str, values: Sequence[float], *, hour: int = 0, connector: str = "1", **more: Any
) -> SentSession:
    readings = [
        Reading(START_US + (60 * hour + 5 * minute) * MINUTE_US, str(value), WH)
        for minute, value in enumerate(values)
    ]
    return SentSession(number, name, f"CP-{name.split('-')[0]}", None, connector, readings, **more)


def fleet(rng: random.Random, prefix: str) -> list[SentSession]:
    """Sessions of three connectors, in no order of time, many of them anomalous, some overlapping."""
    sent = []
    for number in range(60):
        values = [1000 + 500 * i for i in range(rng.randint(1, 8))]
        if rng.random() < 0.5 and len(values) > 3:
            values[2:] = [value - 900 for value in values[2:]]
        hour, connector = rng.randint(0, 60), str(number % 3)
        sent.append(session(number, f"{prefix}-{number}", values, hour=hour, connector=connector))
    return sent


async def imported(
    database: Database,
    tenant: UUID,
    sent: Sequence[SentSession],
    *,
    concurrency: int = 8,
    began: datetime | None = None,
    stop_after: int | None = None,
    **more: Any,
) -> list[Done]:
    sessions = SessionService(database, Analyser(), IDLE_S)
    service = ImportService(database, sessions, tenant, concurrency=concurrency)
    done: list[Done] = []
    await service.store(
        sent,
        began or await service.present(),
        done.append,
        stopped=lambda: stop_after is not None and len(done) >= stop_after,
        **more,
    )
    assert [one.sent.number for one in done] == [one.number for one in sent[: len(done)]]
    return done


def fates(done: Sequence[Done]) -> list[tuple[str, int, int]]:
    return [(one.fate, one.added, one.repeated) for one in done]


async def test_it_is_the_same_as_one_call_after_the_other(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    north, south = (key.tenant_id for key in two_tenants)
    sent = fleet(random.Random(11), "same")
    await imported(database, north, sent)
    calls = SessionService(database, Analyser(), IDLE_S)
    for one in sent:
        where = Whereabouts(one.station, one.evse_id, one.connector_id)
        await calls.upsert(south, one.session_id, where, NOTHING_SAID, one.readings)
    found = await state_of(database, north)
    assert found == await state_of(database, south)
    assert sum(row["is_recurring"] is True for row in found.values()) > 3
    assert len(found) == 60


async def test_a_second_time_changes_nothing(database: Database, two_tenants: tuple[NewKey, NewKey]) -> None:
    north, south = (key.tenant_id for key in two_tenants)
    sent = fleet(random.Random(12), "twice")
    others = await state_of(database, south)
    first = await imported(database, north, sent)
    assert {one.fate for one in first} == {"created"}
    stored = await state_of(database, north)
    again = await imported(database, north, sent, concurrency=3)
    assert {(one.fate, one.added) for one in again} == {("unchanged", 0)}
    assert sum(one.repeated for one in again) == sum(len(one.readings) for one in sent)
    assert await state_of(database, north) == stored
    assert await state_of(database, south) == others


async def test_what_is_new_joins_what_is_stored(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    tenant = two_tenants[0].tenant_id
    calls = SessionService(database, Analyser(), IDLE_S)
    live = session(0, "joined", [0, 500, 1000])
    await calls.upsert(tenant, "joined", Whereabouts("CP-joined", None, "1"), NOTHING_SAID, live.readings)
    done = await imported(database, tenant, [session(0, "joined", [0, 500, 1000, 1500, 2000], managed=True)])
    assert fates(done) == [("changed", 2, 3)]
    stored, readings = await calls.get(tenant, "joined")
    assert (len(readings), stored.row.version, stored.row.managed) == (5, 2, True)


async def test_what_an_interrupted_run_stored_counts_as_made_by_the_import(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    tenant = two_tenants[0].tenant_id
    sent = fleet(random.Random(13), "interrupted")
    began = await ImportService(
        database, SessionService(database, Analyser(), IDLE_S), tenant, concurrency=1
    ).present()
    first = await imported(database, tenant, sent, began=began, concurrency=2, stop_after=5)
    assert 5 <= len(first) < len(sent)
    rest = await imported(database, tenant, sent, began=began)
    assert {one.fate for one in rest} == {"created"}


async def test_parts_of_a_session_are_stored_in_their_order(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    tenant = two_tenants[0].tenant_id
    parts = []
    for number in range(40):
        values = [float(number * 3 + i) for i in range(3)]
        part = session(number, f"parts-{number % 2}", values, hour=number)
        parts.append(part._replace(connector_id="1" if number < 2 else None, ended_us=START_US + number))
    done = await imported(database, tenant, parts, by_station=True)
    assert [one.fate for one in done] == ["created"] * 40
    assert [(one.added, one.repeated) for one in done] == [(3, 0)] * 40
    stored = await state_of(database, tenant)
    assert [stored[f"parts-{i}"]["ended_at"].microsecond for i in range(2)] == [38, 39]
    assert stored["parts-0"]["connector_id"] == "1"
    assert len(stored["parts-0"]["readings"]) == 60


async def test_a_session_that_would_become_too_large_is_refused_alone(
    database: Database, two_tenants: tuple[NewKey, NewKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    north, south = (key.tenant_id for key in two_tenants)
    monkeypatch.setattr(sessions_service, "MOST_READINGS", 4)
    sent = [session(0, "grows", [1, 2, 3, 4]), session(1, "too", [1, 2, 3, 4, 5]), session(2, "fits", [1])]
    assert fates(await imported(database, north, sent)) == [
        ("created", 4, 0),
        ("refused", 0, 0),
        ("created", 1, 0),
    ]
    more = [session(0, "grows", [7], hour=9)]
    (done,) = await imported(database, north, more)
    assert done.fate == "refused"
    assert done.reason == "with the 4 readings that are stored the session would have more than 200000"
    with pytest.raises(SessionNotFound):
        await SessionService(database, Analyser(), IDLE_S).get(south, "grows")


class _Flaky(SessionService):
    """Fails as a database does that is restarted, after it stored: for each session all but every third time."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls: Counter[str] = Counter()

    async def append(self, tenant_id: UUID, session_id: str, *args: Any) -> Any:
        stored = await super().append(tenant_id, session_id, *args)
        self.calls[session_id] += 1
        if self.calls[session_id] % 3:
            raise DatabaseUnavailable("the database does not answer")
        return stored


async def test_a_database_that_does_not_answer_is_asked_again(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    north, south = (key.tenant_id for key in two_tenants)
    sent = fleet(random.Random(14), "flaky")
    flaky = _Flaky(database, Analyser(), IDLE_S)
    done: list[Done] = []
    service = ImportService(database, flaky, north, concurrency=4, patience_s=[0.0] * 4)
    await service.store(sent, await service.present(), done.append)
    assert {one.fate for one in done} == {"created"}
    await imported(database, south, sent)
    names = {one.session_id for one in sent}
    found, expected = await state_of(database, north, names), await state_of(database, south, names)
    assert found == expected
    impatient = ImportService(database, flaky, north, concurrency=1, patience_s=[])
    with pytest.raises(DatabaseUnavailable):
        await impatient.store(sent, await service.present(), done.append)
