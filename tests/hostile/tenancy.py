"""Two tenants and every call: nobody sees, guesses or changes what another one has.

``python -m tests.hostile.tenancy`` starts a service, fills one tenant with marked words, and lets another one ask
for them in every way that the OpenAPI document knows; then it makes every call with every kind of key.
"""

import argparse
import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from tests.hostile import keys
from tests.hostile.api_document import calls
from tests.hostile.planting import STEM, Planted
from tests.hostile.served import Served, serving
from tests.hostile.stage import Stage
from tests.hostile.sweep import Sweep, Swept

#: Fewer marked words that their own tenant sees would prove nothing.
FEWEST_VISIBLE = 8
SHOWN = 40


class Outcome(NamedTuple):
    """What a run showed."""

    planted: int
    visible: int
    swept: list[Swept]
    tried: list[keys.Tried]
    faults: list[str]


def examine(service: Served, seed: int) -> Outcome:
    """Runs the sweep and the matrix of keys on a fresh service."""
    listed = [call for call in calls(service.document()) if call.is_protected]
    named = {name: service.create_tenant(name) for name in ("north", "south", "east")}
    made = keys.make_keys(service, "east")

    async def work() -> Outcome:
        stages = {name: Stage(service.port, key, listed) for name, key in named.items()}
        theirs = Planted(stages["north"])
        await theirs.plant()
        await stages["south"].set()
        await stages["east"].set()
        sweep = Sweep(theirs, stages["south"], seed)
        await sweep.run()
        faults = sweep.faults + [f"the sweep changed {change}" for change in await stages["north"].changes()]
        faults += _faults_of_planting(theirs)
        tried, wrong = await keys.try_keys(service, stages["east"], made)
        for stage in stages.values():
            await stage.close()
        return Outcome(len(theirs.marks), len(theirs.visible()), sweep.rows, tried, faults + wrong)

    return asyncio.run(work())


def _faults_of_planting(theirs: Planted) -> list[str]:
    found = []
    if len(theirs.visible()) < FEWEST_VISIBLE:
        found.append(f"only {len(theirs.visible())} marked words can be seen by their own tenant")
    return found + [f"{name} bears no mark" for name in theirs.known if not theirs.is_marked(name)]


def table(outcome: Outcome) -> str:
    """The outcome as text."""
    width = max(len(row.call) for row in outcome.tried)
    lines = [f"{outcome.planted} marked words planted, {outcome.visible} of them seen by their own tenant"]
    lines.append(f"{'asked for by another tenant':{width}}  {'asked':>5}  {'time':>5}  answers")
    for row in outcome.swept:
        timing = "" if row.timing is None else f"{row.timing:.2f}"
        lines.append(f"{row.call:{width}}  {row.tried:>5}  {timing:>5}  {_joined(sorted(row.statuses))}")
    kinds = [*keys.REFUSED, *keys.SCOPES]
    lines.append(f"{'with a key of each kind':{width}}  needs   " + " ".join(f"{kind:>7}" for kind in kinds))
    for tried in outcome.tried:
        cells = " ".join(f"{tried.statuses[kind]:>7}" for kind in kinds)
        lines.append(f"{tried.call:{width}}  {tried.scope or '?':7} {cells}")
    return "\n".join(lines)


def _joined(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def main() -> int:
    """Prints the tables; returns 1 when something is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.tenancy", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="makes the ids that nobody has (default 1)")
    options = parser.parse_args()
    with serving() as service:
        outcome = examine(service, options.seed)
    print(table(outcome))
    for fault in outcome.faults[:SHOWN]:
        print("FOUND", fault)
    print(f"{len(outcome.faults)} findings" if outcome.faults else f"nothing found; no answer held {STEM}")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
