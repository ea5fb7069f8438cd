"""One PutMedia request to servers that behave, stall, or never respond."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.peers import Server
from tests.waiting import until

import kvsproducer as kvs
from kvsproducer import client as core
from kvsproducer.producer.engine import Engine
from kvsproducer.producer.upload import Upload

Frames = Callable[[int], Iterator[kvs.Frame]]


class Peer(Server):
    """A data endpoint on a socket that sends `says` after the head of the request."""

    def __init__(self, says: bytes, *, reads: bool, then: bytes = b"") -> None:
        self.received = b""
        self._says, self._reads, self._then = says, reads, then
        super().__init__()

    def talk(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(0.1)
            self.received += connection.recv(4096)
            connection.sendall(self._says)
            while not self.ended.is_set():
                if not self._reads:
                    time.sleep(0.05)
                    continue
                try:
                    data = connection.recv(65_536)
                except TimeoutError:
                    continue
                except OSError:
                    return
                if not data:
                    return
                self.received += data
                connection.sendall(self._then)
                self._then = b""


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Peer]]:
    """Return a function `peer(says, reads=)` that makes uploads go to such an endpoint."""
    made: list[Peer] = []

    def make(says: bytes, *, reads: bool, then: bytes = b"") -> Peer:
        made.append(Peer(says, reads=reads, then=then))
        monkeypatch.setattr(
            "kvsproducer.producer.upload.Upload._url", lambda _: made[-1].url + "/putMedia"
        )
        return made[-1]

    yield make
    for one in made:
        one.end()


def assert_given_up(endpoint_url: str, info: kvs.StreamInfo, frames: Iterator[kvs.Frame]) -> None:
    """Put frames, and check that a second upload is tried and all frames are held."""
    seen: list[kvs.Event] = []
    producer = kvs.Producer(endpoint_url=endpoint_url, on_event=seen.append)
    try:
        stream = producer.open_stream("door", info)
        for frame in frames:
            stream.put_frame(frame)
        until(
            lambda: sum(isinstance(one, kvs.UploadStarted) for one in seen) >= 2, seen=lambda: seen
        )
        count = stream.account().accepted
        assert stream.account() == kvs.FrameAccount(count, 0, 0, 0, count)
    finally:
        producer.close(timeout=0)
    gc.collect()  # an open socket would cause a warning here


def test_the_head_leaves_at_once_and_media_in_chunks(
    peer: Callable[..., Peer], endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """The request has signed headers, then the media as chunks with complete frames."""
    one = peer(HEAD, reads=True)
    producer = kvs.Producer(endpoint_url=endpoint_url)
    try:
        stream = producer.open_stream("door", info)
        put = list(frames(5))
        for frame in put:
            stream.put_frame(frame)
        until(lambda: put[-1].data in one.received, seen=lambda: one.received)
    finally:
        producer.close(timeout=0)
    head, _, body = one.received.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "post /putmedia http/1.1"
    assert "x-amzn-stream-name: door" in lines
    assert "x-amzn-fragment-timecode-type: absolute" in lines
    assert "x-amzn-fragment-acknowledgment-required: 1" in lines
    assert "transfer-encoding: chunked" in lines
    assert any(
        line.startswith("authorization: aws4-hmac-sha256 credential=akidexample/") for line in lines
    )
    assert any(line.startswith("x-amzn-producer-start-timestamp: ") for line in lines)
    assert bytes.fromhex("1a45dfa3") in body[:20]


def test_the_head_is_what_any_http_peer_understands(
    peer: Callable[..., Peer],
    endpoint_url: str,
    info: kvs.StreamInfo,
    frames: Frames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Host has the port and is signed, milliseconds are padded, there is no Expect header."""
    second = kvs.now() // 10_000_000 * 10_000_000
    monkeypatch.setattr("kvsproducer.producer.engine.now", lambda: second + 370_000)
    one = peer(HEAD, reads=True)
    producer = kvs.Producer(endpoint_url=endpoint_url)
    try:
        stream = producer.open_stream("door", info)
        for frame in frames(1):
            stream.put_frame(frame)
        until(lambda: b"\r\n\r\n" in one.received, seen=lambda: one.received)
    finally:
        producer.close(timeout=0)
    lines = one.received.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    head = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert f"http://{head['host']}" == one.url
    assert "host" in head["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    assert head["x-amzn-producer-start-timestamp"] == f"{second // 10_000_000}.037"
    assert "expect" not in head
    assert head["connection"] == "close"


def test_upload_without_a_response_is_aborted(
    peer: Callable[..., Peer],
    endpoint_url: str,
    info: kvs.StreamInfo,
    frames: Frames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The service reads the data and does not respond; the upload is repeated."""
    monkeypatch.setattr("kvsproducer.producer.upload.STALL_S", 0.2)
    peer(HEAD, reads=True)
    assert_given_up(endpoint_url, info, frames(10))


class Garbling(Peer):
    """A server that sends an ack, and after that was received, an invalid chunk."""

    heard = threading.Event()

    def talk(self, connection: socket.socket) -> None:
        with connection:
            connection.recv(4096)
            connection.sendall(self._says)
            assert self.heard.wait(30)
            with contextlib.suppress(OSError):
                connection.sendall(b"no chunk\r\n")
                while connection.recv(65_536):
                    pass


def test_invalid_http_within_the_acks_is_reported(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp does not report this to the reader of the response."""
    ack = b'{"EventType":"BUFFERING","FragmentTimecode":1,"FragmentNumber":"1"}'
    garbling = Garbling(HEAD + b"%x\r\n%s\r\n" % (len(ack), ack), reads=True)
    upload = "kvsproducer.producer.upload.Upload"
    monkeypatch.setattr(f"{upload}._url", lambda _: garbling.url + "/putMedia")
    quick = dataclasses.replace(info, connection_staleness_duration="PT0.1S")
    seen: list[kvs.Event] = []
    one = kvs.Producer(endpoint_url=endpoint_url, on_event=seen.append)
    try:
        stream = one.open_stream("door", quick)
        for frame in frames(5):
            stream.put_frame(frame)
        until(lambda: any(isinstance(event, kvs.AckRejected) for event in seen))
        monkeypatch.undo()  # the next upload goes to the endpoint
        garbling.heard.set()
        until(lambda: any("not valid HTTP" in getattr(e, "detail", "") for e in seen))
        assert stream.close().persisted == 5
    finally:
        one.close(0)
        garbling.end()


def test_upload_is_aborted_if_acks_stop(
    peer: Callable[..., Peer],
    endpoint_url: str,
    info: kvs.StreamInfo,
    frames: Frames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There was one ack, but frames are held."""
    monkeypatch.setattr("kvsproducer.producer.upload.STALL_S", 0.3)
    peer(HEAD, reads=True, then=b'15\r\n{"EventType":"IDLE"}\n\r\n')
    assert_given_up(endpoint_url, info, frames(10))


def test_upload_is_aborted_if_the_service_reads_nothing(
    peer: Callable[..., Peer],
    endpoint_url: str,
    info: kvs.StreamInfo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also before the service has responded."""
    monkeypatch.setattr("kvsproducer.producer.upload.STALL_S", 0.3)
    peer(b"", reads=False)
    start = kvs.now()
    frames = (
        kvs.Frame(bytes(1_000_000), start + n * 400_000, duration=400_000, key_frame=n % 5 == 0)
        for n in range(20)
    )
    assert_given_up(endpoint_url, info, frames)


def test_many_acks_do_not_block_the_loop(
    peer: Callable[..., Peer],
    endpoint_url: str,
    info: kvs.StreamInfo,
    frames: Frames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All acks are processed, and the loop runs other tasks in between."""
    more = frames(100_000)
    first = next(more)
    one = f'{{"EventType":"BUFFERING","FragmentTimecode":{first.pts // 10_000}}}\n' * 700
    peer(HEAD, reads=True, then=b"%x\r\n%s\r\n" % (len(one), one.encode()))
    taken: list[int] = []  # bytes at a time
    turns: list[int] = []  # how many of them, at each turn of the loop
    receive = Engine.receive_ack

    def watched(engine: Engine, stream: object, upload: int, data: bytes) -> tuple[bool, bool]:
        heard = receive(engine, stream, upload, data)  # type: ignore[arg-type]
        taken.append(len(data))
        engine.loop.call_soon(lambda: turns.append(len(taken)))
        return heard

    monkeypatch.setattr(Engine, "receive_ack", watched)
    seen: list[kvs.Event] = []
    producer = kvs.Producer(endpoint_url=endpoint_url, on_event=seen.append)
    try:
        stream = producer.open_stream("door", info)
        stream.put_frame(first)

        def acked() -> bool:
            stream.put_frame(next(more))  # the peer answers what comes behind the head
            return sum(isinstance(event, kvs.FragmentAcked) for event in seen) == 700

        until(acked)
        until(lambda: len(turns) == len(taken))
    finally:
        producer.close(timeout=0)
    assert sum(taken) == len(one)
    assert max(taken) <= 1024  # some eight acks
    assert turns == list(range(1, len(taken) + 1))


def test_connections_have_no_total_time_limit(endpoint_url: str, info: kvs.StreamInfo) -> None:
    """aiohttp's five minutes do not apply."""
    import aiohttp

    seen: list[aiohttp.ClientTimeout] = []
    original = aiohttp.ClientSession.request

    def request(self: aiohttp.ClientSession, method: str, url: str, **options: object) -> object:
        if url.endswith("/putMedia"):
            seen.append(options["timeout"])  # type: ignore[arg-type]
        return original(self, method, url, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiohttp.ClientSession, "request", request)
        with kvs.Producer(endpoint_url=endpoint_url) as producer:
            with producer.open_stream("door", info) as stream:
                stream.put_frame(kvs.Frame(b"x", kvs.now(), key_frame=True))
    assert [(one.total, one.sock_read) for one in seen] == [(None, None)]


def test_timeout_error_says_what_the_service_has_not_done(
    peer: Callable[..., Peer], endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """This is for a timeout that comes before the upload is aborted."""
    peer(b"", reads=True)
    with pytest.raises(kvs.KvsError) as caught:
        with kvs.Producer(endpoint_url=endpoint_url) as producer:
            stream = producer.open_stream("door", info)
            for frame in frames(5):
                stream.put_frame(frame)
            until(lambda: "has not answered the upload" in stream.last_error)
            assert stream.close(timeout=0).dropped == 5
            assert "has not answered the upload" in stream.last_error
    assert "(5 unconfirmed); the last call: the service has not answered" in caught.value.detail


def test_refusal_with_a_missing_body(
    peer: Callable[..., Peer],
    endpoint_url: str,
    info: kvs.StreamInfo,
    frames: Frames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The HTTP status is received; the announced body never comes."""
    monkeypatch.setattr("kvsproducer.producer.upload._REFUSAL_LIMIT_S", 0.1)
    peer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\n", reads=True)
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        stream = producer.open_stream("door", info)
        for frame in frames(5):
            stream.put_frame(frame)
        until(lambda: "HTTP 404" in stream.last_error, seen=lambda: stream.last_error)
        producer.close(timeout=0)
        producer._engine.ended._accounts.clear()  # what was given up is not this test's


class Portal(Server):
    """A server that responds after the head and closes its side of the connection."""

    def __init__(self, says: bytes) -> None:
        self._says = says
        super().__init__()

    def talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(30)
            head = b""
            while b"\r\n\r\n" not in head and (more := connection.recv(4096)):
                head += more
            connection.sendall(self._says)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):  # what is unread at the end would reset the connection
                pass


def whole(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (whole(b""), "its answer was empty; it acknowledged nothing"),
        (whole(b"{}"), "its answer begins '{}', which is not an ack: a captive portal"),
        (
            whole(b"<html>Please log in"),
            "its answer begins '<html>Please log in', which is not an ack",
        ),
        (whole(b'{"EventType":"IDLE"}'), "IDLE\"}'; it acknowledged nothing"),
        (
            whole(b'{"EventType":"BUFFERING","FragmentTimecode":1,"FragmentNumber":"1"}'),
            "it acknowledged nothing",
        ),
        (whole(b"", "204 No Content"), "HTTP 204"),
        (whole(b"log in", "302 Found"), "HTTP 302 log in"),
        (whole(b"log in", "511 Network Authentication Required"), "HTTP 511 log in"),
        (b"", "the service closed the connection"),
    ],
)
def test_uploads_to_a_captive_portal_have_growing_pauses(
    endpoint_url: str,
    info: kvs.StreamInfo,
    frames: Frames,
    monkeypatch: pytest.MonkeyPatch,
    says: bytes,
    reason: str,
) -> None:
    """Each upload is reported as failed, and the next one waits."""
    monkeypatch.setattr(
        "kvsproducer.producer.upload.Upload._url", lambda _: portal.url + "/putMedia"
    )
    portal, seen = Portal(says), list[kvs.Event]()
    producer = kvs.Producer(endpoint_url=endpoint_url, on_event=seen.append)
    try:
        stream = producer.open_stream("door", info)
        for frame in frames(5):
            stream.put_frame(frame)

        def failures() -> list[kvs.StreamErrorReported]:
            return [one for one in seen if isinstance(one, kvs.StreamErrorReported)]

        began = time.monotonic()
        until(lambda: len(failures()) >= 3, seen=lambda: seen)
        assert time.monotonic() - began > 0.1 + 0.2
        assert reason in failures()[0].detail
        assert stream.account().held == 5
    finally:
        producer.close(timeout=0)
        portal.end()


@pytest.mark.parametrize(
    ("head", "part", "reason"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500, "more than 32 interim answers"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 99, "interim answers"),
        (HEAD, b"1000\r\n" + b"?" * 4096 + b"\r\n", "that acknowledge nothing"),
        (
            HEAD,
            b"1000\r\n"
            + b'{"EventType":"BUFFERING","FragmentTimecode":1}'.ljust(64) * 64
            + b"\r\n",
            "that acknowledge nothing",
        ),
    ],
    ids=["100", "103", "junk", "acks"],
)
def test_endless_response_is_aborted(
    endpoint_url: str,
    info: kvs.StreamInfo,
    frames: Frames,
    monkeypatch: pytest.MonkeyPatch,
    head: bytes,
    part: bytes,
    reason: str,
) -> None:
    """The upload is reported as failed, and the next one waits."""

    class Talking(Server):
        def talk(self, connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                connection.sendall(head)
                while not self.ended.is_set():
                    connection.sendall(part)

    monkeypatch.setattr("kvsproducer.producer.upload.Upload._url", lambda _: peer.url + "/putMedia")
    peer, seen = Talking(), list[kvs.Event]()
    producer = kvs.Producer(endpoint_url=endpoint_url, on_event=seen.append)
    try:
        stream = producer.open_stream("door", info)
        for frame in frames(5):
            stream.put_frame(frame)
        until(
            lambda: any(
                isinstance(one, kvs.StreamErrorReported) and reason in one.detail for one in seen
            ),
            seen=lambda: seen,
        )
    finally:
        producer.close(timeout=0)
        peer.end()


class Trickling(Peer):
    """A server that sends blanks and never an ack."""

    def talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(0.02)
            connection.recv(4096)
            connection.sendall(HEAD)
            while not self.ended.is_set():
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(65_536):
                        return
                connection.sendall(b"1\r\n \r\n")


def test_bytes_without_a_complete_ack_do_not_count(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload is aborted as if the service had sent nothing."""
    monkeypatch.setattr("kvsproducer.producer.upload.STALL_S", 0.3)
    one = Trickling(b"", reads=True)
    monkeypatch.setattr("kvsproducer.producer.upload.Upload._url", lambda _: one.url + "/putMedia")
    try:
        assert_given_up(endpoint_url, info, frames(10))
    finally:
        one.end()


def test_data_that_arrives_during_a_write_is_sent() -> None:
    """The event is cleared before the core is read; otherwise that data would wait."""

    async def work() -> None:
        found = [[b"one"]]
        stream: Any = SimpleNamespace(
            name="door",
            info=SimpleNamespace(connection_staleness_duration=timedelta(0), streaming_type=None),
            next_buffers=lambda *_: (found.pop() if found else [], core.ReadStatus.NO_MORE_DATA),
        )
        engine: Any = SimpleNamespace(
            loop=asyncio.get_running_loop(), lock=contextlib.nullcontext(), now=lambda: 0
        )
        upload = Upload(engine, stream, cast("core.PutStream", SimpleNamespace(acks=0, upload=1)))
        media = upload._body()
        assert await anext(media) == b""
        assert await anext(media) == b"one"
        found.append([b"two"])
        upload.wake()
        assert await asyncio.wait_for(anext(media), 10) == b"two"

    asyncio.run(work())
