"""``python -m tests.faults``: hurts a real service and checks that nothing acknowledged is lost."""

import argparse
import os
import random

from tests.benchmarks.machine import describe
from tests.faults.catalogue import FAULTS, MONKEY, NAMES
from tests.faults.history import INVARIANTS
from tests.faults.rounds import Log, Sizes, run_rounds

SERVER_URL = "CHARGEWATCH_TEST_DATABASE_URL"


def main() -> int:
    """Runs the rounds that were asked for; returns 1 when one of them shows a problem."""
    wanted = _arguments()
    sizes = Sizes(
        clients=wanted.clients,
        sessions=wanted.sessions,
        seconds=wanted.seconds,
        freeze_s=wanted.freeze_seconds,
    )
    print(f"seed {wanted.seed}; {describe()}; checked: {', '.join(INVARIANTS)}")
    names = NAMES if wanted.fault == "all" else (wanted.fault,)
    url = os.environ.get(SERVER_URL)
    if "server" in wanted.database and not url:
        raise SystemExit(f"no PostgreSQL server: {SERVER_URL} is not set")
    servers = {"embedded": [None], "server": [url], "both": [None, url]}[wanted.database]
    logs: list[Log] = []
    for server in servers:
        for name in names:
            if server is None or name == MONKEY or FAULTS[name].on_server:
                print(f"{name}, {'PostgreSQL server' if server else 'embedded PostgreSQL'}")
                logs += run_rounds(name, wanted.rounds, wanted.seed, sizes, server)
    problems = sum(len(log.problems) for log in logs)
    acknowledged, lost = sum(log.acknowledged for log in logs), sum(log.lost for log in logs)
    print(f"{len(logs)} rounds, {acknowledged} readings acknowledged, {lost} lost, {problems} problems")
    return 1 if problems else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--fault", choices=[*NAMES, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--sessions", type=int, default=16, help="that clients share, per tenant")
    parser.add_argument("--seconds", type=float, default=2.0, help="of work before a fault, at most")
    parser.add_argument("--freeze-seconds", type=float, default=3.0)
    parser.add_argument(
        "--database",
        choices=["embedded", "server", "both"],
        default="embedded",
        help=f"server: the one that {SERVER_URL} names, for the faults that harm nobody else there",
    )
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
