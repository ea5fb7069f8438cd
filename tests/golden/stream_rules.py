"""The rules that recognise where ours differs from AWS's client in the stream cases, and why.

Each looks at the step that differs: what was expected, what came, and what `stream_causes` noticed
on the way to it. `differences.toml` has the reasons. The rules in `PASSING` excuse a difference in
what is told, not in what is held or sent: the case is compared on after them. After the others
C's client is in another state.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from common import SUCCESS, Case
from stream_world import Record, World

from kvsproducer.view import END_OF_FRAGMENT

EBML_ID = bytes.fromhex("1a45dfa3")
_DROPS = ("droppedFrame", "droppedFragment")
_DOING = ("put_", "connection_", "reset_", "stop", "free")
_TIMED = {"putStream", *_DROPS}
_BAD_FRAME = "0x3200000d"
_NO_COMPARISON, _LAST_MODE = 1, 5


class Context:
    """What the rules look at: the step that differs, and what was held before it."""

    def __init__(self, case: Case, step: Mapping[str, Any], world: World, causes: set[str]) -> None:
        self.config: Mapping[str, Any] = case["config"]
        self.mark: str = case.get("quirk", "")
        self.step = step
        self.expect: Mapping[str, Any] = step.get("expect") or {}
        self.got: Record = {}
        self.causes = causes
        self.sent: set[int] = set()  # dts of the frames that were handed out
        self.marks: set[int] = set()  # dts of the end-of-fragment marks
        self.failure: str | None = None  # for which the stream refuses frames
        if world.stream is not None:
            if world.stream.failure is not None:
                self.failure = f"0x{world.stream.failure.status:08x}"
            view = world.stream._core.view
            for index in range(view.tail, view.head):
                item = view[index]
                if item.flags & END_OF_FRAGMENT:
                    self.marks.add(item.timestamp)
                elif index < view.current:
                    self.sent.add(item.timestamp)

    @property
    def status(self) -> str:
        """What C's client answered."""
        return str(self.expect.get("status", SUCCESS))

    def missing(self) -> list[Record]:
        """The events that C's client told and ours does not."""
        return _difference(self.expect.get("events", []), self.got["events"])

    def extra(self) -> list[Record]:
        """The events that ours tells and C's client does not."""
        return _difference(self.got["events"], self.expect.get("events", []))

    def only_told(self) -> bool:
        """Whether nothing but events differs."""
        return self.got["status"] == self.status and bool(self.missing() or self.extra())


def _difference(these: list[Record], those: list[Record]) -> list[Record]:
    texts = Counter(json.dumps(event, sort_keys=True) for event in these)
    texts -= Counter(json.dumps(event, sort_keys=True) for event in those)
    return [json.loads(text) for text in texts.elements()]


def _drops_of(ctx: Context, times: set[int]) -> bool:
    """Whether the difference is that C's client reports these as dropped, and nothing else."""
    missing = ctx.missing()
    return (
        ctx.only_told()
        and bool(missing)
        and not ctx.extra()
        and all(event["event"] in _DROPS and event["value"] in times for event in missing)
    )


def _missing_header(ctx: Context) -> bool:
    """Ours has a stream header before what is sent first; C's client lost it, or had no start."""
    if "buffer" in ctx.expect:
        expect = ctx.expect["buffer"] or {"items": []}
        ours = {i["index"] for i in ctx.got["buffer"]["items"] if "session_start" in i["flags"]}
        theirs = {i["index"] for i in expect["items"] if "session_start" in i["flags"]}
        return ours != theirs
    expected = ctx.expect.get("bytes")
    head = (expected if isinstance(expected, str) else expected["head"]) if expected else ""
    return ctx.got.get("bytes", b"")[:4] == EBML_ID and not head.startswith(EBML_ID.hex())


def _near_realtime(ctx: Context) -> bool:
    """C's client refuses a buffer that ours takes, or drops what ours still has room for."""
    if ctx.config.get("streaming_type") != "near_realtime":
        return False
    if ctx.step["op"] == "create":
        return ctx.got["status"] == SUCCESS and ctx.status == "0x30000001"
    told = [event["event"] for event in (*ctx.missing(), *ctx.extra())]
    return ctx.only_told() and any(event in _DROPS for event in told)


def _hung_stop(ctx: Context) -> bool:
    """Everything is sent and settled; C's client does not say that the stream is closed."""
    extra = [event["event"] for event in ctx.extra()]
    return ctx.only_told() and extra == ["streamClosed"] and not ctx.missing()


def _created(ctx: Context) -> bool:
    if ctx.step["op"] != "create":
        return False
    shutdown = [event["event"] for event in ctx.missing()] == ["streamShutdown"]
    return (shutdown and not ctx.extra()) or ctx.status == "0x52000032"


