"""End to end against servers in separate processes: throughput, CPU, put-to-wire latency."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

import trustme

import kvsproducer as kvs
from benchmarks.media import annexb_frame, payload
from benchmarks.report import Figure
from benchmarks.sink import stamp

OFFLINE_FRAMES = 6_000
FRAME_BYTES = 20_000
GOP = 25
LATENCY_FRAMES = 100
PACE_S = 1 / 25


@contextlib.contextmanager
def process(module: str, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a server process and yield its URL; the process ends when its standard input closes."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip(), server
        finally:
            server.stdin.close()
            server.wait(20)


def dummy_credentials() -> None:
    """Set credentials: botocore needs some for signing, the servers do not check them."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "EXAMPLE")


def offline(url: str, verify: bool | str, label: str) -> list[Figure]:
    """Put frames as fast as possible, until the last one is stored."""
    plain, key = annexb_frame(FRAME_BYTES), annexb_frame(FRAME_BYTES, key=True)
    info = kvs.StreamInfo.video(
        "h264", streaming_type=kvs.StreamingType.OFFLINE, retention="PT1H", frame_rate=120
    )
    tick = 400_000
    start = kvs.now()
    with kvs.Producer(endpoint_url=url, verify=verify) as producer:
        stream = producer.open_stream(f"bench-{label}", info)
        stream.wait_ready()
        wall, cpu = time.perf_counter(), time.process_time()
        for number in range(OFFLINE_FRAMES):
            first = number % GOP == 0
            data = key if first else plain
            stream.put_frame(kvs.Frame(data, start + number * tick, duration=tick, key_frame=first))
        account = stream.close()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert account.persisted == OFFLINE_FRAMES, account
    megabytes = OFFLINE_FRAMES * FRAME_BYTES / 1e6
    return [
        Figure("wire", f"{label}: offline, 20 KB Annex-B", megabytes / wall, "MB/s"),
        Figure(
            "wire", f"{label}: CPU per frame", cpu / OFFLINE_FRAMES * 1e6, "us", "< 147 (https)"
        ),
    ]


def latency(label: str, busy: bool) -> Figure:
    """Measure microseconds from `put_frame` on an idle upload to the first byte in the server."""
    with process("benchmarks.sink") as (url, server), kvs.Producer(endpoint_url=url) as producer:
        info = kvs.StreamInfo.video(
            "h264", nal_adaptation=kvs.NalAdaptation.NONE, retention=0, fragment_acks=False
        )
        stream = producer.open_stream("bench", info)
        stream.wait_ready()
        ending = threading.Event()
        if busy:
            threading.Thread(target=spin, args=(ending,), daemon=True).start()
        for number in range(LATENCY_FRAMES):
            time.sleep(PACE_S)
            stream.put_frame(
                kvs.Frame(stamp() + payload(3000), kvs.now(), key_frame=number % GOP == 0)
            )
        ending.set()
        assert server.stdout is not None
        taken = [float(server.stdout.readline()) for _ in range(LATENCY_FRAMES)]
        stream.close(timeout=0)
        target = "" if busy else "< 1000"
        return Figure(
            "wire", f"put to wire, median, {label}", statistics.median(taken), "us", target
        )


def spin(ending: threading.Event) -> None:
    """Keep a Python thread busy."""
    while not ending.is_set():
        sum(range(1000))


def run() -> list[Figure]:
    """Return all figures; this takes about half a minute."""
    dummy_credentials()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder, process("benchmarks.server", folder) as (url, _):
        figures += offline(url, True, "http")
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(f"{folder}/ca.pem")
        pair = authority.issue_cert("127.0.0.1")
        pair.cert_chain_pems[0].write_to_path(f"{folder}/cert.pem")
        pair.private_key_pem.write_to_path(f"{folder}/key.pem")
        server = process("benchmarks.server", folder, f"{folder}/cert.pem", f"{folder}/key.pem")
        with server as (url, _):
            figures += offline(url, f"{folder}/ca.pem", "https")
    figures.append(latency("idle interpreter", busy=False))
    figures.append(latency("one busy thread", busy=True))
    return figures
