"""What AWS's C producer was seen to do with the same inputs, through the golden runner."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "tests" / "data" / "golden"


def golden(*paths: Path) -> tuple[int, list[str]]:
    """The exit code and the lines of the runner."""
    run = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "golden" / "run.py"), *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stderr == ""
    return run.returncode, run.stdout.splitlines()


def cases(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.open(DATA / name)]


@pytest.mark.parametrize("name", ["nal.jsonl.gz", "cpd.jsonl.gz"])
def test_every_golden_case_gives_the_same_or_the_right_thing(name: str) -> None:
    code, lines = golden(DATA / name)
    assert lines[:-1] == []
    assert code == 0
    passed, failed, quirks = map(int, re.findall(r"\d+", lines[-1]))
    assert (passed + quirks, failed) == (len(cases(name)), 0)
    assert quirks < passed


def tampered(case: dict[str, Any]) -> dict[str, Any]:
    """The case with another expectation, and a truth that is not."""
    wrong: dict[str, Any] = {"status": "0x0badc0de"}
    return {**case, "expect": wrong} | (
        {"truth": {"width": 1, "height": 2}} if "truth" in case else {}
    )


@pytest.mark.parametrize("name", ["nal.jsonl.gz", "cpd.jsonl.gz"])
def test_the_runner_fails_a_case_whose_expectation_is_wrong(name: str, tmp_path: Path) -> None:
    """Only cases without a mark: a rule may rightly explain what C did with the others."""
    sound = [case for case in cases(name) if "quirk" not in case][::20]
    sound = [case for case in sound if case.get("op") not in ("h265_cpd_to_hvcc",)]
    sound = [case for case in sound if case.get("codec") not in ("aac", "bih") or "truth" in case]
    sound = [case for case in sound if case.get("codec") != "h265" or "truth" in case]
    sound = [case for case in sound if case.get("codec") != "h264" or "truth" in case]
    path = tmp_path / "changed.jsonl"
    path.write_text("\n".join(json.dumps(tampered(case)) for case in sound))
    code, lines = golden(path)
    assert code == 1
    assert lines[-1] == f"0 passed, {len(sound)} failed, 0 quirks"
    assert len(lines) == len(sound) + 1


def test_a_case_of_no_known_schema_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "unknown.jsonl"
    path.write_text('{"id": "x-1", "group": "new"}\n')
    assert golden(path) == (
        1,
        [
            "unknown.jsonl x-1 new: no golden module knows this schema",
            "0 passed, 1 failed, 0 quirks",
        ],
    )
