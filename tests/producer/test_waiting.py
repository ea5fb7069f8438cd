"""Calls from signal handlers, finalizers, the loop's own thread and other loops."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tests.waiting import until

import kvsproducer as kvs
from kvsproducer.producer.waiting import Waiting
from kvsproducer.service.loop import SharedLoop

Frames = Callable[[int], Iterator[kvs.Frame]]
NOBODY = "http://127.0.0.1:9"


class Meddling(kvs.Frame):
    """A frame that raises a signal when the core reads its bytes under the lock."""

    __slots__ = ("meddle",)

    def __getattribute__(self, name: str) -> object:
        if name == "data":
            meddle, self.meddle = object.__getattribute__(self, "meddle"), lambda: None
            meddle()  # once
        return object.__getattribute__(self, name)


@pytest.fixture
def interrupted(info: kvs.StreamInfo) -> Iterator[Callable[..., None]]:
    """Return a function that runs `what` in a signal handler during a put_frame."""
    previous = signal.getsignal(signal.SIGUSR1)

    def put(stream: kvs.Stream, what: Callable[[], object]) -> None:
        frame = Meddling(b"x", kvs.now(), key_frame=True)
        frame.meddle = lambda: signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, lambda *_: what())
        stream.put_frame(frame)

    yield put
    signal.signal(signal.SIGUSR1, previous)


@pytest.mark.parametrize("what", ["close", "stop", "put", "wait", "open", "free"])
def test_a_handler_in_the_middle_of_a_put_is_refused(
    what: str, interrupted: Callable[..., None], info: kvs.StreamInfo, frames: Frames
) -> None:
    """It would wait forever for the lock that its own thread holds. The put that it raises in is
    cut short, which fails the stream."""
    with kvs.Producer(endpoint_url=NOBODY) as producer:
        stream = producer.open_stream("door", info)
        (first, *rest) = frames(5)
        stream.put_frame(first)
        uses: dict[str, Callable[[], object]] = {
            "close": lambda: producer.close(0),
            "stop": stream.stop,
            "put": lambda: stream.put_frame(rest[0]),
            "wait": lambda: stream.wait_ready(1),
            "open": lambda: producer.open_stream("other", info),
            "free": lambda: stream.close(0),
        }
        with pytest.raises(RuntimeError, match="signal handler") as caught:
            interrupted(stream, uses[what])
        assert not isinstance(caught.value, kvs.KvsError)
        account = stream.account()
        assert account.accepted == account.dropped == 1
        assert stream.failure is not None
        assert "RuntimeError was raised inside kvsproducer" in stream.failure.detail
        stream.reset()
        stream.put_frame(kvs.Frame(b"x", kvs.now(), key_frame=True))
        assert stream.account().held == 1
        producer.close(0)
        producer._engine.ended._accounts.clear()  # what was given up is not this test's


def exit_from_a_handler() -> None:
    """A handler that raises SystemExit, as for SIGTERM in a container."""
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(3))
    signal.raise_signal(signal.SIGUSR1)


def raise_at_once() -> None:
    """As CPython does where it finds what `PyThreadState_SetAsyncExc` has set.

    When it looks is its own affair: in a process with many threads a test cannot count on it.
    """
    raise TimeoutError


@pytest.mark.parametrize(
    ("strike", "kind"),
    [(exit_from_a_handler, SystemExit), (raise_at_once, TimeoutError)],
)
def test_an_exception_from_outside_fails_the_stream(
    strike: Callable[[], None], kind: type[BaseException], info: kvs.StreamInfo, frames: Frames
) -> None:
    """Its frames are reported as dropped; other streams of the producer continue."""
    previous, events = signal.getsignal(signal.SIGUSR1), list[object]()
    producer = kvs.Producer(endpoint_url=NOBODY, on_event=events.append)
    stream, other = producer.open_stream("door", info), producer.open_stream("gate", info)
    for frame in frames(3):
        stream.put_frame(frame)
    struck = Meddling(b"x", kvs.now() + 10_000_000, key_frame=True)  # after the others
    struck.meddle = strike
    with pytest.raises(kind):
        stream.put_frame(struck)
    signal.signal(signal.SIGUSR1, previous)
    assert stream.account() == (3, 0, 3, 0, 0)
    with pytest.raises(kvs.KvsError, match=f"{kind.__name__} was raised inside") as caught:
        stream.put_frame(kvs.Frame(b"x", kvs.now(), key_frame=True))
    assert caught.value.status is kvs.StatusCode.INVALID_OPERATION
    other.put_frame(kvs.Frame(b"x", kvs.now(), key_frame=True))
    assert other.account().held == 1
    until(lambda: any(isinstance(event, kvs.FrameDropped) for event in events))
    (dropped,) = (event for event in events if isinstance(event, kvs.FrameDropped))
    assert (dropped.count, dropped.reason) == (3, kvs.DropReason.INTERRUPTED)
    producer.close(0)


def test_handler_may_read_metrics(interrupted: Callable[..., None], info: kvs.StreamInfo) -> None:
    """Reading metrics is allowed."""
    seen: list[object] = []
    producer = kvs.Producer(endpoint_url=NOBODY)
    stream = producer.open_stream("door", info)
    interrupted(stream, lambda: seen.extend([stream.account(), producer.streams]))
    assert seen
    assert stream.account().held == 1
    producer.close(0)


def test_blocking_calls_are_refused_on_the_loop(endpoint_url: str, info: kvs.StreamInfo) -> None:
    """A user's coroutine for credentials runs there, and would wait for itself."""
    refused: list[kvs.StatusCode] = []
    made = threading.Event()

    async def credentials() -> kvs.AwsCredentials:
        await asyncio.to_thread(made.wait, 30)
        for use in (producer.close, stream.close, stream.flush, stream.wait_ready):
            try:
                use()
            except kvs.KvsError as error:
                refused.append(error.status)
        return kvs.AwsCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")

    producer = kvs.Producer(endpoint_url=endpoint_url, credentials=credentials)
    stream = producer.open_stream("door", info)
    made.set()
    try:
        deadline = threading.Event()
        for _ in range(3000):
            if len(refused) == 4 or deadline.wait(0.01):
                break
        assert refused == [kvs.StatusCode.INVALID_OPERATION] * 4
    finally:
        producer.close(0)


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    yield Waiting(SharedLoop.acquire())
    SharedLoop.release()


