"""Ctrl-C and SIGTERM for `kvs put`, and closing while other threads still put."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.forks import in_child

import kvsproducer as kvs

S = kvs.StatusCode


@pytest.fixture
def putting(kit: Any, endpoint_url: str) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """putting(url): a live `kvs put` that has stored something already."""
    started: list[subprocess.Popen[str]] = []

    def start(url: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [
                *kit.KVS,
                *("put", "testsrc:duration=300,size=64x48,rate=25,gop=10", "door"),
                *("--mode", "realtime", "--endpoint-url", url, "-q"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        archive = kit.client("kinesis-video-archived-media", endpoint_url)

        def stored() -> bool:
            assert process.poll() is None, process.communicate()
            try:
                return len(archive.list_fragments(StreamName="door")["Fragments"]) >= 2
            except ClientError:  # there is no such stream yet
                return False

        kit.until(stored, 30)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stores_what_was_put(
    number: int, putting: Callable[[str], Any], endpoint_url: str
) -> None:
    """All frames are stored and reported; the exit code is that of the signal."""
    process = putting(endpoint_url)
    process.send_signal(number)
    began = time.monotonic()
    _, told = process.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert process.returncode == (130 if number == signal.SIGINT else 143), told
    assert "Traceback" not in told
    words = told.split()
    assert "interrupted:" in words or "terminated:" in words
    stored, of = int(words[1]), int(words[3])
    assert stored == of > 20


def test_interrupt_without_a_service(
    putting: Callable[[str], Any], endpoint_url: str, proxy: Callable[[str], Any]
) -> None:
    """The wait for acks is bounded; it says how many frames had no answer. Twice is at once.

    The second comes late enough to be separate from the first, also on a busy machine. There
    is no third: it could come while the program ends, and cut short what that says.
    """
    link = proxy(endpoint_url)
    process = putting(link.url)
    link.refuse()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):  # it waits, for up to 10 s
        process.wait(3)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, told = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert "stored" in told


def test_closing_while_offline_writers_wait(
    endpoint_url: str, proxy: Callable[[str], Any], kit: Any, our_threads: Callable[[], list[str]]
) -> None:
    """Puts that wait for space raise at once, and the accounts are complete."""
    link = proxy(endpoint_url)
    small = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
    told: list[kvs.KvsError] = []
    producer = kvs.Producer(endpoint_url=link.url, device_info=small)
    stream = producer.open_stream("door", kit.info(streaming_type=kvs.StreamingType.OFFLINE))
    stream.wait_ready()
    link.stall()
    lock, media = threading.Lock(), kit.Media(size=40_000)

    def write() -> None:
        try:
            while True:
                with lock:
                    stream.put_frame(media.frame())
        except kvs.KvsError as error:
            told.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    kit.until(lambda: stream.account().accepted > 5)
    time.sleep(0.3)  # now one of them waits for space
    began = time.monotonic()
    account = producer.close(timeout=1)["door"]
    for thread in threads:
        thread.join(5)
    assert time.monotonic() - began < 5
    assert {error.status for error in told} == {
        S.BLOCKING_PUT_INTERRUPTED_STREAM_TERMINATED,
        S.STREAM_HAS_BEEN_STOPPED,
    }
    assert account.accepted == account.persisted + account.dropped + account.held
    kit.until(lambda: our_threads() == [], 5)


def test_closing_from_two_threads(endpoint_url: str, kit: Any) -> None:
    """Both return the same; another producer of the process is not disturbed."""
    media = kit.Media()
    with kvs.Producer(endpoint_url=endpoint_url) as other:
        beside = other.open_stream("beside", kit.info())
        producer = kvs.Producer(endpoint_url=endpoint_url)
        stream = producer.open_stream("door", kit.info())
        for frame in media.frames(10):
            stream.put_frame(frame)
        results: list[dict[str, kvs.FrameAccount]] = []
        threads = [
            threading.Thread(target=lambda: results.append(producer.close())) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert [result["door"].persisted for result in results] == [10, 10, 10]
        for frame in kit.Media().frames(5):
            beside.put_frame(frame)
    assert beside.account().persisted == 5


def test_producer_in_a_forked_child(endpoint_url: str, kit: Any) -> None:
    """A child of a process that has a producer may make its own."""

    def work() -> int:
        with kvs.Producer(endpoint_url=endpoint_url) as producer:
            with producer.open_stream("child", kit.info()) as stream:
                for frame in kit.Media().frames(5):
                    stream.put_frame(frame)
        return stream.account().persisted

    with kvs.Producer(endpoint_url=endpoint_url):
        assert in_child(work) == 5
