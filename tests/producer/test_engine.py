"""The engine between one core and the world: wake-ups, late results, an orderly end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

import kvsproducer as kvs
from kvsproducer.producer.engine import Engine, now
from kvsproducer.producer.service import Service

Frames = Callable[[int], Iterator[kvs.Frame]]


def engine(endpoint_url: str) -> Engine:
    """On the running loop."""
    made = Engine(kvs.DeviceInfo(), Service(endpoint_url=endpoint_url), asyncio.get_running_loop())
    made.poke()
    return made


def test_many_pokes_are_one_look(endpoint_url: str) -> None:
    """However often threads poke before the loop comes to it, the core is looked at once."""

    async def work() -> None:
        one = engine(endpoint_url)
        looks = 0

        def count() -> None:
            nonlocal looks
            looks += 1

        one.on_pumped = count
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


def test_a_freed_stream_disturbs_nobody(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """Effects of a stream that was freed before the loop came to them are left out."""

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
    """Its upload that is still ending is not taken for the new stream's."""

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


def test_freeing_wakes_who_waits(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """Somebody waits for a stream's frames while somebody else gives it up."""

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
    """No task is left, and nothing is opened or poked any more."""

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


def test_now_is_in_ticks() -> None:
    """100 ns since 1970."""
    assert 17_000_000_000_000_000 < now() < 40_000_000_000_000_000
