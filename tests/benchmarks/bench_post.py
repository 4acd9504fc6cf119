"""POST /v1/sessions with 25 readings from 16 keep-alive clients, against a bare endpoint in the same run.

Reach: at least half the rate of an endpoint that validates the same body and stores it with one INSERT.
"""

import asyncio
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

CLIENTS = 16
READINGS = 25
ROUNDS = 5
SECONDS = 3.0
LEAST_RATIO = 0.5


NAME, HOUR = "@" * 20, "#" * 13
START = datetime(2026, 2, 27, 10, tzinfo=UTC)


def template(client: int) -> bytes:
    """A session of 25 register readings, one a minute of one hour, at the client's own connector."""
    values = [
        {
            "timestamp": f"{HOUR}:{minute:02}:00Z",
            "measurand": "Energy.Active.Import.Register",
            "unit": "kWh",
            "value": round(0.183 * minute, 3),
        }
        for minute in range(READINGS)
    ]
    return json.dumps(
        {
            "session_id": NAME,
            "charging_station_id": f"CP-{client}",
            "connector_id": "1",
            "meter_values": values,
        }
    ).encode()


class Load:
    """16 keep-alive clients that post new sessions to one path for a while."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._key = parts.hostname, parts.port, key
        self._round = 0
        self._hours = 0

    async def rate(self, path: str) -> float:
        """Calls a second, all answered with 200."""
        self._round += 1
        loop = asyncio.get_running_loop()
        start = loop.time()
        counts = await asyncio.gather(*(self._client(path, n, start + SECONDS) for n in range(CLIENTS)))
        return sum(counts) / (loop.time() - start)

    async def _client(self, path: str, number: int, until: float) -> int:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self._key}\r\n"
            "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        )
        body = template(number)
        count = 0
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            name = f"{self._round:03}-{number:02}-{count:013}"[:20].ljust(20, "x").encode()
            self._hours += 1  # one session after another, as at any connector
            hour = (START + timedelta(hours=self._hours)).strftime("%Y-%m-%dT%H").encode()
            sent = body.replace(NAME.encode(), name).replace(HOUR.encode(), hour)
            writer.write((head % len(sent)).encode() + sent)
            status = await reader.readuntil(b"\r\n\r\n")
            if not status.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"{path} answered {status[:60]!r}")
            length = int(status.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            count += 1
        writer.close()
        return count


def main() -> bool:
    """Prints the rates of both, round by round in turn, and their ratio."""
    with tempfile.TemporaryDirectory(prefix="cw-bench-") as folder:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.post_server", folder], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            key, url = server.stdout.readline().split()
            time.sleep(1.0)
            load = Load(url, key)
            ratios, real, bare = [], [], []
            for _ in range(ROUNDS + 1):
                bare.append(asyncio.run(load.rate("/v1/bare")))
                real.append(asyncio.run(load.rate("/v1/sessions")))
                ratios.append(real[-1] / bare[-1])
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    ratios, real, bare = ratios[1:], real[1:], bare[1:]  # the first round warms up
    print(
        f"POST with {READINGS} readings, {CLIENTS} keep-alive clients, {ROUNDS} rounds of {SECONDS:.0f} s in turn"
    )
    print(
        f"  bare endpoint    {statistics.median(bare):8.0f} calls/s (min {min(bare):.0f}, max {max(bare):.0f})"
    )
    print(
        f"  /v1/sessions     {statistics.median(real):8.0f} calls/s (min {min(real):.0f}, max {max(real):.0f})"
    )
    median = statistics.median(ratios)
    print(
        f"  ratio            {median:8.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})  limit {LEAST_RATIO}"
    )
    return median >= LEAST_RATIO


if __name__ == "__main__":
    raise SystemExit(not main())
