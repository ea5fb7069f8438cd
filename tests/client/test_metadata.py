"""The metadata queue: names, limits, persistence, events."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.client.metadata import EventType, MetadataQueue
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv import events as mkv
from kvsproducer.status import KvsError, StatusCode

_S = StatusCode


def test_persistent_items_repeat_and_can_be_cleared() -> None:
    """Other items are written once."""
    queue = MetadataQueue()
    queue.put("a", "1", persistent=True)
    queue.put("b", "2", persistent=False)
    assert queue.at_end() == queue.at_start()
    queue.note_start()
    assert queue.at_end() == b""
    assert b"a" in queue.at_start()
    queue.put("a", "", persistent=True)
    assert not queue


@pytest.mark.parametrize(
    ("action", "status"),
    [
        (lambda q: q.put("AWS_X", "v", False), _S.INVALID_METADATA_NAME),
        (lambda q: q.put("", "v", False), _S.MKV_INVALID_TAG_NAME_LENGTH),
        (lambda q: q.put("n", "v" * 257, False), _S.MKV_INVALID_TAG_VALUE_LENGTH),
        (lambda q: q.put_event(0), _S.INVALID_ARG),
        (lambda q: q.put_event(4), _S.INVALID_ARG),
        (lambda q: q.put_event(1, "p" * 257), _S.INVALID_IMAGE_PREFIX_LENGTH),
        (lambda q: q.put_event(1, "AWS"), _S.INVALID_METADATA_NAME),
        (lambda q: q.put_event(2, "", [("k", "v")] * 11), _S.INVALID_ARG),
        (lambda q: q.put_event(2, "", [("k" * 129, "")]), _S.INVALID_IMAGE_METADATA_KEY_LENGTH),
        (lambda q: q.put_event(2, "", [("k", "v" * 257)]), _S.INVALID_IMAGE_METADATA_VALUE_LENGTH),
    ],
)
def test_each_limit_has_its_status(
    action: Callable[[MetadataQueue], None], status: StatusCode
) -> None:
    """Nothing is queued."""
    queue = MetadataQueue()
    with pytest.raises(KvsError) as caught:
        action(queue)
    assert caught.value.status is status
    assert not queue


def test_the_eleventh_item_of_a_fragment_is_refused_when_it_is_put() -> None:
    """The pairs and the prefix of an event count, and so do persistent items. Nothing changes."""
    queue = MetadataQueue()
    for index in range(7):
        queue.put(f"n{index}", "v", persistent=index < 2)
    for refused in (
        lambda: queue.put_event(EventType.IMAGE_GENERATION, "prefix", [("a", "b"), ("c", "d")]),
        lambda: queue.put_event(3, "", [("a", "b")]),
    ):
        with pytest.raises(KvsError) as caught:
            refused()
        assert caught.value.status is _S.MAX_FRAGMENT_METADATA_COUNT
        assert "7 items wait for it, 2 of them persistent" in str(caught.value)
    queue.put_event(EventType.NOTIFICATION, "", [("a", "b"), ("c", "d")])
    for persistent in (False, True):
        with pytest.raises(KvsError) as caught:
            queue.put("eleventh", "v", persistent)
        assert caught.value.status is _S.MAX_FRAGMENT_METADATA_COUNT
        assert "'eleventh'" in str(caught.value)
    queue.put("n1", "other value", persistent=True)
    assert b"eleventh" not in queue.at_start()
    queue.note_start()
    for index in range(8):
        queue.put(f"m{index}", "v", persistent=False)
    with pytest.raises(KvsError):
        queue.put("m8", "v", persistent=False)


def test_the_end_of_a_fragment_takes_only_items_that_fit() -> None:
    """The fragment has items from its start; the others wait for the next one."""
    queue = MetadataQueue()
    for index in range(8):
        queue.put(f"first{index}", "v", persistent=index < 3)
    assert queue.at_start().count(b"first") == 8
    queue.note_start()
    for index in range(7):
        queue.put(f"late{index}", "v", persistent=False)
    assert queue.at_end().count(b"late") == 2
    queue.note_end()
    assert queue.at_end() == b""
    start = queue.at_start()
    assert (start.count(b"first"), start.count(b"late")) == (3, 5)
    queue.note_start()
    assert queue.clear() == 0


@pytest.mark.parametrize("bad", [None, 5, b"bytes", ["a"], 1.5])
def test_an_argument_that_is_not_text_is_refused_by_its_type(bad: Any) -> None:
    """The error is a KvsError and not an AttributeError."""
    queue = MetadataQueue()
    for action in (
        lambda: queue.put(bad, "v", persistent=False),
        lambda: queue.put("n", bad, persistent=True),
        lambda: queue.put_event(1, bad),
        lambda: queue.put_event(1, "", [(bad, "v")]),
        lambda: queue.put_event(1, "", [("n", bad)]),
    ):
        with pytest.raises(KvsError) as caught:
            action()
        assert caught.value.status is _S.INVALID_ARG
        assert type(bad).__name__ in str(caught.value)
    for pairs in (None, [("a",)], ["abc"], 5):
        with pytest.raises(KvsError) as caught:
            queue.put_event(1, "", pairs)  # type: ignore[arg-type]
        assert caught.value.status is _S.INVALID_ARG
    with pytest.raises(KvsError) as caught:
        queue.put_event("image")  # type: ignore[arg-type]
    assert caught.value.status is _S.INVALID_ARG
    assert not queue


def items_by_fragment(data: bytes) -> list[list[str]]:
    """Return the names of the metadata items of each fragment, as the service counts them."""
    parser = MkvParser()
    parser.receive_data(data)
    waiting: list[str] = []
    fragments: list[list[str]] = []
    for event in iter(parser.next_event, None):
        if isinstance(event, mkv.ClusterStart):
            fragments.append(waiting)
            waiting = []
        elif isinstance(event, mkv.Tags):
            names = [name for name, _ in event.pairs]
            waiting += [name for name in names if "END_OF_FRAGMENT" not in name]
            if any("END_OF_FRAGMENT" in name for name in names):
                fragments[-1] += waiting
                waiting = []
    return fragments


@pytest.mark.parametrize("persistent", [0, 3])
def test_no_fragment_gets_more_items_than_the_service_accepts(
    desk: Callable[..., Any], persistent: int
) -> None:
    """Fragments end by key frames or marks; every accepted item is sent or reported."""
    d, accepted, data = desk(), 0, b""
    for index in range(persistent):
        d.stream.put_fragment_metadata(f"always{index}", "v", True, d.now)
    for fragment in range(12):
        d.put(5 * fragment)
        for index in range(12):
            with suppress(KvsError):
                d.stream.put_fragment_metadata(f"once{fragment}-{index}", "v", False, d.now)
                accepted += 1
        if fragment % 3:
            d.stream.end_fragment(d.now)
        data += d.read()[0]
    d.stream.stop(d.now)
    data += d.read()[0]
    d.settle()
    fragments = items_by_fragment(data)
    assert len(fragments) == 12
    assert max(map(len, fragments)) == 10
    assert all(names.count("always0") == bool(persistent) for names in fragments)
    sent = sum(name.startswith("once") for names in fragments for name in names)
    left = [e for e in d.events if isinstance(e, ev.StreamErrorReported)]
    assert sent + sum(int(event.detail.split()[0]) for event in left) == accepted
    assert {event.status for event in left} <= {_S.MAX_FRAGMENT_METADATA_COUNT}


def test_items_without_a_fragment_are_reported(desk: Callable[..., Any]) -> None:
    """The stream was stopped after the end of its last fragment."""
    d = desk()
    d.put(0)
    d.stream.end_fragment(d.now)
    d.stream.put_fragment_metadata("late", "v", False, d.now)
    d.stream.stop(d.now)
    assert b"late" not in d.read()[0]
    (reported,) = d.reported(ev.StreamErrorReported)
    assert (reported.status, reported.fatal) == (_S.MAX_FRAGMENT_METADATA_COUNT, False)
    assert reported.detail.startswith("1 metadata items")


def put_this(d: Any, name: str) -> None:
    d.stream.put_fragment_metadata(name, "v", False, d.now, fragment="this")


def put_next(d: Any, name: str) -> None:
    d.stream.put_fragment_metadata(name, "v", False, d.now)


FRAGMENTED = [{}, {"key_frame_fragmentation": False, "fragment_duration": 1}]


@pytest.mark.parametrize("info", FRAGMENTED, ids=["by key frames", "by time"])
def test_an_item_goes_with_the_fragment_that_it_is_put_for(
    desk: Callable[..., Any], info: dict[str, Any]
) -> None:
    """Only a fragment with an item for "this" costs a mark. No frame is skipped after it."""
    d = desk(**info)
    put_this(d, "before")  # no fragment is open: it goes with the next one
    for index in range(20):
        d.put(index)
        if index == 2:
            put_this(d, "this-0")
            put_next(d, "next-1")
        if index == 8:
            d.stream.put_event(1, d.now, fragment="this")
            d.stream.put_event(1, d.now)
    data, _ = d.read()
    image = "AWS_KINESISVIDEO_IMAGE_GENERATION"
    assert items_by_fragment(data) == [["before", "this-0"], ["next-1", image], [image], []]
    assert data.count(b"END_OF_FRAGMENT") == 2
    assert not d.reported(ev.FrameSkipped)
    d.stream.stop(d.now)
    tail, _ = d.read()
    assert tail.count(b"END_OF_FRAGMENT") == 1
    d.ack("PERSISTED", 3)
    assert d.stream.account() == (20, 20, 0, 0, 0)


@pytest.mark.parametrize("end", ["end_fragment", "stop"])
def test_an_explicit_end_takes_the_items_for_this_fragment_first(
    desk: Callable[..., Any], end: str
) -> None:
    """Then those for the next one, as far as they fit; a fragment that has ended is not open."""
    d = desk()
    for index in range(8):
        put_next(d, f"start{index}")
    d.put(0)
    put_next(d, "next-a")
    put_next(d, "next-b")
    put_this(d, "this-a")
    getattr(d.stream, end)(d.now)
    if end == "end_fragment":
        put_this(d, "after")
        d.put(5)
    data, _ = d.read()
    first, *others = items_by_fragment(data)
    assert first == [*(f"start{index}" for index in range(8)), "this-a", "next-a"]
    assert others == ([["next-b", "after"]] if end == "end_fragment" else [])
    assert data.count(b"END_OF_FRAGMENT") == 1


def test_the_eleventh_item_of_the_open_fragment_is_refused(desk: Callable[..., Any]) -> None:
    """It is counted for that fragment; the next one has its own ten."""
    d = desk()
    for index in range(7):
        put_next(d, f"start{index}")
    d.put(0)
    for index in range(10):
        put_next(d, f"next{index}")
    for index in range(3):
        put_this(d, f"this{index}")
    for refused in (
        lambda: put_this(d, "eleventh"),
        lambda: d.stream.put_event(2, d.now, fragment="this"),
    ):
        with pytest.raises(KvsError, match="this fragment: it has 10 items") as caught:
            refused()
        assert caught.value.status is _S.MAX_FRAGMENT_METADATA_COUNT
    d.put(5)
    first, second = items_by_fragment(d.read()[0])
    assert (len(first), len(second)) == (10, 10)
    assert first[7:] == ["this0", "this1", "this2"]


@pytest.mark.parametrize("fragment", ["last", "", None, 1, ["this"]])
def test_another_fragment_is_refused(desk: Callable[..., Any], fragment: Any) -> None:
    d = desk()
    d.put(0)
    for action in (
        lambda: d.stream.put_fragment_metadata("n", "v", False, d.now, fragment=fragment),
        lambda: d.stream.put_event(1, d.now, fragment=fragment),
    ):
        with pytest.raises(KvsError, match="give 'this'") as caught:
            action()
        assert caught.value.status is _S.INVALID_ARG
    with pytest.raises(KvsError, match="'n' is persistent") as caught:
        d.stream.put_fragment_metadata("n", "v", True, d.now, fragment="this")
    assert caught.value.status is _S.INVALID_ARG
    d.stream.stop(d.now)
    assert items_by_fragment(d.read()[0]) == [[]]


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("read", ["nothing", "a part", "everything"])
def test_items_stay_with_their_fragment_after_a_lost_connection(
    desk: Callable[..., Any], read: str, stop: bool
) -> None:
    """What is sent again has the same items in the same fragments, also the end of the stream."""
    d = desk()
    for index in range(7):
        d.put(index)
        put_this(d, f"this{index}")
    expected = [[f"this{index}" for index in range(5)], ["this5", "this6"]]
    if stop:
        d.stream.stop(d.now)
    else:
        d.put(10)
    limit = {"nothing": 0, "a part": 300, "everything": 1 << 20}[read]
    if limit:
        d.read(limit=limit)
    d.stream.upload_ended(0, 500, d.now)
    d.settle()
    assert items_by_fragment(d.read()[0])[:2] == expected


def test_items_go_with_the_fragment_before_a_new_session(desk: Callable[..., Any]) -> None:
    """The next key frame begins another upload."""
    d = desk()
    d.rotate()
    put_this(d, "old")
    put_next(d, "new")
    for index in range(10, 12):
        d.put(index)
    old, _ = d.read(upload=0)
    assert old.count(b"old") == 1
    assert b"new" not in old
    d.ack("PERSISTED", 1, upload=0)
    new, _ = d.read()
    assert items_by_fragment(new) == [["new"]]


def test_items_of_a_fragment_that_is_dropped_are_dropped_with_it(
    desk: Callable[..., Any],
) -> None:
    """The next fragment is another one."""
    d = desk()
    for index in range(5):
        d.put(index)
    d.read()
    put_this(d, "refused")
    d.ack("ERROR", 0, error=4005)
    d.put(5)
    assert items_by_fragment(d.read()[0])[-1] == []
    put_this(d, "reset")
    d.stream.reset(d.now)
    d.settle()
    d.put(10)
    d.stream.stop(d.now)
    assert items_by_fragment(d.read()[0]) == [[]]


def test_the_mark_before_a_writer_that_waits_takes_the_items_of_its_fragment(
    desk: Callable[..., Any],
) -> None:
    """The open fragment fills the store: only its end makes space for the next one."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
    d = desk(device, streaming_type=kvs.StreamingType.OFFLINE)
    data, index = b"x" * 24_000, 0
    d.put(index, data=data)
    while d.client.store.size_bytes - d.client.store.used_bytes > 150_000:
        index += 1
        d.put(index, key=False, data=data)
    put_this(d, "this")
    put_next(d, "next")
    for _ in range(2):
        with pytest.raises(kvs.WouldBlock):
            d.put(index + 1, key=True, data=data * 6)
    body, _ = d.read()
    assert items_by_fragment(body) == [["this"]]
    d.ack("PERSISTED", 0)
    d.put(index + 1, key=True, data=data)
    d.stream.stop(d.now)
    more, _ = d.read()
    assert items_by_fragment(body + more) == [["this"], ["next"]]


