"""Prometheus metrics and the health check over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.forks import in_child
from tests.waiting import until

import kvsproducer as kvs
from kvsproducer import StatusCode, aio
from kvsproducer.observe.metrics_server import _Silence

Frames = Callable[[int], Iterator[kvs.Frame]]
NOBODY = "http://127.0.0.1:9"
PATIENT_S = 30


def get(url: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(url, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PATIENT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def figures(server: kvs.MetricsServer) -> dict[tuple[str, str], float]:
    """Return the metrics as (name, values of the labels except the stream) -> value."""
    status, text = get(server.url + "/metrics")
    assert status == 200
    return {
        (sample.name, " ".join(v for k, v in sample.labels.items() if k != "stream")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """They have the counts of frames, in base units."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        with kvs.MetricsServer(producer, 0) as server:
            assert ("kvs_stream_frames_total", "accepted") not in figures(server)
            with producer.open_stream("door", info) as stream:
                for frame in frames(10):
                    stream.put_frame(frame)
                assert stream.flush().held == 0
                found = figures(server)
            assert found["kvs_stream_frames_total", "accepted"] == 10
            assert found["kvs_stream_frames_total", "persisted"] == 10
            assert found["kvs_stream_frames_total", "dropped"] == 0
            assert found["kvs_stream_held_frames", ""] == 0
            assert found["kvs_stream_acks_total", "persisted"] == 2
            assert found["kvs_stream_pressures_total", "latency"] == 0
            assert found["kvs_stream_sent_bytes_total", ""] > 1000
            assert found["kvs_stream_sessions_total", ""] == 1
            assert found["kvs_stream_state", "streaming"] == 1
            assert 0 < found["kvs_stream_uptime_seconds", ""] < 600
            assert found["kvs_client_store_size_bytes", ""] == 128 * 2**20
            assert ("kvs_stream_frames_total", "accepted") not in figures(server)  # it is closed


def test_held_media_in_seconds(info: kvs.StreamInfo, frames: Frames) -> None:
    """The metric grows during an outage."""
    producer = kvs.Producer(endpoint_url=NOBODY)
    stream = producer.open_stream("door", info)
    for frame in frames(25):
        stream.put_frame(frame)
    with kvs.MetricsServer(producer, 0) as server:
        found = figures(server)
    producer.close(0)
    assert found["kvs_stream_held_seconds", ""] == pytest.approx(1)
    assert found["kvs_stream_unsent_seconds", ""] == pytest.approx(1)
    assert found["kvs_stream_held_frames", ""] == 25


@pytest.mark.parametrize("bound", [0.05, timedelta(milliseconds=50), "PT0.05S"])
def test_health_fails_when_acks_stop(info: kvs.StreamInfo, frames: Frames, bound: Any) -> None:
    """It fails while frames are held, and names the stream."""
    producer = kvs.Producer(endpoint_url=NOBODY)
    with kvs.MetricsServer(producer, 0, max_silence=bound) as server:
        stream = producer.open_stream("door", info)
        assert get(server.url + "/health") == (200, '{"healthy": true, "problems": {}}\n')
        for frame in frames(3):
            stream.put_frame(frame)
        deadline = time.monotonic() + PATIENT_S
        while (answer := get(server.url + "/health"))[0] == 200:
            assert time.monotonic() < deadline
        assert answer[0] == 503
        report = json.loads(answer[1])
        assert not report["healthy"]
        assert "while 3 frames are held (state describe)" in report["problems"]["door"]
        stream.reset()
        assert get(server.url + "/health")[0] == 200
    producer.close(0)


def test_health_reports_a_failed_stream(endpoint_url: str) -> None:
    """At once, also if it holds no frames."""
    info = kvs.StreamInfo.video("h264", allow_stream_creation=False)
    producer = kvs.Producer(endpoint_url=endpoint_url)
    stream = producer.open_stream("door", info)
    with pytest.raises(kvs.KvsError):
        stream.wait_ready()
    with kvs.MetricsServer(producer, 0) as server:
        assert not server.health().ok
        status, text = get(server.url + "/health")
    producer.close(0)
    assert status == 503
    assert "SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR" in text


class Books:
    """A stream with only the counts that the health check reads."""

    failure = None
    state = kvs.StreamState.STREAMING

    def __init__(self) -> None:
        self.held = self.acks = 0

    def account(self) -> kvs.FrameAccount:
        return kvs.FrameAccount(self.held, 0, 0, 0, self.held)

    def metrics(self) -> Any:
        from kvsproducer.client import StreamCounters, StreamMetrics

        return StreamMetrics(0, 0, 0, 0, 0, 0, 0, 0, StreamCounters(buffered_acks=self.acks))


def test_silence_is_measured_from_the_last_ack_or_the_first_frame() -> None:
    """An idle stream expects no ack; any ack and a new stream restart the measurement."""
    silence, books = _Silence(60), Books()
    streams: Any = {"door": books}

    def well(now_s: float) -> bool:
        return silence.look(streams, now_s).ok

    assert well(0)
    assert well(1000)  # idle for long
    books.held = 5
    assert well(1060)
    assert not well(1061)
    books.acks = 1
    assert well(1062)
    assert well(1122)
    assert not well(1123)
    books.held = 0
    assert well(1124)
    books.held = 1
    assert well(1184)
    streams["door"] = Books()
    assert silence.look({}, 1184).ok
    assert well(5000)


