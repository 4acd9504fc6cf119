"""PATCH /v1/sessions/{id}: one instant of meter values a call, over 64 growing sessions from 64 keep-alive clients.

End to end on this machine: `serve` with its embedded PostgreSQL, and the load client beside it on the same cores.
Each round has new sessions, so that rounds compare. Reach: at least 500 calls a second over the 64 sessions.
"""

import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from chargewatch.server.process import loop_factory
from chargewatch.server.tenants.keys import new_key

CLIENTS = 64
FIRST_INSTANTS = 5
"""Instants that a session begins with: 20 readings."""
ROUNDS = 5
SECONDS = 4.0
LEAST_RATE = 500.0
POWER_W = 11_000
PAUSE_S = 0.05
"""Before a call that was answered with 503 is sent again."""
STEP = timedelta(seconds=30)


class Meter:
    """The meter of one session that runs now: four readings an instant, unique values."""

    def __init__(self, number: int) -> None:
        self._start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
        self._instants = 0
        self._number = number

    def instant(self) -> list[dict[str, object]]:
        """The readings of the next instant: energy, power, current, state of charge."""
        count = self._instants
        self._instants += 1
        at = (self._start + count * STEP).strftime("%Y-%m-%dT%H:%M:%SZ")
        energy_wh = 1000 * self._number + round(count * STEP.total_seconds() * POWER_W / 3600, 1)
        return [
            {"timestamp": at, "measurand": "Energy.Active.Import.Register", "unit": "Wh", "value": energy_wh},
            {"timestamp": at, "measurand": "Power.Active.Import", "unit": "W", "value": POWER_W + count % 7},
            {
                "timestamp": at,
                "measurand": "Current.Import",
                "unit": "A",
                "phase": "L1",
                "value": 16 + count % 3 / 10,
            },
            {"timestamp": at, "measurand": "SoC", "unit": "Percent", "value": min(95, 20 + count // 10)},
        ]


class Connection:
    """One keep-alive connection with a key."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        self._reader, self._writer, self._key = reader, writer, key
        self.busy_answers = 0

    @classmethod
    async def open(cls, url: str, key: str) -> "Connection":
        """Connects to the service."""
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port), key)

    async def call(self, method: str, path: str, body: object) -> None:
        """Sends a call, again while the service is busy (503), until the answer is 200."""
        while (status := await self._attempt(method, path, body)) == 503:
            self.busy_answers += 1
            await asyncio.sleep(PAUSE_S)
        if status != 200:
            raise RuntimeError(f"{method} {path} answered {status}")

    async def _attempt(self, method: str, path: str, body: object) -> int:
        sent = json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
        )
        self._writer.write(head.encode() + sent)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await self._reader.readexactly(length)
        return int(answer.split(b" ", 2)[1])

    def close(self) -> None:
        """Ends the connection."""
        self._writer.close()


class Round(NamedTuple):
    """What one round showed."""

    rate: float
    seconds: list[float]
    """Of each call, those that were sent again included."""
    busy_answers: int


async def measure(url: str, key: str, name: str, clients: int) -> Round:
    """Each client makes a session of its own and appends to it for a while."""
    loop = asyncio.get_running_loop()
    meters = [Meter(number) for number in range(clients)]
    connections = [await Connection.open(url, key) for _ in meters]

    async def begin(number: int) -> None:
        readings = [reading for _ in range(FIRST_INSTANTS) for reading in meters[number].instant()]
        body = {
            "session_id": f"{name}-{number}",
            "charging_station_id": f"CP-{number % 50}",
            "connector_id": "1",
        }
        await connections[number].call("POST", "/v1/sessions", body | {"meter_values": readings})

    async def append(number: int, until: float) -> list[float]:
        times = []
        path = f"/v1/sessions/{name}-{number}"
        while (begun := loop.time()) < until:
            await connections[number].call("PATCH", path, {"meter_values": meters[number].instant()})
            times.append(loop.time() - begun)
        return times

    await asyncio.gather(*(begin(number) for number in range(clients)))
    start = loop.time()
    times = await asyncio.gather(*(append(number, start + SECONDS) for number in range(clients)))
    took_s = loop.time() - start
    for connection in connections:
        connection.close()
    seconds = [second for client in times for second in client]
    return Round(len(seconds) / took_s, seconds, sum(connection.busy_answers for connection in connections))


@contextlib.contextmanager
def serving(folder: Path, key: str, *options: str) -> Iterator[str]:
    """Starts the service on a free port, yields its URL, and ends it."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("CHARGEWATCH_")}
    environment |= {"CHARGEWATCH_BOOTSTRAP_API_KEY": key, "CHARGEWATCH_LOG_LEVEL": "warning"}
    program = [sys.executable, "-c", "from chargewatch.cli.app import main; main()"]
    server = subprocess.Popen(
        [*program, "serve", "--port", "0", "--data-dir", str(folder), *options],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().split()[-1]
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


def report(title: str, rounds: list[Round], limit: float | None = None) -> bool:
    """Prints the rates and the times of some rounds; returns whether the limit holds."""
    rates = [one.rate for one in rounds]
    cuts = statistics.quantiles([s for one in rounds for s in one.seconds], n=20)
    rate = statistics.median(rates)
    shown = "" if limit is None else f", limit {limit:.0f} calls/s"
    if busy := sum(one.busy_answers for one in rounds):
        shown += f", {busy} answers 503"
    print(
        f"  {title:<30} {rate:6.0f} calls/s (min {min(rates):.0f}, max {max(rates):.0f})"
        f"   p50 {cuts[9] * 1e3:.1f} ms, p95 {cuts[18] * 1e3:.1f} ms{shown}"
    )
    return limit is None or rate >= limit


def main() -> bool:
    """Prints the rates over 64 sessions, 16 sessions and one session; returns whether the limit holds."""
    key = new_key()

    def rounds(url: str, clients: int) -> list[Round]:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return [
                runner.run(measure(url, key, f"{clients}-{number}", clients)) for number in range(ROUNDS + 1)
            ][1:]  # the first one warms up

    print(f"PATCH with 4 readings of one instant, keep-alive clients, {ROUNDS} rounds of {SECONDS:.0f} s")
    with tempfile.TemporaryDirectory(prefix="cw-bench-") as folder, serving(Path(folder), key) as url:
        held = report(f"{CLIENTS} sessions, {CLIENTS} clients", rounds(url, CLIENTS), LEAST_RATE)
        report("16 sessions, 16 clients", rounds(url, 16))
        report("1 session, 1 client", rounds(url, 1))
    return held


if __name__ == "__main__":
    raise SystemExit(not main())
