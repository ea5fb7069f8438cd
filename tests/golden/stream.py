"""Golden cases of whole stream scenarios (`stream.jsonl`).

A case drives the sans-I/O core as AWS's client was driven: every service call is answered at once,
the clock stands still unless it is advanced. A step is: do it, answer all effects until quiet; its
status is the first error that the core reports for it; the order of events within a step is free.
What the core tells and C's client does not (skipped, refused and unconfirmed frames, states) is
left out, and so are figures of C's allocator.

Where a step differs, the listed rules say for which steps ours differs on purpose (`stream_rules`).
Some differences are only in what is told; after the others C's client is in another state, so that
the steps up to a reset of the stream are not compared with it. They are still run: the books must
balance after every step.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from common import SUCCESS, Case, Outcome, Verdict, output_form
from stream_causes import causes
from stream_promise import Promise
from stream_rules import PASSING, Context, excuse
from stream_world import Record, World


def matches(case: Case) -> bool:
    return (
        "steps" in case
        and "clock" in case["config"]
        and case["steps"][0]["op"] != "frame"
        and (any(step["op"] == "create" for step in case["steps"]))
    )


def _events(events: list[Record]) -> Counter[str]:
    return Counter(json.dumps(event, sort_keys=True) for event in events)


def _problem(step: Mapping[str, Any], got: Record, *, counts: bool = True) -> str | None:
    """What differs in a step, or None; without `counts`, what was counted so far may."""
    expect = step.get("expect")
    if expect is None:
        return None
    if "buffer" in expect:
        return _probe_problem(expect, got, counts=counts)
    if got["status"] != expect.get("status", SUCCESS):
        return f"status {got['status']} instead of {expect['status']}"
    wanted, came = _events(expect.get("events", [])), _events(got["events"])
    if wanted != came:
        return f"events: missing {list(wanted - came)}, extra {list(came - wanted)}"
    if "bytes" in expect:
        form = output_form(got.get("bytes", b""), expect["bytes"])
        if form != expect["bytes"]:
            return (
                f"bytes {str(form)[:60]}..{str(form)[-40:]}, expected {str(expect['bytes'])[:60]}"
            )
    return None


def _probe_problem(expect: Mapping[str, Any], got: Record, *, counts: bool) -> str | None:
    wanted, came = expect["buffer"] or {"items": []}, got["buffer"]
    if wanted["items"] != came["items"]:
        return f"buffer {_items(came)} instead of {_items(wanted)}"
    held_back = False
    if came["items"] and wanted["current"] != came["current"]:
        # C has taken the item that begins the next session when it ends one; ours only looks.
        item = next((i for i in came["items"] if i["index"] == came["current"]), {"flags": []})
        held_back = "session_start" in item["flags"] and wanted["current"] == came["current"] + 1
        if not held_back:
            return f"current {came['current']} instead of {wanted['current']}"
    for name, value in expect["metrics"].items():
        of_view = name in ("view_duration", "view_size")
        if (held_back and of_view) or not (counts or of_view):
            continue
        if got["metrics"][name] != value:
            return f"metric {name} {got['metrics'][name]} instead of {value}"
    return None


def _items(buffer: Record) -> str:
    return " ".join(
        f"{item['index']}:{item['length']}{','.join(item['flags'])}" for item in buffer["items"]
    )


def check(case: Case, rules: frozenset[str]) -> Verdict:
    return _Run(case, rules).verdict()


class _Run:
    """One case: what it led to so far."""

    def __init__(self, case: Case, rules: frozenset[str]) -> None:
        self._case = case
        self._rules = rules
        self._world = World(case["config"])
        self._promise = Promise(self._world)
        self._causes: set[str] = set()
        self._quirk = ""
        self._apart = False  # C's client is in another state: there is nothing to compare
        self._counts = True  # and has counted the same

    def verdict(self) -> Verdict:
        for number, step in enumerate(self._case["steps"]):
            if self._refused(number, step):
                break
            problem = self._step(step)
            if problem is not None:
                return Verdict(Outcome.FAILED, f"step {number} {step['op']}: {problem}")
        return Verdict(Outcome.QUIRK, self._quirk) if self._quirk else Verdict(Outcome.PASSED)

    def _refused(self, number: int, step: Mapping[str, Any]) -> bool:
        """Whether there is no stream, because it was refused."""
        before = self._case["steps"][:number]
        return (
            self._world.stream is None
            and "create" not in step["op"]
            and any(earlier["op"] == "create" for earlier in before)
        )

    def _step(self, step: Mapping[str, Any]) -> str | None:
        """Do a step; what is wrong with it, or None."""
        world = self._world
        self._causes |= causes(world, step)
        context = Context(self._case, step, world, self._causes)
        context.got = world.step(step)
        problem = self._promise.check(step, context.got)
        if problem is not None:
            return problem
        problem = _problem(step, context.got, counts=self._counts)
        if self._apart:
            # Resetting the stream throws away what was different.
            self._apart = step["op"] != "reset_stream" or problem is not None
            if not self._apart:
                self._causes.clear()
            return None
        if problem is None:
            return None
        rule = excuse(context, self._rules)
        if not rule:
            return problem
        self._quirk = rule
        if rule in PASSING:
            world.dropped += len([e for e in context.missing() if "dropped" in e["event"]])
        else:
            self._apart, self._counts = True, False
        return None
