"""POST /v1/sessions/batch, end to end: how soon a batch is acknowledged, and how fast two workers process batches.

`serve` with its embedded PostgreSQL, two `worker` processes and the client share this machine's cores. A batch holds
10,000 sessions of 25 readings at 500 connectors, one after the other at each; every twentieth has a falling register.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from chargewatch.server.tenants.keys import new_key
from tests.benchmarks.bench_patch import serving
from tests.benchmarks.machine import describe

SESSIONS = 10_000
READINGS = 25
CONNECTORS = 500
ANOMALOUS = 20
WORKERS = 2
BATCHES = 4
LEAST_RATE = 1_000.0
LONGEST_ACK_S = 1.0
_START = datetime(2026, 1, 1, tzinfo=UTC)


def body(name: str, sessions: int) -> bytes:
    """A batch as it is sent."""
    return json.dumps({"sessions": [_session(name, number) for number in range(sessions)]}).encode()


def _session(name: str, number: int) -> dict[str, object]:
    begins = _START + timedelta(hours=3 * (number // CONNECTORS))
    values = [
        {
            "timestamp": (begins + timedelta(minutes=5 * step)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "unit": "kWh",
            "value": round(number + step * 0.9, 1),
        }
        for step in range(READINGS)
    ]
    if number % ANOMALOUS == 0:
        values[READINGS // 2]["value"] = 0
    return {
        "session_id": f"{name}-{number}",
        "charging_point_id": f"{name}-CP-{number % CONNECTORS}",
        "connector_id": "1",
        "meter_values": values,
    }


@contextmanager
def working(folder: Path) -> Iterator[None]:
    """Two workers beside a running service."""
    program = [sys.executable, "-c", "from chargewatch.cli.app import main; main()"]
    workers = [
        subprocess.Popen([*program, "worker", "--data-dir", str(folder)], stdout=subprocess.PIPE)
        for _ in range(WORKERS)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline()
        yield
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait(60)


def main(sessions: int = SESSIONS) -> bool:
    """Prints how long acknowledgements take and the rate; returns whether the limits hold."""
    key = new_key()
    bodies = [body(f"b{number}", sessions) for number in range(BATCHES)]
    print(
        f"batches of {sessions} sessions of {READINGS} readings ({len(bodies[0]) / 1e6:.0f} MB), {WORKERS} workers"
        f" ({describe()})"
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cw-bench-")))
        url = stack.enter_context(serving(folder, key, "--no-worker"))
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        client = stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False))
        acks, places = [], []
        for sent in bodies:
            began = time.perf_counter()
            answer = client.post("/v1/sessions/batch", content=sent)
            acks.append(time.perf_counter() - began)
            places.append(answer.raise_for_status().headers["location"])
        stack.enter_context(working(folder))
        began = time.perf_counter()
        while places:
            status = client.get(places[0]).raise_for_status().json()
            if status["completed_at"] is None:
                time.sleep(0.25)
                continue
            assert (status["status"], status["processed_sessions"]) == ("completed", sessions)
            places.pop(0)
        rate = BATCHES * sessions / (time.perf_counter() - began)
    print(
        f"  acknowledged after {statistics.median(acks):.2f} s (longest {max(acks):.2f} s, limit {LONGEST_ACK_S:.0f} s)"
    )
    print(f"  {rate:.0f} sessions/s (limit {LEAST_RATE:.0f}), {rate * READINGS:.0f} readings/s")
    return rate >= LEAST_RATE and max(acks) <= LONGEST_ACK_S


if __name__ == "__main__":
    raise SystemExit(not main(*map(int, sys.argv[1:])))
