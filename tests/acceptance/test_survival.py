"""What was acknowledged survives kill -9 of everything; the service comes back with the same folder."""

import contextlib
import os
import random
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from chargewatch.client import NO_RETRY, ApiError, Client, ConnectionFailed, MeterValue
from tests.acceptance.test_serve import KEY, Service, eventually
from tests.patience import PATIENCE_S

START = datetime(2026, 2, 27, 10, tzinfo=UTC)
CLIENTS = 8
#: The promise is 5 s, and `make faults` measures it.
READY_WITHIN_S = 30.0


def reading(number: int) -> MeterValue:
    return MeterValue(START + timedelta(seconds=10 * number), number, unit="Wh")


class Pusher(threading.Thread):
    """A client that appends reading after reading to its session, and remembers what was acknowledged."""

    def __init__(self, service: Service, name: str, first: int) -> None:
        super().__init__(daemon=True)
        self._service, self._name, self._first = service, name, first
        self.acknowledged: list[int] = []
        self.versions: list[int] = []
        self.over = threading.Event()

    def run(self) -> None:
        with (
            contextlib.suppress(ConnectionFailed),
            Client(self._service.url, KEY, timeout_s=PATIENCE_S, retry=NO_RETRY) as client,
        ):
            number = self._first
            while not self.over.is_set():
                with contextlib.suppress(ApiError):
                    state = client.update_session(self._name, [reading(number)])
                    self.acknowledged.append(number)
                    self.versions.append(state.version)
                number += 1


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    return tmp_path / "data"


@pytest.mark.parametrize("seed", [1, 2])
def test_acknowledged_readings_survive_kill_9_of_everything(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    names = [f"s-{n}" for n in range(CLIENTS)]
    kept: dict[str, set[int]] = {name: set() for name in names}
    newest = dict.fromkeys(names, 1)
    service = Service(folder)
    for name in names:
        assert service.api.create_session(name, "CP-1").version == 1
    for life in range(2):
        pushers = {name: Pusher(service, name, 100_000 * life) for name in names}
        for pusher in pushers.values():
            pusher.start()
        assert eventually(lambda pushers=pushers: all(one.acknowledged for one in pushers.values()))  # type: ignore[misc]
        threading.Event().wait(rng.uniform(0.5, 1.5))
        _kill_everything(service)
        for name, pusher in pushers.items():
            pusher.over.set()
            pusher.join(PATIENCE_S)
            kept[name].update(pusher.acknowledged)
            newest[name] = pusher.versions[-1]
        service = Service(folder)
        assert service.ready_after_s < READY_WITHIN_S
        for name in names:
            session = service.api.get_session(name)
            stored = [int(value.value) for value in session.meter_values]
            assert len(stored) == len(set(stored)), "a reading is there twice"
            assert kept[name] <= set(stored), "an acknowledged reading is lost"
            # At most the one call that was under way may have been applied without its answer.
            assert len(set(stored) - kept[name]) <= 1 + life
            assert newest[name] <= session.version <= newest[name] + 1
            assert session.analyzed_version in (None, session.version)
    assert service.stop() == 0


def _kill_everything(service: Service) -> None:
    family = [psutil.Process(service.process.pid)]
    family += family[0].children(recursive=True)
    for process in family:
        with contextlib.suppress(ProcessLookupError):  # a backend may have ended by itself meanwhile
            os.kill(process.pid, signal.SIGKILL)
    service.close_clients()
    service.process.wait(PATIENCE_S)
    assert service.process.stdout is not None
    service.process.stdout.close()
