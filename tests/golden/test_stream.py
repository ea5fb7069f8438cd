"""Run the recorded cases of AWS's client with streams and acks, through the golden runner.

The tests also run mutations of the cases: steps are left out, repeated, moved or taken from another
case, and results, sizes and settings are changed. There are no results of AWS's client for these,
but the promise must hold after each step, and nothing may crash.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "tests" / "golden" / "run.py"
DATA = ROOT / "tests" / "data" / "golden"
SECOND = 10_000_000
RESULTS = (0, 200, 401, 403, 404, 413, 429, 500, 503, 504, 599, 4000, 4005, 5000, 10401, 10006)
SETTINGS = {
    "replay_duration": (0, SECOND, 60 * SECOND),
    "buffer_duration": (3 * SECOND, 6 * SECOND, 120 * SECOND),
    "retention": (0, 7200 * SECOND),
    "fragment_acks": (0, 1),
    "streaming_type": ("realtime", "near_realtime", "offline"),
    "absolute_fragment_times": (0, 1),
    "recover_on_error": (0, 1),
    "key_frame_fragmentation": (0, 1),
    "frame_order_mode": (0, 2, 4),
    "view_overflow_policy": ("drop_tail_view_item", "drop_until_fragment_start"),
    "max_latency": (0, SECOND),
}


@pytest.fixture(scope="module")
def golden() -> Iterable[Any]:
    """Return the modules of the stream cases, imported as the runner does."""
    names = ("run", "common", "plants", "stream", "stream_right", "stream_rules", "stream_world")
    sys.path.insert(0, str(RUNNER.parent))
    try:
        yield {name: __import__(name) for name in names}
    finally:
        sys.path.remove(str(RUNNER.parent))


@pytest.fixture(scope="module")
def cases(golden: Any) -> list[Any]:
    """Return all stream cases."""
    return list(golden["run"].cases(DATA / "stream.jsonl.gz"))


def _run(*paths: Path, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, RUNNER, *paths],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )


def test_every_golden_case_gives_the_same_or_the_right_thing() -> None:
    """No case fails for any order of sets, and nearly all steps are compared."""
    runs = [
        _run(DATA / "stream.jsonl.gz", DATA / "ack.jsonl", hash_seed=seed) for seed in ("0", "1")
    ]
    assert runs[0].returncode == 0, runs[0].stdout
    assert ", 0 failed," in runs[0].stdout
    assert "not expressed" not in runs[0].stdout
    assert runs[0].stdout == runs[1].stdout
    steps = dict(re.findall(r"(\d+) (\w[\w ]*)", runs[0].stdout.splitlines()[-2]))
    counts = {name: int(count) for count, name in steps.items()}
    assert counts["not compared"] * 1000 < counts["compared"]
    assert counts["excused"] * 6 < counts["compared"]


def _check(golden: Any, case: Any) -> Any:
    return golden["stream"].check(case, golden["common"].differences("stream"))


def test_steps_after_an_excused_difference_are_compared(golden: Any, cases: list[Any]) -> None:
    """A rule excuses step 30 of stream-0061; a wrong status in a later step still fails."""
    case = next(case for case in cases if case["id"] == "stream-0061")
    outcome = golden["common"].Outcome
    assert _check(golden, case).outcome is outcome.QUIRK
    late = [n for n, step in enumerate(case["steps"]) if n > 30 and step["op"] == "put_frame"]
    spoiled = json.loads(json.dumps(case))
    spoiled["steps"][late[0]]["expect"]["status"] = "0x00000099"
    assert f"step {late[0]}" in _check(golden, spoiled).detail


def test_quirk_without_rule_fails(golden: Any, cases: list[Any]) -> None:
    """A difference that the golden data marks as a quirk needs a rule, too."""
    case = json.loads(json.dumps(cases[0]))
    put = next(step for step in case["steps"] if step["op"] == "put_frame")
    put["expect"]["status"] = "0x00000099"
    verdict = _check(golden, {**case, "quirk": "a defect of an unknown kind"})
    assert verdict.outcome is golden["common"].Outcome.FAILED


def test_unknown_options_are_counted(golden: Any, cases: list[Any], tmp_path: Path) -> None:
    """A case whose configuration has a key that ours does not have is not expressed."""
    odd = json.loads(json.dumps(cases[0]))
    odd["config"]["moon_phase"] = 1
    target = tmp_path / "odd.jsonl"
    target.write_text("\n".join(map(json.dumps, [odd, cases[0]])))
    lines = _run(target).stdout.splitlines()
    assert lines[0].endswith(": config moon_phase")
    assert lines[1] == "1 not expressed"
    assert lines[-1] == "1 passed, 0 failed, 0 quirks"


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_planted_bugs_are_noticed(golden: Any, tmp_path: Path) -> None:
    """Each bug of plants.toml makes a case fail when it is planted in a copy of the source."""
    plants = golden["plants"]
    unnoticed = [
        name
        for number, (name, plant) in enumerate(plants.plants().items())
        if not plants.first_failure(plant, tmp_path / str(number))
    ]
    assert not unnoticed


def test_plants_fit_the_source(golden: Any) -> None:
    """Each text that a plant replaces occurs once in the source."""
    plants = golden["plants"]
    source = ROOT / "src" / "kvsproducer"
    for name, plant in plants.plants().items():
        assert (source / plant["path"]).read_text().count(plant["old"]) == 1, name


class Mutator:
    """Make mutated cases from the golden ones, each from its seed."""

    def __init__(self, cases: list[Any]) -> None:
        self._cases = cases
        self._steps: dict[str, list[Any]] = {}
        for case in cases:
            for step in case["steps"]:
                if step["op"] != "create":
                    self._steps.setdefault(step["op"], []).append(step)

    def case(self, seed: int) -> Any:
        dice = random.Random(seed)
        case = json.loads(json.dumps(dice.choice(self._cases)))
        for _ in range(dice.choice((0, 0, 1, 3))):
            name = dice.choice(sorted(SETTINGS))
            case["config"][name] = dice.choice(SETTINGS[name])
        steps = case["steps"]
        created = 1 + next(i for i, step in enumerate(steps) if step["op"] == "create")
        tail = steps[created:]
        for _ in range(dice.randrange(14)):
            self._change(tail, dice)
        case["steps"] = steps[:created] + tail
        return case

    def _change(self, steps: list[Any], dice: random.Random) -> None:
        place = dice.randrange(len(steps) + 1)
        step = steps[place] if place < len(steps) else None
        match dice.randrange(5):
            case 0 if step is not None:
                del steps[place]
            case 1:
                steps.insert(
                    place, dict(dice.choice(self._steps[dice.choice(sorted(self._steps))]))
                )
            case 2 if step is not None:
                steps.insert(dice.randrange(len(steps)), steps.pop(place))
            case 3 if step is not None:
                steps.insert(place, dict(step))
            case 4 if step is not None:
                self._alter(step, dice)

    @staticmethod
    def _alter(step: Any, dice: random.Random) -> None:
        values: dict[str, tuple[Any, ...]] = {
            "size": (1, 7, 33, 64, 250, 1000),
            "by": (1, SECOND, 3600 * SECOND),
            "flags": ("", "K", "KD"),
            "duration": (0, 1, 2_000_000),
            "upload": (0, 1, 2),
        }
        for name, choices in values.items():
            if name in step:
                step[name] = dice.choice(choices)
        if step["op"] == "connection_ended":
            step["result"] = dice.choice(RESULTS)


@pytest.mark.parametrize("first", range(0, 240, 40))
def test_the_promise_holds_in_mutated_cases(golden: Any, cases: list[Any], first: int) -> None:
    """The promise holds in mutated cases; the right results are derived from the steps."""
    mutator = Mutator(cases)
    for seed in range(first, first + 40):
        case = mutator.case(seed)
        world = golden["stream_world"].World(case["config"])
        right = golden["stream_right"].Right(world)
        for step in case["steps"]:
            problem = right.check(step, world.step(step))
            assert problem is None, f"seed {seed}, from {case['id']}: {problem}"
            if world.refused:
                break
        assert right.finish() is None, f"seed {seed}, from {case['id']}: {right.finish()}"
