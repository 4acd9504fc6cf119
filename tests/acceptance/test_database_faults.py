"""The service when its database fails (R3, R4): `serve` with two processes, its PostgreSQL killed and stopped.

Clients push all the while. Whatever happens, each call is answered soon, with 200 or with 503 and
``Retry-After``; what was acknowledged is there afterwards, exactly once; and no restart of the service is needed.
"""

import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest

from tests.acceptance.test_serve import Service, eventually
from tests.patience import PATIENCE_S
from tests.postgres_processes import checkpointer, frozen, postmaster, postmasters, processes, stopped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes by their working folder")

CLIENTS = 4
MANY_CLIENTS = 64
START = datetime(2026, 2, 27, 10, tzinfo=UTC)
#: The promises are 2 and 5 s, and `make faults` measures them. What these must not reach on any machine is the
#: time limit of a statement (15 s), which ends calls to a database that hangs, and a restart by hand.
ANSWERED_WITHIN_S = 12.0
BACK_WITHIN_S = 30.0
#: What waits for a free connection may wait: a slow machine is no fault.
POOL_TIMEOUT_S = "10"


class Pusher(threading.Thread):
    """A client that appends reading after reading, the same one again when it was refused."""

    def __init__(self, service: Service, name: str) -> None:
        super().__init__(daemon=True)
        self._service, self.name_ = service, name
        self.acknowledged: list[int] = []
        self.statuses: list[int] = []
        self.slowest_s = 0.0
        self.faults: list[str] = []
        self.last_success_at = 0.0
        self.over = threading.Event()

    def run(self) -> None:
        headers = self._service.client.headers
        with httpx.Client(
            base_url=self._service.url, headers=headers, trust_env=False, timeout=PATIENCE_S
        ) as client:
            number = 0
            while not self.over.is_set():
                if self._push(client, number):
                    self.acknowledged.append(number)
                    self.last_success_at = time.monotonic()
                    number += 1
                else:
                    time.sleep(0.02)

    def _push(self, client: httpx.Client, number: int) -> bool:
        at = START + timedelta(seconds=10 * number)
        reading = {"timestamp": at.isoformat(), "value": number, "unit": "Wh"}
        began = time.monotonic()
        answer = client.patch(f"/v1/sessions/{self.name_}", json={"meter_values": [reading]})
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        self.statuses.append(answer.status_code)
        if answer.status_code == 503 and "retry-after" not in answer.headers:
            self.faults.append("503 without Retry-After")
        if answer.status_code not in (200, 503):
            self.faults.append(f"{answer.status_code}: {answer.text}")
        return answer.status_code == 200


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("faults") / "data"
    service = Service(folder, "--processes", "2", CHARGEWATCH_POOL_TIMEOUT_S=POOL_TIMEOUT_S)
    assert eventually(lambda: len(service.servers()) == 2)
    yield service
    if not service.client.is_closed:
        service.stop()


@pytest.fixture(scope="module")
def database(service: Service) -> Path:
    """The folder of its PostgreSQL."""
    return service.folder / "postgres"


@contextlib.contextmanager
def pushing(service: Service, what: str) -> Iterator[list[Pusher]]:
    """Clients at work while the block runs; in the end everything that they were promised is checked."""
    pushers = [Pusher(service, f"{what}-{number}") for number in range(CLIENTS)]
    for pusher in pushers:
        body = {"session_id": pusher.name_, "charging_station_id": "CP-1"}
        assert service.client.post("/v1/sessions", json=body).status_code == 200
    for pusher in pushers:
        pusher.start()
    try:
        assert eventually(lambda: all(len(pusher.acknowledged) > 3 for pusher in pushers))
        yield pushers
    finally:
        for pusher in pushers:
            pusher.over.set()
        for pusher in pushers:
            pusher.join(PATIENCE_S)
    for pusher in pushers:
        assert pusher.faults == []
        assert pusher.slowest_s < ANSWERED_WITHIN_S
        _check_stored(service, pusher)
    print(f"{what}: slowest answer {max(pusher.slowest_s for pusher in pushers):.2f} s")


def _check_stored(service: Service, pusher: Pusher) -> None:
    session = service.client.get(f"/v1/sessions/{pusher.name_}").json()
    stored = [int(value["value"]) for value in session["meter_values"]]
    assert len(stored) == len(set(stored)), "a reading is there twice"
    assert set(pusher.acknowledged) <= set(stored), "an acknowledged reading is lost"
    # the one under way when the clients stopped may have been applied without an answer
    assert len(set(stored) - set(pusher.acknowledged)) <= 1


def back_after(pushers: list[Pusher], since: float) -> float:
    """How long it took until every client was answered again."""
    assert eventually(lambda: all(pusher.last_success_at > since for pusher in pushers))
    return max(pusher.last_success_at for pusher in pushers) - since


