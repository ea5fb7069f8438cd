"""Events are frozen dataclasses; their queue is bounded and merges without losing a count."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kvsproducer.client import events
from kvsproducer.client.events import (
    BufferDurationPressure,
    ConnectionStale,
    DropReason,
    Event,
    EventQueue,
    FragmentDropped,
    FrameDropped,
    FrameSkipped,
    StoragePressure,
    StreamLatencyPressure,
    StreamReady,
    StreamStateChanged,
    merge_events,
)
from kvsproducer.client.states import StreamState

KINDS = [
    kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
]


def drain(queue: EventQueue) -> list[Event]:
    """Return all events of a queue, oldest first."""
    taken = []
    while (event := queue.pop()) is not None:
        taken.append(event)
    return taken


@pytest.mark.parametrize("kind", KINDS)
def test_each_event_is_a_frozen_dataclass_with_slots(kind: type[Event]) -> None:
    """`Event` is its base class, and `stream` its first member."""
    assert is_dataclass(kind)
    assert kind.__base__ is Event
    names = tuple(field.name for field in fields(kind))
    assert kind.__match_args__ == names  # type: ignore[attr-defined]
    assert names[0] == "stream"
    event = kind("door", *range(len(names) - 1))
    assert not hasattr(event, "__dict__")
    with pytest.raises(FrozenInstanceError):
        event.stream = "other"  # type: ignore[misc]
    assert event == kind("door", *range(len(names) - 1))
    assert event != tuple(getattr(event, name) for name in names)
    assert hash(event) == hash(replace(event))


TICKS = 17_000_000_001_234_567
WHEN = datetime(2023, 11, 14, 22, 13, 20, 123_456, UTC)
TIMED: list[tuple[Any, dict[str, int | None]]] = [
    (events.FragmentStored, {"first_pts": TICKS, "last_pts": TICKS + 9_000_000}),
    (FrameDropped, {"first": TICKS, "last": TICKS + 9_000_000}),
    (FragmentDropped, {"first": TICKS}),
    (FrameSkipped, {"first": TICKS}),
    (events.TimeJumped, {"before": 5, "after": TICKS}),
    (events.TimestampCorrected, {"given": 5, "used": TICKS}),
    (events.TrackSilent, {"last": TICKS}),
    (events.TrackResumed, {"first": TICKS}),
]


@pytest.mark.parametrize(("kind", "times"), TIMED, ids=lambda given: getattr(given, "__name__", ""))
def test_events_about_media_have_a_datetime(kind: Any, times: dict[str, int | None]) -> None:
    """It is the first instant that the event is about, in UTC, cut to microseconds."""
    names = [field.name for field in fields(kind)]
    event = kind(*(times.get(name, 0) for name in names))
    assert event.datetime == WHEN
    assert event.datetime.tzinfo is UTC


def test_silent_track_without_a_time_has_no_datetime() -> None:
    """A track that never had a frame has none; relative times begin in 1970."""
    assert events.TrackSilent("door", 2, None).datetime is None
    assert events.TrackSilent("door", 2, 0).datetime == datetime(1970, 1, 1, tzinfo=UTC)


def test_all_other_events_have_no_datetime() -> None:
    """It is the time of media; an event about none has no such attribute."""
    timed = {kind for kind, _ in TIMED}
    assert {kind for kind in KINDS if hasattr(kind, "datetime")} == timed


def test_events_of_different_types_are_unequal() -> None:
    """This holds even if their members are equal, unlike for named tuples."""
    pressures = {kind("a", 5) for kind in (StoragePressure, BufferDurationPressure)}
    assert len(pressures | {ConnectionStale("a", 5)}) == 3
    drop = FrameDropped("a", 1, 2, 2, DropReason.RESET)
    assert drop != FragmentDropped("a", 1, 2, 2, DropReason.RESET)


def test_events_match_by_position() -> None:
    """The positions are those of the members."""
    match FrameDropped("a", 1, 2, 3, DropReason.RESET):
        case FrameDropped(stream, first, last, count, DropReason.RESET):
            assert (stream, first, last, count) == ("a", 1, 2, 3)
        case _:
            pytest.fail("the pattern does not match")


def test_similar_events_merge_while_they_wait() -> None:
    """Drops of one reason merge across pressures and other losses, but not across other events."""
    queue = EventQueue(100)
    for time in range(3):
        queue.push(FrameDropped("s", time, time, 1, DropReason.OVERFLOW))
        queue.push(StoragePressure("s", 9 - time))
        queue.push(FrameSkipped("s", time, time, 1))
    queue.push(FrameDropped("s", 3, 3, 1, DropReason.REFUSED))
    queue.push(FrameDropped("t", 4, 4, 1, DropReason.REFUSED))
    queue.push(StreamReady("s"))
    queue.push(FrameDropped("s", 5, 5, 1, DropReason.OVERFLOW))
    assert drain(queue) == [
        FrameDropped("s", 0, 2, 3, DropReason.OVERFLOW),
        StoragePressure("s", 7),
        FrameSkipped("s", 0, 2, 3),
        FrameDropped("s", 3, 3, 1, DropReason.REFUSED),
        FrameDropped("t", 4, 4, 1, DropReason.REFUSED),
        StreamReady("s"),
        FrameDropped("s", 5, 5, 1, DropReason.OVERFLOW),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_all_losses_are_counted(seed: int) -> None:
    """The sums by type, stream and reason are right after random pushes and pops."""
    dice = random.Random(seed)
    queue = EventQueue(dice.choice((10, 50)))
    put: dict[tuple[object, ...], int] = {}
    taken: dict[tuple[object, ...], int] = {}

    def add(counts: dict[tuple[object, ...], int], event: Event) -> None:
        if isinstance(event, FrameDropped | FrameSkipped):
            key = type(event), event.stream, getattr(event, "reason", None)
            counts[key] = counts.get(key, 0) + event.count

    for time in range(2_000):
        event: Event = dice.choice(
            (
                FrameDropped("s", time, time, 1, dice.choice((*DropReason,))),
                FrameSkipped("s", time, time, dice.randrange(1, 4)),
                StoragePressure("s", time),
                StreamReady("s"),
                StreamStateChanged("s", StreamState.NEW, StreamState.READY),
            )
        )
        add(put, event)
        queue.push(event)
        while dice.random() < 0.3 and (oldest := queue.pop()) is not None:
            add(taken, oldest)
    for event in drain(queue):
        add(taken, event)
    assert put == taken


def test_only_events_of_one_stream_and_type_merge() -> None:
    """Of two pressures, the newer one is kept."""
    old, new = StoragePressure("s", 9), StoragePressure("s", 2)
    assert merge_events(old, new) is new
    assert merge_events(old, StoragePressure("t", 2)) is None
    assert merge_events(old, BufferDurationPressure("s", 2)) is None
    assert merge_events(StreamReady("s"), StreamReady("s")) is None
    by_fragment = FragmentDropped("s", 1, 1, 1, DropReason.RESET)
    assert merge_events(FrameDropped("s", 1, 1, 1, DropReason.RESET), by_fragment) is None


def test_a_full_queue_merges_drops_and_repeated_pressure() -> None:
    """Counts and ranges are right, and other events are kept."""
    queue = EventQueue(3)
    queue.push(StreamReady("s"))
    for time in range(100):
        queue.push(FrameDropped("s", time, time, 1, DropReason.OVERFLOW))
        queue.push(StreamLatencyPressure("s", time))
    queue.push(FrameDropped("s", 7, 7, 1, DropReason.REFUSED))
    queue.push(FrameSkipped("s", 8, 8, 1))
    events = []
    while (event := queue.pop()) is not None:
        events.append(event)
    assert len(events) == 5
    assert events[0] == StreamReady("s")
    assert FrameDropped("s", 0, 99, 100, DropReason.OVERFLOW) in events
    assert StreamLatencyPressure("s", 99) in events


def test_some_kinds_can_be_taken_first() -> None:
    """The others keep their order and their bound."""
    queue = EventQueue(1)
    for event in (StreamReady("a"), StreamLatencyPressure("s", 1), StreamReady("b")):
        queue.push(event)
    assert queue.take((FrameSkipped,)) == []
    assert queue.take((StreamLatencyPressure,)) == [StreamLatencyPressure("s", 1)]
    assert queue.take((StreamLatencyPressure,)) == []
    queue.push(StreamReady("c"))
    assert [queue.pop(), queue.pop(), queue.pop()] == [StreamReady("b"), StreamReady("c"), None]


def test_many_other_events_remove_no_drop() -> None:
    """At twice the bound the oldest event is removed, but never a drop or skip."""
    queue = EventQueue(2)
    queue.push(FrameDropped("s", 1, 1, 1, DropReason.OVERFLOW))
    for name in "abcdef":
        queue.push(StreamReady(name))
    queue.push(FrameDropped("s", 2, 3, 2, DropReason.OVERFLOW))
    reported = [queue.pop() for _ in range(5)]
    assert reported[0] == FrameDropped("s", 1, 3, 3, DropReason.OVERFLOW)
    assert reported[1:] == [StreamReady("d"), StreamReady("e"), StreamReady("f"), None]


def test_pushing_into_a_full_queue_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A push looks for one event to remove and does not go through the whole queue."""
    looked = 0

    class Looking(type):
        def __instancecheck__(cls, _: object) -> bool:
            nonlocal looked
            looked += 1
            return False

    class Loss(metaclass=Looking):
        """No event is an instance of it."""

    monkeypatch.setattr("kvsproducer.client.events._LOSSES", (Loss,))
    queue = EventQueue(100)
    for _ in range(1_200):
        queue.push(StreamReady("door"))
    assert len(queue) == 200
    assert looked < 3 * 1_200


def test_queue_is_inactive_after_its_last_event_was_taken() -> None:
    """`take` removes only the events of the given types, and keeps the order of the others."""
    active: deque[EventQueue] = deque()
    queue = EventQueue(10, active)
    queue.push(StreamReady("a"))
    queue.push(ConnectionStale("a", 1))
    queue.push(StreamReady("b"))
    assert queue.take((StreamReady,)) == [StreamReady("a"), StreamReady("b")]
    assert list(active) == [queue]
    assert queue.take((ConnectionStale,)) == [ConnectionStale("a", 1)]
    assert not active
    assert queue.take((ConnectionStale,)) == []
