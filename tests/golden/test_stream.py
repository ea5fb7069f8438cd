"""What AWS's client was seen to do with streams and acks, through the golden runner.

Beside the cases as they were measured, mutations of them: steps that are left out, repeated, put
elsewhere or taken from another case, other results, sizes and settings. Nothing is known of what
AWS's client does there, but the promise has to hold after each step, and nothing may crash.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
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
    """The module of the stream cases, found as the runner finds it."""
    names = ("run", "common", "stream", "stream_rules")
    sys.path.insert(0, str(RUNNER.parent))
    try:
        yield {name: __import__(name) for name in names}
    finally:
        sys.path.remove(str(RUNNER.parent))


@pytest.fixture(scope="module")
def cases(golden: Any) -> list[Any]:
    """All stream cases."""
    return list(golden["run"].cases(DATA / "stream.jsonl.gz"))


@pytest.mark.parametrize("name", ["stream.jsonl.gz", "ack.jsonl"])
def test_every_golden_case_gives_the_same_or_the_right_thing(name: str) -> None:
    """No case fails; differences are on the list."""
    run = subprocess.run(
        [sys.executable, RUNNER, DATA / name], capture_output=True, text=True, timeout=100
    )
    assert run.returncode == 0, run.stdout
    assert ", 0 failed," in run.stdout


@pytest.mark.parametrize("number", ["stream-0061", "stream-0223", "stream-0781"])
def test_a_mark_excuses_what_it_says_and_nothing_else(
    golden: Any, cases: list[Any], number: str
) -> None:
    """An ack on the wrong fragment, an ERROR on one, drops of what was sent; not another status."""
    case = next(case for case in cases if case["id"] == number)
    check: Callable[..., Any] = golden["stream"].check
    marked = frozenset({"marked"})
    assert check(case, marked).outcome is golden["common"].Outcome.QUIRK
    assert check({**case, "quirk": "another"}, marked).outcome is golden["common"].Outcome.QUIRK
    assert check({**case, "quirk": ""}, marked).outcome is golden["common"].Outcome.FAILED
    spoiled = json.loads(json.dumps(case))
    put = next(step for step in spoiled["steps"] if step["op"] == "put_frame")
    put["expect"]["status"] = "0x00000099"
    assert check(spoiled, marked).outcome is golden["common"].Outcome.FAILED


class Mutator:
    """Makes other cases of the golden ones, each from its seed."""

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
    """Each difference from AWS's client is excused; what must always hold is looked at."""
    rules, mutator = golden["stream_rules"].RULES, Mutator(cases)
    rules["any"] = lambda context: True
    try:
        for seed in range(first, first + 40):
            case = mutator.case(seed)
            verdict = golden["stream"].check(case, frozenset(rules))
            assert verdict.outcome is not golden["common"].Outcome.FAILED, (
                f"seed {seed}, from {case['id']}: {verdict.detail}"
            )
    finally:
        del rules["any"]
