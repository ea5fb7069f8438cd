"""Reading: GetMedia's bytes in any split give complete fragments; failures have statuses."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from tests.endpoints import QUICK
from tests.peers import Server

import kvsproducer as kvs
from kvsproducer import aio, wire
from kvsproducer.endpoint import local_endpoint
from kvsproducer.mkv import elements as el
from kvsproducer.mkv.ebml import element, id_bytes
from kvsproducer.mkv.header import EBML_HEADER
from kvsproducer.reader import Assembler, start_selector

START = 17_000_000_000_000_000
SECOND = 10_000_000


@pytest.fixture
def filled_url() -> Iterator[str]:
    """Return the URL of an endpoint with four fragments of five frames in `door`."""
    with local_endpoint(limits=QUICK) as endpoint:
        info = kvs.StreamInfo.video("h264", retention="PT1H", nal_adaptation=kvs.NalAdaptation.NONE)
        with kvs.Producer(endpoint_url=endpoint.url) as producer:
            with producer.open_stream("door", info) as stream:
                for number in range(20):
                    if number == 10:
                        stream.put_fragment_metadata("door", "open")
                    stream.put_frame(
                        kvs.Frame(
                            b"frame %d" % number,
                            START + number * SECOND // 5,
                            duration=SECOND // 5,
                            key_frame=number % 5 == 0,
                        )
                    )
        yield endpoint.url


def payloads(fragments: Any) -> list[bytes]:
    return [bytes(frame.data) for fragment in fragments for frame in fragment.frames]


def test_fragments_are_complete(filled_url: str) -> None:
    """They have ascending numbers, the producer's times, its metadata and the raw bytes."""
    fragments = list(kvs.get_media("door", endpoint_url=filled_url))
    assert payloads(fragments) == [b"frame %d" % number for number in range(20)]
    assert [fragment.producer_timestamp for fragment in fragments] == [
        START + number * SECOND for number in range(4)
    ]
    numbers = [fragment.number for fragment in fragments]
    assert numbers == sorted(set(numbers))
    assert [fragment.tags for fragment in fragments] == [[], [], [("door", "open")], []]
    assert fragments[0].frames[1].timestamp == START + SECOND // 5
    assert [frame.key_frame for frame in fragments[0].frames] == [True] + 4 * [False]
    assert fragments[0].tracks[0].codec_id == "V_MPEG4/ISO/AVC"


def test_any_split_gives_the_same(filled_url: str) -> None:
    """Single bytes give the same fragments as the whole."""
    media = boto3.client("kinesis-video-media", endpoint_url=filled_url)
    answer = media.get_media(StreamName="door", StartSelector={"StartSelectorType": "EARLIEST"})[
        "Payload"
    ].read()
    whole = Assembler()
    expected = [*whole.receive_data(answer), *whole.receive_eof()]
    slow, found = Assembler(), []
    for index in range(len(answer)):
        found += slow.receive_data(answer[index : index + 1])
    found += slow.receive_eof()
    assert payloads(found) == payloads(expected)
    assert b"".join(fragment.raw for fragment in found) == answer


def test_duration_of_a_block_is_read() -> None:
    """It is in ticks; a SimpleBlock has none."""
    grouped = element(el.BLOCK, b"\x81\0\x28\0two") + element(el.BLOCK_DURATION, b"\x21")
    cluster = element(el.TIMECODE, b"\x05") + element(el.SIMPLE_BLOCK, b"\x81\0\0\x80one")
    track = element(el.TRACK_NUMBER, b"\1") + element(el.TRACK_TYPE, b"\1")
    segment = (
        element(el.INFO, element(el.TIMECODE_SCALE, b"\x0f\x42\x40"))
        + element(el.TRACKS, element(el.TRACK_ENTRY, track))
        + element(el.CLUSTER, cluster + element(el.BLOCK_GROUP, grouped))
    )
    assembler = Assembler()
    found = [
        *assembler.receive_data(element(el.EBML, b"") + element(el.SEGMENT, segment)),
        *assembler.receive_eof(),
    ]
    assert [frame.duration for one in found for frame in one.frames] == [None, 330_000]


