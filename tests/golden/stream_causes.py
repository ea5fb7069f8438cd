"""Find the steps of a stream case that trigger a defect of AWS's client.

A rule of `stream_rules` is applied at the step with a difference, but the difference often shows
later than the step that caused it. For example, an ack that was credited to the wrong fragment
shows in the next probe of the buffer, and a missing header shows in the next read. So `causes`
looks at each step before it is performed, together with the state of our core, and names the
defects that the step may trigger. Resetting a stream discards its buffer in both clients and so
ends all causes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stream_right import named_acks
from stream_world import MS, World

from kvsproducer.client import StreamingType
from kvsproducer.client.buffer.view import END_OF_FRAGMENT, FRAGMENT_START, ContentView
from kvsproducer.client.session import Upload
from kvsproducer.client.states import is_timeout, result_status
from kvsproducer.status import StatusCode

_ENDING = ("RECEIVED", "PERSISTED", "ERROR")


def causes(world: World, step: Mapping[str, Any]) -> set[str]:
    """Return the names of the rules whose defect the next step may trigger."""
    if world.stream is None and step["op"] != "answer":
        return set()
    return set(_OPS.get(step["op"], _none)(world, step))


def _none(_world: World, _step: Mapping[str, Any]) -> Iterator[str]:
    yield from ()


def _view(world: World) -> ContentView:
    assert world.stream is not None, "causes() has checked"
    return world.stream._core.buffer.view


def _upload(world: World, step: Mapping[str, Any]) -> Upload | None:
    assert world.stream is not None, "causes() has checked"
    return world.stream._core.uploads.find(step.get("upload", world.upload))


def _ack(world: World, step: Mapping[str, Any]) -> Iterator[str]:
    upload = _upload(world, step)
    if upload is None or not upload.active:
        return
    for kind, timecode, _ in named_acks(step):
        if isinstance(timecode, int):
            yield from _timed_ack(world, upload, kind, timecode)
        elif kind != "BUFFERING":
            yield "ack_ahead"  # the ack has no timecode: it means the fragment that is being sent
        if kind == "ERROR":
            yield from _loss(world, 4000)


def _timed_ack(world: World, upload: Upload, kind: str, timecode: int) -> Iterator[str]:
    assert world.stream is not None, "causes() has checked"
    view, info = _view(world), world.stream.info
    time = timecode * info.timecode_scale
    if not info.absolute_fragment_times:
        time += upload.session_start
    items = [view[index] for index in range(view.tail, view.head)]
    if any(item.ack_timestamp + item.duration == time for item in items):
        yield "touching_frames"
    index = view.fragment_at(time)
    index = view.item_at(time) if index is None else index
    if index is None or not (upload.used or info.absolute_fragment_times):
        if kind == "ERROR":
            yield "error_outside"
    elif kind in _ENDING:
        if not view[index].flags & FRAGMENT_START:
            yield "ack_within"
        if not upload.carries(view[index].fragment) or view.next_start(index + 1) > view.current:
            yield "ack_ahead"
    if index is not None and kind in ("PERSISTED", "RECEIVED"):
        final = kind == "PERSISTED" or not info.retention
        if final and (view.next_start(index + 1) == view.head or not info.fragment_acks):
            yield "stored_is_done"


def _unrecovered(world: World, result: int) -> Iterator[str]:
    assert world.stream is not None, "causes() has checked"
    lost = result_status(result) is not StatusCode.SUCCESS
    if lost and not world.stream.info.recover_on_error:
        yield "no_recovery"


def _loss(world: World, result: int) -> Iterator[str]:
    """Yield the defects of AWS's client when it chooses where to resume a lost session."""
    assert world.stream is not None, "causes() has checked"
    view, core = _view(world), world.stream._core
    yield from _unrecovered(world, result)
    if is_timeout(result) and view.current == view.head:
        yield "timeout"
    if core.buffer.on_wire is not None:
        yield "restarted_read"
    if any(view[index].flags & END_OF_FRAGMENT for index in range(view.tail, view.head)):
        yield "eofr_resent"


def _connection_ended(world: World, step: Mapping[str, Any]) -> Iterator[str]:
    upload = _upload(world, step)
    if upload is None or not upload.active:
        yield "ended_upload"
        return
    if upload.used:
        yield from _loss(world, step["result"])
    elif _view(world).current == _view(world).head:
        yield "empty_stream"
    yield from _unrecovered(world, step["result"])


def _reset_connection(world: World, _step: Mapping[str, Any]) -> Iterator[str]:
    yield from _loss(world, 200)


def _read(world: World, step: Mapping[str, Any]) -> Iterator[str]:
    assert world.stream is not None, "causes() has checked"
    reader = world.stream._core.uploads.reader
    if reader is not None and reader.number != step.get("upload", world.upload):
        yield "second_upload"


def _reset_stream(world: World, _step: Mapping[str, Any]) -> Iterator[str]:
    assert world.stream is not None, "causes() has checked"
    if not world.stream.info.recover_on_error:
        yield "no_recovery"


def _answer(_world: World, step: Mapping[str, Any]) -> Iterator[str]:
    if step["api"] == "putStream" and step["result"] != 200:
        yield "put_failed"


def _live_change(_world: World, _step: Mapping[str, Any]) -> Iterator[str]:
    yield "live_change"


def _put_event(_world: World, step: Mapping[str, Any]) -> Iterator[str]:
    if step["types"].bit_count() > 1:
        yield "event_tags"


def _put(world: World, step: Mapping[str, Any]) -> Iterator[str]:
    """Yield the defects of a put: AWS's client never drops the last item that was read."""
    if not step["duration"]:
        yield "frame_duration"
    view, info = _view(world), world.stream.info if world.stream else None
    time = step["pts"] if world.config.get("frame_timecodes", 1) else world.now
    unit = world.config["timecode_scale"] or MS
    if "K" in step.get("flags", "") and any(
        item.ack_timestamp // unit == time // unit for item in view.items.values()
    ):
        yield "equal_times"
    near = info is not None and info.streaming_type is StreamingType.NEAR_REALTIME
    if near and info and len(view) >= info.buffer_duration // info.fragment_duration:
        yield "near_realtime"
    if view.full and view.tail < view.current <= view.next_start(view.tail + 1):
        yield "kept_item"


def _stop(world: World, _step: Mapping[str, Any]) -> Iterator[str]:
    """Yield ended_track if a fragment lacks audio because no more frames of it will be put."""
    assert world.stream is not None, "causes() has checked"
    intake = world.stream._intake
    if intake.order is not None and intake.order.find_lacking(intake.tracks.beginning):
        yield "ended_track"


_OPS = {
    "stop": _stop,
    "ack": _ack,
    "ack_on": _ack,
    "ack_struct": _ack,
    "connection_ended": _connection_ended,
    "reset_connection": _reset_connection,
    "reset_stream": _reset_stream,
    "read": _read,
    "read_all": _read,
    "answer": _answer,
    "format_changed": _live_change,
    "set_adapt_flags": _live_change,
    "put_event": _put_event,
    "put_frame": _put,
}