def kill_postmaster(database: Path, rng: random.Random) -> None:
    os.kill(postmaster(database), signal.SIGKILL)


def stop_immediately(database: Path, rng: random.Random) -> None:
    os.kill(postmaster(database), signal.SIGQUIT)


def kill_a_backend(database: Path, rng: random.Random) -> None:
    backends = [pid for pid, process in processes(database).items() if _is_backend(process)]
    os.kill(rng.choice(backends), signal.SIGKILL)


def _is_backend(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "chargewatch_app" in " ".join(process.cmdline())
    return False


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("fault", [kill_postmaster, stop_immediately, kill_a_backend])
def test_the_database_is_killed(
    service: Service, database: Path, fault: Callable[[Path, random.Random], None], seed: int
) -> None:
    rng = random.Random(seed)
    log = database / "postgres.log"
    with pushing(service, f"{fault.__name__}-{seed}") as pushers:
        time.sleep(rng.uniform(0.1, 0.4))
        before = log.stat().st_size
        fault(database, rng)
        began = time.monotonic()
        assert eventually(lambda: log.stat().st_size > before), "it has recovered, or is about to"
        assert service.client.get("/healthz").status_code == 200
        back_s = back_after(pushers, time.monotonic())
        print(f"{fault.__name__}: all answered after {time.monotonic() - began:.2f} s")
        assert back_s < BACK_WITHIN_S
    assert len(postmasters(database)) == 1
    assert eventually(lambda: service.client.get("/readyz").status_code == 200)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_database_hangs(service: Service, database: Path, seed: int) -> None:
    rng = random.Random(seed)
    with pushing(service, f"hang-{seed}") as pushers:
        time.sleep(rng.uniform(0.1, 0.4))
        with stopped(database):
            began = time.monotonic()
            assert eventually(lambda: all(503 in pusher.statuses for pusher in pushers))
            assert time.monotonic() - began < ANSWERED_WITHIN_S
            time.sleep(rng.uniform(0.5, 1.5))
            _check_answers_while_it_is_away(service)
        back_s = back_after(pushers, time.monotonic())
        print(f"answers {back_s:.2f} s after it goes on")
        assert back_s < BACK_WITHIN_S
    assert eventually(lambda: service.client.get("/readyz").status_code == 200)


def _check_answers_while_it_is_away(service: Service) -> None:
    began = time.monotonic()
    assert service.client.get("/healthz").status_code == 200
    readiness = service.client.get("/readyz")
    assert readiness.status_code == 503
    failing = {name for name, said in readiness.json()["checks"].items() if said != "ok"}
    assert failing == {"database", "schema"}
    unknown_key = {
        "Authorization": "Bearer " + "x" * 40
    }  # cannot be looked up, so nobody knows that it is wrong
    for answer in (
        service.client.get("/v1/sessions"),
        service.client.get("/v1/sessions", headers=unknown_key),
        service.post("away"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert "Traceback" not in answer.text
    assert time.monotonic() - began < ANSWERED_WITHIN_S


def test_a_busy_service_is_no_silent_database(service: Service) -> None:
    """Many more clients than database connections and processors: slow, but never refused."""
    pushers = [Pusher(service, f"busy-{number}") for number in range(MANY_CLIENTS)]
    body = {"charging_station_id": "CP-2"}
    for pusher in pushers:
        assert (
            service.client.post("/v1/sessions", json=body | {"session_id": pusher.name_}).status_code == 200
        )
    before = service.log().count("database_silent")
    for pusher in pushers:
        pusher.start()
    time.sleep(2)
    for pusher in pushers:
        pusher.over.set()
    for pusher in pushers:
        pusher.join(PATIENCE_S)
    assert {status for pusher in pushers for status in pusher.statuses} == {200}
    assert service.log().count("database_silent") == before
    print(f"{sum(len(pusher.statuses) for pusher in pushers)} pushes from {MANY_CLIENTS} clients")


def test_stopping_while_the_database_is_restarted(service: Service, database: Path) -> None:
    """A backend that stands still keeps the restart waiting; stopping the service does not wait for it."""
    dead, orphan = postmaster(database), checkpointer(database)
    before = service.log().count("database_ended")
    with frozen(orphan):
        os.kill(dead, signal.SIGKILL)
        assert eventually(lambda: service.log().count("database_ended") > before)
        began = time.monotonic()
        assert service.stop() == 0
        print(f"stopped after {time.monotonic() - began:.2f} s")
    assert "Traceback" not in service.log()
    assert eventually(lambda: processes(database) == {})
    said = {line["event"] for line in service.lines()}
    assert {"database_ended", "database_restarted", "database_silent", "database_back"} <= said
