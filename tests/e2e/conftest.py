"""What the end-to-end tests share: endpoints that die, links that break, and what is stored.

`Served` is `kvs serve` in a process of its own, which a test may kill and start again on the same
port. `Proxy` is the link: a TCP proxy that cuts, stalls and half-closes connections, refuses new
ones, or answers without the service, with bytes of the test's choice. Everything is on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from tests.program import KVS
from tests.waiting import until

import kvsproducer as kvs
from kvsproducer.reader import Assembler

TICK = 400_000  # 25 frames a second
GOP = 5
START = 17_000_000_000_000_000


def free_port() -> int:
    """Return a port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """`kvs serve` on a port of its own; `kill` is SIGKILL."""

    def __init__(self, folder: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [*KVS, "serve", "--data", str(folder), "--port", str(self.port), *options]
        self._environment = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start (again); returns once it listens."""
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, text=True, env=self._environment
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == f"listening on {self.url}\n", line

    def kill(self) -> None:
        """Kill the process, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Proxy:
    """A link to `target` (a port) that breaks on demand; runs in a thread of its own.

    `answers` maps a path to the answers (bytes) that the proxy itself gives, one request each,
    closing the connection after it; None closes it without an answer. `cut_at` is asked with each
    new connection for the number of bytes of the producer after which it is reset (some 50 ms
    later), None for never.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.answers: dict[str, list[bytes | None]] = {}
        self.cut_at: Callable[[], int | None] = lambda: None
        self.cuts = 0
        self.requests: list[str] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset all connections."""
        self._call(self._cut())

    def stall(self) -> None:
        """Stop moving bytes without closing connections."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def flow(self) -> None:
        """Continue to move bytes."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def half_close(self) -> None:
        """End the answers of all connections cleanly, in mid-chunk or not."""
        self._call(self._half_close())

    def refuse(self) -> None:
        """Close everything and refuse new connections."""
        self._call(self._close())

    def accept(self) -> None:
        """Take connections again, on the same port."""
        start = asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._server = self._call(start)

    def end(self) -> None:
        """Close everything."""
        self.flow()
        self._call(self._close())
        self._call(self._drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _cut(self) -> None:
        for writer in list(self._links):
            self.cuts += 1
            writer.transport.abort()

    async def _half_close(self) -> None:
        for writer in list(self._links):
            if writer.can_write_eof():
                writer.write_eof()

    async def _close(self) -> None:
        self._server.close()
        await self._cut()

    async def _drain(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links.add(writer)
        upstream = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            self.requests.append(path)
            if self.answers.get(path):
                answer = self.answers[path].pop(0)
                writer.write(answer or b"")
                await writer.drain()
                return
            source, upstream = await asyncio.open_connection("127.0.0.1", self.target)
            self._links.add(upstream)
            upstream.write(head)
            await asyncio.gather(
                self._pump(reader, upstream, self.cut_at()), self._pump(source, writer, None)
            )
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            for link in (writer, upstream):
                if link is not None:
                    self._links.discard(link)
                    link.transport.abort() if link is upstream else link.close()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, left: int | None
    ) -> None:
        while data := await source.read(16_384):
            await self._flowing.wait()
            if left is not None and (left := left - len(data)) <= 0:
                sink.write(data[:left])
                await asyncio.sleep(0.05)  # answers to what came before still pass
                self.cuts += 1
                raise ConnectionResetError
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


@dataclass
class Media:
    """Numbered frames: the payload contains number, key frame and times."""

    size: int = 2000
    start: int = START
    put: list[kvs.Frame] = field(default_factory=list)

    def frame(self) -> kvs.Frame:
        """The next frame, remembered as put."""
        number = len(self.put)
        data = b"frame %08d " % number
        data += bytes((number * 31 + i) % 256 for i in range(64)) * (self.size // 64)
        frame = kvs.Frame(
            data, self.start + number * TICK, duration=TICK, key_frame=number % GOP == 0
        )
        self.put.append(frame)
        return frame

    def frames(self, count: int) -> Iterator[kvs.Frame]:
        """`count` frames."""
        for _ in range(count):
            yield self.frame()


def client(service: str, url: str) -> Any:
    """A boto3 client that tries once."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-west-2",
        config=Config(retries={"max_attempts": 0}, read_timeout=20),
    )


def stored_fragments(url: str, stream: str) -> dict[int, list[tuple[int, bytes]]]:
    """Start (ticks) -> (timestamp, payload) of the newest version of each fragment."""
    archive = client("kinesis-video-archived-media", url)
    pages = archive.get_paginator("list_fragments").paginate(StreamName=stream)
    numbers = sorted(
        (item["FragmentNumber"] for page in pages for item in page["Fragments"]), key=int
    )
    found: dict[int, list[tuple[int, bytes]]] = {}
    for first in range(0, len(numbers), 500):
        some = numbers[first : first + 500]
        answer = archive.get_media_for_fragment_list(StreamName=stream, Fragments=some)
        assembler = Assembler()
        whole = answer["Payload"].read()
        for fragment in [*assembler.receive_data(whole), *assembler.receive_eof()]:
            # Answered in the order asked for, so that the newest version comes last.
            at = fragment.timecode * fragment.timecode_scale_ns // 100
            found[at] = [(frame.timestamp, bytes(frame.data)) for frame in fragment.frames]
    return found


def assert_stored(url: str, stream: str, put: Iterable[kvs.Frame]) -> None:
    """The archive holds exactly these frames: payload, time and order, nothing else."""
    found = stored_fragments(url, stream)
    frames = [frame for at in sorted(found) for frame in found[at]]
    wanted = [(frame.pts, frame.data) for frame in put]
    have = set(frames)
    missing = [index for index, frame in enumerate(wanted) if frame not in have]
    assert not missing, f"frames {missing[:20]} of {len(wanted)} are not stored"
    assert frames == wanted


def stream_info(**overrides: object) -> kvs.StreamInfo:
    """Return a stream info for opaque frames with a retention of one hour."""
    values: dict[str, object] = {
        "retention": "PT1H",
        "frame_rate": 25,
        "nal_adaptation": kvs.NalAdaptation.NONE,
        **overrides,
    }
    return kvs.StreamInfo.video("h264", **values)


@contextmanager
def bounded(limit_s: float) -> Iterator[None]:
    """What is done takes no longer; the limit is generous, so that only a hang exceeds it."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < limit_s


KIT = SimpleNamespace(
    Media=Media,
    assert_stored=assert_stored,
    bounded=bounded,
    client=client,
    free_port=free_port,
    info=stream_info,
    stored_fragments=stored_fragments,
    until=until,
    KVS=KVS,
    TICK=TICK,
)


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """Return the helpers above that are not fixtures, by name."""
    return KIT


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """serve(*options) starts `kvs serve --data`; killed after the test."""
    started: list[Served] = []

    def start(*options: str, **named: Any) -> Served:
        started.append(Served(tmp_path / f"data-{len(started)}", *options, **named))
        return started[-1]

    yield start
    for served in started:
        served.kill()


@pytest.fixture
def proxy() -> Iterator[Callable[[str], Proxy]]:
    """proxy(url) puts a link in front of an endpoint."""
    made: list[Proxy] = []

    def make(url: str) -> Proxy:
        made.append(Proxy(int(url.rpartition(":")[2])))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def our_threads() -> Callable[[], list[str]]:
    """our_threads() names the threads of kvsproducer that were not there before the test."""
    before = set(threading.enumerate())

    def names() -> list[str]:
        new = [thread for thread in threading.enumerate() if thread not in before]
        return [thread.name for thread in new if thread.name.startswith("kvsproducer")]

    return names


@pytest.fixture
def sockets() -> Callable[[], int]:
    """sockets() counts this process's open TCP sockets."""

    def count() -> int:
        found = 0
        for fd in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                found += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        return found

    return count
