"""The served API keeps to its OpenAPI document: schemathesis, all checks (H3)."""

import re
import sys

import pytest

from tests.hostile.fuzzing import fuzz
from tests.hostile.served import serving
from tests.hostile.verdicts import log_faults

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

FEWEST_CASES = 500


def run(seed: int, examples: int) -> None:
    with serving() as service:
        done = fuzz(service, seed, examples)
        log = service.log_file.read_bytes()
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    generated = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert generated is not None
    assert int(generated[1]) >= FEWEST_CASES
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert re.search(rf"✅ +{phase}\b", done.stdout), f"the phase {phase} did not run"
    assert not list(log_faults(log, b"\x00"))


def test_the_served_api_keeps_to_its_document() -> None:
    run(seed=1, examples=8)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_the_served_api_keeps_to_its_document_for_longer(seed: int) -> None:
    run(seed, examples=300)