def test_pages(endpoint_url: str) -> None:
    """HEAD has no body, other pages give 404, and several requests work in turn."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        with kvs.MetricsServer(producer, 0) as server:
            assert server.url.startswith("http://127.0.0.1:")
            assert get(server.url + "/metrics", "HEAD") == (200, "")
            assert get(server.url + "/health?verbose=1")[0] == 200
            assert get(server.url + "/")[0] == 404


def test_invalid_values_are_refused(endpoint_url: str) -> None:
    """A port in use, an invalid port, and a limit of 0 are refused."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        with kvs.MetricsServer(producer, 0) as server:
            taken = int(server.url.rpartition(":")[2])
            for options, status in (
                ({"port": taken}, StatusCode.INVALID_OPERATION),
                ({"port": 70_000}, StatusCode.INVALID_ARG),
                ({"port": "x"}, StatusCode.INVALID_ARG),
                ({"port": 0, "max_silence": 0}, StatusCode.INVALID_ARG),
                ({"port": 0, "max_silence": "PT0S"}, StatusCode.INVALID_ARG),
            ):
                with pytest.raises(kvs.KvsError) as caught:
                    kvs.MetricsServer(producer, **options)
                assert caught.value.status is status


def test_without_the_extra() -> None:
    """The error says what to install."""
    program = """if True:
        import sys
        sys.modules["prometheus_client"] = None
        import kvsproducer as kvs
        producer = kvs.Producer(region_name="us-west-2")
        try:
            kvs.MetricsServer(producer, 0)
        except kvs.KvsError as error:
            print(error.status.name, error.detail)
        producer.close(0)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("NOT_FOUND"), done.stderr
    assert "pip install 'kvsproducer[metrics]'" in done.stdout


def test_asyncio(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """An asyncio producer has the same metrics, also while its loop is busy."""

    async def main() -> dict[tuple[str, str], float]:
        async with aio.Producer(endpoint_url=endpoint_url) as producer:
            with kvs.MetricsServer(producer, 0) as server:
                async with producer.open_stream("door", info) as stream:
                    for frame in frames(5):
                        await stream.put_frame(frame)
                    await stream.flush()
                    return await asyncio.to_thread(figures, server)

    assert asyncio.run(main())["kvs_stream_frames_total", "persisted"] == 5


@pytest.fixture
def server() -> Iterator[kvs.MetricsServer]:
    """Yield the server of a producer without streams."""
    producer = kvs.Producer(endpoint_url=NOBODY)
    with kvs.MetricsServer(producer, 0) as made:
        yield made
    producer.close(0)


def connected(server: kvs.MetricsServer) -> socket.socket:
    port = int(server.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENT_S)


def test_clients_that_disconnect_cause_no_output(
    server: kvs.MetricsServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """A reset in the middle of a response must not print a traceback."""
    for _ in range(3):
        with connected(server) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with connected(server) as client:
        client.sendall(b"\xff\xfe nonsense\r\n\r\n")
        assert b"400" in client.recv(1000)
    assert get(server.url + "/health")[0] == 200
    server.close()
    assert capfd.readouterr().err == ""


def busy() -> int:
    """Return how many threads serve a request."""
    return sum("process_request" in thread.name for thread in threading.enumerate())


def test_oldest_connection_is_closed_if_there_are_too_many(server: kvs.MetricsServer) -> None:
    """Clients that send nothing do not exhaust the threads."""
    idle = [connected(server) for _ in range(100)]
    assert get(server.url + "/health")[0] == 200
    assert idle[0].recv(1) == b""
    until(lambda: busy() <= 40)
    server.close()
    assert [client.recv(1) for client in idle[-3:]] == [b""] * 3
    for client in idle:
        client.close()
    until(lambda: not busy())


def test_slow_request_is_closed(server: kvs.MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Single bytes do not extend the time limit."""
    monkeypatch.setattr("kvsproducer.observe.metrics_server._REQUEST_LIMIT_S", 0.2)
    deadline = time.monotonic() + PATIENT_S
    with connected(server) as client, contextlib.suppress(ConnectionError):
        while time.monotonic() < deadline:
            client.sendall(b"G")
            time.sleep(0.01)
    assert time.monotonic() < deadline


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_may_close_it(server: kvs.MetricsServer) -> None:
    """It does not wait for the thread, which only the parent has; the parent's server runs on."""

    def work() -> int:
        server.close()
        return 7

    assert in_child(work) == 7
    assert get(server.url + "/health")[0] == 200


def test_no_thread_leaves_no_port() -> None:
    """After the failure the port is free again."""
    producer = kvs.Producer(endpoint_url=NOBODY)
    usual = threading.stack_size(1 << 47)
    try:
        with pytest.raises(kvs.KvsError) as caught:
            kvs.MetricsServer(producer, 0)
    finally:
        threading.stack_size(usual)
    assert caught.value.status is StatusCode.CREATE_THREAD_FAILED
    gc.collect()  # an open socket would cause a warning here
    producer.close(0)


def test_arguments_of_other_types_are_refused() -> None:
    """The error says what to give instead."""
    with pytest.raises(kvs.KvsError, match="producer= is int: give a Producer"):
        kvs.MetricsServer(3)  # type: ignore[arg-type]
    with kvs.Producer(endpoint_url="http://127.0.0.1:9") as producer:
        with pytest.raises(kvs.KvsError, match="port='x'"):
            kvs.MetricsServer(producer, "x")  # type: ignore[arg-type]
        with pytest.raises(kvs.KvsError, match="port=70000 is not a port"):
            kvs.MetricsServer(producer, 70_000)
