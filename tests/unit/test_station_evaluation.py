"""``evaluate --suite shade``: tables on stdout, a report in a file, what is missing on stderr."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chargewatch.cli.app import app
from chargewatch.evaluate import station_suite
from chargewatch.evaluate.station_sets import VARIABLE


@pytest.mark.parametrize("ending", ["json", "md"])
def test_a_small_suite_without_real_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(station_suite, "_SIMULATED", (("simulated, small", 12, 160, 3.0),))
    output = tmp_path / f"report.{ending}"
    result = CliRunner().invoke(app, ["evaluate", "--suite", "shade", "--seed", "2", "--output", str(output)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip().splitlines()[-1] == str(output)
    assert VARIABLE in result.stderr
    assert "simulated, small: 12 stations" in result.stdout
    text = output.read_text()
    if ending == "md":
        assert "| SHADE, as it is |" in text
    else:
        (found,) = json.loads(text)["sets"]
        assert found["stations"] == 12
        assert all(method["false_alarms"] <= 1.0 for method in found["methods"][1:])
