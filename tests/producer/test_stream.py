"""The blocking stream: waits that end, and what they raise."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tests.waiting import until, why_not_ready

import kvsproducer as kvs

Frames = Callable[[int], Iterator[kvs.Frame]]
NOBODY = "http://127.0.0.1:9"
SHORT = kvs.DeviceInfo(
    storage_info=kvs.StorageInfo(storage_size=1 << 20),
    client_info=kvs.ClientInfo(offline_buffer_availability_timeout=0.5),
)


@pytest.fixture
def offline() -> Iterator[kvs.Producer]:
    """A producer whose service cannot be reached, with little space and patience."""
    producer = kvs.Producer(endpoint_url=NOBODY, device_info=SHORT)
    yield producer
    producer.close(timeout=0)


def fill(stream: kvs.Stream) -> None:
    start = kvs.now()
    for number in range(1000):
        stream.put_frame(
            kvs.Frame(
                bytes(50_000), start + number * 400_000, duration=400_000, key_frame=number % 5 == 0
            )
        )


def test_no_space_in_time(offline: kvs.Producer, offline_info: kvs.StreamInfo) -> None:
    """After its time limit the frame is refused; the accepted frames are held."""
    stream = offline.open_stream("door", offline_info)
    began = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        fill(stream)
    assert 0.4 < time.monotonic() - began < 5
    assert isinstance(caught.value, kvs.KvsError)
    assert caught.value.status is kvs.StatusCode.OPERATION_TIMED_OUT
    assert stream.account().held == stream.account().accepted > 5
    assert stream.metrics().counters.put_frame_errors == 1


@pytest.mark.parametrize("policy", list(kvs.StorePressurePolicy))
@pytest.mark.parametrize("mode", list(kvs.StreamingType))
def test_a_full_buffer_can_be_flushed(
    offline: kvs.Producer, policy: kvs.StorePressurePolicy, mode: kvs.StreamingType
) -> None:
    """Neither `end_fragment` nor `flush` raises; the account has the held frames."""
    info = kvs.StreamInfo.video(
        "h264",
        streaming_type=mode,
        nal_adaptation=kvs.NalAdaptation.NONE,
        store_pressure_policy=policy,
    )
    stream = offline.open_stream("door", info)
    with contextlib.suppress(kvs.KvsError):
        fill(stream)
    errors = stream.metrics().counters.put_frame_errors
    stream.end_fragment()
    stream.end_fragment()
    account = stream.flush(timeout=0.1)
    assert account.held == account.accepted - account.dropped > 5
    assert stream.metrics().counters.put_frame_errors == errors


def test_flush_waits_for_space_for_frames_that_wait_for_another_track(
    offline: kvs.Producer, offline_info: kvs.StreamInfo
) -> None:
    """`flush` waits for its timeout, `end_fragment` like a put; neither raises `WouldBlock`."""
    info = kvs.StreamInfo.audio_video(
        "h264",
        "aac",
        nal_adaptation=kvs.NalAdaptation.NONE,
        streaming_type=kvs.StreamingType.OFFLINE,
    )
    stream = offline.open_stream("av", info)
    for second in range(3):
        at = kvs.now() + second * 10_000_000
        stream.put_frame(kvs.Frame(bytes(50_000), at, key_frame=True))
        stream.put_frame(kvs.Frame(bytes(50_000), at + 1, track_id=2))
    with pytest.raises(TimeoutError):
        fill(offline.open_stream("door", offline_info))
    assert stream.flush(timeout=0.1) == kvs.FrameAccount(6, 0, 0, 0, 6)
    with pytest.raises(TimeoutError) as caught:
        stream.end_fragment()
    assert isinstance(caught.value, kvs.KvsError)
    assert caught.value.status is kvs.StatusCode.OPERATION_TIMED_OUT


def test_a_stopped_stream_that_is_reset_takes_frames_again(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """`reset` makes a stopped stream accept frames again."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        stream = producer.open_stream("door", info)
        for frame in frames(5):
            stream.put_frame(frame)
        stream.flush(timeout=20)
        stream.stop()
        stream.reset()
        for frame in frames(5):
            stream.put_frame(frame)
        assert stream.close(timeout=20) == kvs.FrameAccount(10, 10, 0, 0, 0)


def test_setting_the_clock_does_not_change_a_wait_for_space(
    offline_info: kvs.StreamInfo,
) -> None:
    """The clock is set back by an hour while a put waits; the wait is not longer."""
    back = [0]
    provider = kvs.CallbacksProvider()
    provider.set_platform(kvs.PlatformCallbacks(get_current_time=lambda: kvs.now() - back[0]))
    producer = kvs.Producer(endpoint_url=NOBODY, device_info=SHORT, callbacks=provider)
    stream = producer.open_stream("door", offline_info)

    def set_back() -> None:
        until(lambda: stream.account().accepted == 18)  # what there is space for
        back[0] = 36_000_000_000

    setter = threading.Thread(target=set_back)
    setter.start()
    try:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            fill(stream)
        assert 0.4 < time.monotonic() - began < 30
    finally:
        setter.join(30)
        producer.close(timeout=0)


