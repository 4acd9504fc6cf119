"""Counts equal recomputation after any history (M1), and ``verify`` finds what does not."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargewatch.ingest.readings import Reading, source_of
from chargewatch.server.analysis.service import Analyser
from chargewatch.server.clock import microseconds
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.connection import connected
from chargewatch.server.db.engine import Database
from chargewatch.server.housekeeping import repository as housekeeping
from chargewatch.server.sessions.payloads import Attributes, Whereabouts
from chargewatch.server.sessions.service import SessionNotFound, SessionService
from chargewatch.server.settings import Settings
from chargewatch.server.tenants.service import NewKey, TenantService
from chargewatch.server.verification.service import verify

pytestmark = pytest.mark.anyio

REGISTER = source_of(None, "Wh", None, None, None, None)
START = datetime(2026, 2, 27, 10, tzinfo=UTC)
SHAPES = {"normal": [0, 900, 1800], "fallen": [0, 900, 100], "thin": [0], "still": [5, 5, 5], "none": []}


def readings(shape: str) -> list[Reading]:
    return [
        Reading(microseconds(START + timedelta(minutes=10 * i)), str(v), REGISTER)
        for i, v in enumerate(SHAPES[shape])
    ]


def attributes(ended: bool) -> Attributes:
    return Attributes(None, None, START + timedelta(hours=1) if ended else None, None, None)


calls = st.lists(
    st.tuples(
        st.sampled_from(["post", "put", "patch", "delete", "fold", "recheck"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["CP-1", "CP-2"]),
        st.sampled_from([None, "1", "2"]),
        st.sampled_from(sorted(SHAPES)),
        st.booleans(),
    ),
    max_size=14,
)


async def carry_out(service: SessionService, database: Database, tenant: UUID, history: list[Any]) -> None:
    """Each call as a client would make it; unknown sessions are part of it."""
    for kind, session, station, connector, shape, ended in history:
        try:
            if kind == "post":
                where = Whereabouts(station, None, connector)
                await service.upsert(tenant, session, where, attributes(ended), readings(shape))
            elif kind in ("put", "patch"):
                replace = kind == "put" and shape != "none"
                await service.change(tenant, session, attributes(ended), readings(shape), replace=replace)
            elif kind == "delete":
                await service.delete(tenant, session)
            elif kind == "recheck":
                await service.recheck(tenant, (await service.get(tenant, session))[0].row.session_id)
            else:
                async with database.tenant_transaction(tenant) as connection:
                    await housekeeping.fold_counts(connection, tenant, 1)
        except SessionNotFound:
            pass


MINE = "tenant_id = current_setting('app.tenant')::uuid"  # the owner of a server may see all tenants


async def new_tenant(address: DatabaseAddress) -> UUID:
    async with connected(address.owner) as owner:
        return (await TenantService(owner, address.roles).create_tenant(f"t-{uuid4()}")).tenant_id


def test_counts_equal_recomputation_after_any_history(settings_: Settings, address: DatabaseAddress) -> None:
    async def run(histories: list[list[Any]]) -> None:
        database = await Database.open(settings_, address)
        try:
            tenant = await new_tenant(address)
            # two processes, each with what it remembers of the same sessions
            services = [SessionService(database, Analyser(), 6 * 3600) for _ in range(2)]
            work = zip(services, histories, strict=True)
            await asyncio.gather(
                *(carry_out(service, database, tenant, history) for service, history in work)
            )
            found = await verify(database, [tenant])
            assert found.differences == []
        finally:
            await database.close()

    @settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.tuples(calls, calls))
    def histories(pair: tuple[list[Any], list[Any]]) -> None:
        asyncio.run(run(list(pair)))

    histories()


@pytest.fixture
def settings_(postgres: Any) -> Settings:
    return postgres.settings()


SPOILS = {
    "count of sessions": "INSERT INTO session_counts (tenant_id, station_id, evse_id, connector_id, what, amount)"
    " SELECT tenant_id, station_id, '', '1', 'sessions', 1 FROM sessions WHERE {mine}",
    "count of anomalous": "DELETE FROM session_counts WHERE what = 'anomalous' AND {mine}",
    "number of readings": "UPDATE sessions SET reading_count = reading_count + 1 WHERE {mine}",
    "readings in each chunk": "UPDATE reading_chunks SET reading_count = reading_count + 1 WHERE {mine}",
    "newest chunk is of the version or before": "UPDATE reading_chunks SET sequence = 99 WHERE {mine}",
    "version that was analysed": "UPDATE sessions SET analyzed_version = version - 1 WHERE {mine}",
    "number of anomalies": "UPDATE sessions SET anomaly_count = 7 WHERE {mine}",
    "categories": "UPDATE sessions SET categories = '{{ENERGY_PIT}}' WHERE {mine}",
    "is anomalous": "UPDATE sessions SET is_anomaly = false WHERE {mine}",
    "score is at the threshold or above": "UPDATE sessions SET anomaly_score = 0.1 WHERE {mine}",
}


@pytest.mark.parametrize("what", sorted(SPOILS))
async def test_what_was_spoilt_is_found(
    database: Database, address: DatabaseAddress, two_tenants: tuple[NewKey, NewKey], what: str
) -> None:
    tenant = await new_tenant(address)
    service = SessionService(database, Analyser(), 6 * 3600)
    await service.upsert(tenant, "s", Whereabouts("CP-1", None, "1"), attributes(True), readings("fallen"))
    sound = await verify(database, [tenant])
    assert (sound.tenants, sound.sessions, sound.readings, sound.differences) == (1, 1, 3, [])
    async with connected(address.owner) as owner:  # the app role may do none of this
        await owner.execute(
            f"BEGIN; SELECT set_config('app.tenant', '{tenant}', true);"
            f" ALTER TABLE sessions DISABLE TRIGGER USER; {SPOILS[what].format(mine=MINE)};"
            " ALTER TABLE sessions ENABLE TRIGGER USER; COMMIT"
        )
    found = await verify(database, [tenant, two_tenants[0].tenant_id])
    assert what in {one.what for one in found.differences}
    assert {one.tenant_id for one in found.differences} == {str(tenant)}


async def test_only_the_session_whose_count_is_written_goes_uncounted_by_the_trigger(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    """A first push writes its count itself; whatever else its transaction inserts is counted by the trigger."""
    tenant = two_tenants[1].tenant_id
    pushed = {
        "session_id": str(UUID(int=11)),
        "external_id": "quick",
        "metadata": {},
        "begins_at": "2026-02-27T10:00:00Z",
        "version": 1,
        "reading_count": 0,
        "duplicate_count": 0,
        "out_of_order_count": 0,
        "status": "pending",
        "was_anomalous": False,
        "anomaly_count": 0,
        "categories": [],
    }
    create = "SELECT outcome FROM create_session($1, 'CP-Q', NULL, NULL, $2, 0::smallint, 0, '')"
    async with database.tenant_transaction(tenant) as connection:
        again = msgspec.json.encode(pushed).decode()
        assert await connection.fetchval(create, tenant, again) == "created"
        assert await connection.fetchval(create, tenant, again) == "exists"
        for session_id, is_anomaly in ((UUID(int=12), None), (UUID(int=13), True)):
            await connection.execute(
                "INSERT INTO sessions (tenant_id, session_id, external_id, station_id, begins_at, is_anomaly,"
                " categories) SELECT $1, $2, $3, station_id, now(), $4, $5 FROM stations WHERE external_id = 'CP-Q'",
                tenant,
                session_id,
                f"slow-{session_id.int}",
                is_anomaly,
                ["ZERO_SESSION"] if is_anomaly else [],
            )
        anomalous = {
            **pushed,
            "session_id": str(UUID(int=14)),
            "external_id": "anomalous",
            "is_anomaly": True,
        }
        anomalous["categories"] = ["ENERGY_PIT"]
        assert await connection.fetchval(create, tenant, msgspec.json.encode(anomalous).decode()) == "created"
        counts = await connection.fetch(
            "SELECT what, sum(amount)::int AS amount FROM session_counts JOIN stations USING (tenant_id, station_id)"
            " WHERE external_id = 'CP-Q' GROUP BY what"
        )
        assert dict(row.values() for row in counts) == {
            "sessions": 4,
            "anomalous": 2,
            "ZERO_SESSION": 1,
            "ENERGY_PIT": 1,
        }
        await connection.execute("DELETE FROM sessions WHERE external_id = 'quick'")
        assert (
            await connection.fetchval(
                "SELECT sum(amount)::int FROM session_counts JOIN stations USING (tenant_id, station_id)"
                " WHERE external_id = 'CP-Q' AND what = 'sessions'"
            )
            == 3
        )
