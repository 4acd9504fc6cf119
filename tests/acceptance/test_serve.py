"""``chargewatch serve`` as processes: starting, refusing to, restarting, stopping without losing a call."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from chargewatch.client import NO_RETRY, Client, MeterValue, SessionState
from chargewatch.server.db.address import embedded_address, state_folder
from chargewatch.server.db.connection import connected
from chargewatch.server.db.embedded import EmbeddedPostgres
from chargewatch.server.db.secret_key import load_secret_key
from chargewatch.server.settings import load_settings
from chargewatch.server.tenants.keys import new_key
from tests.made_database import put_into
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

KEY = new_key()
LARGEST_RSS = 300 * 1000 * 1000
#: On a busy machine many times slower than the one that `make bench` speaks of.
READY_WITHIN_S = 10.0
PROGRAM = "from chargewatch.cli.app import main; main()"
#: SIGTERM leaves enough time to look around before the port closes.
WITH_LONG_NOTICE = f"""
from functools import partial
from chargewatch.server import process, supervisor
process.StopTimes = partial(process.StopTimes, notice_s=5.0)
{PROGRAM}
"""


def environment(**settings: str) -> dict[str, str]:
    """This machine's environment without its settings."""
    plain = {name: text for name, text in os.environ.items() if not name.startswith("CHARGEWATCH_")}
    return plain | {"CHARGEWATCH_BOOTSTRAP_API_KEY": KEY} | settings


def command(*arguments: str | Path, program: str = PROGRAM) -> list[str]:
    return [sys.executable, "-c", program, "serve", *map(str, arguments)]


class Service:
    """A running ``serve``, with the Python client for it (``api``) and a plain one (``client``)."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        program: str = PROGRAM,
        wrapper: Sequence[str] = (),
        log_folder: Path | None = None,
        **settings: str,
    ) -> None:
        """``wrapper`` is a command that runs the service in its own place; ``settings`` are environment variables."""
        self.folder = folder
        if not wrapper and "CHARGEWATCH_DATABASE_URL" not in settings:
            put_into(folder)
        self.log_file = (log_folder or folder.parent) / f"{folder.name}.{time.monotonic_ns()}.log"
        began = time.perf_counter()
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*wrapper, *command("--data-dir", folder, "--port", "0", *arguments, program=program)],
                env=environment(**settings),
                cwd=folder.parent,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline()
        self.ready_after_s = time.perf_counter() - began
        assert self.ready_line, self.log()
        self.url = self.ready_line.split()[-1]
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE_S, trust_env=False
        )
        self.api = Client(self.url, KEY, timeout_s=PATIENCE_S, retry=NO_RETRY)

    def log(self) -> str:
        return self.log_file.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines()]

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", int(self.url.rpartition(":")[2])

    def post(self, session_id: str, readings: int = 3) -> httpx.Response:
        return self.client.post("/v1/sessions", json=session(session_id, readings))

    def push(self, session_id: str) -> SessionState:
        values = session(session_id)["meter_values"]
        return self.api.create_session(session_id, "CP-1", [MeterValue(**value) for value in values])

    def servers(self) -> list[psutil.Process]:
        """The processes that answer calls, when there are several."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "chargewatch.server.child" in child.cmdline():
                    found.append(child)
        return found

    def close_clients(self) -> None:
        self.client.close()
        self.api.close()

    def stop(self, number: int = signal.SIGINT) -> int:
        self.close_clients()
        if self.process.poll() is None:
            self.process.send_signal(number)
        assert self.process.stdout is not None
        rest = self.process.stdout.read()
        self.process.stdout.close()
        status = self.process.wait(PATIENCE_S)
        assert rest == "", "the ready line is all that stdout gets"
        return status


def session(session_id: str, readings: int = 3) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "charging_station_id": "CP-1",
        "meter_values": [
            {"timestamp": f"2026-02-27T10:{minute:02}:00Z", "value": float(minute), "unit": "kWh"}
            for minute in range(readings)
        ],
    }


@contextlib.contextmanager
def serving(folder: Path, *arguments: str, program: str = PROGRAM, **settings: str) -> Iterator[Service]:
    service = Service(folder, *arguments, program=program, **settings)
    try:
        yield service
    finally:
        assert service.process.stdout is not None
        if not service.process.stdout.closed:
            service.stop()


