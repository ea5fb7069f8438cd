"""Golden cases of whole stream scenarios (`stream.jsonl`).

A case drives the sans-I/O core as AWS's client was driven: every service call is answered at once,
the clock stands still unless it is advanced. A step is: do it, answer all effects until quiet; its
status is the first error that the core reports for it; the order of events within a step is free.
What the core tells and C's client does not (skipped, refused and unconfirmed frames, states) is
left out, and so are figures of C's allocator.

Where a step differs, the listed rules say for which steps ours differs on purpose. The rest of such
a case is not compared with C's client, whose state is another one from there on, but it is still
run: the books must balance after every step and whatever is read must be well-formed media.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from common import SUCCESS, Case, Outcome, Verdict, output_form
from stream_rules import RULES, Context
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


def _problem(step: Mapping[str, Any], got: Record) -> str | None:
    """What differs in a step, or None."""
    expect = step.get("expect")
    if expect is None:
        return None
    if "buffer" in expect:
        return _probe_problem(expect, got)
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


def _probe_problem(expect: Mapping[str, Any], got: Record) -> str | None:
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
        if held_back and name.startswith("view_"):
            continue
        if got["metrics"][name] != value:
            return f"metric {name} {got['metrics'][name]} instead of {value}"
    return None


def _items(buffer: Record) -> str:
    return " ".join(
        f"{item['index']}:{item['length']}{','.join(item['flags'])}" for item in buffer["items"]
    )


def _books(world: World) -> str | None:
    """Whether the promise is kept, whatever C's client did."""
    if world.stream is None:
        return None
    account = world.stream.account()
    balanced = account.accepted == account.persisted + account.dropped + account.held
    return None if balanced and min(account) >= 0 else f"the books: {account}"


def check(case: Case, rules: frozenset[str]) -> Verdict:
    world = World(case["config"])
    quirk = ""
    for number, step in enumerate(case["steps"]):
        if (
            world.stream is None
            and number
            and "create" not in step["op"]
            and (any(before["op"] == "create" for before in case["steps"][:number]))
        ):
            break  # it was refused
        got = world.step(step)
        problem = _books(world)
        if problem is None and not quirk:
            problem = _problem(step, got)
            if problem is not None:
                context = Context(case, number, got, world)
                quirk = next((name for name in sorted(rules) if RULES[name](context)), "")
                problem = None if quirk else problem
        if problem is not None:
            return Verdict(Outcome.FAILED, f"step {number} {step['op']}: {problem}")
    return Verdict(Outcome.QUIRK, quirk) if quirk else Verdict(Outcome.PASSED)
