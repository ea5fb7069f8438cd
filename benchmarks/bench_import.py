"""How long `import kvsproducer` takes in a fresh interpreter, with bytecode as `pip` leaves it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from benchmarks.report import Figure

RUNS = 7
TIMED = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
PROBES = {
    "import kvsproducer": ("import kvsproducer", "< 50"),
    "and what describes a stream (StreamInfo, Frame)": (
        "import kvsproducer as k; k.StreamInfo",
        "",
    ),
}


def run() -> list[Figure]:
    """Return ms of the fastest of several runs, and the start time of the interpreter alone."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        environ = {name: value for name, value in os.environ.items() if "BYTECODE" not in name}
        environ["PYTHONPYCACHEPREFIX"] = folder  # compiled once, whatever the caller's setting
        for what, (statement, target) in PROBES.items():
            command = [sys.executable, "-c", TIMED.format(statement)]
            taken = min(
                float(subprocess.run(command, capture_output=True, check=True, env=environ).stdout)
                for _ in range(RUNS)
            )
            figures.append(Figure("import", what, taken * 1000, "ms", target))
    return figures
