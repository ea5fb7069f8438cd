"""A bad link between producer and service: cut, stalled, half-closed, wrong responses."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import kvsproducer as kvs
from kvsproducer.producer.continuous_retry import WATCHES

PUT_MEDIA = "/putMedia"
CALLS = ("/describeStream", "/createStream", "/getDataEndpoint")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"


def answer(status: int, name: str = "", body: bytes = b"{}") -> bytes:
    """A whole HTTP answer of the service, or of something before it."""
    kind = f"x-amzn-ErrorType: {name}\r\n" if name else ""
    head = f"HTTP/1.1 {status} Status\r\n{kind}Content-Length: {len(body)}\r\nConnection: close\r\n"
    return head.encode() + b"\r\n" + body


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("kind", [kvs.StreamingType.OFFLINE, kvs.StreamingType.REALTIME])
def test_connections_cut_at_random(
    kind: kvs.StreamingType, endpoint_url: str, proxy: Callable[[str], Any], kit: Any
) -> None:
    """A seeded number of bytes after each connect the link is reset, 20 times and more."""
    link, dice, media = proxy(endpoint_url), random.Random(f"cuts {kind}"), kit.Media(size=4000)
    with kvs.Producer(endpoint_url=link.url) as producer:
        stream = producer.open_stream("door", kit.info(streaming_type=kind))
        stream.wait_ready()
        link.cut_at = lambda: dice.randrange(30_000, 120_000) if link.cuts < 25 else None
        while link.cuts < 20:
            stream.put_frame(media.frame())
            time.sleep(0.004)
        link.cut_at = lambda: None
        account = stream.close(timeout=60)
    assert account == kvs.FrameAccount(len(media.put), len(media.put), 0, 0, 0)
    kit.assert_stored(endpoint_url, "door", media.put)


def test_stall_ends(endpoint_url: str, proxy: Callable[[str], Any], kit: Any) -> None:
    """Nothing moves for a while, nothing is closed; then it goes on with nothing lost."""
    link, media = proxy(endpoint_url), kit.Media()
    with kvs.Producer(endpoint_url=link.url) as producer:
        with producer.open_stream("door", kit.info()) as stream:
            for frame in media.frames(20):
                stream.put_frame(frame)
            kit.until(lambda: stream.account().persisted)
            link.stall()
            for frame in media.frames(100):
                stream.put_frame(frame)
            time.sleep(0.3)
            assert stream.account().held >= 100
            link.flow()
    assert stream.account().persisted == 120
    kit.assert_stored(endpoint_url, "door", media.put)


def test_answer_that_ends_too_soon(
    endpoint_url: str, proxy: Callable[[str], Any], kit: Any
) -> None:
    """The answer of PutMedia ends without its last chunk while media is still sent."""
    link, media = proxy(endpoint_url), kit.Media()
    with kvs.Producer(endpoint_url=link.url) as producer:
        with producer.open_stream("door", kit.info()) as stream:
            for frame in media.frames(20):
                stream.put_frame(frame)
            kit.until(lambda: stream.account().persisted)
            link.half_close()
            for frame in media.frames(20):
                stream.put_frame(frame)
    assert stream.account().persisted == 40
    kit.assert_stored(endpoint_url, "door", media.put)


FAULTS = {
    "500": answer(500, "InternalFailure"),
    "503": answer(503, "ServiceUnavailable"),
    "504": answer(504),
    "400": answer(400, "ClientLimitExceededException", b'{"Message":"slow down"}'),
    "403": answer(403, "ExpiredTokenException", b'{"Message":"the token is old"}'),
    "html": answer(502, "", b"<html>Bad Gateway</html>"),
    "garbage": b"\x00\xff\x00\xff\r\n\r\n",
    "closed": None,
    "no acks": CHUNKED + b"0\r\n\r\n",
    "cut": CHUNKED + b"10\r\n{",
    "no ack": CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    "empty 200": answer(200, "", b""),
}


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("fault", FAULTS)
def test_put_media_answered_wrongly(
    fault: str, endpoint_url: str, proxy: Callable[[str], Any], kit: Any
) -> None:
    """Three bad answers to PutMedia, then good ones: everything is stored."""
    link, media = proxy(endpoint_url), kit.Media()
    link.answers[PUT_MEDIA] = [FAULTS[fault]] * 3
    with kvs.Producer(endpoint_url=link.url) as producer:
        stream = producer.open_stream("door", kit.info())
        for frame in media.frames(30):
            stream.put_frame(frame)
        account = stream.close(timeout=30)
    assert account == kvs.FrameAccount(30, 30, 0, 0, 0)
    assert link.requests.count(PUT_MEDIA) == 4
    kit.assert_stored(endpoint_url, "door", media.put)


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("fault", ["500", "503", "504", "403", "html", "garbage", "closed"])
def test_calls_answered_wrongly(
    fault: str, endpoint_url: str, proxy: Callable[[str], Any], kit: Any
) -> None:
    """Two bad answers to every control-plane call, then good ones: everything is stored."""
    link, media = proxy(endpoint_url), kit.Media()
    link.answers = {path: [FAULTS[fault]] * 2 for path in CALLS}
    with kvs.Producer(endpoint_url=link.url) as producer:
        with producer.open_stream("door", kit.info()) as stream:
            for frame in media.frames(10):
                stream.put_frame(frame)
            stream.wait_ready(30)
    assert stream.account() == kvs.FrameAccount(10, 10, 0, 0, 0)
    kit.assert_stored(endpoint_url, "door", media.put)


def test_put_media_is_retried_with_pauses(
    endpoint_url: str, proxy: Callable[[str], Any], kit: Any
) -> None:
    """If the endpoint always times out, the pauses grow."""
    link, media = proxy(endpoint_url), kit.Media()
    link.answers[PUT_MEDIA] = [FAULTS["504"]] * 10_000
    with kvs.Producer(endpoint_url=link.url) as producer:
        stream = producer.open_stream("door", kit.info())
        for frame in media.frames(10):
            stream.put_frame(frame)
        kit.until(lambda: link.requests.count(PUT_MEDIA))
        time.sleep(2)
        assert link.requests.count(PUT_MEDIA) <= 6
        link.answers.clear()
        assert stream.close(timeout=30).persisted == 10


@pytest.mark.parametrize(
    ("seconds", "every"),
    [(6, 0.5), pytest.param(30, 1.0, marks=[pytest.mark.soak, pytest.mark.timeout(300)])],
)
def test_eight_threads_over_a_link_that_is_cut_all_the_time(
    seconds: float,
    every: float,
    endpoint_url: str,
    proxy: Callable[[str], Any],
    kit: Any,
    our_threads: Callable[[], list[str]],
    sockets: Callable[[], int],
) -> None:
    """Cut every second for half a minute: no frame is lost, no thread or socket stays open."""
    link = proxy(endpoint_url)
    medias = [kit.Media(size=3000) for _ in range(8)]
    ended = time.monotonic() + seconds
    before = sockets()

    def produce(stream: kvs.Stream, media: Any) -> None:
        while time.monotonic() < ended:
            stream.put_frame(media.frame())
            time.sleep(0.01)

    with kvs.Producer(endpoint_url=link.url) as producer:
        streams = [producer.open_stream(f"camera-{n}", kit.info()) for n in range(8)]
        threads = [
            threading.Thread(target=produce, args=pair)
            for pair in zip(streams, medias, strict=True)
        ]
        for thread in threads:
            thread.start()
        while time.monotonic() < ended:
            time.sleep(every)
            link.cut()
        for thread in threads:
            thread.join()
        accounts = producer.close(timeout=60)
    for stream, media in zip(streams, medias, strict=True):
        count = len(media.put)
        assert accounts[stream.name] == kvs.FrameAccount(count, count, 0, 0, 0)
        kit.assert_stored(endpoint_url, stream.name, media.put)
    assert our_threads() == []
    link.cut()
    kit.until(lambda: sockets() <= before + 1, 5)  # asyncio's child watcher may open one


def test_answer_to_create_stream_is_lost(
    endpoint_url: str, proxy: Callable[[str], Any], kit: Any
) -> None:
    """The stream was created but the answer is lost; "it exists" is not a failure."""
    link, media = proxy(endpoint_url), kit.Media()
    kit.client("kinesisvideo", endpoint_url).create_stream(
        StreamName="door", DataRetentionInHours=1
    )
    link.answers["/describeStream"] = [answer(404, "ResourceNotFoundException")]
    with kvs.Producer(endpoint_url=link.url) as producer:
        with producer.open_stream("door", kit.info()) as stream:
            for frame in media.frames(10):
                stream.put_frame(frame)
    assert stream.account().persisted == 10


def test_a_dead_connection_is_noticed_and_replaced(
    endpoint_url: str,
    proxy: Callable[[str], Any],
    kit: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No byte moves and no socket is closed; a new connection comes before the upload's limit."""
    rule = replace(WATCHES[kvs.ConnectionStale], patience=5_000_000)
    monkeypatch.setitem(WATCHES, kvs.ConnectionStale, rule)
    link, media = proxy(endpoint_url), kit.Media(size=20_000)
    with kvs.Producer(endpoint_url=link.url) as producer:
        with producer.open_stream("door", kit.info(connection_staleness_duration="PT1S")) as stream:
            for frame in media.frames(20):
                stream.put_frame(frame)
            kit.until(lambda: stream.account().persisted)
            link.stall()
            while not caplog.messages or "is reset" not in caplog.messages[-1]:
                stream.put_frame(media.frame())
                time.sleep(0.01)
            link.cut()
            link.flow()
    assert stream.account() == kvs.FrameAccount(len(media.put), len(media.put), 0, 0, 0)
    kit.assert_stored(endpoint_url, "door", media.put)
