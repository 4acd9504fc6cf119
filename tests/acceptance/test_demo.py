"""``serve --demo``: the first key, and a simulated fleet pushed by a client of its own."""

import re
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from chargewatch.cli import demo
from tests.acceptance.test_serve import PATIENCE_S, command, environment

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
    headers = {"Authorization": f"Bearer {found[1]}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=PATIENCE_S) as client:
        listed = client.get("/v1/sessions?status=all").json()
        anomalous = client.get("/v1/sessions?is_anomaly=true").json()["total"]
    told = re.search(r"demo fleet: (\d+) simulated sessions of 8 stations, (\d+) of them anomalous", shown)
    assert told is not None
    assert (listed["total"], anomalous) == (int(told[1]), int(told[2]))
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
        calls = list(demo.pushes(session))
        assert calls[0][0] == "POST"
        assert {method for method, _, _ in calls[1:]} == {"PATCH"}
        sent = [value for _, _, body in calls for value in body["meter_values"]]  # type: ignore[attr-defined]
        assert [value["value"] for value in sent] == [reading.value for reading in session.readings]
