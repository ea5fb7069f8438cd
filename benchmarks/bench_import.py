"""How long `import kvsproducer` takes in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.report import Figure

RUNS = 5
PROBE = "import time; t = time.perf_counter(); import kvsproducer; print(time.perf_counter() - t)"


def run() -> list[Figure]:
    """The fastest of some runs, in milliseconds."""
    taken = min(
        float(subprocess.run([sys.executable, "-c", PROBE], capture_output=True, check=True).stdout)
        for _ in range(RUNS)
    )
    return [Figure("import", "import kvsproducer", taken * 1000, "ms", "< 150")]