def test_start_points(filled_url: str) -> None:
    """A time, and the number of the fragment before."""
    instant = datetime.fromtimestamp((START + 2 * SECOND) / SECOND, UTC)
    assert payloads(kvs.get_media("door", start=instant, endpoint_url=filled_url))[0] == b"frame 10"
    first = next(kvs.get_media("door", endpoint_url=filled_url))
    following = kvs.get_media("door", start=first.number, endpoint_url=filled_url)
    assert payloads(following)[0] == b"frame 5"


@pytest.mark.parametrize("start", ["yesterday", "-5"])
def test_invalid_start_is_refused(start: str) -> None:
    """The error comes before a request is sent."""
    with pytest.raises(ValueError, match=start) as caught:
        start_selector(start)
    assert isinstance(caught.value, kvs.KvsError)


def test_list_fragments(filled_url: str) -> None:
    """All fragments are listed, oldest first, with their times."""
    found = kvs.list_fragments("door", endpoint_url=filled_url)
    assert [one.producer_timestamp for one in found] == [START + n * SECOND for n in range(4)]
    assert all(one.size > 50 and one.duration > 0 for one in found)


def test_failures_have_their_status(endpoint_url: str) -> None:
    """A stream that does not exist, and a refused connection."""
    with pytest.raises(LookupError):
        next(kvs.get_media("nowhere", endpoint_url=endpoint_url))
    with pytest.raises(LookupError):
        kvs.list_fragments("nowhere", endpoint_url=endpoint_url)
    with pytest.raises(kvs.KvsError) as caught:
        next(kvs.get_media("door", endpoint_url="http://127.0.0.1:9"))
    assert "127.0.0.1:9" in str(caught.value)


