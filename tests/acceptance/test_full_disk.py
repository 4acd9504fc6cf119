"""A full disk (R5): what stores is refused before the database runs out of space for its log, what reads goes on,
nothing that was acknowledged is lost, and storing goes on by itself when there is room again.

The data folder is a file system of 220 MB of its own, in memory, that only the service sees.
"""

import concurrent.futures
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.test_serve import Service, eventually
from tests.patience import PATIENCE_S
from tests.postgres_processes import postmaster

DISK_MB = 220
MIB = 1024**2
#: What is left for the test to fill when other data have taken their place.
LEFT_BYTES = 56 * MIB
READINGS = 4000


def _refuses_mounts() -> bool:
    probe = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode != 0


pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
    pytest.mark.skipif(sys.platform == "linux" and os.geteuid() != 0, reason="needs root"),
]


class Disk:
    """The small file system, seen from outside of the service's mount namespace."""

    def __init__(self, service: Service) -> None:
        self.folder = Path(f"/proc/{service.process.pid}/root") / service.folder.relative_to("/")
        self._ballast = self.folder.parent / "ballast"

    @property
    def free(self) -> int:
        return shutil.disk_usage(self.folder.parent).free

    def fill(self, left: int) -> None:
        """Other data take their place."""
        with self._ballast.open("ab") as ballast:
            os.posix_fallocate(ballast.fileno(), ballast.tell(), max(self.free - left, 1))

    def make_room(self) -> None:
        self._ballast.unlink()

    def log(self) -> str:
        return (self.folder / "postgres" / "postgres.log").read_text()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    if _refuses_mounts():
        pytest.skip("needs root that may mount")
    script = f'mount -t tmpfs -o size={DISK_MB}m tmpfs "$0" && exec "$@"'
    disk = tmp_path / "disk"
    disk.mkdir()
    wrapper = ("unshare", "--mount", "sh", "-c", script, str(disk))
    settings = {"CHARGEWATCH_DISK_CHECK_S": "0.1"}
    service = Service(disk / "data", "--processes", "2", wrapper=wrapper, log_folder=tmp_path, **settings)
    assert eventually(lambda: len(service.servers()) == 2)
    yield service
    service.stop()


def push(service: Service, name: str, rng: random.Random) -> tuple[httpx.Response, list[float]]:
    """A session that does not compress well."""
    values = [round(rng.uniform(0, 1e6), 3) for _ in range(READINGS)]
    body: dict[str, Any] = {
        "session_id": name,
        "charging_station_id": "CP-1",
        "meter_values": [
            {
                "timestamp": f"2026-02-27T{10 + n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}Z",
                "value": value,
                "measurand": "Power.Active.Import",
                "unit": "W",
            }
            for n, value in enumerate(values)
        ],
        "metadata": {"text": rng.randbytes(7000).hex()},
    }
    return service.client.post("/v1/sessions", json=body), values


def push_until_refused(service: Service, prefix: str, rng: random.Random) -> dict[str, list[float]]:
    """What was acknowledged before the disk was full."""
    kept: dict[str, list[float]] = {}
    deadline = time.monotonic() + 5 * PATIENCE_S  # a hundred pushes and more, on whatever machine
    for number in range(100_000):
        answer, values = push(service, f"{prefix}-{number}", rng)
        if answer.status_code != 200:
            assert_refused(answer)
            return kept
        kept[f"{prefix}-{number}"] = values
        assert time.monotonic() < deadline, "the disk does not fill"
    raise AssertionError


def assert_refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, "disk_full"), answer.text
    assert answer.headers["retry-after"] == "10"


def assert_kept(service: Service, kept: dict[str, list[float]]) -> None:
    for name, values in kept.items():
        session = service.client.get(f"/v1/sessions/{name}").json()
        assert [value["value"] for value in session["meter_values"]] == values, name


def test_storing_ends_in_time_and_goes_on_when_there_is_room(service: Service) -> None:
    disk, rng = Disk(service), random.Random(5)
    first, values = push(service, "first", rng)
    assert first.status_code == 200
    server = postmaster(service.folder / "postgres")
    disk.fill(LEFT_BYTES)
    kept = {"first": values} | push_until_refused(service, "a", rng)
    print(f"{len(kept)} sessions of {READINGS} readings; {disk.free / MIB:.0f} MiB free")
    assert disk.free > 24 * MIB, "the reserve is there for the log"

    with concurrent.futures.ThreadPoolExecutor(8) as clients:  # they go on trying
        for answer, _ in clients.map(lambda n: push(service, f"late-{n}", random.Random(n)), range(16)):
            assert_refused(answer)
    listed = service.client.get("/v1/sessions", params={"status": "all"})
    assert (listed.status_code, listed.json()["total"]) == (200, len(kept))
    assert_kept(service, kept)
    station = service.client.get("/v1/stations/CP-1")
    assert (station.status_code, station.json()["total_sessions"]) == (200, len(kept))
    assert service.client.get("/healthz").status_code == 200
    readiness = service.client.get("/readyz")
    assert readiness.status_code == 503
    failing = [name for name, said in readiness.json()["checks"].items() if said != "ok"]
    assert failing == ["disk"]

    disk.make_room()
    assert eventually(lambda: push(service, "b", rng)[0].status_code == 200)
    assert eventually(lambda: service.client.get("/readyz").status_code == 200)
    assert_kept(service, kept)
    assert "PANIC" not in disk.log()
    assert service.client.get("/v1/sessions", params={"status": "all"}).json()["total"] == len(kept) + 1
    said = [line["event"] for line in service.lines()]
    assert {"disk_full", "disk_has_room"} <= set(said)
    assert "database_ended" not in said
    assert postmaster(service.folder / "postgres") == server


def test_others_fill_the_disk_to_the_last_byte(service: Service) -> None:
    """Then the database itself may stop; it comes back by itself, with all that was acknowledged."""
    disk, rng = Disk(service), random.Random(6)
    kept = {}
    for number in range(5):
        answer, values = push(service, f"s-{number}", rng)
        assert answer.status_code == 200
        kept[f"s-{number}"] = values
    disk.fill(0)
    began = time.monotonic()
    statuses: list[int] = []
    while time.monotonic() - began < 1.5 or 503 not in statuses:
        assert time.monotonic() - began < PATIENCE_S
        name = f"t-{len(statuses)}"
        answer, values = push(service, name, rng)
        statuses.append(answer.status_code)
        if answer.status_code == 200:  # before anybody had looked at the disk
            kept[name] = values
        else:
            assert answer.status_code == 503
            assert "retry-after" in answer.headers
        assert service.client.get("/v1/sessions").status_code in (200, 503)
    disk.make_room()
    assert eventually(lambda: push(service, "after", rng)[0].status_code == 200)
    assert_kept(service, kept)
    print(f"restarted: {any(line['event'] == 'database_restarted' for line in service.lines())}")
