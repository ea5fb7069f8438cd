"""Changes of the service during an upload: a full disk, a deleted stream, no acks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kvsproducer as kvs
from kvsproducer.endpoint import EndpointLimits, local_endpoint
from kvsproducer.endpoint.payloads import FilePayloads

S = kvs.StatusCode


def uploads(events: list[kvs.Event]) -> int:
    """How many uploads were started."""
    return sum(isinstance(event, kvs.UploadStarted) for event in events)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Return a function: full_disk(True) makes writes fail until full_disk(False)."""
    append, full = FilePayloads.append, [False]

    def maybe(self: FilePayloads, arn: str, fragment: Any) -> Any:
        if full[0]:
            raise OSError(28, "No space left on device")
        return append(self, arn, fragment)

    monkeypatch.setattr(FilePayloads, "append", maybe)
    return lambda now: full.__setitem__(0, now)


def test_disk_full_at_the_endpoint(
    full_disk: Callable[[bool], None], tmp_path: Path, kit: Any
) -> None:
    """Fragments that could not be stored are reported and sent again until there is space."""
    events: list[kvs.Event] = []
    media = kit.Media()
    with local_endpoint(tmp_path) as endpoint:
        with kvs.Producer(endpoint_url=endpoint.url, on_event=events.append) as producer:
            with producer.open_stream("door", kit.info()) as stream:
                for frame in media.frames(20):
                    stream.put_frame(frame)
                kit.until(lambda: stream.account().persisted)
                full_disk(True)
                for frame in media.frames(40):
                    stream.put_frame(frame)
                kit.until(
                    lambda: sum(isinstance(event, kvs.StreamErrorReported) for event in events) >= 2
                )
                assert stream.account().dropped == 0
                full_disk(False)
                for frame in media.frames(20):
                    stream.put_frame(frame)
        assert stream.account() == kvs.FrameAccount(80, 80, 0, 0, 0)
        kit.assert_stored(endpoint.url, "door", media.put)
    statuses = {event.status for event in events if isinstance(event, kvs.StreamErrorReported)}
    assert statuses == {S.ACK_ERR_FRAGMENT_ARCHIVAL_ERROR}


def test_stream_deleted_while_uploading(endpoint_url: str, kit: Any) -> None:
    """It is created again and goes on; the fragment that was refused is reported."""
    media = kit.Media()
    events: list[kvs.Event] = []
    with (
        pytest.raises(kvs.KvsError, match="dropped"),
        kvs.Producer(endpoint_url=endpoint_url, on_event=events.append) as producer,
    ):
        stream = producer.open_stream("door", kit.info())
        for frame in media.frames(20):
            stream.put_frame(frame)
        kit.until(lambda: stream.account().persisted == 15)
        control = kit.client("kinesisvideo", endpoint_url)
        arn = control.describe_stream(StreamName="door")["StreamInfo"]["StreamARN"]
        control.delete_stream(StreamARN=arn)
        for frame in media.frames(20):
            stream.put_frame(frame)
        account = stream.close(20)
        assert account.held == 0
        drops = [event for event in events if isinstance(event, kvs.FrameDropped)]
        dropped = [
            frame for frame in media.put if any(d.first <= frame.pts <= d.last for d in drops)
        ]
        assert account.dropped == len(dropped) <= 10
        kept = [frame for frame in media.put[15:] if frame not in dropped]
        kit.assert_stored(endpoint_url, "door", kept)


def test_stream_deleted_and_not_to_be_created(endpoint_url: str, kit: Any) -> None:
    """Then it is a failure that says so; frames that were not stored are reported."""
    control = kit.client("kinesisvideo", endpoint_url)
    arn = control.create_stream(StreamName="door", DataRetentionInHours=1)["StreamARN"]
    events: list[kvs.Event] = []
    media = kit.Media()
    with (
        pytest.raises(kvs.KvsError, match="5 dropped"),
        kvs.Producer(endpoint_url=endpoint_url, on_event=events.append) as producer,
    ):
        stream = producer.open_stream("door", kit.info(allow_stream_creation=False))
        for frame in media.frames(20):
            stream.put_frame(frame)
        kit.until(lambda: stream.account().persisted == 15)
        control.delete_stream(StreamARN=arn)
        kit.until(lambda: stream.failure)
        with pytest.raises(LookupError):
            stream.put_frame(media.frame())
        account = stream.close(timeout=5)
        assert account.accepted == account.persisted + account.dropped + account.held
    drops = [event for event in events if isinstance(event, kvs.FrameDropped)]
    assert sum(event.count for event in drops) == 5


