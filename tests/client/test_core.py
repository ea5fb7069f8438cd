"""The shared state of a stream: reports, wake-ups, and aborted uploads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.client.conftest import filled

from kvsproducer import client as kvs

SECOND = 10_000_000
Desks = Callable[..., Any]


def test_an_idle_reader_is_woken_once(desk: Desks) -> None:
    """There is no wake-up while it reads, and no second one before its next read."""
    d, core = filled(desk)
    d.effects.clear()
    core.wake()
    d.settle()
    awake = list(d.effects)
    d.read()
    d.effects.clear()
    for _ in range(3):
        core.wake()
    d.settle()
    assert awake == []
    assert d.effects == [kvs.DataAvailable("door", 0)]


def test_waiting_writers_are_woken_in_order_and_once(desk: Desks) -> None:
    """Released bytes wake the writers of all streams, because the streams share the store."""
    d, core = filled(desk)
    core.waiting.update({"gate": None, "door": None})
    core.note_waiting_writer()
    core.buffer.store.charge(10)
    core.buffer.release(10)
    core.buffer.release(0)
    d.settle()
    spaces = [effect for effect in d.effects if isinstance(effect, kvs.SpaceAvailable)]
    assert spaces == [kvs.SpaceAvailable("gate"), kvs.SpaceAvailable("door")]


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        (kvs.StreamingType.REALTIME, kvs.FrameDropped),
        (kvs.StreamingType.NEAR_REALTIME, kvs.FragmentDropped),
    ],
)
def test_drops_are_reported_by_frame_or_fragment(
    desk: Desks, kind: kvs.StreamingType, event: type[kvs.Event]
) -> None:
    """Each kind of event has its own counter."""
    d, core = filled(desk, streaming_type=kind)
    core.buffer.evict()
    d.settle()
    assert d.reported(event) == [event("door", d.now, d.now, 1, kvs.DropReason.OVERFLOW)]
    counters = d.stream.metrics(d.now).counters
    frames = kind is kvs.StreamingType.REALTIME
    assert (counters.dropped_frames, counters.dropped_fragments) == (int(frames), int(not frames))


def test_all_uploads_are_aborted_together(desk: Desks) -> None:
    """Each is reported to the shell once, and no upload is read after that."""
    d, core = filled(desk)
    d.read()
    for _ in range(2):
        core.abort_uploads()
    d.settle()
    assert [e for e in d.effects if isinstance(e, kvs.UploadAborted)] == [
        kvs.UploadAborted("door", 0)
    ]
    assert core.uploads.reader is None


def test_events_of_a_kind_can_be_taken_first(desk: Desks) -> None:
    """The others are kept for `next_event`."""
    d = desk()
    d.settle()
    d.stream.put_frame(kvs.Frame(b"data", d.now + SECOND), d.now)
    d.stream.free(d.now)
    assert [type(e) for e in d.stream.take_events((kvs.StreamEnded,))] == [kvs.StreamEnded]
    d.settle()
    assert d.reported(kvs.StreamEnded) == []
    assert len(d.reported(kvs.FrameSkipped)) == 1
