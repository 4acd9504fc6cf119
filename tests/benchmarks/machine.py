"""What a figure was measured on, and how it is summarised."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def describe() -> str:
    """One line about the machine."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def core_seconds(work: Callable[[], object], *, rounds: int = 7) -> list[float]:
    """Seconds of core time of each of several calls, after one that is not counted."""
    work()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return times


def spread(values: Sequence[float], scale: float = 1.0, unit: str = "") -> str:
    """Median with minimum and maximum."""
    low, mid, high = min(values), statistics.median(values), max(values)
    return f"{mid * scale:.3f} {unit} (min {low * scale:.3f}, max {high * scale:.3f})"
