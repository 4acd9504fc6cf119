"""A round: clients at work, a fault, recovery, and the checker's word on it; and rounds in a row on one service."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from tests.faults import catalogue, service, summaries
from tests.faults.catalogue import MONKEY, Fault, Hurt
from tests.faults.history import BUSY, Call, FinalState, Place, Shown, check
from tests.faults.recorder import Client, Reader, Recorder, Tenant, path_of, session_body
from tests.faults.wire import Unsent, Wire

LONGEST_BUSY_S = 2.0
"""Of an answer 503, and of any wait while the fault lasts."""
LONGEST_RECOVERY_S = 5.0
LONGEST_START_S = 5.0
MONKEY_FAULTS = 3
PROBE = "probe"
MOST_SHOWN = 20


class Sizes(msgspec.Struct, frozen=True):
    """How much a round does. ``seconds`` of work before and after the fault, about."""

    clients: int = 64
    sessions: int = 16
    seconds: float = 2.0
    freeze_s: float = 3.0
    slower: float = 1.0
    """How many times as long as promised an answer and a recovery may take: for tests beside other tests."""


class Strike(NamedTuple):
    """One fault as it went; the first two are moments of the monotonic clock, the others seconds."""

    fault: str
    struck: float
    over: float
    at_s: float
    """Since the round began."""
    back_s: float
    """Until the database took logins, since the strike was over."""
    recovered_s: float
    """Until calls succeeded, since then."""

    @property
    def took_s(self) -> float:
        """How long the fault lasted."""
        return self.over - self.struck

    def __str__(self) -> str:
        return (
            f"{self.fault} at {self.at_s:.2f} s, took {self.took_s:.2f} s;"
            f" database back after {self.back_s:.2f} s, calls succeed {self.recovered_s:.2f} s later"
        )


class Log(msgspec.Struct, kw_only=True):
    """What a round showed."""

    number: int
    strikes: list[Strike]
    statuses: dict[str, int]
    longest_busy_s: float
    longest_wait_s: float
    """Of any call while a fault lasted."""
    acknowledged: int
    lost: int
    problems: list[str]

    def lines(self) -> Iterator[str]:
        """The log as text."""
        for strike in self.strikes:
            yield f"round {self.number}: {strike}"
        calls = ", ".join(f"{status} {count}" for status, count in sorted(self.statuses.items()))
        longest = f"503 {self.longest_busy_s:.2f} s, wait {self.longest_wait_s:.2f} s"
        yield (
            f"round {self.number}: calls {calls}; longest {longest};"
            f" {self.acknowledged} readings acknowledged, {self.lost} lost; {len(self.problems)} problems"
        )
        yield from (f"round {self.number}: {problem}" for problem in self.problems[:MOST_SHOWN])


class Run:
    """Rounds on one service, which the state of earlier rounds must survive."""

    def __init__(
        self, running: service.Service, tenants: list[Tenant], rng: random.Random, sizes: Sizes
    ) -> None:
        self._service, self._tenants, self._rng, self._sizes = running, tenants, rng, sizes
        self._recorder = Recorder(tenants)
        self._settled: dict[Place, Shown | None] = {}

    async def round(self, number: int, name: str) -> Log:
        """Works, strikes, waits for recovery, works on, and checks."""
        first, self._recorder.unsent = len(self._recorder.calls), 0
        clients = await self._prepare(number)
        over = asyncio.Event()
        working = [asyncio.create_task(client.run(over)) for client in clients]
        began = time.monotonic()
        strikes, problems = [], []
        try:
            for fault in self._plan(name):
                await asyncio.sleep(self._sizes.seconds * self._rng.uniform(0.3, 1))
                strikes.append(await self._strike(fault, began))
            await asyncio.sleep(self._sizes.seconds * 0.3)
        except TimeoutError as late:
            problems.append(str(late))
        over.set()
        await asyncio.gather(*working)
        lost = 0
        if not problems:
            lost, found = await self._judge(first)
            problems += found
        return self._log(number, name, first, strikes, lost, problems)

    def _where(self) -> tuple[str, int] | None:
        return self._service.where

    def _plan(self, name: str) -> list[Fault]:
        if name != MONKEY:
            return [catalogue.FAULTS[name]]
        return self._rng.sample(catalogue.applying(self._service), MONKEY_FAULTS)

    async def _prepare(self, number: int) -> list[Client]:
        """Makes the round's sessions, the same ids for both tenants, and clients that share them."""
        names = [f"round-{number}-{n}" for n in range(self._sizes.sessions)]
        for tenant in self._tenants:
            wire = Wire(tenant.key, self._where)
            for session in [*names, PROBE]:
                await self._recorder.call(
                    wire,
                    tenant,
                    "POST",
                    "/v1/sessions",
                    session,
                    body=session_body(tenant, session),
                    sent=self._recorder.new_readings(self._rng, 4, fewest=2) if session != PROBE else (),
                )
            wire.close()
        return [
            Client(
                self._recorder,
                self._tenants[n % len(self._tenants)],
                self._rng.sample(names, min(4, len(names))),
                random.Random(self._rng.random()),
                self._where,
                f"new-{number}-{n}",
            )
            for n in range(self._sizes.clients)
        ]

    async def _strike(self, fault: Fault, began: float) -> Strike:
        """Strikes, and measures how long database and calls take to come back."""
        struck = time.monotonic()
        await fault.strike(Hurt(self._service, self._rng, self._sizes.freeze_s))
        over = time.monotonic()
        await catalogue.database_back(self._service)
        back = time.monotonic()
        await self._probe(time.monotonic() + catalogue.DATABASE_PATIENCE_S)
        return Strike(fault.name, struck, over, struck - began, back - over, time.monotonic() - back)

    async def _probe(self, deadline: float) -> None:
        """Returns when a change by each tenant, on a connection of its own, is acknowledged."""
        for tenant in self._tenants:
            while True:
                wire = Wire(tenant.key, self._where)
                try:
                    sent = self._recorder.new_readings(self._rng, 1)
                    answer = await self._recorder.call(
                        wire, tenant, "PATCH", path_of(PROBE), PROBE, sent=sent
                    )
                except Unsent:
                    answer = None
                wire.close()
                if answer is not None and answer.status == 200:
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError("calls keep failing after the fault")
                await asyncio.sleep(0.02)

    async def _judge(self, first: int) -> tuple[int, list[str]]:
        """Reads everything once more and checks it; returns the lost readings and what is wrong."""
        reader = Reader(self._recorder, self._tenants, self._where)
        calls = self._recorder.calls[first:]
        state = await reader.sessions(
            sorted({call.place for call in calls if call.session not in ("", PROBE)})
        )
        earlier = await reader.sessions(self._settled)
        kept = await summaries.summaries(self._service, reader)
        reader.close()
        history = self._recorder.history(first, state)
        found = check(history, FinalState(sessions=state, summaries=kept))
        changed = [
            f"I1 {place[0]}/{place[1]}: {before} after its round, now {earlier[place]}"
            for place, before in self._settled.items()
            if _essence(earlier[place]) != _essence(before)
        ]
        self._settled |= state
        lost = [violation for violation in found if violation.invariant == "I1" and violation.read is None]
        return len(lost) + len(changed), [*map(str, found), *changed]

    def _log(
        self, number: int, name: str, first: int, strikes: list[Strike], lost: int, problems: list[str]
    ) -> Log:
        calls = self._recorder.calls[first:]
        statuses = Counter("none" if call.status is None else str(call.status) for call in calls)
        busy = [call.finished - call.started for call in calls if call.status in BUSY]
        log = Log(
            number=number,
            strikes=strikes,
            statuses=dict(statuses) | ({"unsent": self._recorder.unsent} if self._recorder.unsent else {}),
            longest_busy_s=max(busy, default=0.0),
            longest_wait_s=max(
                (_waited_s(call, strike) for strike in strikes for call in calls), default=0.0
            ),
            acknowledged=sum(len(call.sent) for call in calls if call.outcome == "acknowledged"),
            lost=lost,
            problems=problems,
        )
        log.problems += too_long(log, name, self._sizes.slower)
        return log


