"""The golden cases of packaging pass, and the runner finds a wrong byte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RUNNER = Path(__file__).with_name("run.py")
CASES = RUNNER.parent.parent / "data" / "golden" / "mkv.jsonl"


def run(path: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, RUNNER, path], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()[-1]


def test_every_case_gives_what_the_c_producer_gave() -> None:
    """15 of them differ on purpose, each by a rule of differences.toml."""
    assert run(CASES) == (0, "136 passed, 0 failed, 15 quirks")


def test_a_changed_expectation_fails(tmp_path: Path) -> None:
    """The runner finds wrong bytes, and a wrong status, time, kind, private data or number."""
    cases = [json.loads(line) for line in CASES.read_text().splitlines()]
    case = next(c for c in cases if c["id"] == "mkv-0001")
    number = next(c for c in cases if c["id"] == "mkv-0424")
    broken = []
    for path, value in (
        (("steps", 1, "expect", "bytes"), case["steps"][1]["expect"]["bytes"][:-1] + "f"),
        (("steps", 1, "expect", "status"), "0x32000002"),
        (("steps", 2, "expect", "dts_in_cluster"), 800_001),
        (("steps", 0, "expect", "starts"), "cluster"),
        (("create", "tracks", 0, "cpd"), "01" + case["create"]["tracks"][0]["cpd"][2:]),
        (("create", "status"), "0x3200000a"),
    ):
        copy = json.loads(json.dumps(case))
        place = copy
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        broken.append(copy)
    broken.append({**number, "expect": {"status": "0x00000000", "bytes": "4101"}})
    target = tmp_path / "broken.jsonl"
    target.write_text("\n".join(map(json.dumps, broken)))
    assert run(target) == (1, "0 passed, 7 failed, 0 quirks")


def test_operations_that_no_case_uses(tmp_path: Path) -> None:
    """The runner supports parts of tags and packaging overheads, and finds a wrong value."""
    cases = [json.loads(line) for line in CASES.read_text().splitlines()]
    case = next(c for c in cases if c["id"] == "mkv-0254")
    tag = next(step for step in case["steps"] if step["op"] == "tag")
    whole = bytes.fromhex(tag["expect"]["bytes"])
    parts = {"tags": whole, "tag": whole[12:], "simple_tag": whole[22:]}
    first = next(step for step in case["steps"] if step["op"] == "frame")
    stream = len(first["expect"]["bytes"]) // 2 - first["data"]["pattern"]
    case["steps"] = [
        *(
            {**tag, "op": "tag_part", "level": level, "expect": {**tag["expect"], "bytes": b.hex()}}
            for level, b in parts.items()
        ),
        {"op": "overhead", "starts": "stream", "expect": {"status": "0x00000000", "size": stream}},
        {"op": "overhead", "expect": {"status": "0x00000000", "block": 13, "cluster": 31}},
    ]
    wrong = json.loads(json.dumps(case))
    wrong["steps"][-1]["expect"]["block"] = 14
    largest = {"id": "largest", "number": str(2**56 - 1)}
    known = [{**largest, "expect": {"status": "0x00000000", "bytes": "01" + "ff" * 7}}, case]
    known.append({**largest, "expect": {"status": "0x32000005"}})
    target = tmp_path / "more.jsonl"
    target.write_text("\n".join(map(json.dumps, known)))
    assert run(target) == (0, "2 passed, 0 failed, 1 quirks")
    target.write_text("\n".join(map(json.dumps, [*known, wrong])))
    assert run(target) == (1, "2 passed, 1 failed, 1 quirks")
