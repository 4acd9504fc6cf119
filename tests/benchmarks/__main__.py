"""Runs every benchmark; fails when a limit is missed."""

from tests.benchmarks import (
    bench_batch,
    bench_detect,
    bench_import,
    bench_patch,
    bench_post,
    bench_scale,
    bench_score,
    bench_serve,
)
from tests.benchmarks.machine import describe

BENCHES = (
    bench_detect,
    bench_score,
    bench_import,
    bench_post,
    bench_patch,
    bench_batch,
    bench_scale,
    bench_serve,
)


def main() -> int:
    """Prints every figure with the machine it was measured on."""
    print(describe())
    results = [bench.main() for bench in BENCHES]
    print("every limit holds" if all(results) else "a limit is missed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
