"""schemathesis against a served process: every check, the phases coverage, fuzzing and stateful, from a seed.

``python -m tests.hostile.fuzzing`` prints its report. What the OpenAPI document cannot say stands, with the reason,
in ``schemathesis.toml`` and ``schemathesis_hooks.py``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.hostile.served import Served, serving

_HERE = Path(__file__).resolve().parent
PATIENCE_S = 900


def fuzz(service: Served, seed: int, examples: int) -> subprocess.CompletedProcess[str]:
    """Runs schemathesis with at most so many cases a call and phase; it ends with 0 when it found nothing."""
    key = service.create_tenant(f"fuzzed from {seed}")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(_HERE / "schemathesis.toml"), "run"),
        *(f"http://127.0.0.1:{service.port}/openapi.json", "-H", f"Authorization: Bearer {key}"),
        *("--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure"),
        *("--seed", str(seed), "--max-examples", str(examples), "--no-color"),
    ]
    environment = os.environ | {
        "PYTHONPATH": str(_HERE.parent.parent),
        "SCHEMATHESIS_HOOKS": "tests.hostile.schemathesis_hooks",
        "PYTHONIOENCODING": "utf-8",
    }
    with tempfile.TemporaryDirectory(prefix="cw-fuzz-") as folder:
        return subprocess.run(
            command,
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=PATIENCE_S,
        )


def main() -> int:
    """Prints what schemathesis says; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.fuzzing", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="default 1")
    parser.add_argument(
        "--examples", type=int, default=100, help="cases a call and phase, at most (default 100)"
    )
    options = parser.parse_args()
    with serving() as service:
        done = fuzz(service, options.seed, options.examples)
    print(done.stdout, done.stderr)
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
