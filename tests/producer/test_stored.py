"""`stored_until`, `wait_stored` and `FragmentStored`, on both surfaces, against the endpoint."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.waiting import until

import kvsproducer as kvs
from kvsproducer import aio

Frames = Callable[[int], Iterator[kvs.Frame]]
S = kvs.StatusCode


def status_of(action: Callable[[], object]) -> kvs.StatusCode:
    """Return the status of the error that an action raises."""
    with pytest.raises(kvs.KvsError) as caught:
        action()
    return caught.value.status


def test_stored_until_follows_the_fragments(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """It is None at first, the end of the first fragment while the second is open, then the end."""
    seen: list[kvs.Event] = []
    with kvs.Producer(endpoint_url=endpoint_url, on_event=seen.append) as producer:
        stream = producer.open_stream("door", info)
        put = list(frames(10))
        assert stream.stored_until is None
        for frame in put:
            stream.put_frame(frame)
        stream.wait_stored(put[4].pts)
        assert stream.stored_until == put[4].pts
        with pytest.raises(kvs.KvsError, match="next key frame, end_fragment") as caught:
            stream.wait_stored(put[5].pts, 0.1)
        assert caught.value.status is S.OPERATION_TIMED_OUT
        assert isinstance(caught.value, TimeoutError)
        stream.flush()
        assert stream.stored_until == put[-1].pts
        stream.wait_stored(put[-1].pts, 0)
        stream.close()
        assert stream.stored_until == put[-1].pts
        assert status_of(lambda: stream.wait_stored(put[-1].pts + 1)) is S.STREAM_HAS_BEEN_STOPPED
    stored = [event for event in seen if isinstance(event, kvs.FragmentStored)]
    assert [(event.first_pts, event.last_pts, event.frames) for event in stored] == [
        (put[0].pts, put[4].pts, 5),
        (put[5].pts, put[9].pts, 5),
    ]
    numbers = [
        event.ack.sequence_number
        for event in seen
        if isinstance(event, kvs.FragmentAcked) and event.ack.ack_type is kvs.AckType.PERSISTED
    ]
    assert [event.fragment_number for event in stored] == numbers
    assert all(0 < event.latency < 60 for event in stored)


def test_another_thread_waits_for_media_to_come(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """The frame is put after the wait has begun."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        with producer.open_stream("door", info) as stream:
            put = list(frames(10))
            waited = threading.Thread(target=stream.wait_stored, args=(put[3].pts,))
            waited.start()
            for frame in put:
                stream.put_frame(frame)
            waited.join(30)
            assert not waited.is_alive()
            assert stream.account().persisted >= 5


def test_dropped_frames_end_the_wait_with_an_error(info: kvs.StreamInfo, frames: Frames) -> None:
    """Dropped during the wait, or just before; later media is not concerned."""
    producer = kvs.Producer(endpoint_url="http://127.0.0.1:9")
    stream = producer.open_stream("door", info)
    put = list(frames(3))
    for frame in put:
        stream.put_frame(frame)
    raised: list[kvs.StatusCode] = []
    lost = S.PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED
    waiting = threading.Thread(
        target=lambda: raised.append(status_of(lambda: stream.wait_stored(put[1].pts)))
    )
    waiting.start()
    stream.reset()
    stream._engine.loop.call_soon_threadsafe(stream._engine.wake_waiters)
    waiting.join(30)
    assert raised == [lost]
    assert stream.stored_until == put[-1].pts
    with pytest.raises(kvs.KvsError, match="3 reset") as caught:
        stream.wait_stored(put[2].pts)
    assert caught.value.status is lost
    assert status_of(lambda: stream.wait_stored(put[2].pts + 1, 0)) is S.OPERATION_TIMED_OUT
    producer.close(0)


def test_waits_end_with_the_stream(info: kvs.StreamInfo, frames: Frames) -> None:
    """A stream that is closed during the wait says what was dropped."""
    producer = kvs.Producer(endpoint_url="http://127.0.0.1:9")
    stream = producer.open_stream("door", info)
    (frame,) = frames(1)
    stream.put_frame(frame)
    raised: list[kvs.StatusCode] = []
    waiting = threading.Thread(
        target=lambda: raised.append(status_of(lambda: stream.wait_stored(frame.pts)))
    )
    waiting.start()
    until(waiting.is_alive)
    producer.close(0)
    waiting.join(30)
    assert raised == [S.PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED]


def test_failure_is_raised(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """As from every other call."""
    producer = kvs.Producer(endpoint_url=endpoint_url)
    stream = producer.open_stream("door", info)
    (frame,) = frames(1)
    stream.put_frame(frame)
    stream._engine.fail(RuntimeError("a bug"))
    assert stream.failure is not None
    assert status_of(lambda: stream.wait_stored(frame.pts)) is stream.failure.status
    producer.close(0)


@pytest.mark.parametrize("more", [{"fragment_acks": False}, {"retention": 0}])
def test_without_acks_or_retention(endpoint_url: str, frames: Frames, more: dict[str, Any]) -> None:
    """What was sent, or received, counts; only acks make `FragmentStored`."""
    seen: list[kvs.Event] = []
    info = kvs.StreamInfo.video("h264", nal_adaptation=kvs.NalAdaptation.NONE, **more)
    with kvs.Producer(endpoint_url=endpoint_url, on_event=seen.append) as producer:
        with producer.open_stream("door", info) as stream:
            put = list(frames(10))
            for frame in put:
                stream.put_frame(frame)
            stream.wait_stored(put[4].pts)
            assert stream.stored_until is not None
            assert stream.stored_until >= put[4].pts
    stored = sum(event.frames for event in seen if isinstance(event, kvs.FragmentStored))
    assert stored == (0 if "fragment_acks" in more else 10)


def test_the_asyncio_surface(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """The same values and errors."""

    async def work() -> None:
        async with aio.Producer(endpoint_url=endpoint_url) as producer:
            async with producer.open_stream("door", info) as stream:
                put = list(frames(10))
                assert stream.stored_until is None
                for frame in put:
                    await stream.put_frame(frame)
                await stream.wait_stored(put[4].pts)
                assert stream.stored_until == put[4].pts
                with pytest.raises(kvs.KvsError) as caught:
                    await stream.wait_stored(put[5].pts, 0.1)
                assert caught.value.status is S.OPERATION_TIMED_OUT
            await stream.wait_stored(put[9].pts)
            with pytest.raises(kvs.KvsError) as caught:
                await stream.wait_stored(put[9].pts + 1)
            assert caught.value.status is S.STREAM_HAS_BEEN_STOPPED

    asyncio.run(work())
