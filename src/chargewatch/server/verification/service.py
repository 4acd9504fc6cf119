"""``chargewatch verify``: whether all that is kept ready still equals what it is made from.

It reads and changes nothing, and runs beside a service at work.
"""

from collections.abc import Iterator
from typing import Final
from uuid import UUID

import msgspec

from chargewatch.ingest.readings import ReadingSet
from chargewatch.server.db.connection import Row
from chargewatch.server.db.engine import Database
from chargewatch.server.sessions import chunks
from chargewatch.server.sessions.schemas import StoredVerdict
from chargewatch.server.thresholds import service as thresholds
from chargewatch.server.thresholds.service import StoredThresholds
from chargewatch.server.verification import repository

STEP_SESSIONS: Final = 500
_BEFORE_ALL: Final = UUID(int=0)


class Difference(msgspec.Struct, frozen=True):
    """Something that is stored twice and not the same."""

    tenant_id: str
    where: str
    what: str
    stored: str
    recomputed: str


class Verification(msgspec.Struct, frozen=True):
    """What was looked at, and what was found."""

    tenants: int
    sessions: int
    readings: int
    differences: list[Difference]


async def verify(database: Database, tenants: list[UUID]) -> Verification:
    """Checks every count and every session of these tenants."""
    differences: list[Difference] = []
    sessions = readings = 0
    for tenant_id in tenants:
        async with database.tenant_transaction(tenant_id, reads=True) as connection:
            for row in await repository.count_differences(connection, tenant_id):
                differences.append(_count_difference(tenant_id, row))
            stored = await thresholds.read(connection, tenant_id)
            differences.extend(_threshold_differences(tenant_id, stored))
        last = _BEFORE_ALL
        while True:
            async with database.tenant_transaction(tenant_id, reads=True) as connection:
                step = await repository.sessions_after(connection, tenant_id, last, STEP_SESSIONS)
            for row in step:
                differences.extend(_session_differences(tenant_id, row))
                readings += row["reading_count"]
            sessions += len(step)
            if len(step) < STEP_SESSIONS:
                break
            last = step[-1]["session_id"]
    return Verification(len(tenants), sessions, readings, differences)


def _count_difference(tenant_id: UUID, row: Row) -> Difference:
    where = f"station {row['station']}, evse {row['evse_id'] or '-'}, connector {row['connector_id'] or '-'}"
    return Difference(
        str(tenant_id), where, f"count of {row['what']}", str(row["counted"]), str(row["recounted"])
    )


def _threshold_differences(tenant_id: UUID, stored: StoredThresholds) -> Iterator[Difference]:
    """Compares what a tenant has set with what judging makes of it: another release may have had other bounds."""
    effective = stored.effective._asdict()
    for name, value in stored.changes.items():
        if effective.get(name) != value:
            in_force = str(effective.get(name, "a limit of this program"))
            yield Difference(str(tenant_id), "thresholds", name, str(value), in_force)


def _session_differences(tenant_id: UUID, row: Row) -> Iterator[Difference]:
    """Compares a session's row with its readings and its verdict."""
    where = f"session {row['external_id']}"
    for what, stored, recomputed in [*_readings(row), *_analysis(row)]:
        if stored != recomputed:
            yield Difference(str(tenant_id), where, what, str(stored), str(recomputed))


def _readings(row: Row) -> Iterator[tuple[str, object, object]]:
    parts = [
        chunks.decode(encoding, payload)
        for encoding, payload in zip(row["encodings"] or (), row["payloads"] or (), strict=True)
    ]
    merged = ReadingSet(reading for part in parts for reading in part)
    yield "number of readings", row["reading_count"], len(merged)
    yield "readings in each chunk", list(row["counts"] or ()), [len(part) for part in parts]
    yield "newest chunk is of the version or before", True, (row["newest"] or 0) <= row["version"]


def _analysis(row: Row) -> Iterator[tuple[str, object, object]]:
    verdict = msgspec.json.decode(row["verdict"], type=StoredVerdict) if row["verdict"] else StoredVerdict()
    analysed = None if row["status"] == "pending" else row["version"]
    yield "version that was analysed", row["analyzed_version"], analysed
    yield "number of anomalies", row["anomaly_count"], len(verdict.anomalies)
    yield "categories", list(row["categories"]), sorted({a.category.value for a in verdict.anomalies})
    if row["status"] == "active":
        yield "is anomalous", row["is_anomaly"], bool(verdict.anomalies)
        yield "score is at the threshold or above", row["anomaly_score"] >= 0.5, bool(verdict.anomalies)
