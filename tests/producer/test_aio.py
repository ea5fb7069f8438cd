"""The asyncio `Producer` and `Stream` on the caller's loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from dataclasses import replace
from typing import Any

import pytest

import kvsproducer as kvs
from kvsproducer import aio

Frames = Callable[[int], Iterator[kvs.Frame]]
SMALL = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))


@pytest.fixture
def endpoint_url(quick_url: str) -> str:
    """Tests here read to the end."""
    return quick_url


def run(work: Coroutine[None, None, None], limit_s: float = 30) -> None:
    """Run a test's coroutine; no task may outlive it."""

    async def whole() -> None:
        await asyncio.wait_for(work, limit_s)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    asyncio.run(whole())


def large(count: int) -> Iterator[kvs.Frame]:
    """Return more frames than 1 MiB can hold."""
    start = kvs.now()
    for number in range(count):
        yield kvs.Frame(
            bytes(50_000), start + number * 400_000, duration=400_000, key_frame=number % 5 == 0
        )


def test_put_flush_close(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """Frames are stored, flush and close report it, and leaving the block closes the producer."""

    async def work() -> None:
        put = list(frames(12))
        async with aio.Producer(endpoint_url=endpoint_url) as producer:
            async with producer.open_stream("door", info) as stream:
                await stream.wait_ready()
                for frame in put[:5]:
                    await stream.put_frame(frame)
                assert await stream.flush(timeout=10) == kvs.FrameAccount(5, 5, 0, 0, 0)
                for frame in put[5:]:
                    await stream.put_frame(frame)
                stream.put_fragment_metadata("door", "open")
                assert stream.metrics().current_frame_rate >= 0
                assert producer.metrics().content_store_size > 0
            assert stream.account() == kvs.FrameAccount(12, 12, 0, 0, 0)
        read = [
            bytes(frame.data)
            async for fragment in aio.get_media("door", endpoint_url=endpoint_url)
            for frame in fragment.frames
        ]
        assert read == [frame.data for frame in put]

    run(work())


def test_events_yields_an_event_of_the_engine_at_once(endpoint_url: str) -> None:
    """For example a clock skew; it does not wait for an ack or a timer."""

    async def work() -> None:
        seen: list[type[kvs.Event]] = []

        async def follow() -> None:
            async for event in producer.events():
                seen.append(type(event))  # noqa: PERF401  as they come

        async with aio.Producer(endpoint_url=endpoint_url) as producer:
            following = asyncio.create_task(follow())
            await asyncio.sleep(0)
            producer._engine.poke()
            while kvs.ClientReady not in seen:
                await asyncio.sleep(0)
            producer._engine.service.skew.on_change(10_000_000)
            for _ in range(20):
                await asyncio.sleep(0)
            assert seen[-1] is kvs.ClockSkewDetected
        await following

    run(work())


def test_events_are_iterated(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """`events()` yields every event until the producer is closed, then ends."""

    async def work() -> None:
        seen: list[kvs.Event] = []

        async def listen(producer: aio.Producer) -> None:
            seen.extend([event async for event in producer.events()])

        async with aio.Producer(endpoint_url=endpoint_url) as producer:
            listener = asyncio.create_task(listen(producer))
            await asyncio.sleep(0)
            async with producer.open_stream("door", info) as stream:
                for frame in frames(10):
                    await stream.put_frame(frame)
        await asyncio.wait_for(listener, 5)
        acks = [event.ack.ack_type for event in seen if isinstance(event, kvs.FragmentAcked)]
        assert acks.count(kvs.AckType.PERSISTED) == 2
        assert any(isinstance(event, kvs.StreamEnded) for event in seen)

    run(work())


def test_on_event_runs_on_the_loop(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """The listener is called on the caller's loop."""

    async def work() -> None:
        seen: list[tuple[asyncio.AbstractEventLoop, kvs.Event]] = []

        def listen(event: kvs.Event) -> None:
            seen.append((asyncio.get_running_loop(), event))

        async with aio.Producer(endpoint_url=endpoint_url, on_event=listen) as producer:
            async with producer.open_stream("door", info) as stream:
                for frame in frames(5):
                    await stream.put_frame(frame)
        assert {loop for loop, _ in seen} == {asyncio.get_running_loop()}

    run(work())


def test_put_frame_suspends_only_when_full(
    endpoint_url: str, info: kvs.StreamInfo, offline_info: kvs.StreamInfo, frames: Frames
) -> None:
    """Only a put of an offline stream without space suspends."""

    async def work() -> None:
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with aio.Producer(endpoint_url=endpoint_url, device_info=SMALL) as producer:
            async with producer.open_stream("live", info) as stream:
                counter = asyncio.create_task(count_turns())
                await asyncio.sleep(0)
                turns = 0
                for frame in frames(20):
                    await stream.put_frame(frame)
                assert turns == 0
                counter.cancel()
            async with producer.open_stream("door", offline_info) as stream:
                for frame in large(100):
                    await stream.put_frame(frame)
            assert stream.account() == kvs.FrameAccount(100, 100, 0, 0, 0)

    run(work())


def test_cancelled_while_waiting_for_space(endpoint_url: str, offline_info: kvs.StreamInfo) -> None:
    """The frame of a cancelled put is not accepted; the stream continues."""

    async def work() -> None:
        put = 0

        async def write(stream: aio.Stream) -> None:
            nonlocal put
            for frame in large(1_000_000):
                await stream.put_frame(frame)
                put += 1

        async with aio.Producer(endpoint_url=endpoint_url, device_info=SMALL) as producer:
            async with producer.open_stream("door", offline_info) as stream:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(write(stream), 0.5)
                assert stream.account().accepted == put
        assert stream.account() == kvs.FrameAccount(put, put, 0, 0, 0)

    run(work())


def test_stopping_interrupts_a_writer(offline_info: kvs.StreamInfo) -> None:
    """A put that waits for space raises when the stream is stopped."""

    async def work() -> None:
        async def write(stream: aio.Stream) -> None:
            for frame in large(1000):
                await stream.put_frame(frame)

        producer = aio.Producer(endpoint_url="http://127.0.0.1:9", device_info=SMALL)
        stream = producer.open_stream("door", offline_info)
        writer = asyncio.create_task(write(stream))
        while stream.account().accepted < 5:
            await asyncio.sleep(0.01)
        accounts = await producer.close(timeout=0.2)
        with pytest.raises(kvs.KvsError) as caught:
            await writer
        assert caught.value.status is kvs.StatusCode.BLOCKING_PUT_INTERRUPTED_STREAM_TERMINATED
        assert accounts["door"].dropped == accounts["door"].accepted

    run(work())


@pytest.mark.parametrize("mode", list(kvs.StreamingType))
def test_a_full_buffer_can_be_flushed(mode: kvs.StreamingType) -> None:
    """Neither `end_fragment` nor `flush` raises; an offline one of two tracks says it has no space.

    The error count is that of puts: the one that waited in vain.
    """
    short = replace(SMALL, client_info=kvs.ClientInfo(offline_buffer_availability_timeout=0.0001))
    plain = kvs.StreamInfo.video("h264", streaming_type=mode, nal_adaptation=kvs.NalAdaptation.NONE)
    both = kvs.StreamInfo.audio_video(
        "h264", "aac", streaming_type=mode, nal_adaptation=kvs.NalAdaptation.NONE
    )

    async def work() -> None:
        producer = aio.Producer(endpoint_url="http://127.0.0.1:9", device_info=short)
        stream, other = producer.open_stream("door", plain), producer.open_stream("av", both)
        for second in range(3):
            at = kvs.now() + second * 10_000_000
            await other.put_frame(kvs.Frame(bytes(50_000), at, key_frame=True))
            await other.put_frame(kvs.Frame(bytes(50_000), at + 1, track_id=2))
        offline = mode is kvs.StreamingType.OFFLINE
        with contextlib.suppress(TimeoutError):
            for frame in large(100):
                await stream.put_frame(frame)
        stream.end_fragment()
        account = await stream.flush(timeout=0.05)
        assert account.held == account.accepted - account.dropped > 0
        assert stream.metrics().counters.put_frame_errors == offline
        assert (await other.flush(timeout=0.05)).accepted == 6
        if offline:
            with pytest.raises(kvs.KvsError) as caught:
                other.end_fragment()
            assert caught.value.status is kvs.StatusCode.OPERATION_TIMED_OUT
        else:
            other.end_fragment()
        await producer.close(timeout=0)

    run(work())


def test_cancelled_while_closing(info: kvs.StreamInfo, frames: Frames) -> None:
    """Cancelling `close` without a service still closes the producer."""

    async def work() -> None:
        producer = aio.Producer(endpoint_url="http://127.0.0.1:9")
        stream = producer.open_stream("door", info)
        for frame in frames(5):
            await stream.put_frame(frame)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(producer.close(), 0.3)
        with pytest.raises(kvs.KvsError):
            producer.open_stream("late", info)
        assert stream.account().dropped == 5

    run(work())


def test_leaving_the_block_reports_losses(info: kvs.StreamInfo, frames: Frames) -> None:
    """Frames that were not stored raise on leaving, and never mask the body's own exception."""

    async def work() -> None:
        with pytest.raises(kvs.KvsError) as caught:
            async with aio.Producer(endpoint_url="http://127.0.0.1:9") as producer:
                stream = producer.open_stream("door", info)
                for frame in frames(5):
                    await stream.put_frame(frame)
                assert (await stream.close(timeout=0.1)).dropped == 5
        assert "0 of 5" in str(caught.value)
        with pytest.raises(ZeroDivisionError):
            async with aio.Producer(endpoint_url="http://127.0.0.1:9") as producer:
                producer.open_stream("door", info)
                raise ZeroDivisionError

    run(work())


def test_a_producer_cannot_be_used_on_a_second_loop(info: kvs.StreamInfo, frames: Frames) -> None:
    """Putting and closing raise at once there, as with asyncio's own objects."""
    put = list(frames(5))

    async def first() -> tuple[aio.Producer, aio.Stream]:
        producer = aio.Producer(endpoint_url="http://127.0.0.1:9")
        stream = producer.open_stream("door", info)
        for frame in put[:3]:
            await stream.put_frame(frame)
        return producer, stream

    producer, stream = asyncio.run(first())

    async def second() -> None:
        for use in (stream.put_frame(put[3]), stream.flush(), stream.wait_ready()):
            with pytest.raises(RuntimeError, match=r"another event loop|Event loop is closed"):
                await use
        assert stream.account().accepted == 3
        with pytest.raises(RuntimeError, match=r"another event loop|Event loop is closed"):
            await asyncio.wait_for(producer.close(), 10)
        assert not producer.streams
        assert producer._engine.closed

    asyncio.run(second())


def test_no_stream_while_closing(info: kvs.StreamInfo) -> None:
    """A stream that is opened then would stay open."""

    async def work() -> None:
        producer = aio.Producer(endpoint_url="http://127.0.0.1:9")
        stream = producer.open_stream("door", info)
        await stream.put_frame(kvs.Frame(b"x", kvs.now(), key_frame=True))
        closing = asyncio.create_task(producer.close(0.2))
        await asyncio.sleep(0)
        with pytest.raises(kvs.KvsError) as caught:
            producer.open_stream("late", info)
        assert caught.value.status is kvs.StatusCode.CLIENT_BEING_SHUTDOWN
        await closing

    run(work())


async def cancelled_at(step: int, work: Coroutine[Any, Any, None]) -> bool:
    """Cancel a task at its n-th wait; return whether it ended before that."""

    class Steps:
        def __await__(self) -> Generator[Any, Any, None]:
            count, send = 0, work.send
            value: Any = None
            while True:
                try:
                    waits_for = send(value)
                except StopIteration:
                    return
                value, send = None, work.send
                count += 1
                if count == step:
                    task.cancel()
                try:
                    value = yield waits_for
                except BaseException as error:  # noqa: BLE001  into the coroutine
                    value, send = error, work.throw

    async def whole() -> None:
        await Steps()

    task = asyncio.create_task(whole())
    await asyncio.wait([task], timeout=30)
    if task.cancelled():
        return False
    task.result()
    return True


def test_cancelled_anywhere(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """Cancelling at any wait leaves no task, thread or callback."""

    async def program(name: str, freed: threading.Event) -> None:
        callbacks = kvs.CallbacksProvider()
        callbacks.add(kvs.StreamCallbacks(free=freed.set))
        async with aio.Producer(endpoint_url=endpoint_url, callbacks=callbacks) as producer:
            async with producer.open_stream(name, info) as stream:
                for frame in frames(10):
                    await stream.put_frame(frame)
                await stream.flush(10)

    async def work() -> None:
        ended, step = False, 0
        while not ended:
            step += 1
            freed = threading.Event()
            ended = await cancelled_at(step, program(f"door-{step}", freed))
            assert await asyncio.to_thread(freed.wait, 10), step
        assert step > 5

    run(work(), limit_s=180)
