"""An exception from outside in the middle of a call fails the stream and reports its drops.

A signal handler that raises, or `PyThreadState_SetAsyncExc`, may interrupt a call between any two
lines. Here a trace function raises at the first line that a call runs, then in another run at the
second line, and so on to the last. Ctrl-C does not interrupt there: see
`kvsproducer.service.interrupts`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.heap import ArenaStore, ReferenceStore
from kvsproducer.status import KvsError, StatusCode

SECOND = 10_000_000
ORDERED = {"frame_order_mode": kvs.FrameOrderMode.DTS_ONE_MS_COMPENSATE_EOFR}
OFFLINE = {"streaming_type": kvs.StreamingType.OFFLINE}
SMALL_VIEW = {"buffer_duration": 5, "frame_rate": 60}


class Interruption(Exception):
    """The exception that the signal handler raises."""


def interrupt(line: int, call: Callable[[], object]) -> bool:
    """Interrupt a call at a line (counted from 0); return False if it had fewer lines."""
    left, before = line, sys.gettrace()

    def at_line(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left < 0:
                sys.settrace(before)
                raise Interruption
        return at_line

    def at_call(frame: FrameType, _event: str, _arg: object) -> Any:
        return at_line if "kvsproducer/" in frame.f_code.co_filename else None

    sys.settrace(at_call)
    try:
        call()
    except Interruption:
        return True
    finally:
        sys.settrace(before)
    return False


def frame(d: Any, index: int, *, key: bool = False, **more: Any) -> kvs.Frame:
    more.setdefault("duration", SECOND // 5)
    return kvs.Frame(b"x" * 99, d.now + index * SECOND // 5, key_frame=key, **more)


def fill(d: Any, count: int) -> None:
    for index in range(count):
        d.stream.put_frame(frame(d, index, key=index % 5 == 0), d.now)
        d.settle()


# The call to interrupt, the options of its stream, and the number of frames in it.
CALLS: dict[str, tuple[Callable[[Any], object], dict[str, Any], int]] = {
    "block": (lambda d: d.stream.put_frame(frame(d, 7), d.now), {}, 7),
    "key frame": (lambda d: d.stream.put_frame(frame(d, 10, key=True), d.now), {}, 10),
    "first": (lambda d: d.stream.put_frame(frame(d, 0, key=True), d.now), {}, 0),
    "full": (lambda d: d.stream.put_frame(frame(d, 30, key=True), d.now), SMALL_VIEW, 30),
    "mark": (lambda d: d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now), {}, 7),
    "ordered": (lambda d: d.stream.put_frame(frame(d, 7), d.now), ORDERED, 7),
    "offline": (lambda d: d.stream.put_frame(frame(d, 10, key=True), d.now), OFFLINE, 10),
    "far off": (lambda d: d.stream.put_frame(frame(d, 900), d.now), {}, 7),
    "end_fragment": (lambda d: d.stream.end_fragment(d.now), {}, 7),
    "stop": (lambda d: d.stream.stop(d.now), {}, 7),
    "stop, ordered": (lambda d: d.stream.stop(d.now), ORDERED, 7),
    "reset": (lambda d: d.stream.reset(d.now), {}, 7),
    "free": (lambda d: d.stream.free(d.now), {}, 7),
}


@pytest.mark.parametrize("what", CALLS)
def test_an_interrupted_call_fails_the_stream(desk: Callable[..., Any], what: str) -> None:
    """At every line, all accepted frames are accounted for, and `reset` starts over."""
    call, info, count = CALLS[what]
    line = 0
    while interrupt_and_check(line, desk(**info), call, count):
        line += 1
    assert line > 5


def interrupt_and_check(line: int, d: Any, call: Callable[[Any], object], count: int) -> bool:
    """Interrupt the call at one line; return False if it had fewer lines."""
    other = d.client.open_stream(kvs.StreamInfo.video("h264", name="gate"), d.now)
    d.settle()
    fill(d, count)
    if count:
        d.read()
    if not interrupt(line, lambda: call(d)):
        return False
    d.settle()
    stream, account = d.stream, d.stream.account()
    reported = sum(event.count for event in d.reported(kvs.FrameDropped))
    assert account.accepted - count in (0, 1), line
    assert reported >= account.dropped, line
    # otherwise the interruption came before the first or after the last change
    if stream.failure is not None:
        assert "Interruption was raised inside kvsproducer" in stream.failure.detail
        assert account.dropped == account.accepted, line
        assert not stream._core.buffer.view.items
        with pytest.raises(KvsError):
            stream.put_frame(frame(d, 40, key=True), d.now)
    check_usable(d, line)
    assert other.failure is None
    other.free(d.now)
    return True


def check_usable(d: Any, line: int) -> None:
    """Check that the stream is freed, or accepts and sends frames again after a reset."""
    if d.stream.freed:
        d.stream.free(d.now)
        d.settle()
        assert d.stream.account().held == 0, line
        return
    d.stream.reset(d.now)
    d.settle()
    before = d.stream.account()
    for index in range(50, 60):
        d.stream.put_frame(frame(d, index, key=index % 5 == 0), d.now)
        d.settle()
    assert d.stream.account().accepted == before.accepted + 10, line
    d.stream.stop(d.now)
    d.settle()
    d.read(upload=max(upload.number for upload in d.stream._core.uploads))
    assert d.stream.account().held == 10, line


def test_the_drop_reason_is_interrupted(desk: Callable[..., Any]) -> None:
    """One event reports all frames with their first and last time, and a fatal error follows."""
    d = desk(make_store=lambda size: ArenaStore(1 << 20))
    fill(d, 7)
    assert interrupt(30, lambda: d.stream.put_frame(frame(d, 10, key=True), d.now))
    d.settle()
    (dropped,) = d.reported(kvs.FrameDropped)
    assert dropped == kvs.FrameDropped(
        "door", d.now, d.now + 6 * SECOND // 5, 7, kvs.DropReason.INTERRUPTED
    )
    assert d.stream.drops == {"interrupted": 7}
    assert d.stream.failure.status is StatusCode.INVALID_OPERATION
    error = d.reported(kvs.StreamErrorReported)[-1]
    assert (error.status, error.fatal) == (StatusCode.INVALID_OPERATION, True)


class FailingStore(ReferenceStore):
    """A store whose next charge raises an exception that is not one of the core's."""

    error: BaseException | None = None

    def charge(self, count: int) -> bool:
        """Raise the prepared exception, if any."""
        if self.error is not None:
            raise self.error
        return super().charge(count)


