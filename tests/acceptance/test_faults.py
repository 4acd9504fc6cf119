"""Every fault on a real service, with the history checker's word on each round.

One seeded round of each in every run, twenty in ``make soak``; by hand: ``python -m tests.faults --fault NAME``.
"""

import os
import sys

import pytest

from tests.faults.catalogue import FAULTS, MONKEY, NAMES
from tests.faults.rounds import Sizes, run_rounds

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

SERVER_URL = "CHARGEWATCH_TEST_DATABASE_URL"
#: Beside other tests, on a machine that may be much slower. The promised times: ``make soak`` and ``make faults``.
SMALL = Sizes(clients=16, sessions=6, seconds=0.8, freeze_s=2.5, slower=6.0)
LARGE = Sizes(clients=64, sessions=16, seconds=3.0, freeze_s=5.0)
LONG_FREEZE = Sizes(clients=64, sessions=16, seconds=3.0, freeze_s=30.0)
ON_SERVER = [name for name in NAMES if name == MONKEY or FAULTS[name].on_server]


def survives(name: str, rounds: int, seed: int, sizes: Sizes, server: str | None = None) -> None:
    logs = run_rounds(name, rounds, seed, sizes, server)
    assert len(logs) == rounds
    assert [problem for log in logs for problem in log.problems] == []
    assert sum(log.lost for log in logs) == 0


@pytest.fixture
def server() -> str:
    url = os.environ.get(SERVER_URL)
    if not url:
        pytest.skip(f"no PostgreSQL server: {SERVER_URL} is not set")
    return url


@pytest.mark.parametrize("name", NAMES)
def test_a_round(name: str) -> None:
    survives(name, 1, 1, SMALL)


@pytest.mark.parametrize("name", ON_SERVER)
def test_a_round_on_a_server(name: str, server: str) -> None:
    survives(name, 1, 2, SMALL, server)


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_twenty_rounds(name: str) -> None:
    survives(name, 20, 7, LARGE)


@pytest.mark.soak
@pytest.mark.parametrize("name", ON_SERVER)
def test_twenty_rounds_on_a_server(name: str, server: str) -> None:
    survives(name, 20, 7, LARGE, server)


@pytest.mark.soak
def test_a_long_freeze() -> None:
    survives("freeze-postgres", 1, 7, LONG_FREEZE)
