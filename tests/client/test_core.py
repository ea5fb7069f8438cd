"""What the parts of a stream share: reports, wake-ups, and the uploads that are given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.client.conftest import filled

from kvsproducer import client as kvs

SECOND = 10_000_000
Desks = Callable[..., Any]


def test_the_reader_is_woken_once_when_it_had_gone_idle(desk: Desks) -> None:
    """Not while it is reading, and not twice before it asks again."""
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


def test_writers_that_wait_are_woken_in_order_and_once(desk: Desks) -> None:
    """Whoever gives bytes back wakes all of them: the store is shared by all streams."""
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
def test_how_drops_are_told(desk: Desks, kind: kvs.StreamingType, event: type[kvs.Event]) -> None:
    """As frames, or as parts of fragments; each has its counter."""
    d, core = filled(desk, streaming_type=kind)
    core.buffer.evict()
    d.settle()
    assert d.told(event) == [event("door", d.now, d.now, 1, kvs.DropReason.OVERFLOW)]
    counters = d.stream.metrics(d.now).counters
    frames = kind is kvs.StreamingType.REALTIME
    assert (counters.dropped_frames, counters.dropped_fragments) == (int(frames), int(not frames))


def test_uploads_are_given_up_together(desk: Desks) -> None:
    """Each is reported to the shell once, and no upload is read any more."""
    d, core = filled(desk)
    d.read()
    for _ in range(2):
        core.abort_uploads()
    d.settle()
    assert [e for e in d.effects if isinstance(e, kvs.UploadAborted)] == [
        kvs.UploadAborted("door", 0)
    ]
    assert core.uploads.reader is None


def test_events_of_a_kind_are_taken_out_of_turn(desk: Desks) -> None:
    """The others stay for `next_event`."""
    d = desk()
    d.settle()
    d.stream.put_frame(kvs.Frame(b"data", d.now + SECOND), d.now)
    d.stream.free(d.now)
    assert [type(e) for e in d.stream.take_events((kvs.StreamEnded,))] == [kvs.StreamEnded]
    d.settle()
    assert d.told(kvs.StreamEnded) == []
    assert len(d.told(kvs.FrameSkipped)) == 1
