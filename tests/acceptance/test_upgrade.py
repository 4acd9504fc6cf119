"""From the released schema 0002 to this one: ``serve`` on a data folder of before loses nothing.

What 0.1.0 stored is written down here as it stored it, in SQL and bytes, and not made by today's code.
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from chargewatch.server.db.access import database_for_command, database_for_service
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.connection import Connection, connected
from chargewatch.server.db.migrations.runner import known_versions, migrate, only_starter, schema_version
from chargewatch.server.db.roles import prepare_embedded
from chargewatch.server.db.tenancy import tenant_transaction
from chargewatch.server.settings import Settings, load_settings
from chargewatch.server.tenants.keys import new_key
from tests.acceptance.test_backup_command import OTHER_KEY, chargewatch
from tests.acceptance.test_serve import Service, serving
from tests.patience import PATIENCE_S

RELEASED = "0002"
SESSIONS = 150
START = datetime(2026, 2, 1, 10, tzinfo=UTC)
STEP = timedelta(minutes=10)
NORMAL = (0.0, 2.5, 5.0, 7.5, 10.0, 12.5)
FALLING = (0.0, 2.5, 5.0, 1.0, 3.5, 6.0)

#: The role and the rights that 0.1.0 gave it.
GRANTS = """
GRANT SELECT ON tenants, alembic_version TO {0};
GRANT SELECT, INSERT, UPDATE ON stations TO {0};
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO {0};
GRANT SELECT, INSERT, DELETE ON reading_chunks TO {0};
GRANT EXECUTE ON FUNCTION find_api_key(bytea), touch_api_key(uuid, uuid) TO {0}
"""

SESSION = """
INSERT INTO sessions (
    tenant_id, session_id, external_id, station_id, connector_id, metadata, started_at, version, reading_count,
    begins_at, last_reading_at, status, analyzed_version, analyzed_at, model_id, model_version, is_anomaly,
    anomaly_score, anomaly_confidence, is_recurring, is_incident, was_anomalous, anomaly_count, categories, verdict)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $7, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
"""

CHUNK = """
INSERT INTO reading_chunks (tenant_id, session_id, sequence, encoding, reading_count, payload)
VALUES ($1, $2, $3, 1, $4, $5)
"""


class OldSession(NamedTuple):
    """One session as it was stored."""

    external_id: str
    station: int
    values: Sequence[float]
    start: datetime

    @property
    def is_pending(self) -> bool:
        return len(self.values) < 3

    @property
    def is_anomaly(self) -> bool | None:
        return None if self.is_pending else self.values == FALLING

    @property
    def version(self) -> int:
        return 1 if self.is_pending else 2

    def chunks(self) -> list[tuple[int, int, bytes]]:
        """(sequence, readings, payload) of each push: all but two readings, then two."""
        parts = [range(2)] if self.is_pending else [range(4), range(4, 6)]
        return [(n, len(part), self._encoded(part)) for n, part in enumerate(parts, 1)]

    def _encoded(self, part: range) -> bytes:
        """Encoding 1: the sources, each reading's source, the steps of the times in µs, the texts."""
        source = ["Energy.Active.Import.Register", "kWh", "", "Outlet", "Sample.Periodic", "Raw"]
        times = [int((self.start + n * STEP).timestamp()) * 1_000_000 for n in part]
        steps = [after - before for before, after in zip([0, *times], times, strict=False)]
        texts = [str(self.values[n]) for n in part]
        return msgspec.msgpack.encode([[source], [0] * len(part), steps, texts])

    def verdict(self) -> dict[str, Any] | None:
        if self.is_pending:
            return None
        found = {
            "category": "KWH_DECREASE",
            "score": 1.0,
            "confidence": 0.873,
            "bucket_range": {"start_unit": 1, "end_unit": 2},
            "time_range": {
                "start_timestamp": _text(self.start + 2 * STEP),
                "end_timestamp": _text(self.start + 3 * STEP),
            },
            "severity": "critical",
            "concern": "billing",
            "evidence": [
                {
                    "what": "register before the fall",
                    "unit": "kWh",
                    "observed": 5.0,
                    "timestamp": _text(self.start + 2 * STEP),
                }
            ],
        }
        return {
            "anomalies": [found] if self.is_anomaly else [],
            "past_anomalies": [],
            "data_quality": [],
            "sequence_length": 4,
            "energy_kwh": 10.0 if self.is_anomaly else 12.5,
            "energy_source": "register",
            "energy_disputed_kwh": 0.0,
            "confidence_basis": "prior",
        }

    def row(self, tenant_id: UUID, session_id: UUID, station_id: UUID) -> tuple[object, ...]:
        last = self.start + (len(self.values) - 1) * STEP
        categories = ["KWH_DECREASE"] if self.is_anomaly else []
        judged: tuple[object, ...] = (None,) * 9
        if not self.is_pending:
            score = 1.0 if self.is_anomaly else 0.0237
            now = datetime.now(UTC)
            judged = (
                self.version,
                now,
                "model-csar2-base",
                "0.1.0",
                self.is_anomaly,
                score,
                0.95,
                False,
                False,
            )
        verdict = self.verdict()
        return (
            *(tenant_id, session_id, self.external_id, station_id, "1", '{"rfid":"Ü-1"}', self.start),
            *(self.version, len(self.values), last, "pending" if self.is_pending else "active", *judged),
            *(
                bool(self.is_anomaly),
                len(categories),
                categories,
                None if verdict is None else json.dumps(verdict),
            ),
        )


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


