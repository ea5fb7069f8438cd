"""What closing a stream does to frames that are not stored: account, events and error agree."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from tests.waiting import until

import kvsproducer as kvs
from kvsproducer import aio

Frames = Callable[[int], Iterator[kvs.Frame]]
S = kvs.StatusCode
CLOSED = kvs.DropReason.CLOSED
UNREACHABLE = "http://127.0.0.1:9"  # nothing listens there
SURFACES = pytest.mark.parametrize("surface", [kvs, aio], ids=["kvs", "aio"])
pytestmark = pytest.mark.filterwarnings("ignore:stream 'door' does not reach")


async def finish(result: Any) -> Any:
    """Return what a method of either surface returns."""
    return await result if inspect.isawaitable(result) else result


def count_drops(events: list[kvs.Event]) -> Counter[kvs.DropReason]:
    """Return how many frames were reported as dropped, by reason."""
    drops: Counter[kvs.DropReason] = Counter()
    for event in events:
        if isinstance(event, kvs.FrameDropped | kvs.FragmentDropped):
            drops[event.reason] += event.count
    return drops


@SURFACES
@pytest.mark.parametrize("mode", list(kvs.StreamingType))
@pytest.mark.parametrize("stop", [False, True])
def test_a_closed_stream_holds_nothing(
    surface: ModuleType, mode: kvs.StreamingType, stop: bool, frames: Frames
) -> None:
    """`flush` still holds the frames, `close` drops them; a second `close` says the same."""
    info = kvs.StreamInfo.video(
        "h264", streaming_type=mode, nal_adaptation=kvs.NalAdaptation.NONE, frame_rate=25
    )
    seen: list[kvs.Event] = []

    async def work() -> None:
        producer = surface.Producer(endpoint_url=UNREACHABLE, on_event=seen.append)
        stream = producer.open_stream("door", info)
        for frame in frames(5):
            await finish(stream.put_frame(frame))
        assert (await finish(stream.flush(timeout=0.1))).held == 5
        if stop:
            stream.stop()
        assert stream.account() == kvs.FrameAccount(5, 0, 0, 0, 5)
        assert not stream.drops
        dropped = kvs.FrameAccount(5, 0, 5, 0, 0)
        assert await finish(stream.close(timeout=0.1)) == dropped
        assert stream.account() == dropped
        assert await finish(stream.close(timeout=0.1)) == dropped
        assert stream.drops == {CLOSED.value: 5}
        assert await finish(producer.close(timeout=0)) == {"door": dropped}

    asyncio.run(work())
    assert count_drops(seen) == {CLOSED: 5}


@SURFACES
def test_closing_the_producer_drops_what_its_streams_hold(
    surface: ModuleType, info: kvs.StreamInfo, frames: Frames
) -> None:
    """Also frames that wait for another track, which have no place in the buffer yet."""
    both = kvs.StreamInfo.audio_video("h264", "aac", nal_adaptation=kvs.NalAdaptation.NONE)
    seen: list[kvs.Event] = []

    async def work() -> None:
        producer = surface.Producer(endpoint_url=UNREACHABLE, on_event=seen.append)
        for name, described in (("door", info), ("av", both)):
            stream = producer.open_stream(name, described)
            for frame in frames(5):
                await finish(stream.put_frame(frame))
        dropped = kvs.FrameAccount(5, 0, 5, 0, 0)
        assert await finish(producer.close(timeout=0.1)) == {"door": dropped, "av": dropped}

    asyncio.run(work())
    assert count_drops(seen) == {CLOSED: 10}


@SURFACES
def test_closing_a_stream_that_has_failed(
    surface: ModuleType, endpoint_url: str, frames: Frames
) -> None:
    """Its frames are dropped at once; the error is the stream's failure with their number."""
    info = kvs.StreamInfo.video(
        "h264", allow_stream_creation=False, nal_adaptation=kvs.NalAdaptation.NONE
    )
    seen: list[kvs.Event] = []

    async def work() -> None:
        producer = surface.Producer(endpoint_url=endpoint_url, on_event=seen.append)
        stream = producer.open_stream("nowhere", info)
        for frame in frames(5):
            await finish(stream.put_frame(frame))
        with pytest.raises(kvs.StreamNotFound):
            await finish(stream.wait_ready(timeout=30))
        assert stream.account().held == 5
        assert await finish(stream.close()) == kvs.FrameAccount(5, 0, 5, 0, 0)
        if surface is kvs:
            with pytest.raises(kvs.StreamNotFound, match=rf"5 dropped \(5 {CLOSED.value}\)"):
                producer.__exit__(None, None, None)
        else:
            with pytest.raises(kvs.StreamNotFound, match=rf"5 dropped \(5 {CLOSED.value}\)"):
                await producer.__aexit__(None, None, None)

    asyncio.run(work())
    assert count_drops(seen) == {CLOSED: 5}


def test_an_ack_that_arrives_when_the_time_is_over_counts(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came before the frames were dropped: the account is drawn up together with that."""
    seen: list[kvs.Event] = []
    with kvs.Producer(endpoint_url=endpoint_url, on_event=seen.append) as producer:
        stream = producer.open_stream("door", info)
        for frame in frames(5):
            stream.put_frame(frame)

        def time_is_over(*_: object) -> bool:
            until(lambda: stream.account().held == 0)
            return False

        monkeypatch.setattr(stream._engine, "block", time_is_over)
        assert stream.close(timeout=0) == kvs.FrameAccount(5, 5, 0, 0, 0)
        monkeypatch.undo()
    assert not count_drops(seen)
