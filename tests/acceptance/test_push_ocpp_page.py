"""The page on pushing OCPP and OCPI: its commands are run as they stand, and answered as it says."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_serve import KEY, serving

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "push-ocpp.md"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def run(command: str, url: str) -> Any:
    environment = os.environ | {"CHARGEWATCH_URL": url, "CHARGEWATCH_KEY": KEY, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def agrees(shown: Any, answered: Any) -> bool:
    """Whether all that a page shows is in an answer, which may have more fields."""
    if isinstance(shown, dict):
        return all(name in answered and agrees(value, answered[name]) for name, value in shown.items())
    if isinstance(shown, list):
        return len(shown) == len(answered) and all(map(agrees, shown, answered))
    return bool(shown == answered)


def test_the_commands_of_the_page(tmp_path: Path) -> None:
    commands = [block for block in blocks("sh") if block.startswith("curl")]
    shown = [json.loads(block) for block in blocks("json")]
    assert len(commands) == len(shown) == 3
    with serving(tmp_path / "data", "--no-worker") as service:
        for command, expected in zip(commands, shown, strict=True):
            answered = run(command, service.url)
            assert agrees(expected, answered), json.dumps(answered, indent=1)
            again = run(command, service.url)
            states = "sessions" if "sessions" in answered else "data"
            assert again[states] == answered[states]
        sessions = service.client.get("/v1/sessions", params={"status": "all"}).json()
        assert sessions["total"] == 3
        versions = [
            service.client.get(f"/v1/sessions/{item['external_session_id']}").json()["version"]
            for item in sessions["items"]
        ]
        assert versions == [1, 1, 1]