@pytest.mark.parametrize("mode", list(kvs.FrameOrderMode))
def test_items_of_a_stream_with_two_tracks(
    desk: Callable[..., Any], mode: kvs.FrameOrderMode
) -> None:
    """Also when frames wait for those of the other track."""
    tracks = kvs.StreamInfo.audio_video("h264", "aac").tracks
    d = desk(tracks=tracks, frame_order_mode=mode)
    for index in range(13):
        if index:
            at = d.now + (2 * index - 1) * 100 * 10_000
            d.stream.put_frame(kvs.Frame(b"sound", at, track_id=2), d.now)
        d.put(index, key=index % 5 == 0, data=b"picture", track_id=1)
        if index == 3:
            put_this(d, "first")
        if index == 8:
            put_this(d, "second")
    d.stream.stop(d.now)
    assert items_by_fragment(d.read()[0]) == [["first"], ["second"], []]
    assert not d.reported(ev.FrameSkipped)


def test_items_of_a_stream_with_sound_only(desk: Callable[..., Any]) -> None:
    d = desk(tracks=kvs.StreamInfo.audio("aac").tracks)
    for index in range(100):
        frame = kvs.Frame(b"sound", d.now + index * 400_000, key_frame=index % 25 == 0)
        d.stream.put_frame(frame, d.now)
        if index in (0, 60):
            put_this(d, f"sound{index}")
    d.stream.stop(d.now)
    d.settle()
    assert items_by_fragment(d.read()[0]) == [["sound0"], ["sound60"]]
