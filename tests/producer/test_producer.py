"""The blocking producer with the local endpoint: storing, waiting, failing, closing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest
from tests.waiting import until

import kvsproducer as kvs

Frames = Callable[[int], Iterator[kvs.Frame]]


def stored(endpoint_url: str, name: str, count: int) -> list[bytes]:
    """Return the first `count` stored payloads of a stream."""
    found: list[bytes] = []
    for fragment in kvs.get_media(name, endpoint_url=endpoint_url):
        found += [bytes(frame.data) for frame in fragment.frames]
        if len(found) >= count:
            break
    return found


def test_what_is_put_is_stored(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """Every frame of a stream that did not exist is stored as put, once the block is left."""
    put = list(frames(23))
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        with producer.open_stream("door", info) as stream:
            for frame in put:
                stream.put_frame(frame)
        assert stream.account() == kvs.FrameAccount(23, 23, 0, 0, 0)
    assert stored(endpoint_url, "door", len(put)) == [frame.data for frame in put]


def test_frames_wait_for_the_service(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """open_stream returns at once; frames put before the service answers are held, then stored."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        stream = producer.open_stream("door", info)
        for frame in frames(10):
            stream.put_frame(frame)
        assert stream.account().accepted == 10
        assert stream.close().persisted == 10


