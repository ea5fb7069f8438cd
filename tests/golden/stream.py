"""Golden cases of whole stream scenarios (`stream.jsonl`).

A case drives the sans-I/O core with the same steps as AWS's client. Every service call is answered
at once, and the clock only changes when a step advances it. Each step performs one operation and
then answers all calls until there are no more. The status of a step is the first error that the
core reports for it. The order of events within a step is not compared. Events that AWS's client
does not have (skipped, refused and unconfirmed frames, states) are left out, and so are the figures
of AWS's allocator.

Each step is checked in two ways. `stream_right` derives the right result from the input, and our
result must equal it. Then our result is compared with that of AWS's client, field by field: a field
that differs must be excused by a listed rule (`stream_rules`). The steps after a difference are
compared too; a rule of state ends when both clients agree again. After the last step, the service
answers everything until the stream has nothing left to send (`Right.finish`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from common import SUCCESS, Case, Outcome, Verdict, output_form
from stream_causes import causes
from stream_config import not_expressed
from stream_right import Right
from stream_rules import Context, ends, excuse, is_count
from stream_world import NEVER, NOT_EXPRESSED_STEPS, Record, World

_EVENT_FIELDS = {
    "call": "calls",
    "putStream": "calls",
    "streamReady": "calls",
    "ack": "acks",
    "streamError": "errors",
    "droppedFrame": "drops",
    "droppedFragment": "drops",
    "streamClosed": "closed",
    "streamShutdown": "shutdown",
}
_STATUSES = ("put", "read", "ack")  # the kinds of step that have their own status field
_ITEM_FIELDS = ("dts", "pts", "duration", "length", "flags")
# Figures of the buffer; the others count what happened since the stream was made.
_BUFFER_METRICS = ("view_duration", "view_size", "overall_view_duration", "overall_view_size")


def matches(case: Case) -> bool:
    return (
        "steps" in case
        and "clock" in case["config"]
        and case["steps"][0]["op"] != "frame"
        and (any(step["op"] == "create" for step in case["steps"]))
    )


def fields(step: Mapping[str, Any], got: Record) -> dict[str, str]:
    """Return the differences of a step, by field."""
    expect = step["expect"]
    if "buffer" in expect:
        return _probe_fields(expect, got)
    found = {}
    if got["status"] != expect.get("status", SUCCESS):
        name = next(
            (f"{kind}.status" for kind in _STATUSES if step["op"].startswith(kind)), "status"
        )
        found[name] = f"{got['status']} instead of {expect.get('status', SUCCESS)}"
    wanted, came = _events(expect.get("events", [])), _events(got["events"])
    for text in ((wanted - came) + (came - wanted)).elements():
        kind = json.loads(text)["event"]
        found[_EVENT_FIELDS.get(kind, kind)] = (
            f"missing {[*wanted - came]}, extra {[*came - wanted]}"
        )
    if "bytes" in expect:
        form = output_form(got.get("bytes", b""), expect["bytes"])
        if form != expect["bytes"]:
            found["bytes"] = f"{str(form)[:60]}..{str(form)[-40:]}, not {str(expect['bytes'])[:60]}"
    return found


def _events(events: list[Record]) -> Counter[str]:
    return Counter(json.dumps(event, sort_keys=True) for event in events)


def _probe_fields(expect: Mapping[str, Any], got: Record) -> dict[str, str]:
    wanted, came = expect["buffer"] or {"items": []}, got["buffer"]
    theirs = {item["index"]: item for item in wanted["items"]}
    ours = {item["index"]: item for item in came["items"]}
    found = {}
    if set(ours) != set(theirs):
        found["items"] = f"{sorted(ours)} instead of {sorted(theirs)}"
    for name in _ITEM_FIELDS:
        for index in ours.keys() & theirs.keys():
            if ours[index][name] != theirs[index][name]:
                differs = f"item {index}: {ours[index][name]} instead of {theirs[index][name]}"
                found[f"items.{name}"] = differs
    held_back = False
    if ours and wanted["current"] != came["current"]:
        # When AWS's client ends a session, it has already taken the first item of the next one;
        # we only look at it.
        item = ours.get(came["current"], {"flags": []})
        held_back = "session_start" in item["flags"] and wanted["current"] == came["current"] + 1
        if not held_back:
            found["current"] = f"{came['current']} instead of {wanted['current']}"
    for name, value in expect["metrics"].items():
        if got["metrics"][name] != value and not (held_back and name in _BUFFER_METRICS):
            found[f"m.{name}"] = f"{got['metrics'][name]} instead of {value}"
    return found


def check(case: Case, rules: frozenset[str]) -> Verdict:
    unread = not_expressed(case["config"])
    return Verdict(Outcome.NOT_EXPRESSED, unread) if unread else _Run(case, rules).verdict()


class _Run:
    """The run of one case, with its results so far."""

    def __init__(self, case: Case, rules: frozenset[str]) -> None:
        self._case = case
        self._rules = rules
        self._world = World(case["config"])
        self._right = Right(self._world)
        self._causes: set[str] = set()
        self._noticed: dict[str, int] = {}  # by cause: the newest upload when it was last seen
        self._crashed = False  # AWS's client crashed: its later results are missing
        self._read_alike = False  # a read gave the same bytes since the last difference
        self._their_upload = NEVER  # the newest upload of AWS's client
        self._quirk = ""
        self._steps: Counter[str] = Counter()

    def verdict(self) -> Verdict:
        for number, step in enumerate(self._case["steps"]):
            if self._world.refused:
                self._steps["not compared"] += len(self._case["steps"]) - number
                break
            problem = self._step(step)
            if problem is not None:
                detail = f"step {number} {step['op']}: {problem}"
                return Verdict(Outcome.FAILED, detail, self._steps)
        problem = self._right.finish()
        if problem is not None:
            return Verdict(Outcome.FAILED, problem, self._steps)
        return Verdict(Outcome.QUIRK if self._quirk else Outcome.PASSED, self._quirk, self._steps)

    def _step(self, step: Mapping[str, Any]) -> str | None:
        """Perform a step; return what is wrong with it, or None."""
        for cause in causes(self._world, step):
            self._causes.add(cause)
            self._noticed[cause] = self._world.upload
            self._read_alike = False
        context = Context(self._case, step, self._world, self._causes)
        context.got = self._world.step(step)
        problem = self._right.check(step, context.got)
        if problem is not None:
            return f"not right: {problem}"
        expect = step.get("expect")
        if expect is None:
            return None
        self._crashed |= "crash" in expect or "no_answer" in expect
        if step["op"] in NOT_EXPRESSED_STEPS or self._crashed:
            self._steps["not compared"] += 1
            return None
        return self._compare(context, fields(step, context.got))

    def _compare(self, context: Context, found: dict[str, str]) -> str | None:
        if self._quirk:  # counts differ from here on; `Right` checks them
            found = {name: text for name, text in found.items() if not is_count(name)}
        for event in context.expect.get("events", []):
            if event["event"] == "putStream":
                self._their_upload = event["upload"]
        if not found:
            self._steps["compared"] += 1
            self._agree(context)
            return None
        rule = excuse(context, frozenset(found), self._rules)
        if not rule:
            return "; ".join(f"{name}: {text}" for name, text in sorted(found.items()))
        self._steps["excused"] += 1
        self._quirk, self._read_alike = rule, False
        self._world.dropped += len(context.missing("droppedFrame", "droppedFragment"))
        return None

    def _agree(self, context: Context) -> None:
        """End the causes of differences, if a step shows that both clients agree again.

        They agree when they are on the same upload, a read gave the same bytes, and then a probe
        showed the same buffer.
        """
        if context.step["op"] == "reset_stream":
            self._causes.clear()
        self._read_alike |= bool(context.got.get("bytes"))
        same_session = self._their_upload == self._world.upload
        if "buffer" in context.expect and same_session and self._read_alike:
            upload = self._world.upload
            self._causes -= {c for c in self._causes if ends(c, upload, self._noticed.get(c))}