def test_stream_in_deleting(endpoint_url: str, proxy: Callable[[str], Any], kit: Any) -> None:
    """A stream that is just being deleted refuses at once, with its own status."""
    link = proxy(endpoint_url)
    body = b'{"StreamInfo":{"StreamName":"door","StreamARN":"arn:x","Status":"DELETING"}}'
    link.answers["/describeStream"] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)
    ]
    with kvs.Producer(endpoint_url=link.url) as producer:
        stream = producer.open_stream("door", kit.info())
        with pytest.raises(kvs.KvsError) as caught:
            stream.wait_ready(20)
        assert caught.value.status is S.STREAM_IS_BEING_DELETED_ERROR


def test_retention_zero(endpoint_url: str, kit: Any) -> None:
    """Without retention RECEIVED is the last ack, and closing does not wait for more."""
    media = kit.Media()
    began = time.monotonic()
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        with producer.open_stream("door", kit.info(retention=0)) as stream:
            for frame in media.frames(23):
                stream.put_frame(frame)
    assert stream.account() == kvs.FrameAccount(23, 23, 0, 0, 0)
    assert time.monotonic() - began < 10


def test_existing_stream_without_retention(endpoint_url: str, kit: Any) -> None:
    """It was made to keep nothing, of another media type; the producer wants an hour: no hang."""
    kit.client("kinesisvideo", endpoint_url).create_stream(
        StreamName="door", DataRetentionInHours=0, MediaType="audio/aac"
    )
    media = kit.Media()
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        stream = producer.open_stream("door", kit.info(retention="PT1H"))
        for frame in media.frames(23):
            stream.put_frame(frame)
        account = stream.close(timeout=20)
    assert account == kvs.FrameAccount(23, 23, 0, 0, 0)


def test_existing_stream_with_retention(endpoint_url: str, kit: Any) -> None:
    """The stream has a retention although the producer's is 0; all frames are stored."""
    kit.client("kinesisvideo", endpoint_url).create_stream(
        StreamName="door", DataRetentionInHours=2, MediaType="video/h265"
    )
    media = kit.Media()
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        with producer.open_stream("door", kit.info(retention=0)) as stream:
            for frame in media.frames(23):
                stream.put_frame(frame)
    assert stream.account().persisted == 23
    kit.until(lambda: len(kit.stored_fragments(endpoint_url, "door")) == 5)
    kit.assert_stored(endpoint_url, "door", media.put)


def test_silence_is_ended_by_the_service(kit: Any) -> None:
    """The service ends an idle upload; frames that come later go on in another."""
    media = kit.Media()
    limits = EndpointLimits(idle_timeout=0.3, idle_ack_interval=0.1)
    with local_endpoint(limits=limits) as endpoint:
        events: list[kvs.Event] = []
        with kvs.Producer(endpoint_url=endpoint.url, on_event=events.append) as producer:
            with producer.open_stream("door", kit.info()) as stream:
                for _ in range(3):
                    for frame in media.frames(12):
                        stream.put_frame(frame)
                    # The upload is ended for its silence, and another takes the open fragment up.
                    so_far = uploads(events)
                    kit.until(lambda n=so_far: uploads(events) > n)
        assert stream.account() == kvs.FrameAccount(36, 36, 0, 0, 0)
        kit.assert_stored(endpoint.url, "door", media.put)
        assert uploads(events) >= 3


def test_upload_that_pauses_is_kept(
    endpoint_url: str, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause without data to send is not a stall, even if it is longer than the limit."""
    monkeypatch.setattr("kvsproducer.producer.upload.STALL_S", 0.3)
    media, events = kit.Media(), []
    with kvs.Producer(endpoint_url=endpoint_url, on_event=events.append) as producer:
        with producer.open_stream("door", kit.info()) as stream:
            for _ in range(3):
                for frame in media.frames(5):
                    stream.put_frame(frame)
                stream.end_fragment()
                time.sleep(0.5)
    assert stream.account().persisted == 15
    assert sum(isinstance(event, kvs.UploadStarted) for event in events) == 1


@pytest.mark.parametrize("buffer", [bytearray, memoryview, "array"])
def test_buffer_that_the_caller_uses_again(buffer: Any, endpoint_url: str, kit: Any) -> None:
    """The stored bytes are those that were put, although the caller overwrote the buffer."""
    from array import array

    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        with producer.open_stream("door", kit.info()) as stream:
            own = array("B", bytes(4000)) if buffer == "array" else bytearray(4000)
            given = memoryview(own) if buffer is memoryview else own
            wanted = []
            for number in range(10):
                own[0] = number + 1
                frame = kvs.Frame(
                    given, 17_000_000_000_000_000 + number * kit.TICK, key_frame=number % 5 == 0
                )
                wanted.append((frame.pts, bytes(given)))
                stream.put_frame(frame)
                own[0] = 99
    found = kit.stored_fragments(endpoint_url, "door")
    assert [frame for at in sorted(found) for frame in found[at]] == wanted
