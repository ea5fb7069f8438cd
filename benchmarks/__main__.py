"""`python -m benchmarks [--json] [PART ...]`: run benchmarks (all by default)."""

from __future__ import annotations

import argparse

from benchmarks import (
    bench_calls,
    bench_core,
    bench_heap,
    bench_import,
    bench_memory,
    bench_nal,
    bench_wire,
)
from benchmarks.report import Figure, show

PARTS = {
    "import": bench_import.run,
    "nal": bench_nal.run,
    "calls": bench_calls.run,
    "core": bench_core.run,
    "heap": bench_heap.run,
    "wire": bench_wire.run,
    "memory": bench_memory.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench ARGS=")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="|".join(PARTS))
    arguments = parser.parse_args()
    figures: list[Figure] = []
    for part in arguments.parts or PARTS:
        figures += PARTS[part]()
    show(figures, arguments.json)


if __name__ == "__main__":
    main()