def test_flush_stores_the_open_fragment(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """After flush everything is stored though the stream is open; it goes on with a key frame."""
    put = list(frames(12))
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        with producer.open_stream("door", info) as stream:
            for frame in put[:5]:
                stream.put_frame(frame)
            assert stream.flush(timeout=20) == kvs.FrameAccount(5, 5, 0, 0, 0)
            assert len(stored(endpoint_url, "door", 5)) == 5
            for frame in put[5:]:
                stream.put_frame(frame)
    assert stored(endpoint_url, "door", len(put)) == [frame.data for frame in put]


def test_metadata_reaches_the_reader(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """Metadata put before a key frame are tags of the fragment that it starts."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        with producer.open_stream("door", info) as stream:
            stream.put_fragment_metadata("door", "open")
            for frame in frames(5):
                stream.put_frame(frame)
    fragment = next(kvs.get_media("door", endpoint_url=endpoint_url))
    assert fragment.tags == [("door", "open")]


def test_image_and_notification_events(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """An event put between two fragments is tags of the next one, pairs and prefix with it."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        with producer.open_stream("door", info) as stream:
            put = list(frames(10))
            for frame in put[:5]:
                stream.put_frame(frame)
            stream.put_event(
                kvs.EventType.IMAGE_GENERATION, image_prefix="visitors", pairs=[("who", "cat")]
            )
            for frame in put[5:]:
                stream.put_frame(frame)
    fragments = kvs.get_media("door", endpoint_url=endpoint_url)
    assert next(fragments).tags == []
    assert next(fragments).tags == [
        ("AWS_KINESISVIDEO_IMAGE_GENERATION", ""),
        ("AWS_KINESISVIDEO_IMAGE_PREFIX", "visitors"),
        ("who", "cat"),
    ]


def test_reset_revives_a_failed_stream(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """A stream that failed because nothing was there works after a reset, once it is."""
    strict = kvs.StreamInfo.video(
        "h264", allow_stream_creation=False, nal_adaptation=kvs.NalAdaptation.NONE
    )
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        stream = producer.open_stream("door", strict)
        with pytest.raises(LookupError):
            stream.wait_ready(timeout=20)
        with kvs.Producer(endpoint_url=endpoint_url) as other:
            other.open_stream("door", info).wait_ready()
        stream.reset()
        for frame in frames(5):
            stream.put_frame(frame)
        assert stream.close(timeout=20).persisted == 5


def test_on_event_gets_the_acks_of_each_fragment(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """on_event gets the acks of each fragment, on a thread of its own."""
    seen: list[tuple[str, kvs.Event]] = []

    def listen(event: kvs.Event) -> None:
        seen.append((threading.current_thread().name, event))

    with kvs.Producer(endpoint_url=endpoint_url, on_event=listen) as producer:
        with producer.open_stream("door", info) as stream:
            for frame in frames(10):
                stream.put_frame(frame)
    acks = [event.ack.ack_type for _, event in seen if isinstance(event, kvs.FragmentAcked)]
    assert acks.count(kvs.AckType.PERSISTED) == 2
    assert any(isinstance(event, kvs.StreamReady) for _, event in seen)
    assert {thread for thread, _ in seen} == {"kvsproducer-events"}


def test_listener_that_raises_does_not_affect_the_upload(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames, caplog: pytest.LogCaptureFixture
) -> None:
    """Its exception is logged, the media is stored."""

    def listen(event: kvs.Event) -> None:
        raise RuntimeError("a bug of the listener")

    with kvs.Producer(endpoint_url=endpoint_url, on_event=listen) as producer:
        with producer.open_stream("door", info) as stream:
            for frame in frames(5):
                stream.put_frame(frame)
    assert stream.account().persisted == 5
    assert "a bug of the listener" in caplog.text


def test_offline_stream_waits_for_space(endpoint_url: str, offline_info: kvs.StreamInfo) -> None:
    """More media than the storage holds goes through an offline stream without a drop."""
    small = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
    data = bytes(50_000)
    with kvs.Producer(endpoint_url=endpoint_url, device_info=small) as producer:
        with producer.open_stream("door", offline_info) as stream:
            start = kvs.now()
            for number in range(100):
                frame = kvs.Frame(
                    data, start + number * 400_000, duration=400_000, key_frame=number % 5 == 0
                )
                stream.put_frame(frame)
    assert stream.account() == kvs.FrameAccount(100, 100, 0, 0, 0)


def test_streams_share_a_producer(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """Eight threads put into eight streams at once; each stream has its own frames."""

    def produce(stream: kvs.Stream) -> None:
        for frame in frames(50):
            stream.put_frame(frame)

    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        streams = [producer.open_stream(f"camera-{n}", info) for n in range(8)]
        threads = [threading.Thread(target=produce, args=(stream,)) for stream in streams]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        accounts = producer.close()
    assert all(account.persisted == 50 for account in accounts.values())
    assert len(stored(endpoint_url, "camera-7", 50)) == 50


def test_missing_stream_that_may_not_be_created_is_reported(
    endpoint_url: str, frames: Frames
) -> None:
    """A missing stream that may not be created is an error, not a hang."""
    info = kvs.StreamInfo.video("h264", allow_stream_creation=False)
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        stream = producer.open_stream("nowhere", info)
        with pytest.raises(LookupError) as caught:
            stream.wait_ready(timeout=20)
        assert isinstance(caught.value, kvs.KvsError)
        assert caught.value.status is kvs.StatusCode.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR
        with pytest.raises(kvs.KvsError):
            stream.put_frame(next(frames(1)))
        assert stream.close(timeout=5).held == 0


def test_missing_credentials_are_reported(
    endpoint_url: str, info: kvs.StreamInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wait_ready raises with the list of places that were searched."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        with pytest.raises(kvs.NotAuthorized) as caught:
            producer.open_stream("door", info).wait_ready(timeout=30)
        assert "credentials" in str(caught.value)


def test_leaving_the_block_never_masks_its_exception(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """The exception of the body is raised, also if frames were lost."""
    with pytest.raises(ZeroDivisionError), kvs.Producer(endpoint_url=endpoint_url) as producer:
        with producer.open_stream("door", info) as stream:
            stream.put_frame(next(frames(1)))
            raise ZeroDivisionError


def test_same_name_twice_is_refused(endpoint_url: str, info: kvs.StreamInfo) -> None:
    """One producer has one stream of a name, until that one is closed."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        stream = producer.open_stream("door", info)
        with pytest.raises(kvs.KvsError) as caught:
            producer.open_stream("door", info)
        assert caught.value.status is kvs.StatusCode.DUPLICATE_STREAM_NAME
        stream.close()
        producer.open_stream("door", info).close()


def test_close_is_idempotent_and_leaves_no_thread(endpoint_url: str, info: kvs.StreamInfo) -> None:
    """After close no thread is left; a second close has no effect."""
    producer = kvs.Producer(endpoint_url=endpoint_url)
    producer.open_stream("door", info)
    producer.close()
    producer.close()
    left = {t.name for t in threading.enumerate() if t.name.startswith("kvsproducer-loop")}
    assert left == set()


def test_no_stream_while_closing(info: kvs.StreamInfo, frames: Frames) -> None:
    """It would stay open; if there is one nevertheless, its frames are reported as dropped."""
    producer = kvs.Producer(endpoint_url="http://127.0.0.1:9")
    stream = producer.open_stream("door", info)
    for frame in frames(5):
        stream.put_frame(frame)
    closing = threading.Thread(target=producer.close, args=(1,))
    closing.start()
    until(lambda: producer._engine.closing)
    with pytest.raises(kvs.KvsError) as caught:
        producer.open_stream("late", info)
    assert caught.value.status is kvs.StatusCode.CLIENT_BEING_SHUTDOWN
    closing.join()


def test_interrupted_close_reports_dropped_frames(
    info: kvs.StreamInfo, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while it waits: what is held is reported, and nothing more is accepted."""
    seen: list[kvs.Event] = []
    producer = kvs.Producer(endpoint_url="http://127.0.0.1:9", on_event=seen.append)
    stream = producer.open_stream("door", info)
    put = list(frames(6))
    for frame in put[:5]:
        stream.put_frame(frame)

    def interrupt(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(producer._engine, "block", interrupt)
    with pytest.raises(KeyboardInterrupt):
        producer.close()
    assert stream.account() == kvs.FrameAccount(5, 0, 5, 0, 0)
    assert sum(e.count for e in seen if isinstance(e, kvs.FrameDropped)) == 5
    with pytest.raises(kvs.KvsError) as caught:
        stream.put_frame(put[5])
    assert caught.value.status is kvs.StatusCode.STREAM_HAS_BEEN_STOPPED


def test_events_are_iterated(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """In another thread, until the producer is closed; all that is left comes before the end."""
    seen: list[kvs.Event] = []
    producer = kvs.Producer(endpoint_url=endpoint_url)
    events = producer.events()
    listening = threading.Thread(target=lambda: seen.extend(events))
    listening.start()
    with producer, producer.open_stream("door", info) as stream:
        for frame in frames(10):
            stream.put_frame(frame)
    listening.join(30)
    assert not listening.is_alive()
    assert sum(event.frames for event in seen if isinstance(event, kvs.FragmentStored)) == 10
    assert any(isinstance(event, kvs.StreamEnded) for event in seen)
    assert list(producer.events()) == []


def test_iteration_may_be_left_and_begun_again(
    endpoint_url: str, info: kvs.StreamInfo, caplog: pytest.LogCaptureFixture
) -> None:
    """Events that no iteration takes are logged, those of the next one come to it."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        for event in producer.events():
            assert isinstance(event, kvs.ClientReady)
            break
        with caplog.at_level(logging.INFO, "kvsproducer"):
            with producer.open_stream("door", info):
                until(lambda: "StreamReady" in caplog.text, seen=lambda: caplog.text)
        again = producer.events()
        with producer.open_stream("gate", info):
            assert any(event.stream == "gate" for event in again)


def test_events_and_a_listener_are_not_for_one_producer(endpoint_url: str) -> None:
    """The listener would take all events."""
    with kvs.Producer(endpoint_url=endpoint_url, on_event=print) as producer:
        with pytest.raises(kvs.KvsError, match="on_event takes all events") as caught:
            producer.events()
        assert caught.value.status is kvs.StatusCode.INVALID_OPERATION


def test_events_come_after_their_callbacks(endpoint_url: str, info: kvs.StreamInfo) -> None:
    """A producer with callbacks can be iterated over, too."""
    reports_seen: list[kvs.Event] = []
    callbacks = kvs.CallbacksProvider()
    callbacks.add(kvs.StreamCallbacks(stream_ready=reports_seen.append))
    with kvs.Producer(endpoint_url=endpoint_url, callbacks=callbacks) as producer:
        events = producer.events()
        with producer.open_stream("door", info):
            event = next(event for event in events if isinstance(event, kvs.StreamReady))
            assert reports_seen == [event]
