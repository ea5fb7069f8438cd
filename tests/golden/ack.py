"""Golden cases of the ack parser (`ack.jsonl`).

The stream under test holds fragments of 1 s with the timecodes 1000 to 5000 ms. Each case feeds its
chunks to one upload. The status of a chunk is its first error. Where our result differs from that
of AWS's client, a listed rule must name the defect of AWS's client, and we must report the same
acks that a general JSON parser reads.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from common import SUCCESS, Case, Outcome, Verdict
from stream_world import MS, SECOND, World

_CONFIG: dict[str, Any] = {
    "content_type": "video/h264",
    "timecode_scale": MS,
    "fragment_duration": 2 * SECOND,
    "segment_uuid": "000102030405060708090a0b0c0d0e0f",
    "client_id": "",
    "clock": {"start": 6 * SECOND, "step": 0},
    "tracks": [{"id": 1, "type": "video", "codec_id": "V_X", "name": "v", "cpd": ""}],
}
Record = dict[str, Any]
_TYPES = ("BUFFERING", "RECEIVED", "PERSISTED", "ERROR", "IDLE")
_OUTSIDE = "0x52000047"  # the ack names a time that the stream does not hold
_MAX_CHUNK = 1024  # the limit of AWS's client


def matches(case: Case) -> bool:
    return "chunks" in case


def _world() -> World:
    world = World(_CONFIG)
    steps: list[Mapping[str, Any]] = [{"op": "create"}]
    steps += [
        {"op": "put_frame", "flags": "K", "pts": second * SECOND, "duration": SECOND, "data": "00"}
        for second in range(1, 6)
    ]
    for step in (*steps, {"op": "read_all"}):
        world.step(step)
    return world


def _feed(world: World, upload: int, chunk: bytes) -> Record:
    world.events, world.status = [], 0
    assert world.stream is not None, "made by _world"
    world.stream.receive_ack(upload, chunk, world.now)
    world.settle()
    acks = [
        {name: event[name] for name in ("type", "timecode", "sequence", "result")}
        for event in (
            {**event, "sequence": event["seq"]} for event in world.events if event["event"] == "ack"
        )
    ]
    errors = [event["error"] for event in world.events if event["event"] == "streamError"]
    return {"status": f"0x{world.status:08x}", "acks": acks, "stream_errors": errors}


def _objects(text: str) -> tuple[list[Record], bool]:
    """Return the acks that a general JSON parser finds in a text, and whether all are well-formed.

    Text outside of objects is ignored. The last object may be incomplete.
    """
    found, well_formed, at = [], True, 0
    while (start := text.find("{", at)) >= 0:
        end = _end_of_object(text, start)
        if end is None:
            break
        try:
            ack = json.loads(text[start:end], strict=False)
            found.append(_ack(ack))
            at = end
        except (ValueError, KeyError, TypeError):
            well_formed, at = False, start + 1
    return [ack for ack in found if ack["type"] != "IDLE"], well_formed


def _end_of_object(text: str, at: int) -> int | None:
    depth, quoted, escaped = 0, False, False
    for place in range(at, len(text)):
        char = text[place]
        if quoted:
            quoted, escaped = char != '"' or escaped, char == "\\" and not escaped
        elif char == '"':
            quoted = True
        else:
            depth += (char in "{[") - (char in "]}")
            if not depth:
                return place + 1
    return None


def _completed(before: str, chunk: str) -> tuple[list[Record], bool]:
    """Return the acks that a chunk completes; the flag is True if all text is well-formed."""
    known, _ = _objects(before)
    found, well_formed = _objects(before + chunk)
    alone, complete = _objects(chunk)
    if alone and complete and found[len(known) :] != alone:  # the ack before it was cut off
        return alone, False
    return found[len(known) :], well_formed


def _ack(ack: Mapping[str, Any]) -> Record:
    if ack["EventType"] not in _TYPES:
        raise ValueError(ack["EventType"])
    return {
        "type": ack["EventType"],
        "timecode": ack.get("FragmentTimecode"),
        "sequence": ack.get("FragmentNumber", ""),
        "result": ack.get("ErrorId", 200),
    }


class Chunk(NamedTuple):
    """A chunk with different results: AWS's client's, ours, and what a JSON parser reads."""

    expect: Record
    got: Record
    length: int
    right: list[Record]  # the acks that it completes
    well_formed: bool  # this chunk and the text before it

    @property
    def right_acks(self) -> bool:
        """Return True if we report the acks of the JSON parser, and others only if one is bad."""
        if self.well_formed:
            return bool(
                self.got["acks"] == self.right and self.got["status"] in (SUCCESS, _OUTSIDE)
            )
        return all(ack in self.got["acks"] for ack in self.right)


def _later_acks(chunk: Chunk) -> bool:
    """DEFECTS 2: AWS's client discards the rest of a chunk after a bad ack; we read on.

    If a new ack begins inside an unfinished one, we report that and read the new one.
    """
    known = chunk.expect.get("acks", [])
    if SUCCESS in (chunk.expect["status"], chunk.got["status"]):
        return False
    if chunk.got["status"] == _RUN_ON:
        return bool(chunk.got["acks"] == chunk.right)
    return (
        chunk.expect["status"] == chunk.got["status"] and chunk.got["acks"][: len(known)] == known
    )


def _valid_json(chunk: Chunk) -> bool:
    """DEFECTS 3: strings and escapes in nested values; the JSON parser's result is right."""
    return chunk.well_formed


def _chunk_length(chunk: Chunk) -> bool:
    """AWS's client refuses chunks over 1024 bytes; we read them."""
    too_long = chunk.length > _MAX_CHUNK and chunk.expect["status"] == "0x52000071"
    return too_long and chunk.well_formed


def _reported(chunk: Chunk) -> bool:
    """AWS's client resets its parser with each chunk and forgets an ack that was cut off."""
    same = chunk.expect["status"] == SUCCESS and chunk.got["acks"] == chunk.expect.get("acks", [])
    return same and not chunk.well_formed


_RUN_ON = "0x5200004d"  # INVALID_ACK_KEY_START: another ack begins inside the ack
_RULES: dict[str, Callable[[Chunk], bool]] = {
    "later_acks": _later_acks,
    "chunk_length": _chunk_length,
    "valid_json": _valid_json,
    "reported": _reported,
}


def check(case: Case, rules: frozenset[str]) -> Verdict:
    world = _world()
    upload, quirk, text = world.upload, "", ""
    steps: Counter[str] = Counter()
    for number, (data, expect) in enumerate(zip(case["chunks"], case["expect"], strict=True)):
        chunk = bytes.fromhex(data)
        right, well_formed = _completed(text, chunk.decode("latin-1"))
        text += chunk.decode("latin-1")
        got = _feed(world, upload, chunk)
        upload = world.upload
        if (
            got["status"] == expect["status"]
            and got["acks"] == expect.get("acks", [])
            and got["stream_errors"] == expect.get("stream_errors", [])
        ):
            steps["compared"] += 1
            continue
        seen = Chunk(expect, got, len(chunk), right, well_formed)
        found = next((name for name in _RULES if name in rules and _RULES[name](seen)), "")
        if not found or not seen.right_acks:
            detail = f"chunk {number}: expected {expect}, got {got}"
            return Verdict(Outcome.FAILED, detail, steps)
        quirk = found
        steps["excused"] += 1
    return Verdict(Outcome.QUIRK if quirk else Outcome.PASSED, quirk, steps)
