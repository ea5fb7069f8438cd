"""Ctrl-C during a call of the core: who handles SIGINT, and when the interrupt is raised."""

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
from kvsproducer import aio
from kvsproducer.service import interrupts
from kvsproducer.service.interrupts import CoreLock, interrupt

UNREACHABLE = "http://127.0.0.1:9"
SIGINT, DEFAULT = signal.SIGINT, signal.default_int_handler
Frames = Callable[[int], Iterator[kvs.Frame]]
needs_kill = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows cannot send a signal to a thread"
)


class Terminated(KeyboardInterrupt):
    """The exception of another signal."""


def handler() -> object:
    return signal.getsignal(SIGINT)


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def sigint_after(seconds: float) -> threading.Timer:
    """Send SIGINT to this thread after some time."""
    target = threading.get_ident()
    timer = threading.Timer(seconds, lambda: signal.pthread_kill(target, SIGINT))
    timer.start()
    return timer


@pytest.fixture(autouse=True)
def _handler_is_restored() -> Iterator[None]:
    interrupts._locks.clear()  # and what tests have left that close producers in other threads
    signal.signal(SIGINT, DEFAULT)
    yield
    left, found = set(interrupts._locks), handler()
    interrupts._locks.clear()
    signal.signal(SIGINT, DEFAULT)
    assert not left
    assert found is DEFAULT


@pytest.fixture
def lock() -> Iterator[CoreLock]:
    watched = CoreLock()
    interrupts.watch(watched)
    yield watched
    interrupts.unwatch(watched)


# --- the handler -----------------------------------------------------------------------------


def test_the_first_producer_installs_the_handler_and_the_last_restores_it() -> None:
    """The order of closing does not matter."""
    first, second = kvs.Producer(endpoint_url=UNREACHABLE), kvs.Producer(endpoint_url=UNREACHABLE)
    ours = handler()
    assert ours is not DEFAULT
    first.close()
    assert handler() is ours
    second.close()
    assert handler() is DEFAULT
    second.close()
    assert handler() is DEFAULT


@pytest.mark.parametrize("before", [signal.SIG_IGN, lambda *_: None])
def test_another_handler_is_left_alone(before: object) -> None:
    """Also one that ignores SIGINT, as in a background job."""
    signal.signal(SIGINT, before)  # type: ignore[arg-type]
    with kvs.Producer(endpoint_url=UNREACHABLE):
        assert handler() is before
    assert handler() is before
    signal.signal(SIGINT, DEFAULT)


def test_a_handler_that_is_installed_later_stays() -> None:
    """It belongs to the program."""
    later = lambda *_: None  # noqa: E731  compared by identity
    with kvs.Producer(endpoint_url=UNREACHABLE):
        signal.signal(SIGINT, later)
    assert handler() is later
    signal.signal(SIGINT, DEFAULT)


def test_a_producer_made_in_another_thread_installs_nothing() -> None:
    """Only the main thread can install it, with the next producer that it creates."""
    made: list[kvs.Producer] = []
    in_thread(lambda: made.append(kvs.Producer(endpoint_url=UNREACHABLE)))
    assert handler() is DEFAULT
    made.append(kvs.Producer(endpoint_url=UNREACHABLE))
    assert handler() is not DEFAULT
    for producer in made:
        producer.close()


def test_a_handler_left_by_another_thread_does_what_the_default_does() -> None:
    """The thread that closes the last producer cannot restore it; the next producer here does."""
    producer = kvs.Producer(endpoint_url=UNREACHABLE)
    in_thread(producer.close)
    assert handler() is not DEFAULT
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(SIGINT)
    kvs.Producer(endpoint_url=UNREACHABLE).close()
    assert handler() is DEFAULT


def test_asyncio_handles_ctrl_c_itself(info: kvs.StreamInfo) -> None:
    """Its handler cancels the main task outside of calls of the core, and stays installed."""
    seen: list[object] = []

    async def main() -> None:
        before = handler()
        async with aio.Producer(endpoint_url=UNREACHABLE, close_timeout=0) as producer:
            producer.open_stream("door", info)
            seen.append(handler() is before is not DEFAULT)
            signal.raise_signal(SIGINT)
            await asyncio.sleep(30)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert seen == [True]


# --- the lock --------------------------------------------------------------------------------


def test_an_interrupt_is_raised_when_the_lock_is_released(lock: CoreLock) -> None:
    """The block runs to its end. Several signals raise one exception, that of the first."""
    done = False
    with pytest.raises(KeyboardInterrupt) as caught, lock:
        signal.raise_signal(SIGINT)
        interrupt(Terminated)
        signal.raise_signal(SIGINT)
        done = True
    assert done
    assert type(caught.value) is KeyboardInterrupt
    with lock:
        pass


def test_another_signal_raises_its_own_kind(lock: CoreLock) -> None:
    """It is raised at once, or at the end of the block."""
    with pytest.raises(Terminated):
        interrupt(Terminated)
    with pytest.raises(Terminated), lock:
        interrupt(Terminated)


def test_exception_of_the_block_is_the_context_of_the_interrupt(lock: CoreLock) -> None:
    """The interrupt is raised, with that exception as its context."""
    with pytest.raises(KeyboardInterrupt) as caught, lock:
        signal.raise_signal(SIGINT)
        raise LookupError
    assert isinstance(caught.value.__context__, LookupError)


