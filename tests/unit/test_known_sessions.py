"""What a process remembers of sessions: how much of it, and in turns."""

import asyncio
import gc
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from chargewatch.ingest.readings import Reading, ReadingSet, Source, text_bytes
from chargewatch.server.sessions import rows
from chargewatch.server.sessions.known import LONGEST_SESSION, Known, KnownSessions
from chargewatch.server.sessions.rows import StationFacts, Stored, Times

NOW = datetime(2026, 2, 27, tzinfo=UTC)
TENANT = UUID(int=1)
MOST_BYTES = 1_000_000

Text = Callable[[int], str]


REGISTER = Source("Energy.Active.Import.Register", "Wh", "", "Outlet", "Sample.Periodic", "Raw")


def known(
    count: int,
    text: Text = str,
    measurand: Text | None = None,
    metadata: str = "{}",
    verdict: str | None = None,
) -> Known:
    row = rows.new_row(f"s-{uuid4()}", uuid4(), NOW)._replace(metadata=metadata, verdict=verdict)
    sources = [REGISTER._replace(measurand=measurand(i)) if measurand else REGISTER for i in range(count)]
    readings = ReadingSet(Reading(60_000_000 * i, text(i), source) for i, source in enumerate(sources))
    stored = Stored(row, Times(NOW, NOW), "CP-1")
    return Known(stored, StationFacts(), readings, text_bytes(readings.values()))


def name_of(one: Known) -> tuple[UUID, str]:
    return TENANT, one.stored.row.external_id


KINDS: dict[str, Callable[[], Known]] = {
    "usual": lambda: known(60, text=lambda i: f"{37 * i}", verdict="v" * 600 + str(uuid4())),
    "few readings": lambda: known(3, verdict="v" * 600 + str(uuid4())),
    "none": lambda: known(0),
    "long": lambda: known(1500, text=lambda i: f"{37 * i}.25"),
    "metadata": lambda: known(3, metadata=f'{{"{uuid4()}": "{"x" * 16_000}"}}'),
    "metadata of four bytes a letter": lambda: known(0, metadata=f'{{"{uuid4()}": "{chr(0x1F600) * 4000}"}}'),
    "signed data": lambda: known(20, text=lambda i: f"{i}{uuid4()}" + "z" * 9_900),
    "names": lambda: known(20, measurand=lambda i: f"{uuid4()}" + chr(0x1F600) * 200),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_memory_is_bounded_whatever_clients_send(kind: str) -> None:
    """Counted by the interpreter itself: not more than is allowed, and not much less is made of it."""
    sessions = KnownSessions(MOST_BYTES)
    oldest = known(3)
    sessions.put(name_of(oldest), oldest)
    gc.collect()
    tracemalloc.start()
    try:
        while name_of(oldest) in sessions:
            one = KINDS[kind]()
            sessions.put(name_of(one), one)
        del one
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.5 * MOST_BYTES < taken < 1.15 * MOST_BYTES


def test_the_session_used_longest_ago_is_forgotten_first() -> None:
    sessions = KnownSessions(MOST_BYTES)
    first, second = known(60), known(60)
    for one in (first, second):
        sessions.put(name_of(one), one)
    while name_of(first) in sessions:
        taken = sessions.take(name_of(second))
        assert taken is second
        sessions.put(name_of(second), second)
        more = known(60)
        sessions.put(name_of(more), more)
    assert name_of(second) in sessions


def test_what_is_taken_is_not_remembered_and_takes_no_room() -> None:
    sessions = KnownSessions(MOST_BYTES)
    one = known(60)
    for _ in range(3):
        sessions.put(name_of(one), one)
    assert sessions.take(name_of(one)) is one
    assert sessions.take(name_of(one)) is None
    assert (len(sessions._sessions), sessions._bytes) == (0, 0)


def test_what_is_too_long_or_too_large_is_not_remembered() -> None:
    sessions = KnownSessions(MOST_BYTES)
    for one in (known(LONGEST_SESSION + 1), known(60, text=lambda i: f"{i}" + "z" * 20_000)):
        sessions.put(name_of(one), one)
        assert name_of(one) not in sessions
    assert sessions._bytes == 0


def test_turns_come_one_after_another_and_leave_nothing_behind() -> None:
    """Also those that are cancelled while they wait."""
    sessions, order = KnownSessions(MOST_BYTES), list[str]()

    async def visit(name: str) -> None:
        async with sessions.turn((TENANT, "s")):
            order.append(f"{name} in")
            await asyncio.sleep(0)
            order.append(f"{name} out")

    async def run() -> None:
        visits = [asyncio.create_task(visit(name)) for name in "abcd"]
        await asyncio.sleep(0)
        visits[1].cancel()
        await asyncio.gather(*visits, return_exceptions=True)

    asyncio.run(run())
    assert order == [f"{name} {way}" for name in "acd" for way in ("in", "out")]
    assert sessions._turns == {}
