"""One tenant asks for what another one has, in every way that the OpenAPI document knows (S2, S7)."""

import asyncio
import sys
from collections.abc import Iterator

import pytest

from tests.hostile.api_document import calls
from tests.hostile.planting import Planted
from tests.hostile.served import Served, serving
from tests.hostile.stage import Stage
from tests.hostile.sweep import Sweep
from tests.hostile.tenancy import examine, table

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    with serving() as service:
        yield service


def test_no_call_tells_a_tenant_of_another_one(service: Served) -> None:
    outcome = examine(service, seed=1)
    print(table(outcome))
    assert not outcome.faults, "\n".join(outcome.faults[:10])
    asked = {row.call for row in outcome.swept}
    listed = [call for call in calls(service.document()) if call.is_protected]
    assert {call.name for call in listed if call.method == "GET" or call.parameters("path")} <= asked
    assert [row.call for row in outcome.tried] == [call.name for call in listed]


def test_the_sweep_finds_what_a_tenant_sees_of_its_own(service: Served) -> None:
    """A tenant that asks for its own data is what a leak would look like."""
    listed = [call for call in calls(service.document()) if call.is_protected]
    key = service.create_tenant("alone")

    async def work() -> Sweep:
        stage, again = Stage(service.port, key, listed), Stage(service.port, key, listed)
        theirs = Planted(stage)
        await theirs.plant()
        sweep = Sweep(theirs, again, 1)
        await again.set()
        await sweep.run()
        await stage.close()
        await again.close()
        return sweep

    faults = asyncio.run(work()).faults
    found = {call.name for call in listed if any(fault.startswith(call.name) for fault in faults)}
    silent = {call.name for call in listed} - found
    # of thresholds, which are numbers, tests/contract/test_thresholds.py says that each tenant has its own
    numbers = {"GET /v1/statistics", "GET /v1/thresholds", "PUT /v1/thresholds"}
    new = {"POST /v1/sessions", "POST /v1/sessions/batch"}
    assert silent == {*new, *numbers}, "they name nobody: numbers, and what was sent"
