"""PATCH on a database of 1,000,000 sessions against one of 10,000 (M3): the cost must not follow the table's size.

Both databases lie in one cluster; calls go to them in turn, to sessions spread over the whole of each, by the long way
(behind the row's lock) and by the short one (a session that the process knows).
Reach: the median of one PATCH at 1,000,000 sessions is less than 1.5 times that at 10,000.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from chargewatch.ingest.readings import Reading, source_of
from chargewatch.server.analysis.service import Analyser
from chargewatch.server.clock import microseconds
from chargewatch.server.db.address import DatabaseAddress, embedded_address
from chargewatch.server.db.connection import connected
from chargewatch.server.db.embedded import EmbeddedPostgres
from chargewatch.server.db.engine import Database
from chargewatch.server.db.secret_key import load_secret_key
from chargewatch.server.sessions import chunks
from chargewatch.server.sessions.payloads import Attributes
from chargewatch.server.sessions.service import SessionService
from chargewatch.server.settings import Settings, load_settings
from chargewatch.server.stations.service import StationService
from chargewatch.server.tenants.service import TenantService
from tests.benchmarks.machine import spread
from tests.integration.conftest import DatabaseServer

SMALL, LARGE = 10_000, 1_000_000
STATIONS = 1000
CALLS = 400
MOST_RATIO = 1.5
START = datetime(2026, 1, 1, tzinfo=UTC)
REGISTER = source_of(None, "Wh", None, None, None, None)
UNCHANGED = Attributes(None, None, None, None, None)

# As the service stores them, without its triggers: what is measured is the table's size, not its making.
_STATIONS = """
INSERT INTO stations (tenant_id, external_id) SELECT $1, 'CP-' || n FROM generate_series(0, $2 - 1) n
"""
_SESSIONS = """
INSERT INTO sessions (tenant_id, external_id, station_id, connector_id, version, reading_count, begins_at,
                      last_reading_at, ended_at, status, analyzed_version, analyzed_at, model_id, model_version,
                      is_anomaly, anomaly_score, anomaly_confidence, is_recurring, is_incident, verdict)
SELECT $1, 's-' || n, k.station_id, '1', 1, 25, at, at + interval '2 hours', at + interval '2 hours', 'active', 1, at,
       'model-csar2-base', '0', n % 50 = 0, CASE WHEN n % 50 = 0 THEN 0.9 ELSE 0.1 END, 0.9, false, false, '{}'
  FROM generate_series($2::integer, $3 - 1) n
  JOIN stations k ON k.tenant_id = $1 AND k.external_id = 'CP-' || (n % $4::integer),
       LATERAL (SELECT $5::timestamptz + (n / $4::integer) * interval '5 hours' AS at) begun