class OldTenant(NamedTuple):
    """A tenant as 0.1.0 made it."""

    name: str
    key: str
    sessions: Sequence[OldSession]


def old_tenants() -> list[OldTenant]:
    tenants = []
    for number, name in enumerate(("north", "south")):
        sessions = []
        for n in range(SESSIONS):
            values = NORMAL[:2] if n % 10 == 1 else FALLING if n % (10 + number) == 0 else NORMAL
            sessions.append(OldSession(f"s-{n}", n % 7, values, START + timedelta(hours=n)))
        tenants.append(OldTenant(name, new_key(), sessions))
    return tenants


def settings_of(folder: Path) -> Settings:
    return load_settings({"data_dir": folder}, environ={}, dotenv=None)


async def _make_old(address: DatabaseAddress, tenants: Sequence[OldTenant]) -> None:
    await prepare_embedded(address)
    async with only_starter(address) as owner:
        await migrate(owner, address.roles, RELEASED)
        await owner.execute(GRANTS.format(address.roles.app))
        for tenant in tenants:
            await _store(owner, tenant)


async def _store(owner: Connection, tenant: OldTenant) -> None:
    tenant_id = uuid4()
    async with tenant_transaction(owner, tenant_id):
        await owner.execute("INSERT INTO tenants (tenant_id, name) VALUES ($1, $2)", tenant_id, tenant.name)
        await owner.execute(
            "INSERT INTO api_keys (tenant_id, name, key_hash, hint, scopes)"
            " VALUES ($1, 'first key', $2, 'cw_…', '{read,write,models}')",
            tenant_id,
            hashlib.sha256(tenant.key.encode()).digest(),
        )
        stations = [uuid4() for _ in range(7)]
        await owner.executemany(
            "INSERT INTO stations (tenant_id, station_id, external_id) VALUES ($1, $2, $3)",
            [(tenant_id, station, f"CP-{n}") for n, station in enumerate(stations)],
        )
        stored = [(uuid4(), session) for session in tenant.sessions]
        await owner.executemany(SESSION, [s.row(tenant_id, i, stations[s.station]) for i, s in stored])
        await owner.executemany(CHUNK, [(tenant_id, i, *chunk) for i, s in stored for chunk in s.chunks()])


class Old(NamedTuple):
    folder: Path
    tenants: Sequence[OldTenant]


@pytest.fixture
def old(tmp_path: Path) -> Old:
    """A data folder as a stopped 0.1.0 left it."""
    made = Old(tmp_path / "data", old_tenants())
    with database_for_service(settings_of(made.folder)) as address:
        asyncio.run(_make_old(address, made.tenants))
    return made


def schema_of(folder: Path) -> str | None:
    async def ask(address: DatabaseAddress) -> str | None:
        async with connected(address.owner) as owner:
            return await schema_version(owner)

    with database_for_command(settings_of(folder)) as address:
        return asyncio.run(ask(address))


