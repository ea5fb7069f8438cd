"""The engine: wake-ups, late results, shutdown."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator

import pytest
from tests.peers import Forwarder

import kvsproducer as kvs
from kvsproducer.duration import TICKS_PER_HOUR, TICKS_PER_SECOND
from kvsproducer.heap import ReferenceStore
from kvsproducer.producer.engine import CALLS_AT_ONCE, Engine
from kvsproducer.service.clock import now
from kvsproducer.service.service import Service

Frames = Callable[[int], Iterator[kvs.Frame]]


def engine(endpoint_url: str) -> Engine:
    """On the running loop."""
    made = Engine(kvs.DeviceInfo(), Service(endpoint_url=endpoint_url), asyncio.get_running_loop())
    made.poke()
    return made


def test_many_pokes_cause_one_pump(endpoint_url: str) -> None:
    """Several pokes before the loop runs lead to only one `_pump`."""

    async def work() -> None:
        one = engine(endpoint_url)
        looks = 0

        def count() -> None:
            nonlocal looks
            looks += 1

        one.on_events = count
        one._report_skew(TICKS_PER_SECOND)  # an event, which each look finds
        threads = [
            threading.Thread(target=lambda: [one.poke() for _ in range(100)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert looks == 1
        await one.shutdown()

    asyncio.run(work())


def test_interrupted_poke_can_be_repeated(
    endpoint_url: str, info: kvs.StreamInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Ctrl-C comes before `_pump` was scheduled, the next call schedules it."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    async def work() -> None:
        one = engine(endpoint_url)
        await asyncio.sleep(0)
        with monkeypatch.context() as patch:
            patch.setattr(one.loop, "call_soon_threadsafe", interrupted)
            with pytest.raises(KeyboardInterrupt):
                one.open_stream("door", info)
        other = one.open_stream("gate", info)
        assert await one.wait(lambda: other.ready, 30)
        await one.shutdown()

    asyncio.run(work())


@pytest.mark.parametrize("step", [-TICKS_PER_HOUR, TICKS_PER_HOUR])
def test_clock_step_changes_no_timer(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core's time is monotonic; its wall-clock times are correct at once."""

    async def work() -> None:
        one = engine("http://127.0.0.1:9")
        await asyncio.sleep(0)
        rings_at, before = one._alarm.rings_at, one.now()
        monkeypatch.setattr(one, "wall", lambda: now() + step)
        one._pump()
        assert one._alarm.rings_at == rings_at
        assert 0 <= one.now() - before < 60 * TICKS_PER_SECOND
        ahead = one.core.wall(one.now()) - one.now()
        assert abs(ahead - step) < TICKS_PER_SECOND
        await one.shutdown()

    asyncio.run(work())


