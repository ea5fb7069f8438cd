"""What AWS's client was seen to do with streams and acks, through the golden runner."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["stream.jsonl.gz", "ack.jsonl"])
def test_every_golden_case_gives_the_same_or_the_right_thing(name: str) -> None:
    """No case fails; differences are on the list."""
    run = subprocess.run(
        [sys.executable, ROOT / "tests" / "golden" / "run.py", ROOT / "tests/data/golden" / name],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, run.stdout
    assert ", 0 failed," in run.stdout