def test_no_credentials(endpoint_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is that of the refusal, not of an unknown failure."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(PermissionError) as caught:
        next(kvs.get_media("door", endpoint_url=endpoint_url, region_name="us-west-2"))
    assert isinstance(caught.value, kvs.KvsError)
    assert caught.value.status is kvs.StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR


def test_stopping_to_read_leaves_no_thread(filled_url: str) -> None:
    """The caller breaks out of the loop after the first fragment."""
    for _ in kvs.get_media("door", endpoint_url=filled_url):
        break
    names = {thread.name for thread in threading.enumerate()}
    assert "kvsproducer-loop" not in names


def test_ctrl_c_does_not_wait_for_a_silent_service() -> None:
    """Ctrl-C ends a program at once, although a call has just been made."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    asked: list[socket.socket] = []

    async def read() -> None:
        source = aio.get_media("door", endpoint_url=url)
        waiting = asyncio.ensure_future(anext(source))
        asked.append((await asyncio.to_thread(listener.accept))[0])
        waiting.cancel()

    asyncio.run(read())
    with listener, asked[0] as peer:
        peer.settimeout(30)
        while peer.recv(65_536):
            pass


def test_each_wait_is_logged(filled_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """At INFO the log has what the reader waits for."""
    caplog.set_level("INFO", "kvsproducer.reader")
    assert len(list(kvs.get_media("door", endpoint_url=filled_url))) == 4
    logged = [record.getMessage() for record in caplog.records]
    assert logged == [
        f"stream door: waiting for GetDataEndpoint at {filled_url}",
        f"stream door: waiting for GetMedia at {filled_url}",
        f"stream door: waiting for media at {filled_url}",
        "stream door: the service ended its response",
    ]


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\n"])
def test_reading_from_a_silent_service_times_out(
    says: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service sends no response, or a refusal whose body never comes."""
    monkeypatch.setattr("kvsproducer.reader.reader._ANSWER_LIMIT_S", 0.3)

    class Silent(Server):
        def talk(self, connection: socket.socket) -> None:
            with connection:
                connection.recv(4096)
                connection.sendall(says)
                self.ended.wait(30)

    peer = Silent()
    try:
        with local_endpoint() as endpoint:
            endpoint._application._data_endpoint = peer.url  # type: ignore[union-attr]
            client = boto3.client("kinesisvideo", endpoint_url=endpoint.url)
            client.create_stream(StreamName="door", DataRetentionInHours=1)
            with pytest.raises(kvs.KvsError, match="did not answer GetMedia") as caught:
                next(iter(kvs.get_media("door", endpoint_url=endpoint.url)))
    finally:
        peer.end()
    assert caught.value.status is kvs.StatusCode.SERVICE_CALL_TIMEOUT_ERROR


def document(name: str, value: str, cluster: bytes = b"") -> bytes:
    """Return a fragment of GetMedia with one tag of the service."""
    block = element(el.SIMPLE_BLOCK, b"\x81\0\0\x80data")
    pair = element(el.TAG_NAME, name.encode()) + element(el.TAG_STRING, value.encode())
    tags = element(el.TAGS, element(el.TAG, element(el.SIMPLE_TAG, pair)))
    head = EBML_HEADER + id_bytes(el.SEGMENT) + b"\xff" + tags
    return head + (cluster or element(el.CLUSTER, element(el.TIMECODE, b"\x07") + block))


ODD_NUMBERS = ["\u00b2", "9" * 5000, "-1", "1_0", "1e9", "", " 1", "\u0661"]


@pytest.mark.parametrize("value", ODD_NUMBERS)
def test_invalid_numbers_in_tags_are_ignored(value: str) -> None:
    """They count as missing and raise nothing."""
    for name in (wire.TAG_MILLIS_BEHIND_NOW, wire.TAG_PRODUCER_TIMESTAMP):
        assembler = Assembler()
        (fragment,) = [
            *assembler.receive_data(document(name, value)),
            *assembler.receive_eof(),
        ]
        assert (fragment.millis_behind_now, fragment.producer_timestamp) == (None, 0)
    assembler = Assembler()
    junk = document(wire.TAG_FRAGMENT_NUMBER, "\x1b[2J")
    (fragment,) = [*assembler.receive_data(junk), *assembler.receive_eof()]
    assert fragment.number == ""
    with pytest.raises(kvs.KvsError, match="the service ended GetMedia with error") as ended:
        list(Assembler().receive_data(document(wire.TAG_ERROR_ID, value)))
    assert len(str(ended.value)) < 1000


@pytest.mark.parametrize(
    "piece",
    [
        element(el.SIMPLE_BLOCK, b"\x81\0\0\x80" + bytes(1 << 20)),
        element(el.SIMPLE_BLOCK, b"\x81\0\0\x80") * 4000,
        element(el.TAGS, b"") * 10_000,
    ],
)
def test_size_of_a_fragment_is_limited(piece: bytes) -> None:
    """Large blocks, empty blocks and other elements raise after 64 MiB of memory."""
    assembler = Assembler()
    endless = id_bytes(el.CLUSTER) + b"\xff" + element(el.TIMECODE, b"\x07")
    list(assembler.receive_data(document("a", "b", endless)))
    with pytest.raises(kvs.KvsError, match="over 64 MiB") as refused:
        for _ in range(1000):
            list(assembler.receive_data(piece))
    assert refused.value.status is kvs.StatusCode.ACK_ERR_FRAGMENT_SIZE_REACHED


@pytest.mark.parametrize("name", ["n" * 300, "front door"])
def test_names_that_the_service_refuses(name: Any, filled_url: str) -> None:
    for read in (kvs.list_fragments, lambda *a, **k: next(kvs.get_media(*a, **k))):
        with pytest.raises(kvs.KvsError) as caught:
            read(name, endpoint_url=filled_url)
        assert caught.value.status is kvs.StatusCode.SERVICE_CALL_INVALID_ARG_ERROR


@pytest.mark.parametrize("name", [0, None, b"door", ""])
def test_a_name_of_another_type_is_refused_at_once(name: Any) -> None:
    for read in (kvs.get_media, kvs.list_fragments):
        with pytest.raises(kvs.KvsError, match="stream_name= is") as caught:
            read(name, endpoint_url="http://127.0.0.1:9")
        assert caught.value.status is kvs.StatusCode.INVALID_ARG


@pytest.mark.parametrize(
    ("between", "said"),
    [(1, "is not a pair"), ((1,), "is not a pair"), ((2, 1), "before it begins"),
     (("a", "b"), "'a'")],
)  # fmt: skip
def test_a_span_of_another_shape_is_refused(between: Any, said: str) -> None:
    with pytest.raises(kvs.KvsError, match=said) as caught:
        kvs.list_fragments("door", between=between, endpoint_url="http://127.0.0.1:9")
    assert caught.value.status is kvs.StatusCode.INVALID_ARG
