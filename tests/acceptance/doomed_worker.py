"""``python -m tests.acceptance.doomed_worker FOLDER STEP CALLS``: a worker that kills itself at a named step.

SIGKILL comes right after the step was done for the CALLS-th time; a step ``poison:ID`` is the judging of that session.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from chargewatch.server.batches import processing, repository
from chargewatch.server.db.address import find_address
from chargewatch.server.platform import jobs
from chargewatch.server.sessions.bulk import BulkSessions
from chargewatch.server.settings import load_settings
from chargewatch.server.worker import run_worker

STEPS: dict[str, tuple[Any, str]] = {
    "begun": (processing.BatchProcessing, "_begin"),
    "judged": (BulkSessions, "prepare"),
    "stored": (BulkSessions, "store"),
    "counted": (repository, "advance"),
    "ended": (jobs, "finish"),
    "committed": (processing.BatchProcessing, "_store"),
}


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def doom(step: str, calls: int) -> None:
    """Changes the step so that it kills."""
    poison = step.removeprefix("poison:")
    owner, name = STEPS["judged"] if poison != step else STEPS[step]
    real, done = getattr(owner, name), 0

    async def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal done
        if poison != step and any(upsert.external_id == poison for upsert in args[2]):
            die()
        result = await real(*args, **kwargs)
        done += 1
        if poison == step and done == calls:
            die()
        return result

    setattr(owner, name, deadly)


def main() -> None:
    """Works until it dies."""
    folder, step, calls = sys.argv[1:]
    doom(step, int(calls))
    settings = load_settings({"data_dir": Path(folder)})
    run_worker(settings, find_address(settings), lambda: None)


if __name__ == "__main__":
    main()
