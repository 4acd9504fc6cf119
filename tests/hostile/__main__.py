"""Sends hostile requests to a served process; fails when an answer, the log or the memory is not as it should be."""

import argparse

from tests.hostile.campaign import Campaign, table
from tests.hostile.served import serving

SHOWN = 40


def main() -> int:
    """Prints what came back for each call and class of attack."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="chooses the requests (default 1)")
    parser.add_argument(
        "--per-call",
        type=int,
        default=0,
        metavar="N",
        help="the most requests a call (default: all there are)",
    )
    options = parser.parse_args()
    with serving() as service:
        outcome = Campaign(service, options.seed, options.per_call).run()
    print(table(outcome))
    for finding in outcome.findings[:SHOWN]:
        print("FOUND", finding.text())
    for fault in outcome.other_faults[:SHOWN]:
        print("FOUND", fault)
    count = len(outcome.findings) + len(outcome.other_faults)
    print(f"{count} findings" if count else "nothing found")
    return 1 if count else 0


if __name__ == "__main__":
    raise SystemExit(main())
