"""Rules for the steps in which our result differs from that of AWS's client on purpose.

A rule is called for a step with differences. It returns the names of the fields that it excuses:
"put.status", "bytes", one for each kind of event ("calls", "drops" ...), and for a probe "current",
"items.flags", "m.sessions" and so on (see `stream.fields`). All other differences are failures.

- Exact rules look at the step alone and derive its right result from the input.
- Rules of state hold from the step at which `stream_causes` finds the input that triggers a defect
  of AWS's client, until both clients agree again. They excuse the fields in which the defect can
  show. `stream_right` derives the right values of these fields; it checks every step.

`differences.toml` has the reasons. The last rule that excuses fields of a step names the quirk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import oracle
from common import SUCCESS, Case, input_bytes
from stream_world import SECOND, Record, World

from kvsproducer.client.buffer.view import END_OF_FRAGMENT
from kvsproducer.limits import MAX_AUTH_LEN_BYTES, MAX_CLIENT_ID_LEN

EBML_ID = bytes.fromhex("1a45dfa3")
_DROPS = ("droppedFrame", "droppedFragment")
_BAD_FRAME = "0x3200000d"
_NO_COMPARISON, _LAST_MODE = 1, 5
_TOKEN_LIFE = 30 * SECOND  # the least that is accepted
_MIN_VIEW_ITEMS = 10
Fields = frozenset[str]

_ITEM = {"items.dts", "items.pts", "items.duration", "items.length", "items.flags"}
_DURATIONS = {"m.view_duration", "m.overall_view_duration"}
_SIZES = {"m.view_size", "m.overall_view_size"}
_PRESSURES = {"connectionStale", "latencyPressure", "bufferDurationPressure"}
# The fields that may differ once AWS's client holds, has sent or has settled other items than ours.
ITEMS = frozenset(
    {
        "read.status",
        "ack.status",
        "bytes",
        "drops",
        "closed",
        "errors",
        "items",
        "current",
        "counts",
    }
    | (_ITEM | _DURATIONS | _SIZES | _PRESSURES)
)
SESSIONS = ITEMS | {"calls", "acks"}  # AWS's client has another session, or none
_HEADER = frozenset({"counts", "bytes", "read.status", "items.flags", "items.length"} | _SIZES)
_TIMES = frozenset(
    {"calls", "counts", "drops", "bytes", "items.dts", "items.pts"} | _DURATIONS | _PRESSURES
)
_NOTHING: Fields = frozenset()


class Context:
    """The input of the rules: the step with a difference, and the buffer before it."""

    def __init__(self, case: Case, step: Mapping[str, Any], world: World, causes: set[str]) -> None:
        self.config: Mapping[str, Any] = case["config"]
        self.answers = dict(world.config)  # as changed by `set` steps
        self.step = step
        self.expect: Mapping[str, Any] = step.get("expect") or {}
        self.got: Record = {}
        self.causes = causes
        self.now = world.now
        self.sent: set[int] = set()  # dts of the frames that were read
        self.marks: set[int] = set()  # dts of the end-of-fragment marks
        if world.stream is not None:
            view = world.stream._core.buffer.view
            for index in range(view.tail, view.head):
                item = view[index]
                if item.flags & END_OF_FRAGMENT:
                    self.marks.add(item.timestamp)
                elif index < view.current:
                    self.sent.add(item.timestamp)

    @property
    def status(self) -> str:
        """The status that AWS's client returned."""
        return str(self.expect.get("status", SUCCESS))

    def missing(self, *kinds: str) -> list[Record]:
        """Return the events of these kinds that AWS's client reports and we do not."""
        return _difference(self.expect.get("events", []), self.got["events"], kinds)

    def extra(self, *kinds: str) -> list[Record]:
        """Return the events of these kinds that we report and AWS's client does not."""
        return _difference(self.got["events"], self.expect.get("events", []), kinds)


def _difference(these: list[Record], those: list[Record], kinds: Iterable[str]) -> list[Record]:
    def texts(events: list[Record]) -> Counter[str]:
        return Counter(repr(event) for event in events if event["event"] in kinds)

    left = texts(these) - texts(those)
    found = []
    for event in these:
        if left[repr(event)]:
            left[repr(event)] -= 1
            found.append(event)
    return found


# --- exact rules --------------------------------------------------------------------------------
def _drops_of(ctx: Context, times: set[int]) -> Fields:
    """Excuse drops of frames with these times that only AWS's client reports."""
    missing = ctx.missing(*_DROPS)
    known = bool(missing) and all(event["value"] in times for event in missing)
    return frozenset({"drops"}) if known and not ctx.extra(*_DROPS) else _NOTHING


