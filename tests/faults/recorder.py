"""Clients that log every call: what the checker of `history` reads."""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.faults.history import Call, History, Place, Readings, Shown
from tests.faults.wire import Address, Answer, Unsent, Wire

START = datetime(2026, 2, 27, 10, tzinfo=UTC)
CONTESTED = 5
"""Instants that all clients of a session write again and again."""
PAUSE_S = 0.05
"""After a call that could not be made or was refused for the moment."""
READ_ATTEMPTS = 20
METHODS = ["PATCH"] * 8 + ["PUT"] * 2 + ["POST", "NEW", "AGAIN", "AGAIN", "GET", "GET", "GET", "LIST"]


class Tenant(NamedTuple):
    """A tenant with its key; its canary is part of whatever it stores as text."""

    name: str
    key: str
    canary: str


def instant(number: int) -> str:
    """The timestamp of a reading, as the service shows it."""
    return (START + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ")


def meter_values(readings: Readings) -> list[dict[str, object]]:
    """Readings as a call sends them."""
    return [{"timestamp": at, "value": int(value), "unit": "Wh"} for at, value in readings]


def shown_of(answer: Answer) -> Shown | None:
    """What an answer says about a session; None where it is not about one."""
    if answer.status != 200:
        return None
    body = answer.json()
    if "version" not in body:
        return None
    values = body.get("meter_values")
    return Shown(
        version=body["version"],
        analyzed_version=body["analyzed_version"],
        verdict=(body["status"], body["is_anomaly"], body["anomaly_score"], body["model_version"]),
        readings=None if values is None else tuple((v["timestamp"], str(v["value"])) for v in values),
    )


class Recorder:
    """Makes calls and logs them. ``numbers`` makes every value of a run unique."""

    def __init__(self, tenants: list[Tenant]) -> None:
        self.calls: list[Call] = []
        self.unsent = 0
        self.numbers: Iterator[int] = itertools.count(1)
        self._ids = itertools.count()
        self._canaries = {tenant.name: tenant.canary for tenant in tenants}

    def history(self, since: int, places: Container[Place]) -> History:
        """What was logged from the call of that number on: on these sessions, and on none in particular."""
        calls = tuple(call for call in self.calls[since:] if not call.session or call.place in places)
        return History(calls=calls, canaries=self._canaries)

    def new_readings(self, rng: random.Random, most: int, *, fewest: int = 1) -> Readings:
        """Readings at new instants, now and then one at an instant that others write too."""
        numbers = [next(self.numbers) for _ in range(rng.randint(fewest, most))]
        readings = [(instant(CONTESTED + number), str(number)) for number in numbers]
        if rng.random() < 0.2:
            readings[0] = (instant(rng.randrange(CONTESTED)), str(numbers[0]))
        return tuple(readings)

    async def call(
        self,
        wire: Wire,
        tenant: Tenant,
        method: str,
        path: str,
        session: str = "",
        body: dict[str, Any] | None = None,
        sent: Readings = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer | None:
        """Makes a call and logs it.

        Raises:
            Unsent: there was nobody to send it to; it is not logged, only counted.
        """
        if sent:
            body = (body or {}) | {"meter_values": meter_values(sent)}
        number, started = next(self._ids), time.monotonic()
        try:
            answer = await wire.call(method, path, body, dict(headers or {}))
        except Unsent:
            self.unsent += 1
            raise
        self.calls.append(
            Call(
                id=number,
                tenant=tenant.name,
                session=session,
                method=method,
                started=started,
                finished=time.monotonic(),
                status=None if answer is None else answer.status,
                sent=sent,
                shown=None if answer is None or not session else shown_of(answer),
                retry_after=None if answer is None else answer.headers.get("retry-after"),
                canaries=self._canaries_in(answer),
            )
        )
        return answer

    def _canaries_in(self, answer: Answer | None) -> frozenset[str]:
        if answer is None:
            return frozenset()
        return frozenset(canary for canary in self._canaries.values() if canary.encode() in answer.body)


class Client:
    """A client of one tenant that mixes calls on sessions which it shares with others."""

    def __init__(
        self,
        recorder: Recorder,
        tenant: Tenant,
        sessions: list[str],
        rng: random.Random,
        where: Callable[[], Address | None],
        name: str,
    ) -> None:
        self._recorder, self._tenant, self._sessions, self._rng = recorder, tenant, sessions, rng
        self._name = name
        self._new = itertools.count()
        self._last: tuple[str, str, Readings] | None = None
        self._wire = Wire(tenant.key, where)

    async def run(self, over: asyncio.Event) -> None:
        """Calls until it is over."""
        while not over.is_set():
            try:
                answer = await self.step()
            except Unsent:
                answer = None
            if answer is None or answer.status >= 500:
                await asyncio.sleep(PAUSE_S * self._rng.uniform(0.5, 2))
        self._wire.close()

    async def step(self) -> Answer | None:
        """Makes one call of some kind."""
        session, kind = self._rng.choice(self._sessions), self._rng.choice(METHODS)
        if kind == "LIST":
            return await self._call("GET", "/v1/sessions?status=all&page_size=50")
        if kind == "NEW":
            return await self.post(f"{self._name}-{next(self._new)}", 3)
        if kind == "POST":
            return await self.post(session, 4)
        if kind == "GET":
            return await self._call("GET", path_of(session), session)
        if kind == "AGAIN" and self._last is not None:
            method, session, sent = self._last
        else:
            method = "PUT" if kind == "PUT" else "PATCH"
            sent = self._recorder.new_readings(self._rng, 5 if kind == "PUT" else 3)
        self._last = method, session, sent
        return await self._call(method, path_of(session), session, sent=sent)

    async def post(self, session: str, most: int) -> Answer | None:
        """Creates a session or replaces its readings."""
        sent = self._recorder.new_readings(self._rng, most, fewest=2)
        body = session_body(self._tenant, session)
        return await self._call("POST", "/v1/sessions", session, body=body, sent=sent)

    async def _call(self, method: str, path: str, session: str = "", **more: Any) -> Answer | None:
        return await self._recorder.call(self._wire, self._tenant, method, path, session, **more)


def path_of(session: str) -> str:
    """Where a session is found."""
    return "/v1/sessions/" + quote(session, safe="")


def session_body(tenant: Tenant, session: str) -> dict[str, Any]:
    """A session's attributes, with the tenant's canary in them."""
    return {
        "session_id": session,
        "charging_station_id": f"CP-{tenant.canary}",
        "connector_id": str(len(session) % 2 + 1),
        "metadata": {"canary": tenant.canary},
    }


class Reader:
    """Reads after the fault, again where a connection did not outlive it."""

    def __init__(
        self, recorder: Recorder, tenants: list[Tenant], where: Callable[[], Address | None]
    ) -> None:
        self._recorder = recorder
        self.tenants = tenants
        self._by_name = {tenant.name: tenant for tenant in tenants}
        self._wires = {tenant.name: Wire(tenant.key, where) for tenant in tenants}

    async def get(self, tenant: str, path: str, session: str = "") -> Answer:
        """An answer that is no failure.

        Raises:
            RuntimeError: all that comes is failures.
        """
        status = None
        for _ in range(READ_ATTEMPTS):
            answer = await self._recorder.call(
                self._wires[tenant], self._by_name[tenant], "GET", path, session
            )
            if answer is not None and answer.status < 500:
                return answer
            status = answer and answer.status
            await asyncio.sleep(PAUSE_S)
        raise RuntimeError(f"{path} cannot be read after the fault: {status}")

    async def sessions(self, places: Iterable[Place]) -> dict[Place, Shown | None]:
        """Sessions as they are stored; one that is not found is None."""
        return {
            (tenant, session): shown_of(await self.get(tenant, path_of(session), session))
            for tenant, session in places
        }

    def close(self) -> None:
        """Ends its connections."""
        for wire in self._wires.values():
            wire.close()
