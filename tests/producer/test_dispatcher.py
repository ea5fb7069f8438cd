"""Events go to the log and to the listener, on one thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import deque

import pytest

from kvsproducer import client as core
from kvsproducer.producer.dispatcher import Dispatcher, EventLog, log_line
from kvsproducer.status import StatusCode


def event(number: int) -> core.Event:
    return core.UploadStarted("door", number)


def test_events_are_delivered_in_order_and_to_the_last() -> None:
    """Events before `end` are delivered; after it the thread has ended."""
    waiting = deque(event(number) for number in range(3))
    seen: list[tuple[str, core.Event]] = []
    dispatcher = Dispatcher(
        lambda: waiting.popleft() if waiting else None,
        lambda one: seen.append((threading.current_thread().name, one)),
    )
    dispatcher.wake()
    waiting.append(event(3))
    dispatcher.end(5)
    assert [one for _, one in seen] == [event(number) for number in range(4)]
    assert {name for name, _ in seen} == {"kvsproducer-events"}
    assert "kvsproducer-events" not in {thread.name for thread in threading.enumerate()}


def test_listener_that_raises_gets_the_next_one(caplog: pytest.LogCaptureFixture) -> None:
    """Its exception is logged with the event."""
    waiting = deque(event(number) for number in range(2))
    seen: list[core.Event] = []

    def listen(one: core.Event) -> None:
        seen.append(one)
        raise RuntimeError("a bug of the listener")

    dispatcher = Dispatcher(lambda: waiting.popleft() if waiting else None, listen)
    dispatcher.end(5)
    assert len(seen) == 2
    assert [record.message[:15] for record in caplog.records] == ["on_event raised"] * 2
    assert "a bug of the listener" in caplog.text


def test_listener_that_hangs_is_abandoned() -> None:
    """`end` returns after its time limit."""
    waiting, release = deque([event(0)]), threading.Event()
    dispatcher = Dispatcher(
        lambda: waiting.popleft() if waiting else None, lambda _: release.wait(10)
    )
    dispatcher.wake()
    dispatcher.end(0.1)
    release.set()
    dispatcher.end(5)


@pytest.mark.parametrize(
    ("one", "level"),
    [
        (core.FrameDropped("door", 1, 2, 3, core.DropReason.OVERFLOW), logging.WARNING),
        (
            core.StreamErrorReported("door", None, None, StatusCode.INVALID_ARG, "x", False),
            logging.WARNING,
        ),
        (core.StoragePressure("door", 5), logging.DEBUG),
        (event(1), logging.INFO),
    ],
)
def test_levels(one: core.Event, level: int, caplog: pytest.LogCaptureFixture) -> None:
    """Losses and failures are warnings; frequent events have the level DEBUG."""
    output = EventLog()
    with caplog.at_level(logging.DEBUG, "kvsproducer"):
        output.add(one)
        output.flush()
    assert [record.levelno for record in caplog.records] == [level]
    assert "door" in caplog.text


def test_losses_one_after_another_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """An outage does not fill the log; other events are logged in their order."""
    output = EventLog()
    with caplog.at_level(logging.INFO, "kvsproducer"):
        for n in range(100):
            output.add(core.FrameDropped("door", n, n, 1, core.DropReason.OVERFLOW))
        output.add(event(1))
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]
    assert "count=100" in caplog.text


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (event(7), "stream door upload 7: UploadStarted"),
        (core.ClientReady(), "client: ClientReady"),
        (core.StreamEnded("door", None), "stream door: StreamEnded"),
        (
            core.FrameDropped("door", 1, 2, 3, core.DropReason.OVERFLOW),
            "stream door: FrameDropped first=1 last=2 count=3 reason=overflow",
        ),
        (
            core.StreamErrorReported("door", 7, None, StatusCode.INVALID_ARG, "why", True),
            "stream door upload 7: StreamErrorReported timecode=None"
            " status=INVALID_ARG (0x00000002) detail=why fatal=True",
        ),
    ],
)
def test_lines(one: core.Event, line: str) -> None:
    """A line begins with stream and upload, followed by the event."""
    assert log_line(one) == line


def test_last_callback_runs_on_the_thread() -> None:
    """It runs after the last event, also without a listener."""
    waiting, done = deque([event(0)]), []
    dispatcher = Dispatcher(
        lambda: waiting.popleft() if waiting else None,
        None,
        lambda: done.append((threading.current_thread().name, len(waiting))),
        logs=False,
    )
    dispatcher.end(5)
    assert done == [("kvsproducer-events", 0)]


def test_event_during_the_end_is_delivered() -> None:
    """`end` comes right after the dispatcher found no event; events before it are not lost."""
    waiting: deque[core.Event] = deque()
    seen: list[core.Event] = []
    looks = 0

    def take() -> core.Event | None:
        nonlocal looks
        looks += 1
        if looks == 1:  # nothing yet; then the last event comes, and the end
            waiting.append(event(0))
            dispatcher.end(0)
            return None
        return waiting.popleft() if waiting else None

    dispatcher = Dispatcher(take, seen.append)
    dispatcher.wake()
    dispatcher._thread.join(10)
    assert seen == [event(0)]


def test_listener_that_fails_gets_the_next_one(caplog: pytest.LogCaptureFixture) -> None:
    """The dispatcher's thread continues."""
    waiting = deque(event(number) for number in range(2))
    seen: list[core.Event] = []

    def listen(one: core.Event) -> None:
        seen.append(one)
        raise LookupError(3)

    dispatcher = Dispatcher(lambda: waiting.popleft() if waiting else None, listen)
    dispatcher.end(5)
    assert len(seen) == 2
    assert [record.message[:15] for record in caplog.records] == ["on_event raised"] * 2


def test_an_event_that_comes_during_the_last_look_is_delivered() -> None:
    """The flag is cleared before events are taken; otherwise the event would not be delivered."""
    waiting, looked, seen = deque[core.Event](), threading.Event(), threading.Event()

    def take() -> core.Event | None:
        if waiting:
            return waiting.popleft()
        if not looked.is_set():
            looked.set()
            waiting.append(event(0))  # as another thread may, after the look found nothing
            dispatcher.wake()
        return None

    dispatcher = Dispatcher(take, lambda _: seen.set())
    dispatcher.wake()
    assert seen.wait(10)
    dispatcher.end(5)