def _missing_header(ctx: Context) -> Fields:
    """We send a stream header first; AWS's client lost it."""
    if "buffer" in ctx.expect:
        theirs = {i["index"]: i for i in (ctx.expect["buffer"] or {"items": []})["items"]}
        ours = {i["index"]: i for i in ctx.got["buffer"]["items"]}
        others = [i for i in ours if i in theirs and ours[i]["length"] != theirs[i]["length"]]
        found = others and all(
            "session_start" in ours[i]["flags"] + theirs[i]["flags"] for i in others
        )
    else:
        expected = ctx.expect.get("bytes")
        head = (expected if isinstance(expected, str) else expected["head"]) if expected else ""
        found = ctx.got.get("bytes", b"")[:4] == EBML_ID and not head.startswith(EBML_ID.hex())
    if found:
        ctx.causes.add("missing_header")
    return _HEADER if found else _NOTHING


def _near_realtime(ctx: Context) -> Fields:
    """We open a stream whose buffer AWS's client refuses, because it counts fragments."""
    fragments = ctx.config.get("buffer_duration", 120 * SECOND) // ctx.config["fragment_duration"]
    too_few = ctx.config.get("streaming_type") == "near_realtime" and fragments <= _MIN_VIEW_ITEMS
    made = ctx.got["status"] == SUCCESS and ctx.status == "0x30000001"
    excused = ctx.step["op"] == "create" and too_few and made
    return frozenset({"status", "shutdown", "calls"}) if excused else _NOTHING


def _hung_stop(ctx: Context) -> Fields:
    """Everything is sent and settled; AWS's client does not report the stream as closed."""
    closed = ctx.extra("streamClosed") and not ctx.missing("streamClosed")
    return frozenset({"closed"}) if closed else _NOTHING


def _created(ctx: Context) -> Fields:
    """We do not shut down a stream that was never made, and describe an existing one again."""
    if ctx.step["op"] != "create":
        return _NOTHING
    if ctx.got["status"] == ctx.status != SUCCESS:
        return frozenset({"shutdown"})
    calls = [event["api"] for event in ctx.extra("call")]
    described = ctx.status == "0x52000032" and calls[:1] == ["describeStream"]
    again = described and not ctx.missing("call")
    return frozenset({"status", "calls", "shutdown"}) if again else _NOTHING


def _short_token(ctx: Context) -> Fields:
    """The token expires too early: we report it, request another one and keep the frame."""
    left = ctx.answers.get("token_expiration", 2**64) - ctx.now
    good = left > _TOKEN_LIFE and ctx.answers.get("token_length", 0) <= MAX_AUTH_LEN_BYTES
    asked = {event["api"] for event in ctx.extra("call")}
    if good or asked != {"getStreamingToken"} or ctx.missing("call"):
        return _NOTHING
    if ctx.step["op"] == "put_frame" and ctx.status != SUCCESS:
        ctx.causes.add("short_token")  # AWS's client lacks the frame
    return frozenset({"calls", "put.status"})


def _annexb_frames(ctx: Context) -> Fields:
    """We read an Annex-B frame as the standard says."""
    if not ctx.config.get("adapt_flags", 0) & 8 or "data" not in ctx.step:
        return _NOTHING
    try:
        oracle.annexb_units(input_bytes(ctx.step["data"]))
        right = SUCCESS
    except oracle.Refused as refusal:
        right = f"0x{refusal.args[0]:08x}"
    if ctx.got["status"] != right or _BAD_FRAME not in (right, ctx.status):
        return _NOTHING
    ctx.causes.add("annexb_frames")
    return frozenset({"put.status"})


def _order_mode(ctx: Context) -> Fields:
    """We refuse an unknown mode at once; without comparison we read in another order."""
    mode = ctx.config.get("frame_order_mode", 0)
    if mode == _NO_COMPARISON:
        return ITEMS
    refused = mode > _LAST_MODE and ctx.step["op"] == "create" and ctx.got["status"] != SUCCESS
    return frozenset({"status", "calls"}) if refused else _NOTHING


def _waits_for_received(ctx: Context) -> Fields:
    """Without retention we wait for the last RECEIVED; AWS's client does not wait."""
    waits = ctx.got["status"] == "0x52000072" and ctx.status == "0x5200004a"
    if ctx.config.get("retention", 1) or not waits or not ctx.config.get("fragment_acks", 1):
        return _NOTHING
    ctx.causes.add("waits_for_received")
    return frozenset({"read.status", "closed"})