def test_change_between_the_check_and_the_wait_ends_the_wait(waiting: Waiting) -> None:
    """The count is read before the check; otherwise the change would be missed."""
    looks = 0

    def done() -> bool:
        nonlocal looks
        looks += 1
        waiting.notify()  # as another thread may, as soon as the lock is released
        return looks == 2

    began = time.monotonic()
    assert waiting.block(done, 60)
    assert time.monotonic() - began < 30


def test_change_wakes_all_waiting_threads(waiting: Waiting) -> None:
    """Each of them checks its condition again."""
    ended: list[int] = []
    threads = [
        threading.Thread(target=lambda: (waiting.wait_for_change(0, 90), ended.append(1)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    until(lambda: len(waiting._changed._waiters) == 3)  # type: ignore[attr-defined]
    waiting.notify()
    try:
        until(lambda: len(ended) == 3, 10)
    finally:
        for thread in threads:
            waiting.notify()
            thread.join()


def test_another_loop_is_refused() -> None:
    """A future cannot be awaited on another loop."""

    async def make() -> Waiting:
        return Waiting(asyncio.get_running_loop())

    waiting = asyncio.run(make())
    with pytest.raises(kvs.KvsError) as caught:
        asyncio.run(waiting.changes(0.1))
    assert caught.value.status is kvs.StatusCode.INVALID_OPERATION


def test_any_timeout_is_accepted() -> None:
    """Also infinity, which locks of the system do not accept."""
    loop = SharedLoop.acquire()
    try:
        waiting = Waiting(loop)
        ready = threading.Event()

        def change() -> None:
            ready.set()
            waiting.wake_waiters()

        waker = threading.Timer(0.01, lambda: loop.call_soon_threadsafe(change))
        waker.start()
        assert waiting.block(ready.is_set, float("inf"))
        waker.join()
    finally:
        SharedLoop.release()
