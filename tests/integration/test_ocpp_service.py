"""OCPP posts on real PostgreSQL: what survives when a call dies after any of its steps, and many calls at once."""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from chargewatch.ingest.ocpp_frames import read_frame, read_message
from chargewatch.ingest.transaction_messages import Message
from chargewatch.server.analysis.service import Analyser
from chargewatch.server.db.engine import Database
from chargewatch.server.ocpp import repository
from chargewatch.server.ocpp.service import OcppService
from chargewatch.server.sessions.service import SessionService
from chargewatch.server.tenants.service import NewKey
from tests.ocpp_frames import answer16, clock, session16, start16, stop16, values16

pytestmark = pytest.mark.anyio


class Died(Exception):
    """The process died here."""


class Mortal(OcppService):
    """A service that dies after so many steps: the book is stored, each session is stored, the starts are removed."""

    def __init__(self, database: Database, sessions: SessionService, steps: int) -> None:
        super().__init__(database, _MortalSessions(sessions, self))  # type: ignore[arg-type]
        self._steps = steps

    def step(self) -> None:
        if self._steps == 0:
            raise Died
        self._steps -= 1

    async def _note(self, *args: Any) -> Any:
        self.step()
        return await super()._note(*args)


class _MortalSessions:
    def __init__(self, sessions: SessionService, service: Mortal) -> None:
        self._sessions = sessions
        self._service = service

    async def append(self, *args: Any) -> Any:
        self._service.step()
        return await self._sessions.append(*args)


def messages(frames: Sequence[object]) -> list[Message]:
    return [read_message(read_frame(json.dumps(frame).encode())) for frame in frames]


POSTS: list[list[Any]] = [
    [start16("a0"), start16("b0", 1, 2)],
    [answer16("a0", 4), values16("b1", 10, 1500, 5, 2)],
    [values16("a1", 12, 2000, 4), values16("b2", 14, 1600, None, 2), stop16("a2", 20, 4, 3000)],
    [values16("a3", 21, 3002), *session16(4, begins=200, prefix="c"), stop16("b9", 50, 5, 2500)],
]


@pytest.fixture
def sessions(database: Database) -> SessionService:
    return SessionService(database, Analyser(), 6 * 3600)


async def state(database: Database, sessions: SessionService, tenant: UUID, station: str) -> list[Any]:
    """Everything that is stored of a station, without internal ids and times."""
    async with database.tenant_transaction(tenant) as connection:
        rows = await connection.fetch(
            "SELECT transaction_key, generation, session, connector_id, message_id, started_at, ended_at, last_at,"
            " meter_start FROM ocpp_transactions WHERE tenant_id = $1 AND station = $2 ORDER BY 1, 2",
            tenant,
            station,
        )
    found: list[Any] = []
    for row in rows:
        stored, readings = await sessions.get(tenant, row["session"])
        kept = stored.row
        found.append(
            (
                tuple(row),
                (kept.started_at, kept.ended_at, kept.stop_reason, kept.connector_id, kept.metadata),
                readings,
                kept.is_anomaly,
            )
        )
    return found


@pytest.mark.parametrize("steps", range(4))
@pytest.mark.parametrize("dying", range(len(POSTS)))
async def test_a_post_that_dies_after_any_step_and_is_sent_again_ends_the_same(
    database: Database,
    sessions: SessionService,
    two_tenants: tuple[NewKey, NewKey],
    dying: int,
    steps: int,
) -> None:
    station = f"CP-{dying}-{steps}"
    north, south = (key.tenant_id for key in two_tenants)
    whole = OcppService(database, sessions)
    for frames in POSTS:
        await whole.push(south, station, messages(frames))
    for number, frames in enumerate(POSTS):
        if number == dying:
            with contextlib.suppress(Died):
                await Mortal(database, sessions, steps).push(north, station, messages(frames))
        await whole.push(north, station, messages(frames))
    expected = await state(database, sessions, south, station)
    assert [row[0][2] for row in expected] == [
        f"{station}:4",
        f"{station}:4:20250304T132000Z",
        f"{station}:5",
    ]
    assert await state(database, sessions, north, station) == expected


async def test_the_removal_of_settled_starts_may_fail(
    database: Database,
    sessions: SessionService,
    two_tenants: tuple[NewKey, NewKey],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tenant = two_tenants[0].tenant_id
    service = OcppService(database, sessions)
    await service.push(tenant, "CP-R", messages([start16("a0")]))
    with monkeypatch.context() as patched:

        async def die(*_: object) -> None:
            raise Died

        patched.setattr(repository, "remove_starts", die)
        with pytest.raises(Died):
            await service.push(tenant, "CP-R", messages([answer16("a0", 4)]))
    pushed = await service.push(tenant, "CP-R", messages([values16("a1", 5, 2000, 4)]))
    assert pushed.sessions["CP-R:4"].row.started_at is not None
    assert [row[0][0] for row in await state(database, sessions, tenant, "CP-R")] == ["4"]


async def test_concurrent_posts_of_one_station_lose_nothing(
    database: Database, sessions: SessionService, two_tenants: tuple[NewKey, NewKey]
) -> None:
    tenant = two_tenants[0].tenant_id
    service = OcppService(database, sessions)
    await service.push(tenant, "CP-C", messages([start16("a0"), answer16("a0", 4)]))
    frames = [values16(f"m{i}", i + 1, 1000 + 100 * i, 4) for i in range(60)]
    await asyncio.gather(*(service.push(tenant, "CP-C", messages([frame])) for frame in frames))
    _, readings = await sessions.get(tenant, "CP-C:4")
    assert len(readings) == 61
    ((row, *_),) = await state(database, sessions, tenant, "CP-C")
    assert row[7].isoformat().startswith(clock(60)[:-1])


async def test_rows_come_back_as_they_were(database: Database, two_tenants: tuple[NewKey, NewKey]) -> None:
    tenant = two_tenants[0].tenant_id
    taken = messages([start16("q0", meter_start=7), values16("q1", 3, 5, 9, 3)])
    service = OcppService(database, SessionService(database, Analyser(), 1))
    await service.push(tenant, "CP-Q", taken)
    async with database.tenant_transaction(tenant) as connection:
        rows = await repository.load(connection, tenant, "CP-Q", repository.wanted_by(taken))
        await repository.save(connection, tenant, "CP-Q", rows)
        assert await repository.load(connection, tenant, "CP-Q", repository.wanted_by(taken)) == rows
        other = two_tenants[1].tenant_id
        assert await repository.load(connection, other, "CP-Q", repository.wanted_by(taken)) == []
    start, transaction = sorted(rows, key=lambda row: row.is_pending, reverse=True)
    assert (start.key, start.meter_start, start.started, start.connector) == ("start:q0", "7", True, "1")
    assert (transaction.key, transaction.started, transaction.connector) == ("9", False, "3")
    assert transaction.began_us == transaction.last_us
