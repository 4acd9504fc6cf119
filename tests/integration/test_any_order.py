"""Through the service and PostgreSQL: order, repeats and splitting change neither readings nor verdict (H5)."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargewatch.ingest.readings import Reading
from chargewatch.server.analysis.service import Analyser
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.engine import Database
from chargewatch.server.sessions.payloads import Attributes, Whereabouts
from chargewatch.server.sessions.schemas import StoredVerdict
from chargewatch.server.sessions.service import SessionService
from chargewatch.server.settings import Settings
from chargewatch.server.tenants.service import NewKey
from tests import arrivals
from tests.arrivals import essence

T = TypeVar("T")
NOTHING = Attributes(None, None, None, None, None)
Work = Callable[[SessionService], Coroutine[Any, Any, T]]
Play = Callable[[Work[T]], T]


@pytest.fixture(scope="module")
def play(settings: Settings, address: DatabaseAddress) -> Iterator[Play[Any]]:
    """Runs work with a service; hypothesis calls a test many times, and all of them share one loop and pool."""
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(settings, address))
        service = SessionService(database, Analyser(), idle_s=6 * 3600)
        yield lambda work: runner.run(work(service))
        runner.run(database.close())


async def pushed(
    service: SessionService, tenant: UUID, calls: Sequence[Sequence[Reading]]
) -> tuple[list[Reading], bytes]:
    """Pushes calls to a new session of a station of its own; returns what is stored and the verdict."""
    session, where = str(uuid4()), Whereabouts(str(uuid4()), None, "1")
    await service.upsert(tenant, session, where, NOTHING, calls[0])
    for call in calls[1:]:
        await service.change(tenant, session, NOTHING, call, replace=False)
    stored, readings = await service.get(tenant, session)
    row = stored.row
    assert row.analyzed_version in {None, row.version}
    verdict = _verdict(row.verdict)
    figures = (row.status, row.is_anomaly, row.anomaly_score, row.anomaly_confidence, row.begins_at)
    return readings, essence(verdict.data_quality, verdict.anomalies, *figures, verdict.energy_kwh)


def _verdict(stored: bytes | str | None) -> StoredVerdict:
    return msgspec.json.decode(stored, type=StoredVerdict) if stored else StoredVerdict()


@settings(derandomize=True, max_examples=15, deadline=None)
@given(sent=arrivals.sessions, rng=st.randoms(use_true_random=False))
def test_any_arrival_of_the_same_readings_is_the_same_session(
    play: Play[Any], two_tenants: tuple[NewKey, NewKey], sent: list[Reading], rng: random.Random
) -> None:
    tenant, sent = two_tenants[0].tenant_id, arrivals.distinct(sent)
    readings, verdict = play(lambda service: pushed(service, tenant, [sent]))
    again, other = play(lambda service: pushed(service, tenant, arrivals.arrival(rng, sent)))
    assert arrivals.values(readings) == arrivals.values(sent)
    assert again == readings
    assert other == verdict


@settings(derandomize=True, max_examples=15, deadline=None)
@given(sent=arrivals.sessions, rng=st.randoms(use_true_random=False))
def test_of_conflicting_values_the_later_acknowledged_one_counts(
    play: Play[Any], two_tenants: tuple[NewKey, NewKey], sent: list[Reading], rng: random.Random
) -> None:
    calls = arrivals.arrival(rng, sent)
    readings, _ = play(lambda service: pushed(service, two_tenants[1].tenant_id, calls))
    assert arrivals.values(readings) == arrivals.last_values(calls)
