"""What the parts of a stream share: telling, waking, giving up, and where sessions begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client.core import StreamCore
from kvsproducer.view import FRAGMENT_START, PERSISTED, RECEIVED, STREAM_START

SECOND = 10_000_000
EBML = bytes.fromhex("1a45dfa3")
Desks = Callable[..., Any]


def filled(desk: Desks, frames: int = 12, **info: Any) -> tuple[Any, StreamCore]:
    d = desk(**info)
    for index in range(frames):
        d.put(index)
    return d, d.stream._core


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
    """Whoever gives bytes back wakes all of them: the store is everybody's."""
    d, core = filled(desk)
    core.waiting.update({"gate": None, "door": None})
    core.want_space()
    core.store.charge(10)
    core.release(10)
    core.release(0)
    d.settle()
    spaces = [effect for effect in d.effects if isinstance(effect, kvs.SpaceAvailable)]
    assert spaces == [kvs.SpaceAvailable("gate"), kvs.SpaceAvailable("door")]


def test_what_is_evicted_gives_its_bytes_back(desk: Desks) -> None:
    """All of them, to the last; an empty view has nothing to evict."""
    d, core = filled(desk)
    for left in range(11, -1, -1):
        assert core.evict()
        assert len(core.view) == left
    assert not core.evict()
    assert d.client.store.used_bytes == 0
    assert d.stream.account() == (12, 0, 12, 0, 0)


def test_the_session_begins_with_the_next_fragment_when_its_start_is_evicted(desk: Desks) -> None:
    """Whose item gets the stream header, and is charged for it."""
    d, core = filled(desk)
    before = core.view[5].charge
    assert not core.view[5].flags & STREAM_START
    core.evict()
    item = core.view[5]
    assert item.flags & STREAM_START
    assert item.header.startswith(EBML)
    assert item.charge == before + item.prefix_length > before
    d.settle()
    while core.evict():
        pass
    assert d.client.store.used_bytes == 0
    assert core.reset_on_key


def test_a_stream_header_comes_and_goes_without_a_trace(desk: Desks) -> None:
    """Header, length, charge and the store are as before; only fragments can begin a session."""
    _, core = filled(desk)
    item, view = core.view[5], core.view

    def state() -> tuple[object, ...]:
        used = core.store.used_bytes
        return item.header, item.length, item.charge, item.flags, view.size_bytes, used

    before = state()
    core.add_stream_header(item)
    assert state() != before
    core.add_stream_header(item)  # it has one
    core.strip_stream_header(item)
    assert state() == before
    with pytest.raises(AssertionError):
        core.add_stream_header(view[6])
    assert before[3] == FRAGMENT_START


def test_what_is_on_the_wire_keeps_its_bytes(desk: Desks) -> None:
    """Until it has left: its buffers are still being sent."""
    d, core = filled(desk, 1)
    d.read(limit=1)
    used = d.client.store.used_bytes
    core.evict()
    assert d.client.store.used_bytes == used
    core.leave_wire()
    assert d.client.store.used_bytes == 0


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
    core.evict()
    d.settle()
    assert d.told(event) == [event("door", d.now, d.now, 1, kvs.DropReason.OVERFLOW)]
    counters = d.stream.metrics(d.now).counters
    frames = kind is kvs.StreamingType.REALTIME
    assert (counters.dropped_frames, counters.dropped_fragments) == (int(frames), int(not frames))


def test_uploads_are_given_up_together(desk: Desks) -> None:
    """The shell is told of each, once; nobody reads any more."""
    d, core = filled(desk)
    d.read()
    for _ in range(2):
        core.abort_uploads()
    d.settle()
    assert [e for e in d.effects if isinstance(e, kvs.UploadAborted)] == [
        kvs.UploadAborted("door", 0)
    ]
    assert core.uploads.reader is None


@pytest.mark.parametrize(("hours", "flags"), [(0, PERSISTED | RECEIVED), (2, PERSISTED)])
def test_which_acks_are_final(desk: Desks, hours: int, flags: int) -> None:
    """RECEIVED is, in a stream that keeps nothing."""
    _, core = filled(desk, retention=hours * 3600 * SECOND)
    assert core.final_flags == flags


def test_each_item_knows_the_start_of_its_session(desk: Desks) -> None:
    """What relative timecodes count from changes with the session, for later items only."""
    d, core = filled(desk, absolute_fragment_times=False)
    core.refuse_until_key(new_session=True)
    d.put(12)
    d.put(15)
    d.put(16)
    assert [core.session_start_of(index) - d.now for index in (0, 11, 12, 13)] == [
        0,
        0,
        3 * SECOND,
        3 * SECOND,
    ]
    assert d.stream.account().skipped == 1


def test_events_of_a_kind_are_taken_out_of_turn(desk: Desks) -> None:
    """The others stay for `next_event`."""
    d = desk()
    d.settle()
    d.stream.put_frame(kvs.Frame(b"data", d.now + SECOND), d.now)
    d.stream.free(d.now)
    assert [type(e) for e in d.stream.take_events((kvs.StreamClosed,))] == [kvs.StreamClosed]
    d.settle()
    assert d.told(kvs.StreamClosed) == []
    assert len(d.told(kvs.FrameSkipped)) == 1