def refused(*arguments: str | Path, **settings: str) -> str:
    """The one line of a ``serve`` that cannot start."""
    done = subprocess.run(
        command(*arguments), env=environment(**settings), capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert re.fullmatch(r"chargewatch: [^\n]+\n", done.stderr), done.stderr
    return done.stderr


def eventually(check: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which a service has been at work."""
    folder = tmp_path_factory.mktemp("serve") / "data"
    with serving(folder) as service:
        assert service.push("first").session_id == "first"
    return folder


def test_a_service_from_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with serving(tmp_path / "data", "--no-worker") as service:
        assert re.fullmatch(r"chargewatch is ready: http://127\.0\.0\.1:\d+\n", service.ready_line)
        answer = service.client.get("/readyz")
        assert answer.status_code == 200
        assert set(answer.json()["checks"].values()) == {"ok"}
        assert service.client.get("/healthz").json() == {"status": "ok"}
        assert service.push("sess-1").session_id == "sess-1"
        assert service.api.list_sessions(status="all").total == 1
        assert httpx.get(service.url + "/v1/sessions", timeout=PATIENCE_S, trust_env=False).status_code == 401
        rss = psutil.Process(service.process.pid).memory_info().rss
        print(f"RSS of the API process: {rss / 1e6:.0f} MB")
        assert rss < LARGEST_RSS
        assert service.stop() == 0
        assert {"event", "level", "timestamp"} <= set.intersection(*map(set, service.lines()))
        routes = [line["route"] for line in service.lines() if line["event"] == "request"]
        assert routes[:3] == ["/readyz", "/healthz", "/v1/sessions"]
        assert KEY not in service.log()
        assert (tmp_path / "data" / "secret_key").read_text().strip() not in service.log()


def test_a_restart_is_quick_and_a_second_service_is_refused(folder: Path) -> None:
    times = []
    while len(times) < 3 and not (times and min(times) < READY_WITHIN_S):  # a busy machine gets another go
        with serving(folder) as service:
            assert service.api.get_readiness().status == "ready"
            assert service.api.get_session("first").session_id == "first"
            times.append(service.ready_after_s)
            line = refused("--data-dir", folder, "--port", "0")
            assert "in use by another chargewatch" in line
            assert str(service.process.pid) in line
            assert service.api.get_readiness().status == "ready"
            assert service.stop() == 0
    print(f"ready after a restart: {min(times):.2f} s")
    assert min(times) < READY_WITHIN_S


def test_sigterm_fails_readiness_and_finishes_what_is_in_flight(folder: Path) -> None:
    body = json.dumps(session("in-flight")).encode()
    head = (
        f"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with (
        serving(folder, program=WITH_LONG_NOTICE) as service,
        socket.create_connection(service.address, PATIENCE_S) as connection,
    ):
        connection.sendall(head.encode() + body[:20])
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: service.client.get("/readyz").status_code == 503)
        answer = service.client.get("/readyz")
        assert (answer.status_code, answer.json()["checks"]["draining"]) == (503, "the process is stopping")
        assert answer.headers["connection"] == "close"
        assert service.push("after-the-notice").session_id == "after-the-notice"
        assert eventually(lambda: _is_closed(service.address))
        assert service.process.poll() is None
        connection.sendall(body[20:])
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert b'"session_id":"in-flight"' in received
        assert service.process.wait(PATIENCE_S) == 0
    with serving(folder) as service:
        assert service.api.get_session("in-flight").session_id == "in-flight"
        assert service.api.get_session("after-the-notice").session_id == "after-the-notice"


def _is_closed(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, PATIENCE_S).close()
    except ConnectionError:
        return True
    return False


def test_a_taken_port_is_refused(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refused("--data-dir", folder, "--port", str(port))
    assert f"port {port} of 127.0.0.1 is taken" in line
    assert "--port" in line


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "data folder" in refused("--data-dir", tmp_path / "file" / "data", "--port", "0")
    assert "data folder" in refused("--data-dir", "/proc/chargewatch", "--port", "0")


def test_a_folder_of_a_newer_version_is_refused(folder: Path) -> None:
    settings = load_settings({"data_dir": folder}, environ={}, dotenv=None)
    postgres = EmbeddedPostgres(state_folder(settings))

    def move_version(to: str) -> str:
        async def move() -> str:
            address = embedded_address(postgres.dsn(), load_secret_key(settings))
            async with connected(address.owner) as owner:
                before = str(await owner.fetchval("SELECT version_num FROM alembic_version"))
                await owner.execute(f"UPDATE alembic_version SET version_num = '{to}'")
                return before

        postgres.start()
        try:
            return asyncio.run(move())
        finally:
            postgres.stop()

    before = move_version("9999")
    try:
        assert "9999" in refused("--data-dir", folder, "--port", "0")
    finally:
        move_version(before)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"CHARGEWATCH_PROT": "8000"}, "CHARGEWATCH_PROT"),
        ({"CHARGEWATCH_LOG_LEVEL": "loud"}, "CHARGEWATCH_LOG_LEVEL"),
        ({"CHARGEWATCH_PORT": "http"}, "CHARGEWATCH_PORT"),
        ({"CHARGEWATCH_HOST": "no-such-host.invalid"}, "cannot listen on no-such-host.invalid"),
        ({"CHARGEWATCH_DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x"}, "database"),
    ],
)
def test_settings_that_do_not_work_are_refused(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    line = refused("--data-dir", tmp_path / "data", **({"CHARGEWATCH_PORT": "0"} | settings))
    assert said in line
    assert "hunter2" not in line


def test_two_processes_share_the_work_and_outlive_a_crash_and_a_replacement(folder: Path) -> None:
    with serving(folder, "--processes", "2") as service:
        assert eventually(lambda: len(service.servers()) == 2)
        assert eventually(lambda: _answering(service) >= 2), service.log()
        total = service.client.get("/metrics").text
        assert re.search(r'chargewatch_http_requests_total\{.*route="/healthz".*\} [1-9]', total)
        assert 'state="idle"' in total
        for server in service.servers():
            print(f"RSS of an API process of two: {server.memory_info().rss / 1e6:.0f} MB")
            assert server.memory_info().rss < LARGEST_RSS

        victim = service.servers()[0]
        victim.kill()
        assert eventually(lambda: victim.pid not in {server.pid for server in service.servers()})
        assert _fresh_call(service) == 200
        assert eventually(lambda: len(service.servers()) == 2), service.log()
        assert any(line["event"] == "process_ended" for line in service.lines())

        _replace_one_under_load(service)
        servers = service.servers()
        assert service.stop(signal.SIGTERM) == 0
        assert not any(server.is_running() for server in servers)


def _fresh_call(service: Service) -> int:
    """A call on a connection of its own; the crash took those of its process along."""
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.get(
        service.url + "/v1/sessions", headers=headers, timeout=PATIENCE_S, trust_env=False
    ).status_code


def _replace_one_under_load(service: Service) -> None:
    """Clients that go on calling while a process of two is stopped and replaced see no failure."""
    statuses: list[int] = []
    with calling(service, statuses):
        first = service.servers()[0]
        first.send_signal(signal.SIGTERM)
        assert eventually(lambda: not _alive(first))
        assert eventually(lambda: len(service.servers()) == 2)
        after = len(statuses)
        assert eventually(lambda: len(statuses) > after + 20)
    assert set(statuses) == {200}


@contextlib.contextmanager
def calling(service: Service, statuses: list[int]) -> Iterator[None]:
    """Four clients call all the while, and note what they get; what fails on the way raises."""
    done = threading.Event()

    def keep_calling() -> None:
        with httpx.Client(
            headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE_S, trust_env=False
        ) as client:
            while not done.is_set():
                statuses.append(client.get(service.url + "/v1/sessions").status_code)

    with ThreadPoolExecutor(4) as callers:
        calls = [callers.submit(keep_calling) for _ in range(4)]
        try:
            yield
        finally:
            done.set()
        for call in calls:
            call.result()


def _answering(service: Service) -> int:
    """How many processes have answered a call by now."""
    for _ in range(10):
        httpx.get(service.url + "/healthz", timeout=PATIENCE_S, trust_env=False)
    started = [line for line in service.lines() if line["event"] == "Application startup complete."]
    return len(started)


def test_sighup_replaces_the_processes_without_losing_a_call(folder: Path) -> None:
    with serving(folder, "--processes", "2") as service:
        assert eventually(lambda: _answering(service) >= 2), service.log()
        before = {server.pid for server in service.servers()}
        statuses: list[int] = []
        with calling(service, statuses):
            service.process.send_signal(signal.SIGHUP)
            assert eventually(lambda: "processes_replaced" in service.log()), service.log()
            assert eventually(lambda: len(statuses) > 20)
        after = {server.pid for server in service.servers()}
        assert len(after) == 2
        assert not before & after
        assert set(statuses) == {200}, "a call failed while the processes were replaced"
        assert "process_ended" not in service.log()
        assert service.stop(signal.SIGTERM) == 0


def test_a_replacement_that_cannot_start_leaves_the_others_alone(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--processes", "2") as service:
        assert eventually(lambda: _answering(service) >= 2), service.log()
        before = {server.pid for server in service.servers()}
        (tmp_path / ".env").write_text("CHARGEWATCH_LOG_LEVEL=loud\n")
        service.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: "replacement_failed" in service.log()), service.log()
        assert eventually(lambda: {server.pid for server in service.servers()} == before)
        assert service.post("still-there").status_code == 200
        (tmp_path / ".env").unlink()
        service.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: "processes_replaced" in service.log()), service.log()
        assert not before & {server.pid for server in service.servers()}
        assert service.post("and-still").status_code == 200


def test_processes_end_with_their_supervisor(folder: Path) -> None:
    with serving(folder, "--processes", "2") as service:
        assert eventually(lambda: len(service.servers()) == 2)
        servers = service.servers()
        service.process.kill()
        service.process.wait()
        assert eventually(lambda: not any(_alive(server) for server in servers))
    with serving(folder) as again:
        assert again.api.get_readiness().status == "ready"


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_help_says_that_there_are_no_jobs() -> None:
    done = subprocess.run(
        command("--help"), env=environment(), capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0
    assert "no jobs exist yet" in re.sub(r"\W+", " ", done.stdout)
