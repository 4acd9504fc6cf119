"""Sessions on real PostgreSQL: merging, versions, concurrency, recurrence, two tenants."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from chargewatch.ingest.readings import Reading, source_of
from chargewatch.server.analysis.service import Analyser
from chargewatch.server.clock import microseconds
from chargewatch.server.db.engine import Database
from chargewatch.server.sessions import repository
from chargewatch.server.sessions.listing import SessionList
from chargewatch.server.sessions.payloads import Attributes, Whereabouts
from chargewatch.server.sessions.schemas import SessionListQuery
from chargewatch.server.sessions.service import SessionNotFound, SessionService, Stored, VersionMismatch
from chargewatch.server.tenants.service import NewKey

pytestmark = pytest.mark.anyio

REGISTER = source_of(None, "kWh", None, None, None, None)
UNCHANGED = Attributes(None, None, None, None, None)
START = datetime(2026, 2, 27, 10, tzinfo=UTC)


def readings(values: Sequence[float], start: datetime = START, every_s: float = 900) -> list[Reading]:
    return [
        Reading(microseconds(start + timedelta(seconds=i * every_s)), str(v), REGISTER)
        for i, v in enumerate(values)
    ]


@pytest.fixture
def service(database: Database) -> SessionService:
    return SessionService(database, Analyser(), idle_s=6 * 3600)


@pytest.fixture
def tenant(two_tenants: tuple[NewKey, NewKey]) -> UUID:
    return two_tenants[0].tenant_id


@pytest.fixture
def other(two_tenants: tuple[NewKey, NewKey]) -> UUID:
    return two_tenants[1].tenant_id


def new_id() -> str:
    return f"s-{uuid4()}"


async def post(
    service: SessionService,
    tenant: UUID,
    session: str,
    values: Sequence[float] = (),
    *,
    station: str = "CP-1",
    connector: str | None = "1",
    attributes: Attributes = UNCHANGED,
    start: datetime = START,
) -> Stored:
    where = Whereabouts(station, None, connector)
    return await service.upsert(tenant, session, where, attributes, readings(values, start))


async def test_a_session_is_judged_and_found_again(service: SessionService, tenant: UUID) -> None:
    session = new_id()
    stored = await post(service, tenant, session, [0, 5, 10, 2, 7])
    assert stored.row.status == "active"
    assert stored.row.is_anomaly is True
    assert stored.row.categories == ["KWH_DECREASE"]
    found, kept = await service.get(tenant, session)
    assert found.row == stored.row
    assert [r.text for r in kept] == ["0", "5", "10", "2", "7"]
    by_uuid, _ = await service.get(tenant, str(stored.row.session_id))
    assert by_uuid.row == stored.row


async def test_fewer_than_three_readings_are_pending(service: SessionService, tenant: UUID) -> None:
    session = new_id()
    empty = await post(service, tenant, session)
    assert empty.row.status == "pending"
    assert (await service.get(tenant, session))[0] == empty
    stored = await service.change(tenant, session, UNCHANGED, readings([0, 1]), replace=False)
    assert (stored.row.status, stored.row.is_anomaly, stored.row.analyzed_at) == ("pending", None, None)
    stored = await service.change(tenant, session, UNCHANGED, readings([0, 1, 2]), replace=False)
    assert (stored.row.status, stored.row.is_anomaly) == ("active", False)
    stored = await service.change(tenant, session, UNCHANGED, readings([0, 1]), replace=True)
    assert (stored.row.status, stored.row.reading_count) == ("pending", 2)


async def test_a_first_push_is_stored_as_it_is_answered(service: SessionService, tenant: UUID) -> None:
    attributes = Attributes('{"a": 1}', START, None, "Local", True)
    stored = await post(
        service, tenant, session := new_id(), [0, 1, 2], station=new_id(), attributes=attributes
    )
    assert stored.row.is_anomaly is False
    assert (await service.get(tenant, session))[0] == stored


async def test_a_repeat_changes_nothing(service: SessionService, tenant: UUID) -> None:
    session = new_id()
    attributes = UNCHANGED._replace(metadata='{"a": 1.0, "b": [1, 2]}', managed=True)
    first = await post(service, tenant, session, [0, 1, 2], attributes=attributes)
    again = await post(service, tenant, session, [0, 1, 2], attributes=attributes)
    assert again == first
    patched = await service.change(tenant, session, UNCHANGED, readings([0, 1, 2]), replace=False)
    assert patched == first
    nothing = await service.change(tenant, session, UNCHANGED, [], replace=False)
    assert nothing == first


async def test_the_version_grows_by_one_with_each_change(service: SessionService, tenant: UUID) -> None:
    session = new_id()
    stored = await post(service, tenant, session, [0, 1, 2])
    assert stored.row.version == 1
    for version, values in enumerate(([0, 1, 2, 3], [0, 1, 2, 3.5], [0, 1, 2, 3.5, 4]), start=2):
        stored = await service.change(tenant, session, UNCHANGED, readings(values), replace=False)
        assert (stored.row.version, stored.row.analyzed_version) == (version, version)
    stored = await service.change(tenant, session, UNCHANGED._replace(metadata='{"x": 1}'), [], replace=False)
    assert stored.row.version == 5


async def test_absent_attributes_stay_and_metadata_is_replaced(service: SessionService, tenant: UUID) -> None:
    session = new_id()
    sent = Attributes('{"a": 1}', START, START + timedelta(hours=1), "EVDisconnected", True)
    await post(service, tenant, session, [0, 1, 2], attributes=sent)
    stored = await post(service, tenant, session, attributes=UNCHANGED._replace(metadata='{"b": 2}'))
    row = stored.row
    assert (row.started_at, row.ended_at, row.stop_reason, row.managed) == sent[1:]
    assert row.metadata == '{"b": 2}'
    assert row.reading_count == 3
    assert row.begins_at == START


async def test_a_session_moves_to_another_station(service: SessionService, tenant: UUID) -> None:
    session = new_id()
    first = await post(service, tenant, session, [0, 1, 2], station="CP-A")
    moved = await post(service, tenant, session, station="CP-B", connector="2")
    assert moved.row.station_id != first.row.station_id
    assert (moved.station, moved.row.connector_id, moved.row.version) == ("CP-B", "2", 2)


async def test_put_replaces_all_readings(service: SessionService, tenant: UUID) -> None:
    session = new_id()
    await post(service, tenant, session, [0, 1, 2, 3])
    stored = await service.change(tenant, session, UNCHANGED, readings([5, 6, 7]), replace=True)
    assert stored.row.reading_count == 3
    _, kept = await service.get(tenant, session)
    assert [r.text for r in kept] == ["5", "6", "7"]


async def test_concurrent_appends_lose_nothing(service: SessionService, tenant: UUID) -> None:
    session = new_id()
    await post(service, tenant, session)
    sent = readings(range(64), every_s=60)

    async def push(client: int) -> None:
        for i in range(client, len(sent), 16):
            await service.change(tenant, session, UNCHANGED, [sent[i]], replace=False)

    await asyncio.gather(*(push(client) for client in range(16)))
    stored, kept = await service.get(tenant, session)
    assert kept == sent
    assert stored.row.version == 1 + len(sent)
    assert stored.row.analyzed_version == stored.row.version
    assert stored.row.is_anomaly is False


async def test_concurrent_first_posts_make_one_session(service: SessionService, tenant: UUID) -> None:
    session, station = new_id(), new_id()
    stored = await asyncio.gather(
        *(post(service, tenant, session, [0, 1, 2], station=station) for _ in range(20))
    )
    assert {s.row.session_id for s in stored} == {stored[0].row.session_id}
    assert {s.row.version for s in stored} == {1}


async def test_the_same_ids_in_two_tenants_are_two_sessions(
    service: SessionService, tenant: UUID, other: UUID
) -> None:
    session = new_id()
    mine = await post(service, tenant, session, [0, 1, 2])
    theirs = await post(service, other, session, [0, 5, 1])
    assert mine.row.session_id != theirs.row.session_id
    assert (await service.get(tenant, session))[0].row.is_anomaly is False
    assert (await service.get(other, session))[0].row.is_anomaly is True
    with pytest.raises(SessionNotFound):
        await service.get(other, str(mine.row.session_id))
    await service.delete(tenant, session)
    with pytest.raises(SessionNotFound):
        await service.get(tenant, session)
    assert (await service.get(other, session))[0].row == theirs.row


async def test_unknown_sessions_are_not_found(service: SessionService, tenant: UUID) -> None:
    for call in (
        service.get(tenant, "nobody"),
        service.delete(tenant, "nobody"),
        service.change(tenant, "nobody", UNCHANGED, readings([1]), replace=False),
        service.change(tenant, str(uuid4()), UNCHANGED, readings([1]), replace=True),
    ):
        with pytest.raises(SessionNotFound):
            await call


async def test_a_stale_version_is_refused(service: SessionService, tenant: UUID) -> None:
    session = new_id()
    await post(service, tenant, session, [0, 1, 2])
    with pytest.raises(VersionMismatch):
        await service.change(tenant, session, UNCHANGED, readings([9]), replace=True, expected_versions={7})
    with pytest.raises(VersionMismatch):
        await service.delete(tenant, session, expected_versions={2})
    stored = await service.change(
        tenant, session, UNCHANGED, readings([0, 1, 2, 3]), replace=True, expected_versions={1}
    )
    assert stored.row.version == 2


async def test_an_anomaly_recurs_after_two_on_the_same_connector(
    service: SessionService, tenant: UUID
) -> None:
    station = new_id()
    fallen = [0, 5, 10, 2, 7]
    seen = []
    for day in range(4):
        start = START + timedelta(days=day)
        stored = await post(service, tenant, new_id(), fallen, station=station, start=start)
        seen.append(stored.row.is_recurring)
    assert seen == [False, False, True, True]
    elsewhere = await post(
        service, tenant, new_id(), fallen, station=station, connector="2", start=START + timedelta(days=5)
    )
    assert elsewhere.row.is_recurring is False
    late = await post(service, tenant, new_id(), fallen, station=station, start=START + timedelta(days=40))
    assert late.row.is_recurring is False
    normal = await post(
        service, tenant, new_id(), [0, 1, 2], station=station, start=START + timedelta(days=4)
    )
    assert normal.row.is_recurring is False


async def test_what_was_anomalous_once_stays_noted(service: SessionService, tenant: UUID) -> None:
    session = new_id()
    assert (await post(service, tenant, session, [0, 5, 1])).row.was_anomalous
    stored = await service.change(tenant, session, UNCHANGED, readings([0, 5, 10]), replace=True)
    assert (stored.row.is_anomaly, stored.row.was_anomalous) == (False, True)


async def test_the_list_is_exact_ordered_and_fenced(
    database: Database, service: SessionService, tenant: UUID, other: UUID
) -> None:
    station = new_id()
    names = [new_id() for _ in range(7)]
    for i, name in enumerate(names):
        values = [0, 5, 1] if i % 3 == 0 else [0, 1, 2]
        await post(service, tenant, name, values, station=station, start=START + timedelta(hours=i))
    await post(service, tenant, new_id(), [0, 1], station=station)
    await post(service, other, names[0], [0, 5, 1], station=station)
    sessions = SessionList(database)

    async def listed(**query: object) -> tuple[list[str], int]:
        page = await sessions.page(tenant, SessionListQuery(charging_station_id=station, **query))
        return [item.external_session_id for item in page.items], page.total

    assert await listed() == (names[::-1], 7)
    assert await listed(page=2, page_size=3) == (names[::-1][3:6], 7)
    assert await listed(page=9) == ([], 7)
    assert await listed(is_anomaly=True) == ([names[6], names[3], names[0]], 3)
    assert await listed(category="ENERGY_PIT") == ([], 0)
    assert await listed(status="pending") == ((await listed(status="pending"))[0], 1)
    assert (await listed(status="all"))[1] == 8
    assert await listed(date_from="2026-02-27T12:00:00Z", date_to="2026-02-27T14:00:00Z") == (
        names[3:1:-1],
        2,
    )
    assert await listed(date_from="2026-02-27", date_to="2026-02-28") == (names[::-1], 7)
    assert await listed(min_score=0.5) == ([names[6], names[3], names[0]], 3)
    walked: list[str] = []
    cursor = None
    while True:
        page = await sessions.page(
            tenant, SessionListQuery(charging_station_id=station, page_size=2, cursor=cursor)
        )
        walked += [item.external_session_id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert walked == names[::-1]


async def test_appending_joins_metadata(service: SessionService, tenant: UUID) -> None:
    session = new_id()
    where = Whereabouts("CP-1", None, "1")
    ocpp = UNCHANGED._replace(metadata='{"ocpp": {"transactionId": 9223372036854775806}}')
    await service.append(tenant, session, where, ocpp, readings([0, 1, 2]))
    note = UNCHANGED._replace(metadata='{"note": 1.50, "ocpp": {"transactionId": 9223372036854775806}}')
    noted = await service.change(tenant, session, note, [], replace=False)
    for process in (service, SessionService(service._database, Analyser(), idle_s=6 * 3600)):
        again = await process.append(tenant, session, where, ocpp, readings([0, 1, 2]))
        assert again == noted, "what is sent again changes nothing"
        other = UNCHANGED._replace(metadata='{"more": [1]}')
        more = await process.append(tenant, session, None, other, [])
        assert more.row.metadata == '{"note":1.50,"ocpp":{"transactionId": 9223372036854775806},"more":[1]}'
        noted = more


async def test_an_answer_shows_one_moment(
    service: SessionService, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push between reading the session and reading its readings is in neither."""
    stored = await post(service, tenant, session := new_id(), [0, 1, 2])
    load = repository.load_readings

    async def push_first(*arguments: Any) -> list[Reading]:
        monkeypatch.undo()
        await service.change(tenant, session, UNCHANGED, readings([0, 1, 2, 3, 4]), replace=True)
        return await load(*arguments)

    monkeypatch.setattr(repository, "load_readings", push_first)
    found, kept = await service.get(tenant, session)
    assert found == stored
    assert [reading.text for reading in kept] == ["0", "1", "2"]
    assert len((await service.get(tenant, session))[1]) == 5
