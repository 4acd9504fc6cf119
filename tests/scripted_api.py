"""An API that answers from a script, in virtual time: what a client sends and how long it waits, without waiting."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import httpx
import msgspec

from chargewatch.client import AsyncClient, Client, Retry

T = TypeVar("T")
Outcome = httpx.Response | httpx.RequestError

KEY = "cw_key"
STARTED_AT = 1_772_186_400.0  # 2026-02-27T10:00:00Z
STATE = {
    "session_id": "s",
    "status": "pending",
    "version": 1,
    "was_anomalous": False,
    "anomalies": [],
    "past_anomalies": [],
    "data_quality": [],
    **dict.fromkeys(
        (
            "is_anomaly",
            "anomaly_score",
            "anomaly_confidence",
            "is_incident",
            "is_recurring",
            "analyzed_at",
            "analyzed_version",
            "sequence_length",
            "energy_kwh",
            "energy_source",
            "energy_disputed_kwh",
            "confidence_basis",
            "model_id",
            "model_version",
        )
    ),
}


def answer(status: int = 200, body: object = STATE, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return httpx.Response(status, content=msgspec.json.encode(body), headers=named)


def problem(status: int, code: str = "some_code", **headers: str) -> httpx.Response:
    body = {"type": "t", "title": "T", "status": status, "detail": "Words.", "instance": "i"}
    return answer(status, body | {"request_id": "r-1", "code": code}, **headers)


class ScriptedApi:
    """Answers with one outcome after another, the last one for ever; remembers requests and waits."""

    def __init__(self, outcomes: Sequence[Outcome], *, takes_s: float = 0.0, seed: int = 1) -> None:
        self._outcomes = list(outcomes)
        self._takes_s = takes_s
        self._draw = random.Random(seed).random
        self.now = 0.0
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []

    def policy(self, **fields: Any) -> Retry:
        """A policy that lives in this API's time."""
        own: dict[str, Any] = {
            "clock": lambda: self.now,
            "wall_clock": lambda: STARTED_AT + self.now,
            "draw": self._draw,
            "sleep": self._sleep,
            "sleep_async": self._sleep_async,
        }
        return Retry(**(own | fields))

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    async def _sleep_async(self, seconds: float) -> None:
        self._sleep(seconds)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.now += self._takes_s
        outcome = self._outcomes[min(len(self.requests), len(self._outcomes)) - 1]
        if isinstance(outcome, httpx.RequestError):
            raise outcome
        return httpx.Response(outcome.status_code, content=outcome.content, headers=outcome.headers)

    def blocking(self, do: Callable[[Client], T], options: dict[str, Any], **policy: Any) -> T:
        transport = httpx.MockTransport(self)
        with Client("http://api.test", KEY, retry=self.policy(**policy), transport=transport, **options) as c:
            return do(c)

    def awaiting(
        self, do: Callable[[AsyncClient], Awaitable[T]], options: dict[str, Any], **policy: Any
    ) -> T:
        async def run() -> T:
            transport = httpx.MockTransport(self)
            retry = self.policy(**policy)
            async with AsyncClient("http://api.test", KEY, retry=retry, transport=transport, **options) as c:
                return await do(c)

        return asyncio.run(run())


class Course:
    """What came of a call, from both clients, which never differ."""

    def __init__(
        self,
        outcomes: Sequence[Outcome],
        do: Callable[[Any], Any],
        *,
        takes_s: float = 0.0,
        seed: int = 1,
        options: dict[str, Any] | None = None,
        **policy: Any,
    ) -> None:
        """Runs ``do`` with either client; ``policy`` are fields of `Retry`, ``options`` arguments of the client."""
        self.error: Exception | None = None
        self.result: Any = None
        apis = [ScriptedApi(outcomes, takes_s=takes_s, seed=seed) for _ in range(2)]
        ends = []
        for run in (apis[0].blocking, apis[1].awaiting):
            try:
                self.result = run(do, options or {}, **policy)
                ends.append(repr(self.result))
            except Exception as error:  # noqa: BLE001 - both clients must fail with the same one
                self.error = error
                ends.append(f"{type(error).__name__}: {error}")
        assert ends[0] == ends[1]
        assert apis[0].waits == apis[1].waits
        sent = [[(r.method, str(r.url), dict(r.headers), r.content) for r in api.requests] for api in apis]
        assert sent[0] == sent[1]
        self.requests, self.waits = apis[0].requests, apis[0].waits
        self.took_s = apis[0].now