def test_stopping_interrupts_a_writer(offline_info: kvs.StreamInfo) -> None:
    """It waits for space in one thread; another stops the stream."""
    small = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
    producer = kvs.Producer(endpoint_url=NOBODY, device_info=small)
    stream = producer.open_stream("door", offline_info)
    reports_seen: list[kvs.KvsError] = []

    def write() -> None:
        try:
            fill(stream)
        except kvs.KvsError as error:
            reports_seen.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    before = -1
    while stream.account().accepted != before:  # until it waits
        before = stream.account().accepted
        time.sleep(0.1)
    stream.stop()
    writer.join(5)
    producer.close(timeout=0)
    statuses = [error.status for error in reports_seen]
    assert statuses == [kvs.StatusCode.BLOCKING_PUT_INTERRUPTED_STREAM_TERMINATED]


def test_wait_ready_is_bounded(offline: kvs.Producer, info: kvs.StreamInfo) -> None:
    """The service does not answer; the error has the stream's state."""
    with pytest.raises(kvs.KvsError) as caught:
        offline.open_stream("door", info).wait_ready(timeout=0.2)
    assert caught.value.status is kvs.StatusCode.OPERATION_TIMED_OUT
    assert "describe" in str(caught.value)


def test_a_time_out_is_explained(offline: kvs.Producer, info: kvs.StreamInfo) -> None:
    """The error has the message of the last failed call."""
    stream = offline.open_stream("door", info)
    error = why_not_ready(stream, "could not connect to http://")
    assert error.status is kvs.StatusCode.OPERATION_TIMED_OUT


def test_flush_and_close_are_bounded(
    offline: kvs.Producer, info: kvs.StreamInfo, frames: Frames
) -> None:
    """They return the account; after closing, frames are refused."""
    stream = offline.open_stream("door", info)
    for frame in frames(7):
        stream.put_frame(frame)
    assert stream.flush(timeout=0.1) == kvs.FrameAccount(7, 0, 0, 0, 7)
    assert stream.close(timeout=0.1) == kvs.FrameAccount(7, 0, 7, 0, 0)
    assert stream.close() == kvs.FrameAccount(7, 0, 7, 0, 0)
    with pytest.raises(kvs.KvsError) as caught:
        stream.put_frame(next(frames(1)))
    assert caught.value.status is kvs.StatusCode.STREAM_HAS_BEEN_STOPPED


def test_leaving_the_block_raises_what_was_not_stored(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """The stream's `with` block raises its failure with the number of lost frames."""
    missing = kvs.StreamInfo.video(
        "h264", allow_stream_creation=False, nal_adaptation=kvs.NalAdaptation.NONE
    )
    producer = kvs.Producer(endpoint_url=endpoint_url)
    try:
        with pytest.raises(LookupError, match="0 of 1 accepted"):
            with producer.open_stream("door", missing) as stream:
                stream.put_frame(next(frames(1)))
    finally:
        producer.close()


def test_leaving_the_block_raises_when_every_frame_was_skipped(
    endpoint_url: str, info: kvs.StreamInfo
) -> None:
    """There was no key frame. A stream with audio only needs none."""
    producer = kvs.Producer(endpoint_url=endpoint_url)
    try:
        with pytest.raises(kvs.KvsError, match="all 3 frames were skipped") as caught:
            with producer.open_stream("never", info) as stream:
                for number in range(3):
                    stream.put_frame(kvs.Frame(b"delta", kvs.now() + number))
        assert caught.value.status is kvs.StatusCode.STREAM_NOT_STARTED
        with producer.open_stream("sound", kvs.StreamInfo.audio("alaw")) as stream:
            for number in range(3):
                stream.put_frame(kvs.Frame(bytes(160), kvs.now() + number * 200_000))
        assert stream.account() == (3, 3, 0, 0, 0)
    finally:
        producer.close()


def test_a_pressure_event_does_not_wait_for_the_network(offline: kvs.Producer) -> None:
    """Events of a put reach the listener although nothing is sent."""
    seen: list[kvs.Event] = []
    info = kvs.StreamInfo.video("h264", nal_adaptation=kvs.NalAdaptation.NONE)
    producer = kvs.Producer(endpoint_url=NOBODY, on_event=seen.append)
    try:
        stream = producer.open_stream("door", info)
        time.sleep(0.3)  # the first call has failed and a pause begins
        for number in range(3):
            stream.put_frame(kvs.Frame(b"delta", kvs.now() + number))
        until(lambda: any(isinstance(event, kvs.FrameSkipped) for event in seen), 2)
    finally:
        producer.close(timeout=0)


def test_a_name_that_is_being_closed(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """Its frames may still be uploading; after close() the name can be used again."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        stream = producer.open_stream("door", info)
        for frame in frames(5):
            stream.put_frame(frame)
        stream.stop()
        with pytest.raises(kvs.KvsError, match="wait until its close") as caught:
            producer.open_stream("door", info)
        assert caught.value.status is kvs.StatusCode.STREAM_BEING_SHUTDOWN
        stream.close()
        producer.open_stream("door", info).close()
