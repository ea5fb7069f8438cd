"""The rules that recognise where ours differs from AWS's client in the stream cases, and why.

Each looks at the case up to the first step that differs; `differences.toml` has the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from common import SUCCESS, Case
from stream_world import Record, World

EBML_ID = bytes.fromhex("1a45dfa3")


class Context:
    """What the rules look at: the case up to the step that differs."""

    def __init__(self, case: Case, number: int, got: Record, world: World) -> None:
        self.marked = "quirk" in case
        self.config: Mapping[str, Any] = case["config"]
        self.before: list[Mapping[str, Any]] = case["steps"][: number + 1]
        self.step = self.before[-1]
        self.expect: Mapping[str, Any] = self.step["expect"]
        self.got = got
        self.world = world

    def done(self, *ops: str) -> list[Mapping[str, Any]]:
        """The steps of these kinds so far."""
        return [step for step in self.before if step["op"] in ops]

    def acks(self, kind: str) -> list[int]:
        """The timecodes of acks of a kind so far, in ticks."""
        scale = self.config["timecode_scale"]
        return [
            int(event["timecode"] or 0) * scale
            for step in self.before
            for event in step.get("expect", {}).get("events", [])
            if event["event"] == "ack" and event["type"] == kind
        ]

    def statuses(self) -> set[str]:
        return {step.get("expect", {}).get("status", SUCCESS) for step in self.before}


def _touching_frames(ctx: Context) -> bool:
    puts = ctx.done("put_frame")
    ends = {put["pts"] + put["duration"] for put in puts}
    keys = {put["pts"] for put in puts if "K" in put["flags"]}
    acked = set(ctx.acks("ERROR") + ctx.acks("RECEIVED") + ctx.acks("PERSISTED"))
    acked |= set(ctx.acks("BUFFERING"))
    if not ctx.config.get("absolute_fragment_times", 1):
        acked = {ack + min(keys, default=0) for ack in acked}
    return bool(acked & keys & ends)


def _timeout(ctx: Context) -> bool:
    return any(end["result"] in (408, 504, 598, 599) for end in ctx.done("connection_ended"))


def _missing_header(ctx: Context) -> bool:
    if "buffer" in ctx.expect:
        ours = {i["index"] for i in ctx.got["buffer"]["items"] if "session_start" in i["flags"]}
        theirs = {
            i["index"] for i in ctx.expect["buffer"]["items"] if "session_start" in i["flags"]
        }
        return ours != theirs
    expected = ctx.expect.get("bytes")
    head = (expected if isinstance(expected, str) else expected["head"]) if expected else ""
    return ctx.got.get("bytes", b"")[:4] == EBML_ID and not head.startswith(EBML_ID.hex())


def _second_upload(ctx: Context) -> bool:
    started = sum(
        event["event"] == "putStream"
        for step in ctx.before
        for event in step.get("expect", {}).get("events", [])
    )
    return started > 1 and bool(ctx.done("set", "reset_connection", "reset_stream"))


def _loss_without_recovery(ctx: Context) -> bool:
    return not ctx.config.get("recover_on_error", 1) and bool(
        ctx.done("connection_ended", "reset_connection") or ctx.acks("ERROR")
    )


def _ack_ahead(ctx: Context) -> bool:
    """A PERSISTED ack named media that no upload had been given, or a read failed for it."""
    if ctx.statuses() & {"0x00000008", "0x10000015"}:
        return True
    newest = -1
    for step in ctx.before:
        for entry in step.get("expect", {}).get("reading", []):
            if entry.startswith("cluster"):
                newest = max(newest, int(entry.split()[1]) * ctx.config["timecode_scale"])
        for event in step.get("expect", {}).get("events", []):
            if event["event"] == "putStream":
                newest = -1  # the new upload was given nothing yet
            elif (
                event["event"] == "ack"
                and event["type"] in ("PERSISTED", "ERROR")
                and (event["timecode"] or 0) * ctx.config["timecode_scale"] > newest
            ):
                return True
    return False


def _ended_upload(ctx: Context) -> bool:
    over = {"0x5200004a", "0x5200007f"}
    reads = [step["expect"]["status"] for step in ctx.done("read", "read_all")]
    return ctx.step["op"] == "connection_ended" and bool(reads) and reads[-1] in over


def _eofr_dropped(ctx: Context) -> bool:
    return bool(ctx.done("put_end_of_fragment", "reset_stream"))


RULES: dict[str, Callable[[Context], bool]] = {
    "marked": lambda ctx: ctx.marked,
    "touching_frames": _touching_frames,
    "timeout": _timeout,
    "missing_header": _missing_header,
    "second_upload": _second_upload,
    "short_token": lambda ctx: "0x52000049" in ctx.statuses(),
    "near_realtime": lambda ctx: ctx.config.get("streaming_type") == "near_realtime",
    "sent_frames": lambda ctx: (
        ctx.config.get("view_overflow_policy") == "drop_tail_view_item"
        and any("dropped" in event["event"] for event in ctx.expect.get("events", []))
    ),
    "ack_ahead": _ack_ahead,
    "put_failed": lambda ctx: any(step["api"] == "putStream" for step in ctx.done("answer")),
    "ended_upload": _ended_upload,
    "no_recovery": _loss_without_recovery,
    "clock_reads": lambda ctx: bool(ctx.config["clock"]["step"]),
    "order_mode": lambda ctx: ctx.config.get("frame_order_mode", 0) not in (0, 2, 3, 4, 5),
    "eofr_dropped": _eofr_dropped,
    "annexb_frames": lambda ctx: bool(ctx.config.get("adapt_flags")),
    "created": lambda ctx: ctx.step["op"] == "create",
    "restarted_read": lambda ctx: (
        any(
            "not at an element start" in entry or "cut" in entry
            for step in ctx.done("read", "read_all")
            for entry in step["expect"]["reading"]
        )
        and bool(ctx.done("reset_connection", "connection_ended"))
    ),
}