def _client_id(ctx: Context) -> Fields:
    """We write a client id of the maximum length; AWS's client cuts off its end."""
    name = ctx.config["client_id"]
    header = ctx.got.get("bytes", b"")
    whole = not header.startswith(EBML_ID) or name.encode() in header
    return _HEADER if len(name) == MAX_CLIENT_ID_LEN and whole else _NOTHING


def _sessions_counted(ctx: Context) -> Fields:
    """We count a session at its PutMedia call; AWS's client counts it at the late answer."""
    late = ctx.config.get("put_answer_deferred")
    return frozenset({"m.sessions"}) if late else _NOTHING


def _mark_time(ctx: Context) -> Fields:
    """We give a mark the dts of the frame before it; AWS's client gives it the frame's end."""
    if not ctx.expect.get("buffer"):
        return _NOTHING
    theirs = {item["index"]: item for item in ctx.expect["buffer"]["items"]}
    ours = {item["index"]: item for item in ctx.got["buffer"]["items"]}
    others = [i for i in ours if i in theirs and ours[i]["dts"] != theirs[i]["dts"]]
    before = [ours.get(i - 1) for i in others]
    marks = ctx.marks and all(
        item is not None
        and ours[i]["dts"] == item["dts"]
        and theirs[i]["dts"] == item["dts"] + item["duration"]
        for i, item in zip(others, before, strict=True)
    )
    return frozenset({"items.dts"}) if others and marks else _NOTHING


_EXACT: dict[str, Callable[[Context], Fields]] = {
    "eofr_dropped": lambda ctx: _drops_of(ctx, ctx.marks),
    "sent_frames": lambda ctx: _drops_of(ctx, ctx.sent | ctx.marks),
    "hung_stop": _hung_stop,
    "missing_header": _missing_header,
    "created": _created,
    "near_realtime": _near_realtime,
    "short_token": _short_token,
    "annexb_frames": _annexb_frames,
    "clock_reads": lambda ctx: _TIMES if ctx.config["clock"]["step"] else _NOTHING,
    "order_mode": _order_mode,
    "waits_for_received": _waits_for_received,
    "sessions_counted": _sessions_counted,
    "client_id": _client_id,
    "mark_time": _mark_time,
}
_STATE: dict[str, Fields] = {
    "touching_frames": SESSIONS,
    "ack_ahead": SESSIONS,
    "ack_within": SESSIONS,
    "missing_header": _HEADER | {"current", "connectionStale"} | _DURATIONS,
    "restarted_read": ITEMS,
    "eofr_resent": SESSIONS,
    "kept_item": ITEMS,
    "stored_is_done": SESSIONS,
    "equal_times": ITEMS,
    "second_upload": SESSIONS,
    "short_token": ITEMS,
    "annexb_frames": ITEMS,
    "near_realtime": ITEMS,
    "live_change": ITEMS | {"put.status", "status"},
    "frame_duration": frozenset({"items.duration", "counts"} | _DURATIONS | _PRESSURES),
    "event_tags": _HEADER | {"counts"},
    "waits_for_received": SESSIONS,
    "empty_stream": SESSIONS,
    "ended_track": SESSIONS,
    "timeout": SESSIONS,
    "error_outside": SESSIONS,
    "ended_upload": SESSIONS,
    "put_failed": SESSIONS | {"put.status"},
    "no_recovery": SESSIONS | {"put.status", "status"},
}
_LASTING = {"no_recovery", "stored_is_done", "live_change"}  # until the stream is reset
# AWS's client keeps the state of these causes with an upload, where no probe shows it.
_OF_UPLOAD = {"ack_ahead", "ack_within", "second_upload", "ended_upload", "error_outside"}
RULES = frozenset((*_EXACT, *_STATE))


def excuse(ctx: Context, differing: Fields, listed: frozenset[str]) -> str:
    """Return the name of the (last) rule that excuses the differing fields, "" if one is left."""
    left, found = differing, ""
    for name in (*_EXACT, *_STATE):
        if name not in listed:
            continue
        fields = _EXACT[name](ctx) if name in _EXACT else _NOTHING
        if name in ctx.causes:
            fields |= _STATE[name]
        excused = {f for f in left if f in fields or (is_count(f) and "counts" in fields)}
        if excused:
            left, found = left - excused, name
    return "" if left else found


def ends(cause: str, upload: int, noticed: int | None) -> bool:
    """Return True if a cause seen at upload `noticed` ends when the clients agree on `upload`."""
    return cause not in _LASTING and (cause not in _OF_UPLOAD or upload != noticed)


def is_count(field: str) -> bool:
    """Return True if a field is a count of events, and not a figure of the buffer."""
    return field.startswith("m.") and field not in ITEMS
