"""``serve --demo``: the first key, and a simulated fleet pushed by a client of its own."""

import json
import re
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from chargewatch.cli import demo
from chargewatch.client import NO_RETRY, Client
from chargewatch.simulate import SimulatedSession
from tests.acceptance.test_serve import command, environment
from tests.patience import PATIENCE_S
from tests.scripted_api import ScriptedApi, answer

KEY_LINE = re.compile(r"API key of the tenant default, shown this once: (cw_\w{36})\n")


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    plain = {name: text for name, text in environment().items() if not name.startswith("CHARGEWATCH_")}
    return subprocess.Popen(
        command("--data-dir", folder, "--port", "0", *arguments),
        env=plain | {"CHARGEWATCH_LOG_LEVEL": "warning"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stop(service: "subprocess.Popen[str]") -> tuple[str, str]:
    service.send_signal(signal.SIGINT)
    out, err = service.communicate(timeout=PATIENCE_S)
    assert service.returncode == 0
    return out, err


def test_the_demo_fleet_is_pushed_once(tmp_path: Path) -> None:
    service = start(tmp_path / "data", "--demo")
    assert service.stdout is not None
    assert service.stderr is not None
    url = service.stdout.readline().split()[-1]
    found = KEY_LINE.fullmatch(service.stdout.readline())
    assert found is not None
    shown = ""
    while "of them anomalous" not in shown:
        line = service.stderr.readline()
        assert line, f"the demo ended early: {shown}"
        shown += line
    with Client(url, found[1], timeout_s=PATIENCE_S, retry=NO_RETRY) as client:
        listed = client.list_sessions(status="all").total
        anomalous = client.list_sessions(is_anomaly=True).total
    told = re.search(r"demo fleet: (\d+) simulated sessions of 8 stations, (\d+) of them anomalous", shown)
    assert told is not None
    assert (listed, anomalous) == (int(told[1]), int(told[2]))
    assert anomalous >= 3
    stop(service)

    again = start(tmp_path / "data", "--demo")
    assert again.stdout is not None
    assert "is ready" in again.stdout.readline()
    assert stop(again) == ("", ""), "neither a key nor a demo the second time"


def test_first_key_alone_pushes_nothing(tmp_path: Path) -> None:
    service = start(tmp_path / "data", "--first-key")
    assert service.stdout is not None
    service.stdout.readline()
    assert KEY_LINE.fullmatch(service.stdout.readline())
    assert stop(service) == ("", "")


def test_the_demo_is_the_last_week_and_every_reading_of_it_is_sent() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    sessions = demo.sessions_until(now)
    assert len(sessions) > 100
    assert all(now - timedelta(days=9) < s.started_at < s.ended_at <= now for s in sessions)
    for session in sessions[:20]:
        sent = [(call.method, json.loads(call.content)) for call in calls_of(session)]
        assert sent[0][0] == "POST"
        assert {method for method, _ in sent[1:]} == {"PATCH"}
        values = [value for _, body in sent for value in body.get("meter_values", ())]
        assert [value["value"] for value in values] == [reading.value for reading in session.readings]
        assert datetime.fromisoformat(sent[-1][1]["ended_at"]) == session.ended_at


def calls_of(session: SimulatedSession) -> list[httpx.Request]:
    """The requests in which the demo sends a session."""
    api = ScriptedApi([answer()])
    api.blocking(lambda client: demo.push(client, session), {"compress_from": None})
    return api.requests
