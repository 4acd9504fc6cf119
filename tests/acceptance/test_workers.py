"""Workers as processes: kill -9 at every step of a batch, SIGTERM, several at once, and the one beside ``serve``."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from chargewatch.cli.app import app
from chargewatch.client import BatchStatus, MeterValue, SessionBody
from tests.acceptance.doomed_worker import STEPS
from tests.acceptance.test_serve import PATIENCE_S, Service, environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

START = datetime(2026, 2, 27, 10, tzinfo=UTC)
SETTINGS = {
    "CHARGEWATCH_JOB_LEASE_S": "1",
    "CHARGEWATCH_JOB_POLL_S": "0.05",
    "CHARGEWATCH_JOB_RETRY_S": "0.01",
}
ORDER = ("pending", "processing", "completed", "failed")
ROOT = Path(__file__).parents[2]


def worker(service: Service, *doom: str) -> "subprocess.Popen[bytes]":
    """Starts a worker; ``doom`` are the arguments of one that kills itself."""
    command = [sys.executable, "-c", "from chargewatch.cli.app import main; main()", "worker", "--data-dir"]
    if doom:
        command = [sys.executable, "-m", "tests.acceptance.doomed_worker"]
    log = service.log_file.with_suffix(".workers")
    with log.open("ab") as output:
        return subprocess.Popen(
            [*command, str(service.folder), *doom],
            env=environment(**SETTINGS) | {"PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )


def body(name: str, station: str, readings: int, *, fallen: bool = False) -> SessionBody:
    values = [
        MeterValue(START + timedelta(minutes=m), 0 if fallen and m == readings - 1 else m, unit="kWh")
        for m in range(readings)
    ]
    return SessionBody(session_id=name, charging_station_id=station, meter_values=values)


def fleet(tag: str, sessions: int, readings: int = 5) -> list[SessionBody]:
    """Sessions of which every tenth comes once more, with other readings."""
    made = []
    for number in range(sessions):
        again = number % 10 == 9
        name = f"{tag}-{number - again}"
        made.append(body(name, f"{tag}-CP-{number % 7}", readings, fallen=again))
    return made


def grown(before: BatchStatus | None, after: BatchStatus) -> None:
    """What is told of a batch only ever grows."""
    done = after.processed_sessions + after.failed_sessions
    assert [result.position for result in after.results] == [*range(done)]
    assert (after.completed_at is not None) == (done == after.total_sessions)
    if before is not None:
        assert ORDER.index(after.status) >= ORDER.index(before.status)
        assert after.results[: len(before.results)] == before.results


class Watch:
    """Asks how a batch is getting on."""

    def __init__(self, service: Service, batch_id: str) -> None:
        self._service, self._batch_id = service, batch_id
        self.status: BatchStatus | None = None

    def look(self) -> BatchStatus:
        status = self._service.api.get_batch_status(self._batch_id)
        grown(self.status, status)
        self.status = status
        return status

    def until(self, process: "subprocess.Popen[bytes] | None" = None) -> BatchStatus:
        """Looks until the batch is finished, or the process has ended."""
        deadline = time.monotonic() + 4 * PATIENCE_S
        while True:
            ended = process is not None and process.poll() is not None
            status = self.look()
            if status.completed_at is not None or ended:
                return status
            assert time.monotonic() < deadline, status.status
            time.sleep(0.1)


def check(service: Service, sessions: list[SessionBody], status: BatchStatus, sample: int) -> None:
    """Every session was stored once for each time that it was sent, with its own readings."""
    assert (status.status, status.failed_sessions) == ("completed", 0)
    assert status.processed_sessions == status.total_sessions == len(sessions)
    times: dict[str, int] = {}
    for sent, result in zip(sessions, status.results, strict=True):
        times[sent.session_id] = times.get(sent.session_id, 0) + 1
        assert (result.session_id, result.version) == (sent.session_id, times[sent.session_id])
        assert result.is_anomaly is (times[sent.session_id] == 2)
    for name in random.Random(1).sample(sorted(times), sample):
        stored = service.api.get_session(name)
        assert stored.version == times[name]
        assert len(stored.meter_values) == len(sessions[0].meter_values or ())
    statistics = service.api.get_statistics()
    assert (statistics.total_sessions, statistics.anomalous_sessions) == (
        len(times), sum(count == 2 for count in times.values()),
    )  # fmt: skip


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "data", "--no-worker", **SETTINGS)
    yield service
    assert service.stop() == 0


def test_kill_9_in_the_middle_of_a_batch(service: Service) -> None:
    sessions = fleet("a", 300)
    watch = Watch(service, service.api.submit_batch(sessions).batch_id)
    assert watch.look().status == "pending"
    doomed = worker(service, "counted", "2")
    watch.until(doomed)
    assert doomed.wait(PATIENCE_S) == -signal.SIGKILL
    status = watch.look()
    assert (status.status, status.processed_sessions) == ("processing", 200), "the first part and no more"
    survivor = worker(service)
    check(service, sessions, watch.until(), 5)
    survivor.send_signal(signal.SIGTERM)
    assert survivor.wait(PATIENCE_S) == 0


@pytest.mark.soak  # the hostile requests use it, too
def test_serve_has_a_worker_of_its_own(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", **SETTINGS)
    sessions = fleet("b", 30)
    watch = Watch(service, service.api.submit_batch(sessions, idempotency_key="b").batch_id)
    check(service, sessions, watch.until(), 3)
    assert service.api.submit_batch(sessions, idempotency_key="b").batch_id == watch.look().batch_id
    (beside,) = [
        child
        for child in psutil.Process(service.process.pid).children()
        if "chargewatch.server.worker_child" in child.cmdline()
    ]
    assert service.stop(signal.SIGTERM) == 0
    assert not beside.is_running()


def test_a_worker_needs_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CHARGEWATCH_")]:
        monkeypatch.delenv(name)
    done = CliRunner().invoke(app, ["worker", "--data-dir", str(tmp_path)])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "start chargewatch serve" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.soak
def test_twenty_rounds_of_kill_9_at_every_step(service: Service) -> None:
    chance = random.Random(7)
    everything: list[SessionBody] = []
    for round_ in range(20):
        sessions = fleet(f"r{round_}", 700)
        everything += sessions
        watch = Watch(service, service.api.submit_batch(sessions).batch_id)
        for step in chance.sample(sorted(STEPS), 3):
            doomed = worker(service, step, str(chance.randint(1, 3)))
            if watch.until(doomed).completed_at is not None:
                doomed.kill()
            doomed.wait(PATIENCE_S)
        survivor = worker(service)
        status = watch.until()
        survivor.kill()
        survivor.wait(PATIENCE_S)
        assert [result.version for result in status.results] == [
            1 + (number % 10 == 9) for number in range(len(sessions))
        ]
    names = {one.session_id for one in everything}
    statistics = service.api.get_statistics()
    assert (statistics.total_sessions, statistics.anomalous_sessions) == (len(names), len(everything) // 10)


@pytest.mark.soak
def test_a_session_that_kills_every_worker_fails_alone(service: Service) -> None:
    sessions = fleet("p", 9)
    watch = Watch(service, service.api.submit_batch(sessions).batch_id)
    for _ in range(10):
        doomed = worker(service, f"poison:{sessions[4].session_id}", "0")
        if watch.until(doomed).completed_at is not None:
            doomed.kill()
            doomed.wait(PATIENCE_S)
            break
        assert doomed.wait(PATIENCE_S) == -signal.SIGKILL
    status = watch.look()
    assert [result.status for result in status.results] == ["active"] * 4 + ["failed"] + ["active"] * 4


@pytest.mark.soak
def test_ten_thousand_sessions_of_25_readings_with_two_workers(service: Service) -> None:
    sessions = fleet("l", 10_000, 25)
    watch = Watch(service, service.api.submit_batch(sessions).batch_id)
    workers = [worker(service) for _ in range(2)]
    check(service, sessions, watch.until(), 20)
    for one in workers:
        one.send_signal(signal.SIGTERM)
        assert one.wait(PATIENCE_S) == 0


@pytest.mark.soak
def test_workers_that_come_and_go(service: Service) -> None:
    """SIGTERM and SIGKILL at any moment, with two workers on four batches."""
    chance = random.Random(3)
    fleets = [fleet(f"w{number}", 1500) for number in range(4)]
    watches = [Watch(service, service.api.submit_batch(sessions).batch_id) for sessions in fleets]
    workers = [worker(service) for _ in range(2)]
    for _ in range(10):
        time.sleep(chance.uniform(1, 3))
        gone = workers.pop(0)
        gone.send_signal(chance.choice((signal.SIGTERM, signal.SIGKILL)))
        assert gone.wait(PATIENCE_S) in (0, -signal.SIGKILL)
        workers.append(worker(service))
        for watch in watches:
            watch.look()
    for sessions, watch in zip(fleets, watches, strict=True):
        versions = [result.version for result in watch.until().results]
        assert versions == [1 + (number % 10 == 9) for number in range(len(sessions))]
    for one in workers:
        one.kill()
        one.wait(PATIENCE_S)
