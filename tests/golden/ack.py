"""Golden cases of the ack parser (`ack.jsonl`).

A stream holds fragments with timecodes 1000 to 5000 ms of 1 s each; the chunks are fed to one
upload. A chunk's status is its first error. Where ours differs, a listed rule must recognise the
case, and what the rule expects instead must be what came.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

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


def _later_acks(expect: Record, got: Record, _text: str) -> bool:
    """DEFECTS 2: after a bad ack C throws the rest of the chunk away; ours reads on."""
    known = expect.get("acks", [])
    return expect["status"] != SUCCESS and got["acks"][: len(known)] == known


def _valid_json(_expect: Record, got: Record, text: str) -> bool:
    """DEFECTS 3: strings and escapes in nested values; plain JSON says what is right."""
    decoder, acks = json.JSONDecoder(), []
    try:
        while text:
            value, end = decoder.raw_decode(text)
            text = text[end:].lstrip()
            if value["EventType"] != "IDLE":
                acks.append((value["EventType"], value.get("FragmentTimecode")))
    except (TypeError, KeyError):
        return False
    except ValueError:  # the last one is not complete, or this is no JSON
        if not got["all"] or len(acks) != len(got["all"]):
            return False
    return acks == [(ack["type"], ack["timecode"]) for ack in got["all"]]


def _chunk_length(expect: Record, _got: Record, _text: str) -> bool:
    """C refuses chunks over 1024 bytes; ours reads any chunk, and an ack of up to 64 KiB."""
    return bool(expect["status"] == "0x52000071")


def _reported(expect: Record, got: Record, _text: str) -> bool:
    """C starts afresh with a chunk and says nothing of an ack that breaks off; ours reports it."""
    return expect["status"] == SUCCESS and got["acks"] == expect.get("acks", [])


_RULES: dict[str, Callable[[Record, Record, str], bool]] = {
    "later_acks": _later_acks,
    "valid_json": _valid_json,
    "chunk_length": _chunk_length,
    "reported": _reported,
}


def check(case: Case, rules: frozenset[str]) -> Verdict:
    world = _world()
    upload, quirk, text = world.upload, "", ""
    heard: list[Record] = []
    for number, (chunk, expect) in enumerate(zip(case["chunks"], case["expect"], strict=True)):
        data = bytes.fromhex(chunk)
        text += data.decode("latin-1")
        got = _feed(world, upload, data)
        upload = world.upload
        heard += got["acks"]
        got["all"] = heard
        if (
            got["status"] == expect["status"]
            and got["acks"] == expect.get("acks", [])
            and got["stream_errors"] == expect.get("stream_errors", [])
        ):
            continue
        quirk = next((name for name in rules if _RULES[name](expect, got, text)), "")
        if not quirk:
            return Verdict(Outcome.FAILED, f"chunk {number}: expected {expect}, got {got}")
        break  # C's parser is in another state from here on
    return Verdict(Outcome.QUIRK, quirk) if quirk else Verdict(Outcome.PASSED)
