"""Producers that are never closed: at exit, after Ctrl-C, in a forked child."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.forks import in_child

import kvsproducer as kvs
from kvsproducer import aio
from kvsproducer.service import lifetime
from kvsproducer.service.loop import SharedLoop

Frames = Callable[[int], Iterator[kvs.Frame]]

# A program that puts five frames; each test adds what happens before and after.
PROGRAM = """
import os, sys, time
import kvsproducer as kvs

info = kvs.StreamInfo.video("h264", retention="PT1H", frame_rate=25, nal_adaptation=0)
def put(stream):
    start = kvs.now()
    for n in range(5):
        stream.put_frame(kvs.Frame(b"frame", start + n * 400_000, key_frame=n == 0))
url = sys.argv[1]
"""
BLOCKING = """
producer = kvs.Producer(endpoint_url=url)
stream = producer.open_stream("door", info)
put(stream)
"""
ASYNCIO = """
import asyncio
from kvsproducer import aio
kept = []
async def main():
    producer = aio.Producer(endpoint_url=url)
    kept.append(producer)
    stream = producer.open_stream("door", info)
    start = kvs.now()
    await stream.put_frame(kvs.Frame(b"frame", start, key_frame=True))
asyncio.run(main())
"""
# Its tasks are not even cancelled.
OWN_LOOP = ASYNCIO.rstrip().replace(
    "asyncio.run(main())", "loop = asyncio.new_event_loop(); loop.run_until_complete(main())"
)


def run(tmp_path: Path, url: str, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + text)
    command = [sys.executable, *options, str(program), url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_script_without_close_stores_its_frames(quick_url: str, tmp_path: Path) -> None:
    """They are stored before the interpreter exits, without a warning."""
    ran = run(tmp_path, quick_url, BLOCKING)
    assert (ran.returncode, ran.stderr) == (0, "")
    (fragment,) = list(kvs.get_media("door", endpoint_url=quick_url))
    assert [bytes(frame.data) for frame in fragment.frames] == [b"frame"] * 5


@pytest.mark.parametrize(
    "program",
    [BLOCKING, ASYNCIO, OWN_LOOP, f"{OWN_LOOP}; loop.close()"],
    ids=["blocking", "asyncio", "own loop", "own loop, closed"],
)
def test_frames_lost_at_exit_are_reported(program: str, silent_url: str, tmp_path: Path) -> None:
    """Exit takes a limited time although the service does not answer."""
    limit = "from kvsproducer.service import lifetime; lifetime.EXIT_LIMIT_S = 0.5\n"
    began = time.monotonic()
    ran = run(tmp_path, silent_url, limit + program)
    assert time.monotonic() - began < 30
    assert ran.returncode == 0
    lines = ran.stderr.splitlines()  # without messages of asyncio about pending tasks
    assert len(lines) == 2, lines
    assert "RuntimeWarning" in lines[0]
    count = 5 if program is BLOCKING else 1
    assert f"stream 'door': 0 of {count} accepted frames were stored, {count} dropped" in lines[0]
    assert lines[1] == "  warnings.warn("


def test_pending_name_resolution_does_not_delay_exit(tmp_path: Path) -> None:
    """The resolver takes a minute; its thread is abandoned."""
    text = """
import socket
slow = lambda *a, **k: time.sleep(60)
socket.getaddrinfo = slow
producer = kvs.Producer(endpoint_url=url)
stream = producer.open_stream("door", info)
put(stream)
time.sleep(0.5)
producer.close(timeout=0)
"""
    began = time.monotonic()
    ran = run(tmp_path, "http://kinesisvideo.local", text)
    assert time.monotonic() - began < 30
    assert ran.returncode == 0, ran.stderr


def test_cancelled_call_does_not_keep_the_loop_running(info: kvs.StreamInfo) -> None:
    """When `close` returns, the loop has ended and the call's connection is closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        producer = kvs.Producer(endpoint_url=url)
        producer.open_stream("door", info)
        peer, _ = server.accept()
        with peer:
            peer.settimeout(20)
            assert peer.recv(65_536)
            producer.close(0)
            assert "kvsproducer-loop" not in [thread.name for thread in threading.enumerate()]
            while peer.recv(65_536):
                pass