def _waited_s(call: Call, strike: Strike) -> float:
    """How long a call had no answer while a fault lasted; a killed service answers nobody."""
    if catalogue.FAULTS[strike.fault].restarts:
        return 0.0
    return min(call.finished, strike.over) - max(call.started, strike.struck)


def _essence(shown: Shown | None) -> object:
    return None if shown is None else (shown.version, shown.readings)


def too_long(log: Log, name: str, slower: float = 1.0) -> Iterator[str]:
    """What took longer than it may, on a machine that may be so many times as slow."""
    busy_s, recovery_s, start_s = (
        slower * limit_s for limit_s in (LONGEST_BUSY_S, LONGEST_RECOVERY_S, LONGEST_START_S)
    )
    if log.longest_busy_s > busy_s:
        yield f"a 503 took {log.longest_busy_s:.2f} s, at most {busy_s} s are allowed"
    if log.longest_wait_s > busy_s:
        yield f"a call had no answer for {log.longest_wait_s:.2f} s, at most {busy_s} s are allowed"
    for strike in log.strikes:
        if strike.recovered_s > recovery_s:
            yield f"calls failed for {strike.recovered_s:.2f} s after the database was back"
        if catalogue.FAULTS[strike.fault].restarts and strike.took_s > start_s:
            yield f"the start took {strike.took_s:.2f} s, at most {start_s} s are allowed"
    if name != MONKEY and catalogue.FAULTS[name].keeps_api and "none" in log.statuses:
        yield f"{log.statuses['none']} calls had no answer though the service lived on"
    if not log.acknowledged:
        yield "nothing was acknowledged: the round says nothing"


def run_rounds(
    name: str,
    rounds: int,
    seed: int,
    sizes: Sizes,
    server: str | None = None,
    tell: Callable[[str], None] = print,
) -> list[Log]:
    """Runs rounds of one fault on a new service; tells each line of the log as it comes."""
    processes = 2 if name == MONKEY else catalogue.FAULTS[name].processes
    logs = []
    with service.running(processes, server) as running:
        run = Run(running, running.make_tenants(), random.Random(f"{seed} {name}"), sizes)
        for number in range(1, rounds + 1):
            logs.append(asyncio.run(run.round(number, name)))
            for line in logs[-1].lines():
                tell(line)
    return logs
