"""The endpoint over HTTP: boto3 clients and raw PutMedia connections with a running server."""

from __future__ import annotations

import asyncio
import errno
import http.client
import itertools
import json
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from botocore.exceptions import ClientError
from tests.endpoints import QUICK

from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.endpoint import Credentials, EndpointLimits, LocalEndpoint, local_endpoint
from kvsproducer.endpoint.fragment import Fragment
from kvsproducer.endpoint.index import Index, Location
from kvsproducer.endpoint.payloads import FilePayloads
from kvsproducer.endpoint.put_media import PutMediaSession
from kvsproducer.endpoint.store import Store
from kvsproducer.endpoint.upload import Upload
from kvsproducer.mkv.events import Block, ClusterStart, SegmentStart, Tags
from kvsproducer.mkv.parser import MkvParser

ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
Client = Callable[..., Any]
SECOND = 10_000_000


def read(
    aws: Client, endpoint: LocalEndpoint, stream: str, **selector: Any
) -> list[dict[str, Any]]:
    """Read GetMedia until it ends. Return each segment's tags, cluster timecode and frames."""
    selector = selector or {"StartSelectorType": "EARLIEST"}
    answer = aws(endpoint, "kinesis-video-media").get_media(
        StreamName=stream, StartSelector=selector
    )
    assert answer["ContentType"] == "video/webm"
    return segments(answer["Payload"].read())


def segments(data: bytes) -> list[dict[str, Any]]:
    parser = MkvParser()
    parser.receive_data(data)
    found: list[dict[str, Any]] = []
    while (event := parser.next_event()) is not None:
        if isinstance(event, SegmentStart):
            assert event.size is None
            found.append({"frames": []})
        elif isinstance(event, Tags):
            found[-1].update(event.pairs)
        elif isinstance(event, ClusterStart):
            found[-1]["timecode"] = event.timecode
        elif isinstance(event, Block):
            found[-1]["frames"].extend(bytes(frame) for frame in event.frames)
    return found


def put(put_media: Client, endpoint: LocalEndpoint, stream: str, *data: bytes) -> list[Any]:
    """Send a complete PutMedia request and return its acks."""
    upload = put_media(endpoint, stream)
    for piece in data:
        upload.send(piece)
    upload.end()
    assert upload.head().startswith(b"HTTP/1.1 200 OK\r\n")
    return list(upload.acks())


def kinds(acks: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(ack["EventType"], ack.get("ErrorId", ack.get("FragmentTimecode"))) for ack in acks]


# --- control plane ---------------------------------------------------------------------------
def test_control_plane_with_boto3(endpoint: LocalEndpoint, aws: Client) -> None:
    """Create, change, list and delete a stream with boto3."""
    kvs = aws(endpoint, "kinesisvideo")
    arn = kvs.create_stream(
        StreamName="door", DataRetentionInHours=2, MediaType="video/h264", Tags={"a": "1"}
    )["StreamARN"]
    info = kvs.describe_stream(StreamARN=arn)["StreamInfo"]
    assert (info["StreamName"], info["Status"], info["DataRetentionInHours"]) == (
        "door",
        "ACTIVE",
        2,
    )
    assert abs((datetime.now(UTC) - info["CreationTime"]).total_seconds()) < 60
    kvs.update_data_retention(
        StreamName="door",
        CurrentVersion=info["Version"],
        Operation="INCREASE_DATA_RETENTION",
        DataRetentionChangeInHours=22,
    )
    info = kvs.describe_stream(StreamName="door")["StreamInfo"]
    assert info["DataRetentionInHours"] == 24
    kvs.update_stream(StreamName="door", CurrentVersion=info["Version"], MediaType="video/h265")
    kvs.tag_stream(StreamName="door", Tags={"b": "2"})
    kvs.untag_stream(StreamARN=arn, TagKeyList=["a"])
    assert kvs.list_tags_for_stream(StreamName="door")["Tags"] == {"b": "2"}
    address = kvs.get_data_endpoint(StreamName="door", APIName="PUT_MEDIA")["DataEndpoint"]
    assert address == endpoint.url
    kvs.delete_stream(StreamARN=arn)
    with pytest.raises(kvs.exceptions.ResourceNotFoundException) as caught:
        kvs.describe_stream(StreamName="door")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert caught.value.response["Error"]["Message"] == (
        "The requested stream is not found or not active."
    )


