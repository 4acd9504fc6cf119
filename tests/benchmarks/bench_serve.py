"""``serve``: seconds to ready on a warm start, and the memory of the process that answers calls."""

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psutil

ROUNDS = 5
LIMIT_READY_S = 3.0
LIMIT_MEMORY_MB = 300


def start(folder: Path) -> tuple[subprocess.Popen[str], str, float]:
    """Starts the service on a free port; returns it, its URL and the seconds until /readyz answers 200."""
    begun = time.perf_counter()
    program = [sys.executable, "-c", "from chargewatch.cli.app import main; main()"]
    server = subprocess.Popen(
        [*program, "serve", "--port", "0", "--data-dir", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    url = server.stdout.readline().split()[-1]
    while True:
        try:
            with urlopen(f"{url}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return server, url, time.perf_counter() - begun
        except URLError:
            time.sleep(0.01)


def main() -> bool:
    """Prints both figures; returns whether the limits hold."""
    ready, memory = [], []
    with tempfile.TemporaryDirectory(prefix="cw-bench-") as folder:
        for _ in range(ROUNDS + 1):
            server, _, seconds = start(Path(folder))
            ready.append(seconds)
            memory.append(psutil.Process(server.pid).memory_info().rss / 2**20)
            server.send_signal(signal.SIGINT)
            server.wait(30)
    ready, memory = ready[1:], memory[1:]  # the first start makes the database
    print("serve")
    print(
        f"  ready, warm start    {statistics.median(ready):6.2f} s (max {max(ready):.2f})  limit {LIMIT_READY_S}"
    )
    median_mb = statistics.median(memory)
    print(f"  memory when ready    {median_mb:6.0f} MB (max {max(memory):.0f})  limit {LIMIT_MEMORY_MB}")
    return statistics.median(ready) <= LIMIT_READY_S and max(memory) <= LIMIT_MEMORY_MB


if __name__ == "__main__":
    raise SystemExit(not main())
