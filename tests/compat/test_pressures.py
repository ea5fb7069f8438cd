"""Chains in `put_frame`, in the caller's thread: pressures and available data can fail it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.compat.conftest import NOBODY, SECOND, Frames, provider_of

import kvsproducer as kvs
from kvsproducer import StatusCode, aio

S = StatusCode
SMALL = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))


@pytest.fixture
def outage() -> Iterator[Callable[..., kvs.Producer]]:
    """Return `outage(*sets)`: a producer without a service, with a small store."""
    made: list[kvs.Producer] = []

    def make(*sets: Any, **options: Any) -> kvs.Producer:
        made.append(
            kvs.Producer(
                endpoint_url=NOBODY, device_info=SMALL, callbacks=provider_of(*sets), **options
            )
        )
        return made[-1]

    yield make
    for producer in made:
        producer.close(0)


PRESSURES: dict[str, tuple[Any, dict[str, object], int]] = {
    # function -> its set, the properties of the stream, bytes of a frame
    "storage_overflow_pressure": (kvs.ProducerCallbacks, {}, 18_000),
    "buffer_duration_overflow_pressure": (
        kvs.StreamCallbacks,
        {"buffer_duration": 2, "max_latency": 0},
        100,
    ),
    "stream_latency_pressure": (kvs.StreamCallbacks, {"max_latency": 1}, 100),
}


@pytest.mark.parametrize("name", PRESSURES)
def test_pressure_can_fail_put_frame(name: str, outage: Callable[..., kvs.Producer]) -> None:
    """It runs in the caller's thread without the lock. The frame is accepted, and events arrive."""
    kind, members, size = PRESSURES[name]
    info = kvs.StreamInfo.video("h264", nal_adaptation=kvs.NalAdaptation.NONE, **members)
    reports_seen: list[Any] = []
    threads: list[int] = []
    heard: list[kvs.Event] = []

    def pressure(event: Any) -> StatusCode:
        reports_seen.append(event)
        threads.append(threading.get_ident())
        stream.metrics()  # the lock is free
        return S.NOT_ENOUGH_MEMORY

    producer = outage(kind(**{name: pressure}), on_event=heard.append)
    stream = producer.open_stream("door", info)
    start, failed = kvs.now(), []
    for number in range(60):
        frame = kvs.Frame(
            bytes(size), start + number * 400_000, duration=400_000, key_frame=number % 5 == 0
        )
        try:
            stream.put_frame(frame)
        except kvs.KvsError as error:
            failed.append(error)
    assert reports_seen
    assert len(failed) == len(reports_seen)
    assert set(threads) == {threading.get_ident()}
    error = failed[0]
    assert error.status is S.NOT_ENOUGH_MEMORY
    assert error.stream == "door"
    assert f"{name} of entry 1 returned NOT_ENOUGH_MEMORY; the frame was accepted" in error.detail
    assert stream.account().accepted == 60
    producer.close(0)
    assert [event for event in heard if isinstance(event, type(reports_seen[0]))]


def test_pressures_without_a_callback_are_events(outage: Callable[..., kvs.Producer]) -> None:
    """A provider without functions for them changes nothing."""
    heard: list[kvs.Event] = []
    producer = outage(kvs.StreamCallbacks(), on_event=heard.append)
    info = kvs.StreamInfo.video("h264", nal_adaptation=kvs.NalAdaptation.NONE, max_latency=1)
    stream = producer.open_stream("door", info)
    start = kvs.now()
    for number in range(40):
        stream.put_frame(
            kvs.Frame(b"x", start + number * 400_000, duration=400_000, key_frame=number % 5 == 0)
        )
    producer.close(0)
    assert [event for event in heard if isinstance(event, kvs.StreamLatencyPressure)]