def test_list_streams_paginator_of_boto3(endpoint: LocalEndpoint, aws: Client) -> None:
    kvs = aws(endpoint, "kinesisvideo")
    names = [f"cam-{n:02d}" for n in range(7)]
    for name in [*names, "other"]:
        kvs.create_stream(StreamName=name)
    pages = kvs.get_paginator("list_streams").paginate(
        StreamNameCondition={"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "cam-"},
        PaginationConfig={"PageSize": 3},
    )
    found = [[info["StreamName"] for info in page["StreamInfoList"]] for page in pages]
    assert found == [names[:3], names[3:6], names[6:]]


@pytest.mark.parametrize(
    ("operation", "arguments", "name"),
    [
        ("create_stream", {"StreamName": "door"}, "ResourceInUseException"),
        ("describe_stream", {"StreamName": "none"}, "ResourceNotFoundException"),
        ("describe_stream", {}, "InvalidArgumentException"),
        (
            "update_stream",
            {"StreamName": "door", "CurrentVersion": "old"},
            "VersionMismatchException",
        ),
    ],
)
def test_boto3_raises_the_modelled_exceptions(
    endpoint: LocalEndpoint, aws: Client, operation: str, arguments: dict[str, str], name: str
) -> None:
    kvs = aws(endpoint, "kinesisvideo")
    kvs.create_stream(StreamName="door")
    with pytest.raises(getattr(kvs.exceptions, name)):
        getattr(kvs, operation)(**arguments)


def post(endpoint: LocalEndpoint, path: str, body: bytes, **headers: str) -> tuple[int, Any, Any]:
    """Send a plain request. Return status, headers and JSON body."""
    connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"), timeout=10)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())
    finally:
        connection.close()


def test_error_responses(endpoint: LocalEndpoint) -> None:
    status, headers, body = post(endpoint, "/describeStream", b'{"StreamName":"none"}')
    assert status == 404
    assert headers["x-amzn-ErrorType"].split(":")[0] == "ResourceNotFoundException"
    assert len(headers["x-amzn-RequestId"]) == 36
    assert headers["Content-Type"].startswith("application/json")
    assert list(body) == ["Message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"a":' * 50_000])
def test_bodies_that_are_not_json_objects(endpoint: LocalEndpoint, body: bytes) -> None:
    status, headers, _ = post(endpoint, "/describeStream", body)
    assert (status, headers["x-amzn-ErrorType"].split(":")[0]) == (400, "SerializationException")


def test_unknown_operation(endpoint: LocalEndpoint) -> None:
    status, headers, body = post(endpoint, "/createSignalingChannel", b"{}")
    assert (status, headers["x-amzn-ErrorType"].split(":")[0]) == (404, "UnknownOperationException")
    text = "AWS has this operation, CreateSignalingChannel; kvs serve does not."
    assert body == {"Message": text}
    assert "is not an operation of Kinesis" in post(endpoint, "/other", b"{}")[2]["Message"]
    connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"), timeout=10)
    connection.request("GET", "/describeStream")
    assert connection.getresponse().status == 404
    connection.close()


def test_data_endpoint_is_the_address_that_the_client_used(
    endpoint: LocalEndpoint, aws: Client
) -> None:
    """AWS's C clients send Host without the port."""
    aws(endpoint, "kinesisvideo").create_stream(StreamName="door")
    port = endpoint.url.rpartition(":")[2]
    request = b'{"StreamName":"door","APIName":"PUT_MEDIA"}'
    for host, address in (
        ("127.0.0.1", f"http://127.0.0.1:{port}"),
        ("kvs.test:8080", "http://kvs.test:8080"),
        ("[::1]", f"http://[::1]:{port}"),
        ("[::1]:81", "http://[::1]:81"),
    ):
        _, _, answer = post(endpoint, "/getDataEndpoint", request, Host=host)
        assert answer == {"DataEndpoint": address}


# --- PutMedia ----------------------------------------------------------------------------------
@pytest.fixture
def door(endpoint: LocalEndpoint, aws: Client) -> LocalEndpoint:
    """Return an endpoint with a stream "door" with retention."""
    aws(endpoint, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
    return endpoint


def test_headers_are_sent_before_the_body_and_acks_during_it(
    door: LocalEndpoint, put_media: Client, media: Any
) -> None:
    upload = put_media(door, "door")
    head = upload.head()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Transfer-Encoding: chunked" in head
    upload.send(media.header() + media.cluster(1000))
    assert upload.ack()["EventType"] == "BUFFERING"
    upload.send(media.end_of_fragment())
    assert upload.ack()["EventType"] == "RECEIVED"
    assert upload.ack()["EventType"] == "PERSISTED"
    upload.end()
    assert upload.ack() is None


def test_expect_100_continue_is_answered(
    door: LocalEndpoint, put_media: Client, media: Any
) -> None:
    upload = put_media(door, "door", Expect="100-continue")
    assert upload.head() == b"HTTP/1.1 100 Continue"
    assert upload.head().startswith(b"HTTP/1.1 200 OK")


def test_stored_media_can_be_read_at_any_split(
    door: LocalEndpoint, put_media: Client, media: Any, aws: Client
) -> None:
    dice = random.Random(7)
    frames = [dice.randbytes(5000) for _ in range(3)]
    data = b"".join(
        (
            media.header(),
            media.tags([("door", "open")]),
            *(media.cluster(1000 * n, [media.block(0, frames[n - 1])]) for n in (1, 2, 3)),
            media.end_of_fragment(),
        )
    )
    places = sorted({0, len(data), *(dice.randrange(len(data)) for _ in range(40))})
    acks = put(put_media, door, "door", *(data[a:b] for a, b in itertools.pairwise(places)))
    assert sorted(kinds(acks)) == sorted(
        (kind, 1000 * n) for n in (1, 2, 3) for kind in ("BUFFERING", "RECEIVED", "PERSISTED")
    )
    found = read(aws, door, "door")
    assert [segment["timecode"] for segment in found] == [1000, 2000, 3000]
    assert [segment["frames"] for segment in found] == [[frame] for frame in frames]
    assert found[0]["door"] == "open"
    assert "door" not in found[1]
    numbers = {ack["FragmentNumber"] for ack in acks}
    assert [segment["AWS_KINESISVIDEO_FRAGMENT_NUMBER"] for segment in found] == sorted(numbers)


def test_error_ends_the_response(door: LocalEndpoint, put_media: Client, media: Any) -> None:
    """The client gets the error although it has not ended its body."""
    upload = put_media(door, "door")
    upload.send(media.header() + media.cluster(2000) + media.cluster(1000))
    upload.head()
    assert kinds(upload.acks())[-1] == ("ERROR", 4004)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x_amzn_stream_name": "none"}, 404),
        ({"x_amzn_stream_name": "not a name"}, 400),
        ({"x_amzn_fragment_timecode_type": "NONE"}, 400),
        ({"x_amzn_producer_start_timestamp": "soon"}, 400),
        ({"x_amzn_stream_arn": "arn:aws:kinesisvideo:us-west-2:1:stream/door/1"}, 400),
    ],
)
def test_refusals_before_the_body(
    door: LocalEndpoint, put_media: Client, headers: dict[str, str], status: int
) -> None:
    upload = put_media(door, headers.pop("x_amzn_stream_name", "door"), **headers)
    assert upload.head().startswith(b"HTTP/1.1 %d " % status)


def test_streams_without_retention_can_be_watched(
    endpoint: LocalEndpoint, put_media: Client, media: Any, aws: Client
) -> None:
    aws(endpoint, "kinesisvideo").create_stream(StreamName="door")
    acks = put(put_media, endpoint, "door", media.header(), media.cluster(1000))
    assert kinds(acks) == [("BUFFERING", 1000), ("RECEIVED", 1000)]
    assert [segment["timecode"] for segment in read(aws, endpoint, "door")] == [1000]


def test_several_streams_at_once(
    endpoint: LocalEndpoint, put_media: Client, media: Any, aws: Client
) -> None:
    kvs = aws(endpoint, "kinesisvideo")
    names = [f"cam-{n}" for n in range(6)]
    for name in names:
        kvs.create_stream(StreamName=name, DataRetentionInHours=1)
    uploads = {name: put_media(endpoint, name) for name in names}
    for step in range(1, 6):
        for name, upload in uploads.items():
            block = media.block(0, f"{name} {step}".encode())
            upload.send((media.header() if step == 1 else b"") + media.cluster(step, [block]))
    for upload in uploads.values():
        upload.end()
        upload.head()
        assert len(upload.acks()) == 15
    archive = aws(endpoint, "kinesis-video-archived-media")
    for name in names:
        numbers = [
            item["FragmentNumber"] for item in archive.list_fragments(StreamName=name)["Fragments"]
        ]
        payload = archive.get_media_for_fragment_list(StreamName=name, Fragments=numbers)["Payload"]
        frames = [segment["frames"] for segment in segments(payload.read())]
        assert frames == [[f"{name} {step}".encode()] for step in range(1, 6)]


def test_two_uploads_of_one_stream_overlap_when_a_client_rotates(
    door: LocalEndpoint, put_media: Client, media: Any, aws: Client
) -> None:
    old, new = put_media(door, "door"), put_media(door, "door")
    old.send(media.header() + media.cluster(1000))
    new.send(media.header() + media.cluster(2000))
    for upload in (old, new):
        upload.end()
        upload.head()
        assert [kind for kind, _ in kinds(upload.acks())] == ["BUFFERING", "RECEIVED", "PERSISTED"]
    found = aws(door, "kinesis-video-archived-media").list_fragments(StreamName="door")
    assert len({item["FragmentNumber"] for item in found["Fragments"]}) == 2


def test_vanished_client_loses_only_its_open_fragment(
    door: LocalEndpoint, put_media: Client, media: Any, aws: Client
) -> None:
    upload = put_media(door, "door")
    upload.send(media.header() + media.cluster(1000) + media.cluster(2000))
    upload.head()
    while upload.ack()["EventType"] != "PERSISTED":
        pass
    upload.close()
    assert [segment["timecode"] for segment in read(aws, door, "door")] == [1000]
    assert kinds(put(put_media, door, "door", media.header(), media.cluster(1000)))[-1] == (
        "PERSISTED",
        1000,
    )


def test_deleting_a_stream_ends_its_uploads(
    door: LocalEndpoint, put_media: Client, media: Any, aws: Client
) -> None:
    kvs = aws(door, "kinesisvideo")
    upload = put_media(door, "door")
    upload.send(media.header() + media.cluster(1000))
    upload.head()
    assert upload.ack()["EventType"] == "BUFFERING"
    kvs.delete_stream(StreamARN=kvs.describe_stream(StreamName="door")["StreamInfo"]["StreamARN"])
    assert kinds(upload.acks()) == [("ERROR", 4008)]


class SteppedUpload(Upload):
    """An upload for which no time passes but what it sets timers for: they fire at once."""

    fired: ClassVar[list[float]] = []  # s since its begin, one for each timer

    def __init__(self, session: PutMediaSession, *args: Any, **more: Any) -> None:
        first = session.next_timer()
        assert first is not None
        self._began = self._ticks = first - TICKS_PER_SECOND // 5  # the first is an idle ack
        super().__init__(session, *args, **{**more, "now": lambda: self._ticks})
        self._loop = cast("asyncio.AbstractEventLoop", self)  # it calls `call_later` only

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.Handle:
        """Step to the time of the timer, and call back."""

        def fire() -> None:
            self._ticks += round(delay_s * TICKS_PER_SECOND)
            self.fired.append(round((self._ticks - self._began) / TICKS_PER_SECOND, 1))
            callback()

        return asyncio.get_running_loop().call_soon(fire)


def test_idle_upload_gets_idle_acks_and_ends(
    put_media: Client, media: Any, aws: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timers are set for the right times; in real time a busy machine would miss some."""
    monkeypatch.setattr("kvsproducer.endpoint.server.Upload", SteppedUpload)
    monkeypatch.setattr(SteppedUpload, "fired", [])
    bounds = EndpointLimits(idle_timeout=0.5, idle_ack_interval=0.2)
    with local_endpoint(limits=bounds) as endpoint:
        aws(endpoint, "kinesisvideo").create_stream(StreamName="door")
        upload = put_media(endpoint, "door")
        upload.head()
        assert [ack["EventType"] for ack in upload.acks()] == ["IDLE", "IDLE"]
    assert SteppedUpload.fired == [0.2, 0.4, 0.5]


class FullDisk(FilePayloads):
    """A disk that is full until `full` is cleared."""

    full = True

    def append(self, arn: str, fragment: Fragment) -> Location:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().append(arn, fragment)


def test_full_disk_is_an_error_ack_and_the_server_continues(
    tmp_path: Path, put_media: Client, media: Any, aws: Client, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FullDisk(tmp_path)
    store = Store(Index(tmp_path / "index.sqlite3"), disk)
    with local_endpoint(store=store, limits=QUICK) as endpoint:
        aws(endpoint, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
        data = (media.header(), media.cluster(1000), media.cluster(3000))
        acks = put(put_media, endpoint, "door", *data)
        assert kinds(acks)[-1] == ("ERROR", 5001)
        assert acks[-1]["FragmentTimecode"] == 1000
        assert "PERSISTED" not in {ack["EventType"] for ack in acks}
        assert "No space left on device" in caplog.text
        disk.full = False
        acks = put(put_media, endpoint, "door", *data)
        assert [kind for kind, _ in kinds(acks)].count("PERSISTED") == 2
        assert [segment["timecode"] for segment in read(aws, endpoint, "door")] == [1000, 3000]


def test_fragment_damaged_on_the_disk(
    tmp_path: Path, put_media: Client, media: Any, aws: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """GetMedia skips it and logs an error. A request for its number gets an error."""
    with local_endpoint(tmp_path, limits=QUICK) as endpoint:
        aws(endpoint, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
        put(put_media, endpoint, "door", media.header(), *map(media.cluster, (1000, 2000, 3000)))
        (path,) = (tmp_path / "fragments").glob("*.mkvs")
        data = path.read_bytes()
        assert data.count(b"key 2000") == 1
        path.write_bytes(data.replace(b"key 2000", b"KEY 2000"))
        assert [segment["timecode"] for segment in read(aws, endpoint, "door")] == [1000, 3000]
        assert "GetMedia skips the damaged fragment" in caplog.text
        archive = aws(endpoint, "kinesis-video-archived-media")
        numbers = [
            f["FragmentNumber"] for f in archive.list_fragments(StreamName="door")["Fragments"]
        ]
        got = archive.get_media_for_fragment_list(StreamName="door", Fragments=sorted(numbers))
        payload = got["Payload"].read()
        assert b"key 1000" in payload
        assert b"KEY 2000" not in payload
        assert b"AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE" in payload


def test_unreadable_index_is_an_internal_failure(
    endpoint: LocalEndpoint, aws: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws(endpoint, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "the index cannot be read: disk I/O error")

    monkeypatch.setattr(Index, "page", fail)
    status, headers, _ = post(endpoint, "/listFragments", b'{"StreamName":"door"}')
    assert (status, headers["x-amzn-ErrorType"].split(":")[0]) == (500, "InternalFailure")


# --- GetMedia ----------------------------------------------------------------------------------
def test_get_media_follows_a_live_stream(
    door: LocalEndpoint, put_media: Client, media: Any, aws: Client
) -> None:
    """A reader gets each fragment when it is stored, and the end after the last upload."""
    upload = put_media(door, "door")
    upload.send(media.header() + media.cluster(1000) + media.end_of_fragment())
    upload.head()
    while upload.ack()["EventType"] != "PERSISTED":
        pass
    found: list[Any] = []
    reader = threading.Thread(
        target=lambda: found.extend(read(aws, door, "door", StartSelectorType="EARLIEST"))
    )
    reader.start()
    for n in (2, 3):
        time.sleep(0.3)  # longer than GetMedia waits without an upload
        upload.send(media.cluster(1000 * n) + media.end_of_fragment())
        while upload.ack()["EventType"] != "PERSISTED":
            pass
    upload.end()
    upload.acks()
    reader.join(20)
    times = [segment["timecode"] for segment in found]
    assert times == [1000, 2000, 3000]
    token = found[-2]["AWS_KINESISVIDEO_CONTINUATION_TOKEN"]
    assert token == found[-2]["AWS_KINESISVIDEO_FRAGMENT_NUMBER"]
    again = read(aws, door, "door", StartSelectorType="CONTINUATION_TOKEN", ContinuationToken=token)
    assert [segment["timecode"] for segment in again] == [3000]


def test_get_media_of_an_empty_stream_ends_after_three_seconds(aws: Client) -> None:
    with local_endpoint() as endpoint:
        aws(endpoint, "kinesisvideo").create_stream(StreamName="door")
        began = time.monotonic()
        assert read(aws, endpoint, "door", StartSelectorType="NOW") == []
        assert 2.9 < time.monotonic() - began < 10


def test_get_media_and_the_archive_refuse(door: LocalEndpoint, aws: Client) -> None:
    client = aws(door, "kinesis-video-media")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_media(StreamName="none", StartSelector={"StartSelectorType": "NOW"})
    with pytest.raises(client.exceptions.InvalidArgumentException):
        client.get_media(StreamName="door", StartSelector={"StartSelectorType": "FRAGMENT_NUMBER"})
    archive = aws(door, "kinesis-video-archived-media")
    with pytest.raises(archive.exceptions.ResourceNotFoundException):
        archive.list_fragments(StreamName="none")
    with pytest.raises(archive.exceptions.ResourceNotFoundException):
        archive.get_media_for_fragment_list(StreamName="door", Fragments=["1"])


# --- signatures --------------------------------------------------------------------------------
def test_signatures_are_checked_if_configured(put_media: Client, media: Any, aws: Client) -> None:
    known = {ACCESS_KEY: Credentials(SECRET_KEY)}
    with local_endpoint(verify_signatures=known, limits=QUICK) as endpoint:
        aws(endpoint, "kinesisvideo").create_stream(StreamName="door")
        read(aws, endpoint, "door", StartSelectorType="NOW")
        stranger = aws(endpoint, "kinesisvideo", secret_key="wrong")
        with pytest.raises(ClientError) as caught:
            stranger.describe_stream(StreamName="door")
        assert caught.value.response["Error"]["Code"] == "InvalidSignatureException"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        upload = put_media(endpoint, "door")
        assert upload.head().startswith(b"HTTP/1.1 403 ")
        status, headers, body = post(endpoint, "/listStreams", b"{}")
        assert (status, list(body)) == (403, ["message"])
        assert headers["x-amzn-ErrorType"].startswith("MissingAuthenticationTokenException")


def test_control_operation_on_a_failing_store_is_an_internal_failure(
    aws: Client, endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream does not exist afterwards."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    kvs = aws(endpoint, "kinesisvideo")
    monkeypatch.setattr(Index, "save_stream", refuse)
    with pytest.raises(ClientError) as caught:
        kvs.create_stream(StreamName="door")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert "No space left" in caught.value.response["Error"]["Message"]
    monkeypatch.undo()
    assert kvs.list_streams()["StreamInfoList"] == []
    kvs.create_stream(StreamName="door")