def test_effects_of_a_freed_stream_are_ignored(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """The stream was freed before the loop processed them."""

    async def work() -> None:
        one = engine(endpoint_url)
        gone, stays = one.open_stream("gone", info), one.open_stream("stays", info)
        assert await one.wait(lambda: gone.ready and stays.ready, 10)
        for frame in frames(5):
            gone.put_frame(frame, now())
            stays.put_frame(frame, now())
        one.free_stream(gone)
        one.do(stays.stop)
        assert await one.wait(lambda: stays.closed, 10)
        assert stays.account().persisted == 5
        assert gone.account() == kvs.FrameAccount(5, 0, 5, 0, 0)
        await one.shutdown()

    asyncio.run(work())


def test_the_name_of_a_freed_stream_may_be_used_again(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """The old upload, which is still ending, does not affect the new stream."""

    async def work() -> None:
        one = engine(endpoint_url)
        for _ in range(5):
            stream = one.open_stream("door", info)
            for frame in frames(5):
                one.do(stream.put_frame, frame)
            await asyncio.sleep(0.02)
            one.free_stream(stream)
        stream = one.open_stream("door", info)
        for frame in frames(5):
            one.do(stream.put_frame, frame)
        one.do(stream.stop)
        assert await one.wait(lambda: stream.closed, 10)
        assert stream.account().persisted == 5
        await one.shutdown()

    asyncio.run(work())


def test_freeing_a_stream_wakes_waiting_threads(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """One thread waits for a stream's frames while another one frees the stream."""

    async def work() -> None:
        one = engine("http://127.0.0.1:9")
        stream = one.open_stream("door", info)
        for frame in frames(5):
            one.do(stream.put_frame, frame)
        waiter = asyncio.create_task(one.wait(lambda: stream.account().held == 0, 10))
        await asyncio.sleep(0.01)
        one.free_stream(stream)
        assert await asyncio.wait_for(waiter, 1)
        await one.shutdown()

    asyncio.run(work())


def test_shutdown_ends_uploads_and_calls(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """No task is left; later calls of open and poke have no effect."""

    async def work() -> None:
        one = engine(endpoint_url)
        stream = one.open_stream("door", info)
        for frame in frames(7):
            one.do(stream.put_frame, frame)
        assert await one.wait(lambda: stream.account().persisted, 10)
        await one.shutdown()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        one.poke()
        with pytest.raises(kvs.KvsError) as caught:
            one.open_stream("late", info)
        assert caught.value.status is kvs.StatusCode.CLIENT_BEING_SHUTDOWN

    asyncio.run(work())


def test_shutdown_reports_the_frames_of_open_streams(info: kvs.StreamInfo, frames: Frames) -> None:
    """Shutting down, also if it is cancelled, drops held frames and reports them."""

    async def work() -> None:
        one = engine("http://127.0.0.1:9")
        stream = one.open_stream("door", info)
        first, *rest = frames(5)
        for frame in rest:
            one.do(stream.put_frame, replace_key(frame))
        ending = asyncio.create_task(one.shutdown())
        await asyncio.sleep(0)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert stream.account() == kvs.FrameAccount(4, 0, 4, 0, 0)
        assert one.ended.accounts()["door"] == stream.account()
        events = list(iter(one.next_event, None))
        assert sum(e.count for e in events if isinstance(e, kvs.FrameDropped)) == 4
        with pytest.raises(kvs.KvsError) as caught:
            one.do(stream.put_frame, first)
        assert caught.value.status is kvs.StatusCode.STREAM_HAS_BEEN_STOPPED

    asyncio.run(work())


def replace_key(frame: kvs.Frame) -> kvs.Frame:
    return kvs.Frame(frame.data, frame.pts, duration=frame.duration, key_frame=True)


def test_a_stream_that_is_freed_meanwhile_is_not_reset(info: kvs.StreamInfo) -> None:
    """An exception in the loop's work would lose the effects of other streams."""

    async def work() -> None:
        one = engine("http://127.0.0.1:9")
        stream = one.open_stream("door", info)
        one.free_stream(stream)
        one._reset_connection(stream, "a test")
        await one.shutdown()

    asyncio.run(work())


def test_the_store_is_closed_without_the_lock_being_held_for_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler of `logging` may call the producer, in this thread or in others."""
    owned: list[bool] = []

    class Looking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            owned.extend(one.reentered() for one in made)

    class Store(ReferenceStore):
        def close(self) -> None:
            raise kvs.KvsError(kvs.StatusCode.INVALID_OPERATION)

    async def work() -> None:
        made.append(engine("http://127.0.0.1:9"))
        store = Store(made[0].core.store.size_bytes)
        monkeypatch.setattr(made[0].core, "_store", store)
        await made[0].shutdown()

    made: list[Engine] = []
    handler = Looking()
    logger = logging.getLogger("kvsproducer.engine")
    logger.addHandler(handler)
    try:
        asyncio.run(work())
    finally:
        logger.removeHandler(handler)
    assert "closing the content store" in caplog.text
    assert owned
    assert not any(owned)


def test_bug_ends_all_waits(
    endpoint_url: str,
    info: kvs.StreamInfo,
    frames: Frames,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A call that fails because of a bug fails every stream and is logged."""

    def bug(*_: object, **__: object) -> None:
        raise AssertionError("this cannot be")

    async def work() -> None:
        one = engine(endpoint_url)
        stream = one.open_stream("door", info)
        monkeypatch.setattr(one.core, "call_result", bug)
        assert await one.wait(lambda: stream.failure is not None, 10)
        assert stream.failure is not None
        assert stream.failure.status is kvs.StatusCode.INTERNAL_ERROR
        assert "this cannot be" in stream.failure.detail
        with pytest.raises(kvs.KvsError, match="INTERNAL_ERROR"):
            one.do(stream.put_frame, next(frames(1)))
        await one.shutdown()

    asyncio.run(work())
    assert "please report it" in caplog.text


def test_many_streams_share_a_few_connections_and_need_no_threads(
    endpoint_url: str, info: kvs.StreamInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 40 streams makes three calls; the endpoint counts the connections."""
    names: list[str] = []
    real = threading.Thread.start
    monkeypatch.setattr(
        threading.Thread, "start", lambda thread: (names.append(thread.name), real(thread))
    )
    forwarder = Forwarder(endpoint_url)
    try:
        with kvs.Producer(endpoint_url=forwarder.url) as producer:
            streams = [producer.open_stream(f"door-{number}", info) for number in range(40)]
            for stream in streams:
                stream.wait_ready()
            assert forwarder.connections <= CALLS_AT_ONCE
    finally:
        forwarder.end()
    assert len([name for name in names if name.startswith("kvsproducer-")]) <= CALLS_AT_ONCE


def test_poke_during_a_pump_causes_another_pump(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag is cleared before the core is read; otherwise the poke would be lost."""

    async def work() -> None:
        one = engine("http://127.0.0.1:9")
        await asyncio.sleep(0)
        looks = 0

        def end_of_look() -> None:
            nonlocal looks
            looks += 1
            if looks == 1:
                one.poke()  # as another thread may, just before the lock is released

        with monkeypatch.context() as patch:
            patch.setattr(one, "effects", ["something"])
            patch.setattr(one.core, "poll_effect", end_of_look)
            one._pump()
            assert one.poked
            await asyncio.sleep(0)
            assert looks == 2
            assert not one.poked
        await one.shutdown()

    asyncio.run(work())
