"""The benchmarks: `make bench` prints every figure of the docs, with the machine."""
