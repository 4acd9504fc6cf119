"""What ``chargewatch evaluate`` refuses, and what it says then."""

import pytest
from typer.testing import CliRunner

from chargewatch.cli.app import app


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--suite", "shade", "--seeds", "0,1"), "takes one seed"),
        (("--suite", "other"), "there is no suite other; there are standard and shade"),
        (("--scale", "0"), "--scale must be above 0"),
        (("--seeds", "1,x"), "--seeds 1,x: numbers with commas"),
        (("--seeds", "1,1"), "--seeds 1,1: a seed is there twice"),
        (("--output", "report.xlsx"), "report.xlsx: a report is .json or .md"),
        (("--output", "missing/report.md"), "missing/report.md: no such folder"),
        (("--write", "x", "--peers"), "--write only writes the suite"),
        (("--results", "x.csv", "--peers"), "--results measures a file"),
        (("--results", "x.csv", "--seeds", "1,2"), "are of one seed"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(arguments: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(app, ["evaluate", *arguments])
    assert done.exit_code == 2
    assert done.stderr.startswith("chargewatch: ")
    assert message in done.stderr
    assert done.stdout == ""
