"""The event queue: bounded, and honest about what it merged."""

from __future__ import annotations

import pytest

from kvsproducer.client.events import (
    DropReason,
    EventQueue,
    FrameDropped,
    FrameSkipped,
    StreamLatencyPressure,
    StreamReady,
)


def test_a_full_queue_merges_drops_and_repeated_pressure() -> None:
    """Counts and ranges stay right, and other events are kept."""
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


def test_some_kinds_are_taken_out_of_turn() -> None:
    """What is left keeps its order and its bound."""
    queue = EventQueue(1)
    for event in (StreamReady("a"), StreamLatencyPressure("s", 1), StreamReady("b")):
        queue.push(event)
    assert queue.take((FrameSkipped,)) == []
    assert queue.take((StreamLatencyPressure,)) == [StreamLatencyPressure("s", 1)]
    assert queue.take((StreamLatencyPressure,)) == []
    queue.push(StreamReady("c"))
    assert [queue.pop(), queue.pop(), queue.pop()] == [StreamReady("b"), StreamReady("c"), None]


def test_a_flood_of_other_events_pushes_no_drop_out() -> None:
    """At twice the bound the oldest event goes, but never one that says what became of frames."""
    queue = EventQueue(2)
    queue.push(FrameDropped("s", 1, 1, 1, DropReason.OVERFLOW))
    for name in "abcdef":
        queue.push(StreamReady(name))
    queue.push(FrameDropped("s", 2, 3, 2, DropReason.OVERFLOW))
    told = [queue.pop() for _ in range(5)]
    assert told[0] == FrameDropped("s", 1, 3, 3, DropReason.OVERFLOW)
    assert told[1:] == [StreamReady("d"), StreamReady("e"), StreamReady("f"), None]


def test_a_flood_costs_no_more_than_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that finds the queue full looks for one to go, not at all that are queued."""
    looked = 0

    class Looking(type):
        def __instancecheck__(cls, _: object) -> bool:
            nonlocal looked
            looked += 1
            return False

    class Merged(metaclass=Looking):
        """Nothing is one."""

    monkeypatch.setattr("kvsproducer.client.events._MERGED", (Merged,))
    queue = EventQueue(100)
    for _ in range(1_200):
        queue.push(StreamReady("door"))
    assert len(queue) == 200
    assert looked < 3 * 1_200