def test_nested_lock_does_not_raise_the_interrupt(lock: CoreLock) -> None:
    """The handler of another signal may read metrics during the same call."""
    looked = False
    with pytest.raises(KeyboardInterrupt), lock:
        signal.raise_signal(SIGINT)
        with lock:
            pass
        looked = True
    assert looked


def test_another_thread_does_not_raise_the_interrupt(lock: CoreLock) -> None:
    """It may take the lock between the release and the check by the main thread."""
    lock.deferred = KeyboardInterrupt
    ended: list[bool] = []

    def use() -> None:
        with lock:
            pass
        ended.append(True)

    in_thread(use)
    assert ended == [True]
    with pytest.raises(KeyboardInterrupt), lock:
        pass


def test_an_interrupt_after_the_release_clears_what_was_deferred(lock: CoreLock) -> None:
    """The next call does not raise it again."""
    lock.deferred = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(SIGINT)
    with lock:
        pass


@needs_kill
def test_waiting_for_the_lock_ends_at_once(lock: CoreLock) -> None:
    """Another thread owns the lock, so the core is not touched."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    timer = sigint_after(0.05)
    try:
        with pytest.raises(KeyboardInterrupt), lock:
            pytest.fail("the other thread has it")
        assert not release.is_set()
    finally:
        release.set()
        thread.join()
        timer.join()


# --- calls of a producer ---------------------------------------------------------------------


def interrupting(producer: kvs.Producer, times: int = 1) -> None:
    """Send SIGINT during the producer's next call, when that reads the clock under the lock."""
    engine = producer._engine
    clock, left = engine.now, [times]

    def now() -> int:
        in_main = threading.current_thread() is threading.main_thread()  # not on the loop
        while left[0] and in_main and engine.lock.owned:
            left[0] -= 1
            signal.raise_signal(SIGINT)
        return clock()

    engine.now = now
    for stream in producer.streams.values():
        stream._now = now


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_put_is_accepted_and_stored(
    times: int, endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """The loop is woken although the put raises and no other call follows."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        stream = producer.open_stream("door", info)
        stream.wait_ready()
        first, *_, last = frames(6)
        stream.put_frame(first)
        interrupting(producer, times)
        with pytest.raises(KeyboardInterrupt):
            stream.put_frame(last)  # a key frame, which completes the fragment of the first
        assert stream.account().accepted == 2
        until(lambda: stream._core.account().persisted == 1)


CALLS: dict[str, Callable[[kvs.Producer, kvs.Stream], object]] = {
    "end_fragment": lambda _, stream: stream.end_fragment(),
    "stop": lambda _, stream: stream.stop(),
    "reset": lambda _, stream: stream.reset(),
    "flush": lambda _, stream: stream.flush(0),
    "close": lambda _, stream: stream.close(0),
    "metrics": lambda _, stream: stream.metrics(),
    "put_event": lambda _, stream: stream.put_event(kvs.EventType.NOTIFICATION),
    "metadata": lambda _, stream: stream.put_fragment_metadata("place", "door"),
    "open": lambda producer, _: producer.open_stream("gate", kvs.StreamInfo.video("h264")),
    "figures": lambda producer, _: producer.metrics(),
    "end": lambda producer, _: producer.close(0),
}


@pytest.mark.parametrize("what", CALLS)
def test_every_call_delivers_the_interrupt(what: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """The interrupt is raised once, and the stream does not fail."""
    producer = kvs.Producer(endpoint_url=UNREACHABLE, on_event=lambda _: None)
    stream = producer.open_stream("door", info)
    stream.put_frame(next(frames(1)))
    interrupting(producer)
    with pytest.raises(KeyboardInterrupt):
        CALLS[what](producer, stream)
    assert stream.failure is None
    account = stream.account()
    assert account.accepted == account.held + account.dropped == 1
    producer.close(0)


@needs_kill
def test_waiting_for_acks_ends_at_once(info: kvs.StreamInfo, frames: Frames) -> None:
    """The main thread does not own the lock while it waits."""
    producer = kvs.Producer(endpoint_url=UNREACHABLE, on_event=lambda _: None)
    stream = producer.open_stream("door", info)
    stream.put_frame(next(frames(1)))
    for wait in (stream.flush, stream.close):
        timer, began = sigint_after(0.1), time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            wait(60)
        timer.join()
        assert time.monotonic() - began < 30
    producer.close(0)


@needs_kill
def test_waiting_for_space_ends_at_once() -> None:
    """The waiting frame is not accepted."""
    offline = kvs.StreamInfo.video(
        "h264", streaming_type=kvs.StreamingType.OFFLINE, nal_adaptation=kvs.NalAdaptation.NONE
    )
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
    producer = kvs.Producer(endpoint_url=UNREACHABLE, device_info=device, on_event=lambda _: None)
    stream = producer.open_stream("door", offline)
    start, seen, timer = kvs.now(), 0, sigint_after(0.2)
    with pytest.raises(KeyboardInterrupt):
        while True:
            stream.put_frame(
                kvs.Frame(bytes(100_000), start + seen * 1_000_000, key_frame=seen % 2 == 0)
            )
            seen += 1
    timer.join()
    assert stream.account().accepted - seen in (0, 1)
    producer.close(0)
