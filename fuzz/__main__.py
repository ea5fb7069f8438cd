"""`python -m fuzz [--seconds S] [TARGET ...]`: run targets under atheris, each in its own process.

Each target runs for at most S seconds. The program prints the number of executions. On a finding it
exits 1 and leaves the input in fuzz/findings/. It needs `pip install 'kvsproducer[fuzz]'`, which
has wheels for Linux and macOS.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.targets import TARGETS, seeds

FINDINGS = Path(__file__).resolve().parent / "findings"
MAX_INPUT_BYTES = 4096
SPARE_SECONDS = 60  # atheris instruments the modules first


def run(target: str, seconds: int) -> int | None:
    """Fuzz one target in its own process; return the number of executions, None on a finding."""
    FINDINGS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(seeds(target)):
            (Path(corpus) / f"{number}").write_bytes(data)
        result = subprocess.run(
            [
                *(sys.executable, "-m", "fuzz.child", target, corpus),
                f"-max_total_time={seconds}",
                f"-max_len={MAX_INPUT_BYTES}",
                f"-artifact_prefix={FINDINGS}/{target}-",
                "-timeout=10",
                "-print_final_stats=1",
            ],
            capture_output=True,
            text=True,
            timeout=seconds + SPARE_SECONDS,
        )
    counts = re.findall(r"number_of_executed_units:\s*(\d+)", result.stderr)
    if result.returncode or not counts:
        sys.stderr.write(result.stdout + result.stderr)
        return None
    return int(counts[-1])


def main(arguments: list[str]) -> int:
    """Fuzz the named targets, or all; return 1 on a finding."""
    options = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    options.add_argument("--seconds", type=int, default=20, help="for each target")
    options.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    chosen = options.parse_args(arguments)
    total = 0
    for target in chosen.targets or TARGETS:
        executions = run(target, chosen.seconds)
        if executions is None:
            sys.stdout.write(f"{target}: a finding; see the output above and {FINDINGS}\n")
            return 1
        sys.stdout.write(f"{target}: {executions:,} executions, no finding\n")
        sys.stdout.flush()
        total += executions
    sys.stdout.write(f"{total:,} executions in all\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