@pytest.mark.parametrize("times", [1, 2])
def test_interrupt_while_closing(times: int, silent_url: str, tmp_path: Path) -> None:
    """Ctrl-C ends the wait; no thread stays and asyncio logs no error."""
    program = tmp_path / "program.py"
    program.write_text(
        PROGRAM
        + BLOCKING
        + """
import threading
print("closing", flush=True)
try:
    producer.close()
except KeyboardInterrupt:
    left = [t.name for t in threading.enumerate() if t.name == "kvsproducer-loop"]
    print("interrupted", left, flush=True)
"""
    )
    with subprocess.Popen(
        [sys.executable, str(program), silent_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "closing\n"
        time.sleep(0.3)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        try:
            output, complaints = process.communicate(timeout=30)
        finally:
            process.kill()
    if times == 1:
        assert output == "interrupted []\n", complaints
        assert process.returncode == 0
    assert "destroyed" not in complaints
    assert "never retrieved" not in complaints


@contextlib.contextmanager
def held(*locks: AbstractContextManager[object]) -> Iterator[None]:
    """Hold the locks in another thread during the block, as may happen when a process forks."""
    ready, release = threading.Event(), threading.Event()

    def hold() -> None:
        with contextlib.ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            ready.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert ready.wait(30)
    try:
        yield
    finally:
        release.set()
        thread.join()


def refusals(uses: Iterable[Callable[[], object]]) -> int:
    """Return how many of the uses raise because of a fork."""
    refused = 0
    for use in uses:
        try:
            use()
        except kvs.KvsError as error:
            refused += error.status is kvs.StatusCode.INVALID_OPERATION and "fork" in error.detail
    return refused


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_is_refused(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """In the child every use of the producer raises at once; the parent is not affected."""
    put = list(frames(10))
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        stream = producer.open_stream("door", info)
        for frame in put[:5]:
            stream.put_frame(frame)
        uses: list[Callable[[], object]] = [
            lambda: stream.put_frame(put[5]),
            lambda: stream.put_fragment_metadata("name", "value"),
            stream.end_fragment,
            lambda: stream.flush(timeout=1),
            lambda: stream.close(timeout=1),
            lambda: stream.wait_ready(timeout=1),
            stream.account,
            stream.metrics,
            lambda: producer.open_stream("other", info),
            lambda: producer.close(timeout=1),
            lambda: producer.streams,
            producer.metrics,
        ]
        with held(producer._engine.lock):
            assert in_child(lambda: refusals(uses)) == len(uses)
        for frame in put[5:]:
            stream.put_frame(frame)
        assert stream.close(timeout=20).persisted == 10


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_of_an_asyncio_program_is_refused(endpoint_url: str, info: kvs.StreamInfo) -> None:
    """In the child asyncio still reports the parent's loop as running."""

    async def main() -> None:
        async with aio.Producer(endpoint_url=endpoint_url) as producer:
            stream = producer.open_stream("door", info)
            frame = kvs.Frame(b"x", kvs.now(), key_frame=True)
            uses: list[Callable[[], Coroutine[object, object, object]]] = [
                lambda: stream.put_frame(frame),
                stream.wait_ready,
                stream.flush,
                stream.close,
                lambda: anext(producer.events()),  # type: ignore[arg-type, return-value]
                producer.close,
            ]
            steps = [lambda use=use: use().send(None) for use in uses]  # type: ignore[misc]
            with held(producer._engine.lock):
                assert in_child(lambda: refusals(steps)) == len(uses)
            await stream.put_frame(frame)
            assert (await stream.close(timeout=20)).persisted == 1

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_child_can_create_a_producer(endpoint_url: str, info: kvs.StreamInfo) -> None:
    """Even if a thread of the parent held the lock; the parent's loop is not affected."""

    def work() -> int:
        with (
            kvs.Producer(endpoint_url=endpoint_url) as own,
            own.open_stream("child", info) as stream,
        ):
            stream.put_frame(kvs.Frame(b"x", kvs.now(), key_frame=True))
        return 7 if SharedLoop._loop is None else 8

    with kvs.Producer(endpoint_url=endpoint_url):
        with held(SharedLoop._lock()):
            assert in_child(work) == 7
        assert SharedLoop._loop is not None


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_that_exits(endpoint_url: str, info: kvs.StreamInfo) -> None:
    """Its exception leaves the `with` block, and the parent's producer stays open."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        with producer.open_stream("door", info) as stream:
            stream.put_frame(kvs.Frame(b"x", kvs.now(), key_frame=True))

            def leave() -> int:
                try:
                    with producer, stream:
                        raise SystemExit(7)
                except SystemExit as error:
                    lifetime._at_exit()
                    return int(str(error.code))

            assert in_child(leave) == 7
    assert stream.account().persisted == 1
