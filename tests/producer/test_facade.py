"""The common base of the blocking and the asyncio API."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest

import kvsproducer as kvs
from kvsproducer import aio
from kvsproducer.producer.facade import StreamFacade

Frames = Callable[[int], Iterator[kvs.Frame]]


def check(stream: StreamFacade) -> None:
    """Check names, refusals and metrics of a stream without frames."""
    assert stream.name == "door"
    assert repr(stream) == f"<Stream 'door' {stream.state.value}>"
    assert stream.failure is None
    assert stream.account() == kvs.FrameAccount(0, 0, 0, 0, 0)
    assert stream.metrics().overall_view_size == 0
    with pytest.raises(kvs.KvsError) as caught:
        stream.metrics(version=99)
    assert caught.value.status is kvs.StatusCode.INVALID_STREAM_METRICS_VERSION
    with pytest.raises(kvs.KvsError) as caught:
        stream.put_fragment_metadata("AWS_mine", "x")
    assert caught.value.status is kvs.StatusCode.INVALID_METADATA_NAME
    with pytest.raises(kvs.KvsError) as caught:
        stream.put_event(kvs.EventType.NOTIFICATION)
    assert caught.value.status is kvs.StatusCode.STREAM_NOT_STARTED
    stream.end_fragment()  # no fragment is open: nothing happens
    stream.stop()
    with pytest.raises(kvs.KvsError) as caught:
        stream.put_fragment_metadata("name", "x")
    assert caught.value.status is kvs.StatusCode.STREAM_HAS_BEEN_STOPPED


def test_blocking(endpoint_url: str, info: kvs.StreamInfo) -> None:
    """The blocking stream."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        check(producer.open_stream("door", info))


def test_asyncio(endpoint_url: str, info: kvs.StreamInfo) -> None:
    """The asyncio stream."""

    async def main() -> None:
        async with aio.Producer(endpoint_url=endpoint_url) as producer:
            check(producer.open_stream("door", info))

    asyncio.run(main())


def test_reset_drops_what_is_held(info: kvs.StreamInfo, frames: Frames) -> None:
    """What is held at a reset is reported as dropped."""
    producer = kvs.Producer(endpoint_url="http://127.0.0.1:9")
    stream = producer.open_stream("door", info)
    for frame in frames(3):
        stream.put_frame(frame)
    stream.reset()
    assert stream.account() == kvs.FrameAccount(3, 0, 3, 0, 0)
    assert producer.close(0) == {"door": kvs.FrameAccount(3, 0, 3, 0, 0)}


@pytest.mark.parametrize("surface", [kvs.Producer, aio.Producer])
def test_unusable_listener_is_refused(surface: Any) -> None:
    """A coroutine function, which would not be awaited, and an object that is not callable."""

    async def listen(event: kvs.Event) -> None:
        """Would never run."""

    async def work() -> None:
        for listener in (listen, 5):
            with pytest.raises(kvs.KvsError, match=r"on_event=? is") as caught:
                surface(endpoint_url="http://127.0.0.1:9", on_event=listener)
            assert caught.value.status is kvs.StatusCode.INVALID_ARG

    asyncio.run(work())


def names_of(kind: type) -> list[str]:
    """Return the public names of a class."""
    return [name for name in dir(kind) if not name.startswith("_")]


@pytest.mark.parametrize("surface", [kvs, aio])
def test_both_surfaces_have_the_same_public_methods(surface: Any) -> None:
    """There are no internal names, and each method has a docstring."""
    assert names_of(surface.Producer) == ["close", "events", "metrics", "open_stream", "streams"]
    assert names_of(surface.Stream) == [
        "account",
        "close",
        "drops",
        "end_fragment",
        "failure",
        "flush",
        "last_error",
        "metrics",
        "name",
        "put_event",
        "put_fragment_metadata",
        "put_frame",
        "reset",
        "state",
        "stop",
        "stored_until",
        "wait_ready",
        "wait_stored",
    ]
    for kind in (surface.Producer, surface.Stream):
        assert all(getattr(kind, name).__doc__ for name in names_of(kind))


@pytest.mark.parametrize("surface", [kvs, aio], ids=["kvs", "aio"])
def test_metadata_for_this_and_the_next_fragment(
    surface: Any, endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """The reader finds each item with its fragment; every frame is stored."""

    async def put(stream: Any, frame: kvs.Frame) -> None:
        if (waiting := stream.put_frame(frame)) is not None:
            await waiting

    async def work() -> None:
        producer = surface.Producer(endpoint_url=endpoint_url)
        stream = producer.open_stream("door", info)
        for number, frame in enumerate(frames(15)):
            await put(stream, frame)
            if number == 2:
                stream.put_fragment_metadata("visitor", "this", fragment="this")
                stream.put_fragment_metadata("visitor", "next")
            if number == 8:
                stream.put_event(kvs.EventType.NOTIFICATION, fragment="this")
        closing = producer.close(timeout=30)
        accounts = closing if surface is kvs else await closing
        assert accounts["door"] == kvs.FrameAccount(15, 15, 0, 0, 0)

    asyncio.run(work())
    with contextlib.closing(kvs.get_media("door", endpoint_url=endpoint_url)) as media:
        found = [fragment.tags for fragment in islice(media, 3)]
    assert found == [
        [("visitor", "this")],
        [("visitor", "next"), ("AWS_KINESISVIDEO_NOTIFICATION", "")],
        [],
    ]


@pytest.mark.parametrize("surface", [kvs, aio], ids=["kvs", "aio"])
def test_an_iterator_that_is_never_advanced_takes_no_events(
    surface: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """When it is given up, events are logged again."""
    caplog.set_level("INFO")

    async def work() -> None:
        producer = surface.Producer(endpoint_url="http://127.0.0.1:9")
        events = producer.events()
        assert producer._iterators == 1
        del events
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)  # asyncio closes an asynchronous generator in a task
        assert producer._iterators == 0
        producer.open_stream("door", kvs.StreamInfo.video("h264"))
        closing = producer.close(timeout=0)
        if surface is aio:
            await closing

    asyncio.run(work())
    assert "StreamShutdown" in caplog.text