def test_data_available_is_reported_for_each_frame(
    outage: Callable[..., kvs.Producer], info: kvs.StreamInfo, frames: Frames
) -> None:
    """The waiting data grows. A failure fails the put. A skipped first frame is not reported."""
    reports_seen: list[kvs.StreamDataAvailable] = []

    def available(record: kvs.StreamDataAvailable) -> object:
        reports_seen.append(record)
        if len(reports_seen) == 3:
            raise ValueError("a bug")
        return None

    stream = outage(kvs.StreamCallbacks(stream_data_available=available)).open_stream("door", info)
    stream.put_frame(kvs.Frame(b"no key frame", kvs.now()))
    assert reports_seen == []
    some = list(frames(4))
    stream.put_frame(some[0])
    stream.put_frame(some[1])
    with pytest.raises(kvs.KvsError) as caught:
        stream.put_frame(some[2])
    assert caught.value.status is S.INTERNAL_ERROR
    assert isinstance(caught.value.__cause__, ValueError)
    stream.put_frame(some[3])
    assert [record.stream for record in reports_seen] == ["door"] * 4
    sizes = [record.size for record in reports_seen]
    assert sizes == sorted(set(sizes))
    assert reports_seen[-1].duration == 4 * 400_000


def big_key_frames(count: int) -> Iterator[kvs.Frame]:
    start = kvs.now()
    for number in range(count):
        yield kvs.Frame(bytes(100_000), start + number * SECOND, duration=SECOND, key_frame=True)


def test_frame_that_waited_for_space_is_reported(
    outage: Callable[..., kvs.Producer], offline_info: kvs.StreamInfo
) -> None:
    """An offline stream reports once for each frame. Resets free the space here."""
    reports_seen: list[kvs.StreamDataAvailable] = []
    producer = outage(kvs.StreamCallbacks(stream_data_available=reports_seen.append))
    stream = producer.open_stream("door", offline_info)

    def write() -> None:
        for frame in big_key_frames(30):
            stream.put_frame(frame)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        stream.reset()
        writer.join(0.02)
    assert len(reports_seen) == stream.account().accepted == 30


def test_asyncio_reports_a_frame_that_waited(offline_info: kvs.StreamInfo) -> None:
    """The asyncio stream does the same."""
    reports_seen: list[kvs.StreamDataAvailable] = []

    async def main() -> int:
        producer = aio.Producer(
            endpoint_url=NOBODY,
            device_info=SMALL,
            callbacks=provider_of(kvs.StreamCallbacks(stream_data_available=reports_seen.append)),
        )
        stream = producer.open_stream("door", offline_info)

        async def write() -> None:
            for frame in big_key_frames(30):
                await stream.put_frame(frame)

        writing = asyncio.ensure_future(write())
        while not writing.done():
            stream.reset()
            await asyncio.wait([writing], timeout=0.02)
        await writing
        accepted = stream.account().accepted
        await producer.close(0)
        return accepted

    assert asyncio.run(main()) == len(reports_seen) == 30


def test_entry_added_while_frames_are_put(info: kvs.StreamInfo, frames: Frames) -> None:
    """It is called from the next frame on."""
    provider, reports_seen = kvs.CallbacksProvider(), []
    producer = kvs.Producer(endpoint_url=NOBODY, callbacks=provider)
    stream = producer.open_stream("door", info)
    for number, frame in enumerate(frames(4)):
        if number == 2:
            provider.add(kvs.StreamCallbacks(stream_data_available=reports_seen.append))
        stream.put_frame(frame)
    producer.close(0)
    assert len(reports_seen) == 2


def test_asyncio_pressure_fails_put_frame(info: kvs.StreamInfo) -> None:
    """It behaves like the blocking producer."""

    async def main() -> StatusCode | None:
        provider = provider_of(
            kvs.StreamCallbacks(stream_data_available=lambda record: S.INVALID_OPERATION)
        )
        producer = aio.Producer(endpoint_url=NOBODY, callbacks=provider)
        stream = producer.open_stream("door", info)
        try:
            await stream.put_frame(kvs.Frame(b"x", kvs.now(), key_frame=True))
        except kvs.KvsError as error:
            return error.status
        finally:
            await producer.close(0)
        return None

    assert asyncio.run(main()) is S.INVALID_OPERATION
