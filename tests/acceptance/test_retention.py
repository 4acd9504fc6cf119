"""Retention as an operator sets it: beside a running service, for one tenant, and off again."""

import json
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chargewatch.client import MeterValue, NotFound
from tests.acceptance.test_serve import Service, command, environment, eventually, serving

AGES_DAYS = (40, 31, 29, 1)


def retention(folder: Path, days: str) -> dict[str, object]:
    """Runs ``chargewatch tenant retention``."""
    line = [*command()[:-1], "tenant", "retention", "default", days, "--data-dir", str(folder), "--json"]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def push(service: Service, age_days: int) -> None:
    start = datetime.now(UTC) - timedelta(days=age_days)
    values = [MeterValue(start + timedelta(minutes=10 * i), 1000 * i, unit="Wh") for i in range(3)]
    service.api.create_session(f"of-{age_days}", "CP-1", values, idempotency_key=f"key-{age_days}")


def stored(service: Service) -> list[str]:
    return [item.external_session_id for item in service.api.list_sessions(status="all").items]


def test_retention_erases_what_is_older_everywhere(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with serving(folder, "--no-worker", CHARGEWATCH_HOUSEKEEPING_S="0.2") as service:
        for age in AGES_DAYS:
            push(service, age)
        assert sorted(stored(service)) == sorted(f"of-{age}" for age in AGES_DAYS), "off by default"
        assert retention(folder, "30")["retention_days"] == 30
        assert eventually(lambda: stored(service) == ["of-1", "of-29"])
        with pytest.raises(NotFound):
            service.api.get_session("of-40")
        assert service.api.get_statistics().total_sessions == 2
        assert service.api.get_station("CP-1").total_sessions == 2
        assert retention(folder, "off")["retention_days"] is None
        push(service, 40)
        assert service.api.get_session("of-40").version == 1, "made anew: the kept answer is gone, too"
        time.sleep(1.0)  # five rounds of housekeeping
        assert "of-40" in stored(service)