@pytest.mark.parametrize("error", [ZeroDivisionError("a fault"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["put_frame", "end_fragment"])
def test_exception_from_outside_fails_the_stream(
    desk: Callable[..., Any], call: str, error: BaseException
) -> None:
    """The caller gets the exception; the frames are reported as dropped."""
    store = FailingStore(1 << 20)
    d = desk(make_store=lambda size: store)
    fill(d, 7)
    store.error = error
    with pytest.raises(type(error)):
        if call == "put_frame":
            d.stream.put_frame(frame(d, 10, key=True), d.now)
        else:
            d.stream.end_fragment(d.now)
    store.error = None
    d.settle()
    assert d.stream.failure.status is StatusCode.INVALID_OPERATION
    assert type(error).__name__ in d.stream.failure.detail
    assert d.stream.drops == {"interrupted": 7}
    assert store.used_bytes < 100, "at most what the call was about stays charged"


def test_frame_of_a_wrong_type_is_refused_alone(desk: Callable[..., Any]) -> None:
    """The exception caused by its wrong type does not fail the stream."""
    d = desk()
    fill(d, 7)
    wrong = frame(d, 8)
    object.__setattr__(wrong, "dts", None)
    with pytest.raises(KvsError):
        d.stream.put_frame(wrong, d.now)
    assert d.stream.metrics(d.now).counters.put_frame_errors == 1
    d.stream.count_put_error()
    assert d.stream.metrics(d.now).counters.put_frame_errors == 2
    assert d.stream.failure is None


def test_interrupted_stream_without_frames_reports_no_drop(desk: Callable[..., Any]) -> None:
    """It fails nevertheless."""
    store = FailingStore(1 << 20)
    d = desk(make_store=lambda size: store)
    d.settle()
    store.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        d.stream.put_frame(frame(d, 0, key=True), d.now)
    store.error = None
    d.settle()
    assert d.stream.failure.status is StatusCode.INVALID_OPERATION
    assert d.reported(kvs.FrameDropped) == []
    assert d.stream.account() == (0, 0, 0, 0, 0)