"""
_CHUNKS = """
INSERT INTO reading_chunks (tenant_id, session_id, sequence, encoding, reading_count, payload)
SELECT $1, session_id, 1, $2, $3, $4 FROM sessions WHERE tenant_id = $1
"""
_COUNTS = """
INSERT INTO session_counts (tenant_id, station_id, evse_id, connector_id, what, amount)
SELECT $1, station_id, '', '1', 'sessions', count(*) FROM sessions WHERE tenant_id = $1 GROUP BY station_id
"""


def readings(number: int, first: int, count: int) -> list[Reading]:
    """Register readings of session ``number``, from the ``first`` minute on."""
    begin = START + (number // STATIONS) * timedelta(hours=5)
    return [
        Reading(microseconds(begin + timedelta(minutes=m)), str(180 * m), REGISTER)
        for m in range(first, first + count)
    ]


class Fleet:
    """A database with so many sessions, and the service on it."""

    def __init__(self, server: DatabaseServer, sessions: int) -> None:
        self.sessions = sessions
        self.address: DatabaseAddress = server.fresh()
        self.settings: Settings = server.settings()
        self.tenant = UUID(int=0)

    async def open(self) -> None:
        """Fills the database and opens it."""
        async with connected(self.address.owner) as owner:
            made = await TenantService(owner, self.address.roles).create_tenant("scale")
            self.tenant = made.tenant_id
            await owner.execute("ALTER TABLE sessions DISABLE TRIGGER USER")
            encoding, payload = chunks.encode(readings(0, 0, 25))
            async with owner.transaction():
                await owner.execute(f"SELECT set_config('app.tenant', '{self.tenant}', true)")
                await owner.execute(_STATIONS, self.tenant, STATIONS)
                for first in range(0, self.sessions, 100_000):
                    until = min(first + 100_000, self.sessions)
                    await owner.execute(_SESSIONS, self.tenant, first, until, STATIONS, START, timeout=600)
                await owner.execute(_CHUNKS, self.tenant, encoding, 25, payload, timeout=600)
                await owner.execute(_COUNTS, self.tenant, timeout=600)
            await owner.execute("ALTER TABLE sessions ENABLE TRIGGER USER")
            for table in ("stations", "sessions", "reading_chunks", "session_counts"):
                await owner.execute(f"VACUUM ANALYZE {table}", timeout=600)
        self.database = await Database.open(self.settings, self.address)
        self.service = SessionService(self.database, Analyser(), 6 * 3600)
        self.stations = StationService(self.database)

    async def patch(self, number: int, minute: int) -> float:
        """Seconds of one PATCH with two readings."""
        session = f"s-{number * (self.sessions // CALLS)}"
        pushed = readings(number * (self.sessions // CALLS), minute, 2)
        start = time.perf_counter()
        await self.service.append(self.tenant, session, None, UNCHANGED, pushed)
        return time.perf_counter() - start

    async def statistics(self) -> float:
        """Seconds of GET /v1/statistics."""
        start = time.perf_counter()
        await self.stations.statistics(self.tenant)
        return time.perf_counter() - start


async def compare(fleets: list[Fleet]) -> bool:
    """Prints the medians and their ratios."""
    for fleet in fleets:
        await fleet.open()
    good = True
    for name, minute in (("first PATCH on a session", 25), ("next PATCH on it", 27)):
        times: list[list[float]] = [[], []]
        for number in range(CALLS):
            for fleet, seconds in zip(fleets, times, strict=True):
                seconds.append(await fleet.patch(number, minute))
        ratio = statistics.median(times[1]) / statistics.median(times[0])
        good &= ratio < MOST_RATIO
        print(
            f"  {name:25} {spread(times[0], 1000, 'ms'):42} {spread(times[1], 1000, 'ms'):42} ratio {ratio:.2f}"
        )
    times = [[await fleet.statistics() for _ in range(50)] for fleet in fleets]
    print(f"  {'GET /v1/statistics':25} {spread(times[0], 1000, 'ms'):42} {spread(times[1], 1000, 'ms'):42}")
    for fleet in fleets:
        await fleet.database.close()
    return good


def main(large: int = LARGE) -> bool:
    """Fills two databases and compares them."""
    with tempfile.TemporaryDirectory(prefix="cw-bench-") as folder:
        postgres = EmbeddedPostgres(Path(folder) / "postgres")
        postgres.start()
        try:
            settings = load_settings({"data_dir": folder}, environ={}, dotenv=None)
            address = embedded_address(postgres.dsn(), load_secret_key(settings))
            server = DatabaseServer(postgres.dsn(), Path(folder), address)
            print(
                f"PATCH of 2 readings, {CALLS} sessions in turn; {SMALL} sessions, {large} sessions, limit {MOST_RATIO}"
            )
            return asyncio.run(compare([Fleet(server, SMALL), Fleet(server, large)]))
        finally:
            postgres.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sessions", type=int, default=LARGE, help="how many sessions the large database has"
    )
    raise SystemExit(not main(parser.parse_args().sessions))
