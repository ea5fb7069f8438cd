"""Tests of codecs/ against outputs of AWS's C producer, through the golden runner."""

from __future__ import annotations

import gzip
import importlib
import json
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kvsproducer.status import InvalidFrame, InvalidMedia

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "tests" / "data" / "golden"


def golden(*paths: Path) -> tuple[int, list[str]]:
    """Run the golden runner and return its exit code and its output lines."""
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
def test_every_golden_case_gives_the_same_or_the_correct_result(name: str) -> None:
    code, lines = golden(DATA / name)
    assert lines[:-1] == []
    assert code == 0
    passed, failed, quirks = map(int, re.findall(r"\d+", lines[-1]))
    assert (passed + quirks, failed) == (len(cases(name)), 0)
    assert quirks < passed


SPS, PPS = "6742c00ada189a1000000300100000030328f1226a", "68ce039c80"
BOTH = f"00000001{SPS}00000001{PPS}"
FIRST_ONLY = f"0142c00affe10015{SPS}010005{PPS}"


def oversized() -> dict[str, Any]:
    """Make a case of H.265 pictures that are too large, without the bit writer's input."""
    case = next(c for c in cases("cpd.jsonl.gz") if c["group"] == "h265_limits" and "quirk" in c)
    return {key: value for key, value in case.items() if key not in ("truth", "quirk")}


@pytest.mark.parametrize(
    "case",
    [
        {
            "op": "h264_cpd_to_avcc",
            "input": f"{BOTH}00000001{PPS[:-2]}c0",
            "expect": {"status": "0x00000000", "output": FIRST_ONLY},
        },
        {
            "codec": "h264",
            "cpd": f"0000{BOTH}",
            "expect": {"status": "0x3200000d"},
        },
        oversized(),
    ],
)
def test_rules_that_only_other_cases_need(case: dict[str, Any], tmp_path: Path) -> None:
    """Cases without known values: a second PPS, zeros before a start code, sizes above 16 bits."""
    path = tmp_path / "case.jsonl"
    path.write_text(json.dumps(case))
    assert golden(path) == (0, ["0 passed, 0 failed, 1 quirks"])


def tampered(case: dict[str, Any]) -> dict[str, Any]:
    """Return the case with a wrong expectation and wrong known values."""
    wrong: dict[str, Any] = {"status": "0x0badc0de"}
    return {**case, "expect": wrong} | (
        {"truth": {"width": 1, "height": 2}} if "truth" in case else {}
    )


@pytest.mark.parametrize("name", ["nal.jsonl.gz", "cpd.jsonl.gz"])
def test_the_runner_fails_a_case_whose_expectation_is_wrong(name: str, tmp_path: Path) -> None:
    """Only unmarked cases are used; for the others a rule may excuse the difference."""
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


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Return the bytes with some bits flipped, and some bytes inserted or removed."""
    changed = bytearray(data)
    for _ in range(dice.randrange(4)):
        at = dice.randrange(len(changed) + 1)
        match dice.randrange(3):
            case 0:
                changed[at:at] = bytes(dice.choices((0, 0, 0, 1, 3, 0x67, 255), k=3))
            case 1:
                del changed[at : at + dice.randrange(1, 5)]
            case 2:
                changed[at : at + 1] = bytes((dice.randrange(256),))
    return bytes(changed)


def test_ours_and_the_oracle_agree_on_damaged_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow second implementation of the standards gives the same bytes or status."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "golden"))
    module, oracle = importlib.import_module("nal"), importlib.import_module("oracle")
    dice = random.Random(20261122)
    seen = Counter[int]()
    for case in cases("nal.jsonl.gz") * 8:
        data = damaged(bytes.fromhex(case["input"]), dice)
        ours: bytes | int
        right: bytes | int
        try:
            ours = module.OURS[case["op"]](data)
        except (InvalidFrame, InvalidMedia) as error:
            ours = int(error.status)
            seen[ours] += 1
        try:
            right = module.ORACLE[case["op"]](data)
        except oracle.Refused as refusal:
            right = refusal.args[0]
        assert ours == right, (case["op"], data.hex())
    assert len(seen) > 6
