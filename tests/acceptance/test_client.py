"""The Python client over real sockets: against a running service, through broken connections, and its guide."""

import base64
import contextlib
import io
import re
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from chargewatch.client import (
    NO_RETRY,
    Client,
    ConnectionFailed,
    MeterValue,
    NotFound,
    Retry,
    UnexpectedAnswer,
)
from tests.acceptance.test_serve import KEY, Service, serving
from tests.patience import PATIENCE_S
from tests.unit.test_client_webhooks import BODY

GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "python-client.md"
START = datetime(2026, 2, 27, 10, tzinfo=UTC)
QUICK = Retry(first_wait_s=0.01, longest_wait_s=0.05)


def readings(*values: float, first: int = 0) -> list[MeterValue]:
    return [MeterValue(START + timedelta(minutes=i), v, unit="kWh") for i, v in enumerate(values, first)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("client") / "data") as service:
        yield service


class LossyProxy:
    """Passes connections on to a service, but loses the answer to the next request once told to."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lose = threading.Event()
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def lose_the_next_answer(self) -> None:
        self._lose.set()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._pass_on, args=self._listener.accept()[:1], daemon=True).start()

    def _pass_on(self, near: socket.socket) -> None:
        with near, socket.create_connection(self._address) as far, contextlib.suppress(OSError):
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    piece = ready.recv(65536)
                    if ready is far and piece and self._lose.is_set():
                        self._lose.clear()
                        self.lost += 1
                        return
                    if not piece:
                        return
                    (far if ready is near else near).sendall(piece)


@pytest.fixture
def proxy(service: Service) -> Iterator[LossyProxy]:
    proxy = LossyProxy(service.address)
    yield proxy
    proxy.close()


def test_a_push_whose_answer_is_lost_counts_once(service: Service, proxy: LossyProxy) -> None:
    with Client(proxy.url, KEY, retry=QUICK) as client:
        client.create_session("lossy", "CP-L", readings(0, 1, 2))
        proxy.lose_the_next_answer()
        state = client.update_session("lossy", readings(3, first=3))
        assert (state.version, proxy.lost) == (2, 1)
        proxy.lose_the_next_answer()
        with pytest.raises(ConnectionFailed):
            client.update_session("lossy", readings(4, first=4), if_match=2)
        assert client.get_session("lossy").version == 3, "it was carried out all the same"
        proxy.lose_the_next_answer()
        state = client.update_session("lossy", readings(5, first=5), if_match=3, idempotency_key="k-5")
        assert (state.version, proxy.lost) == (4, 3)
        assert [value.value for value in client.get_session("lossy").meter_values] == [0, 1, 2, 3, 4, 5]
        proxy.lose_the_next_answer()
        client.delete_session("lossy")
        assert proxy.lost == 4
        with pytest.raises(NotFound):
            client.get_session("lossy")


def test_one_client_pushes_from_many_threads(service: Service) -> None:
    with Client(service.url, KEY) as client:
        client.create_session("threads", "CP-T")

        def push(number: int) -> int:
            return client.update_session("threads", readings(number, first=number)).version

        with ThreadPoolExecutor(8) as pool:
            versions = list(pool.map(push, range(80)))
        assert sorted(versions) == list(range(2, 82))
        assert len(client.get_session("threads").meter_values) == 80


def test_a_large_push_is_taken_compressed(service: Service) -> None:
    many = [MeterValue(START + timedelta(seconds=i), i) for i in range(20_000)]
    with Client(service.url, KEY, retry=NO_RETRY) as client:
        client.create_session("large", "CP-L", many)
        assert len(client.get_session("large").meter_values) == 20_000


def test_a_restart_goes_unnoticed(tmp_path: Path) -> None:
    states: list[Any] = []
    with serving(tmp_path / "data") as service:
        address, url = service.address, service.url
        with Client(url, KEY) as client:
            client.create_session("restart", "CP-R", readings(0, 1, 2))
        assert service.stop(signal.SIGTERM) == 0
    pushing = Client(url, KEY, retry=Retry(first_wait_s=0.05, longest_wait_s=0.2, attempts=1000))
    thread = threading.Thread(
        target=lambda: states.append(pushing.update_session("restart", readings(3, first=3)))
    )
    thread.start()
    time.sleep(0.3)
    assert states == [], "nobody is there to answer"
    with serving(tmp_path / "data", "--port", str(address[1])):
        thread.join(PATIENCE_S)
        pushing.close()
    assert [state.version for state in states] == [2]


def test_nobody_there_and_somebody_else_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", KEY, retry=NO_RETRY) as client, pytest.raises(ConnectionFailed):
        client.get_statistics()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Client(url, KEY, retry=NO_RETRY) as client, pytest.raises(UnexpectedAnswer):
            client.get_statistics()


def test_a_silent_service_is_given_up(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        with Client(url, KEY, timeout_s=0.1, retry=QUICK) as client, pytest.raises(ConnectionFailed):
            client.get_statistics()
        assert 0.1 < time.monotonic() - began < PATIENCE_S


def blocks() -> list[tuple[str, str]]:
    """The guide's examples, each with what it prints."""
    found = re.findall(r"```python\n(.*?)```\n(?:```text\n(.*?)```\n)?", GUIDE.read_text(), re.DOTALL)
    return [(code, printed) for code, printed in found]


def test_the_guide_runs_word_for_word(tmp_path: Path) -> None:
    secret = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "wh-evt-a1b2c3d4",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("wh-evt-a1b2c3d4", now, BODY.decode()),
    }
    assert len(blocks()) == 8
    with serving(tmp_path / "data") as service:
        names: dict[str, Any] = {
            "url": service.url,
            "api_key": KEY,
            "secret": secret,
            "body": BODY,
            "headers": headers,
        }
        for code, expected in blocks():
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, str(GUIDE), "exec"), names)
            assert printed.getvalue() == expected, code
        names["client"].close()