def check_everything(service: Service, tenants: Sequence[OldTenant]) -> None:
    for tenant in tenants:
        with client_of(service, tenant) as client:
            totals = {
                query: client.get(f"/v1/sessions?page_size=1&{query}").json()["total"]
                for query in ("status=all", "status=pending", "is_anomaly=true")
            }
            assert totals == {
                "status=all": SESSIONS,
                "status=pending": sum(s.is_pending for s in tenant.sessions),
                "is_anomaly=true": sum(bool(s.is_anomaly) for s in tenant.sessions),
            }
            statistics = client.get("/v1/statistics").json()
            assert statistics["total_sessions"] == SESSIONS
            assert statistics["anomalous_sessions"] == totals["is_anomaly=true"]
            for session in tenant.sessions:
                check_session(client.get(f"/v1/sessions/{session.external_id}").json(), session)


def client_of(service: Service, tenant: OldTenant) -> httpx.Client:
    headers = {"Authorization": f"Bearer {tenant.key}"}
    return httpx.Client(base_url=service.url, headers=headers, trust_env=False, timeout=PATIENCE_S)


def check_session(told: dict[str, Any], session: OldSession) -> None:
    assert told["version"] == session.version
    assert told["analyzed_version"] == (None if session.is_pending else session.version)
    assert told["status"] == ("pending" if session.is_pending else "active")
    assert told["is_anomaly"] is session.is_anomaly
    assert told["metadata"] == {"rfid": "Ü-1"}
    assert [(value["timestamp"], value["value"]) for value in told["meter_values"]] == [
        (_text(session.start + n * STEP), value) for n, value in enumerate(session.values)
    ]
    verdict = session.verdict() or {"anomalies": []}
    assert [one["category"] for one in told["anomalies"]] == [one["category"] for one in verdict["anomalies"]]
    assert [one["time_range"] for one in told["anomalies"]] == [
        one["time_range"] for one in verdict["anomalies"]
    ]


def test_nothing_is_lost_and_pushes_go_on(old: Old) -> None:
    assert schema_of(old.folder) == RELEASED
    with serving(old.folder) as service:
        print(f"migrated and ready after {service.ready_after_s:.2f} s")
        check_everything(service, old.tenants)
        assert chargewatch("verify", "--data-dir", old.folder)["differences"] == []
        for tenant in old.tenants:
            with client_of(service, tenant) as client:
                push_on(client, tenant)
        found = chargewatch("verify", "--data-dir", old.folder)
        assert (found["differences"], found["sessions"]) == ([], 2 * (SESSIONS + 1))
    assert schema_of(old.folder) == known_versions()[-1]


def push_on(client: httpx.Client, tenant: OldTenant) -> None:
    """A session of every kind goes on, and a new one begins at a station of before."""
    for number in (0, 1, 2):
        session = tenant.sessions[number]
        at = session.start + len(session.values) * STEP
        body = {"meter_values": [{"timestamp": _text(at), "value": 13.5, "unit": "kWh"}]}
        told = client.patch(f"/v1/sessions/{session.external_id}", json=body).json()
        assert told["version"] == session.version + 1
        assert told["status"] == "active"
        assert told["is_anomaly"] is (session.values == FALLING)
        kept = client.get(f"/v1/sessions/{session.external_id}").json()["meter_values"]
        assert [value["value"] for value in kept] == [*session.values, 13.5]
    body = {"session_id": "new", "charging_station_id": "CP-0", "meter_values": []}
    assert client.post("/v1/sessions", json=body).status_code == 200
    assert client.get("/v1/stations").json()["total"] == 7


def test_a_backup_of_before_is_the_way_back(old: Old, tmp_path: Path) -> None:
    """Taken by today's program, it leaves the folder as it is; restored, it is at today's schema."""
    made = chargewatch("backup", tmp_path / "before", "--data-dir", old.folder)
    assert made["schema"] == RELEASED == schema_of(old.folder)
    restored = chargewatch("restore", tmp_path / "before", "--data-dir", tmp_path / "new", said=OTHER_KEY)
    assert restored["rows"] == made["rows"]
    assert (restored["schema"], restored["differences"]) == (known_versions()[-1], 0)
    with serving(tmp_path / "new") as service:
        check_everything(service, old.tenants)