def _short_token(ctx: Context) -> bool:
    """The token is told to be too short, and asked for again; the frame is kept."""
    asked = [event["api"] for event in ctx.extra() if event["event"] == "call"]
    told = ctx.got["status"] in (SUCCESS, ctx.status)
    return ctx.status == "0x52000049" and told and set(asked) == {"getStreamingToken"}


def _annexb_frames(ctx: Context) -> bool:
    """One of the two says that a frame put is no Annex-B."""
    statuses = {ctx.status, ctx.got["status"]}
    return bool(ctx.config.get("adapt_flags")) and "data" in ctx.step and _BAD_FRAME in statuses


def _clock_reads(ctx: Context) -> bool:
    """The same things happen, at other times of a clock that goes on with every look at it."""
    told = {event["event"] for event in (*ctx.missing(), *ctx.extra())}
    return bool(ctx.config["clock"]["step"]) and ctx.got["status"] == ctx.status and told <= _TIMED


def _order_mode(ctx: Context) -> bool:
    """An unknown mode is refused when the stream is made; the known one reads in another order."""
    mode = ctx.config.get("frame_order_mode", 0)
    if mode == _NO_COMPARISON:
        return ctx.got["status"] == ctx.status
    return mode > _LAST_MODE and ctx.step["op"] == "create" and ctx.got["status"] != SUCCESS


def _timeout(ctx: Context) -> bool:
    """Ours begins another session at once, and does nothing else."""
    if ctx.step["op"] != "connection_ended":
        return _caused("timeout")(ctx)
    begun = "putStream" in [event["event"] for event in ctx.extra()]
    return "timeout" in ctx.causes and begun and not ctx.missing()


def _no_recovery(ctx: Context) -> bool:
    """What is lost stays lost: it is told once and raised from then on, until a reset."""
    if "no_recovery" not in ctx.causes:
        return False
    if ctx.step["op"].startswith("put"):
        return ctx.failure in (None, ctx.got["status"])
    if ctx.step["op"].startswith("reset"):
        return bool(ctx.got["status"] == SUCCESS)
    return True


def _restarted_read(ctx: Context) -> bool:
    return "restarted_read" in ctx.causes and ctx.step["op"].startswith("read")


def _marked(ctx: Context) -> bool:
    """What the case's mark says happens; anything, if it says something unknown."""
    known = [rule for words, rule in _MARKS.items() if words in ctx.mark]
    return any(rule(ctx) for rule in known) if known else bool(ctx.mark)


def _told_of_drops(ctx: Context) -> bool:
    """Nothing but what is told of dropped frames differs, or how many there were."""
    told = [event["event"] for event in (*ctx.missing(), *ctx.extra())]
    return "buffer" in ctx.expect or (ctx.only_told() and set(told) <= set(_DROPS))


_MARKS: dict[str, Callable[[Context], bool]] = {
    "an ack for a fragment was attributed": lambda ctx: bool({"acked", "refused"} & ctx.causes),
    "an error ack marked only": lambda ctx: "refused" in ctx.causes,
    "are reported as dropped although": _told_of_drops,
}


def _caused(name: str) -> Callable[[Context], bool]:
    """What happened before may show; what the application does is not refused for it."""

    def rule(ctx: Context) -> bool:
        done = ctx.got["status"] in (SUCCESS, ctx.status)
        return name in ctx.causes and (done or not ctx.step["op"].startswith(_DOING))

    return rule


PASSING: dict[str, Callable[[Context], bool]] = {
    "eofr_dropped": lambda ctx: _drops_of(ctx, ctx.marks),
    "sent_frames": lambda ctx: _drops_of(ctx, ctx.sent | ctx.marks),
    "hung_stop": _hung_stop,
}
RULES: dict[str, Callable[[Context], bool]] = {
    **PASSING,
    # what the step itself shows
    "created": _created,
    "near_realtime": _near_realtime,
    "short_token": _short_token,
    "annexb_frames": _annexb_frames,
    "clock_reads": _clock_reads,
    "order_mode": _order_mode,
    "crash": lambda ctx: "crash" in ctx.expect or "no_answer" in ctx.expect,
    "live_change": lambda ctx: ctx.step["op"] in ("format_changed", "set_adapt_flags"),
    # what happened before
    "put_failed": lambda ctx: "put_failed" in ctx.causes,
    "no_recovery": _no_recovery,
    "timeout": _timeout,
    "restarted_read": _restarted_read,
    **{
        name: _caused(name)
        for name in (
            "touching_frames",
            "ended_upload",
            "second_upload",
            "ack_ahead",
            "ack_within",
            "error_outside",
            "eofr_resent",
            "kept_item",
            "stored_is_done",
        )
    },
    "missing_header": _missing_header,
    "marked": _marked,
}


def excuse(ctx: Context, listed: frozenset[str]) -> str:
    """The first listed rule that recognises the difference; empty for none."""
    return next((name for name, rule in RULES.items() if name in listed and rule(ctx)), "")
