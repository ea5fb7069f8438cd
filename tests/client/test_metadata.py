"""The metadata queue: names, limits, persistence, events."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from kvsproducer.client import events as ev
from kvsproducer.client.metadata import EventType, MetadataQueue
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv import events as mkv
from kvsproducer.status import KvsError, StatusCode

_S = StatusCode


def test_persistent_items_repeat_and_can_be_cleared() -> None:
    """The others are written once."""
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
    """And nothing is queued."""
    queue = MetadataQueue()
    with pytest.raises(KvsError) as caught:
        action(queue)
    assert caught.value.status is status
    assert not queue


def test_the_eleventh_item_is_refused_where_it_is_put() -> None:
    """An event counts with its pairs and its prefix; so do persistent items. Nothing is changed."""
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


def test_the_end_of_a_fragment_takes_only_what_the_fragment_has_room_for() -> None:
    """It has its items from the start; the others wait for the next one."""
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
def test_what_is_not_text_is_refused_by_name(bad: Any) -> None:
    """Not with an AttributeError from within."""
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
    """The names of the metadata items that go with each fragment, as the service counts them."""
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
            if len(waiting) < len(names):  # the mark closes the fragment, which takes the items
                fragments[-1] += waiting
                waiting = []
    return fragments


@pytest.mark.parametrize("persistent", [0, 3])
def test_no_fragment_gets_more_than_the_service_takes(
    desk: Callable[..., Any], persistent: int
) -> None:
    """Whether fragments end by key frames or are flushed; every item that was accepted is sent."""
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


def test_items_that_no_fragment_took_are_reported(desk: Callable[..., Any]) -> None:
    """The stream is stopped behind the end of its last fragment."""
    d = desk()
    d.put(0)
    d.stream.end_fragment(d.now)
    d.stream.put_fragment_metadata("late", "v", False, d.now)
    d.stream.stop(d.now)
    assert b"late" not in d.read()[0]
    (told,) = d.told(ev.StreamErrorReported)
    assert (told.status, told.fatal) == (_S.MAX_FRAGMENT_METADATA_COUNT, False)
    assert told.detail.startswith("1 metadata items")
