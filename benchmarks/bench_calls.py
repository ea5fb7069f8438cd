"""Number of Python calls in this package to send a frame, and to process a fragment's three acks.

Unlike times, these counts are the same on every machine, so `tests/producer/test_calls.py` holds
them. A blocking producer with a listener uploads to a server in this process. Each call of a
function of `kvsproducer` counts, and each resumption of a generator or coroutine, in all threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import kvsproducer as kvs
from benchmarks.bench_core import ack
from benchmarks.bench_wire import dummy_credentials
from benchmarks.media import payload
from benchmarks.report import Figure
from benchmarks.sink import Sink

PACKAGE = str(Path(kvs.__file__).parent)
LIMIT_S = 20
QUIET_S = 0.05  # the threads are idle after this time without a call
FRAMES = 5  # of the first fragment
TICK = 10_000_000 // 25
Calls = Counter[tuple[str, str]]  # by side ("put": in the caller's thread; "wire") and function


class Profiler:
    """Counts calls of functions of this package, in the threads that use `profile`."""

    def __init__(self) -> None:
        self._calls: Calls = Counter()
        self._putting = threading.current_thread()

    def profile(self, frame: FrameType, event: str, _argument: object) -> None:
        """Count one call; this is a profile function for `sys.setprofile`."""
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            module = Path(code.co_filename).stem
            if module == "metrics":
                return  # rates are sampled by time, not for each frame
            side = "put" if threading.current_thread() is self._putting else "wire"
            self._calls[side, f"{module}.{code.co_qualname}"] += 1

    def settle(self) -> None:
        """Wait until no more functions are called."""
        seen = -1
        while (count := self._calls.total()) != seen:
            seen = count
            time.sleep(QUIET_S)

    @contextlib.contextmanager
    def counting(self) -> Iterator[Calls]:
        """Count the calls of the block and of all work that it causes in other threads."""
        self.settle()
        self._calls.clear()
        counted: Calls = Counter()
        sys.setprofile(self.profile)
        yield counted
        sys.setprofile(None)
        self.settle()
        counted.update(self._calls)


class Server:
    """A service that accepts one upload, and sends acks when the benchmark requests them."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.url = ""
        self.uploads: list[asyncio.Transport] = []
        self.transports: list[asyncio.Transport] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(LIMIT_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        listener = await self._loop.create_server(lambda: Connection(self), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._end.wait()
        listener.close()
        for transport in self.transports:
            transport.abort()

    def say(self, data: bytes) -> None:
        """Send a chunk of the newest upload's response; b"" ends the response."""
        chunk = b"%x\r\n%s\r\n" % (len(data), data)
        self._loop.call_soon_threadsafe(self.uploads[-1].write, chunk)

    def close(self) -> None:
        """Close the server."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(LIMIT_S)


class Connection(Sink):
    """One connection to the server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.transports.append(self.transport)

    def note_marks(self, data: bytes, now: int) -> None:  # noqa: ARG002
        """Record that media has arrived."""
        self._server.uploads.append(self.transport)
        self._server.arrived.release()


def count() -> tuple[Calls, Calls]:
    """Return the calls for a delta frame, and for a key frame with its fragment's acks."""
    dummy_credentials()
    server, profiler, acked = Server(), Profiler(), threading.Semaphore(0)

    def listen(event: kvs.Event) -> None:
        if isinstance(event, kvs.FragmentAcked):
            acked.release()

    info = kvs.StreamInfo.video("h264", nal_adaptation=kvs.NalAdaptation.NONE, retention="PT1H")
    threading.setprofile(profiler.profile)
    try:
        producer = kvs.Producer(endpoint_url=server.url, on_event=listen)
    finally:
        threading.setprofile(None)
    with contextlib.closing(server), producer:
        stream = producer.open_stream("calls", info)
        stream.wait_ready(LIMIT_S)
        start, data = kvs.now(), payload(3000)
        frames = [
            kvs.Frame(data, start + n * TICK, duration=TICK, key_frame=n in (0, FRAMES + 1))
            for n in range(FRAMES + 2)
        ]

        def put(frame: kvs.Frame) -> None:
            stream.put_frame(frame)
            assert server.arrived.acquire(timeout=LIMIT_S)

        def acknowledge(frame: kvs.Frame, *kinds: bytes) -> None:
            for kind in kinds:
                server.say(ack(kind, frame.pts // 10_000))
                assert acked.acquire(timeout=LIMIT_S)

        for frame in frames[:FRAMES]:
            put(frame)
        acknowledge(frames[0], b"BUFFERING")
        profiler.settle()
        while server.arrived.acquire(blocking=False):
            pass
        with profiler.counting() as delta:
            put(frames[FRAMES])
        with profiler.counting() as fragment:
            put(frames[-1])
            profiler.settle()
            acknowledge(frames[-1], b"BUFFERING")
            acknowledge(frames[0], b"RECEIVED", b"PERSISTED")
        assert stream.account().persisted == FRAMES + 1, stream.account()
        stream.stop()
        acknowledge(frames[-1], b"PERSISTED")
        server.say(b"")
        producer.close(LIMIT_S)
    return delta, fragment


def total(calls: Calls, *sides: str) -> int:
    """Return the number of calls on the given sides, "put" and "wire"."""
    return sum(count for (side, _), count in calls.items() if side in sides)


def run() -> list[Figure]:
    """Return both figures."""
    delta, fragment = count()
    frame, acks = total(delta, "put", "wire"), total(fragment, "wire")
    return [
        Figure("calls", "a frame, from put to wire", frame, "calls", "< 30"),
        Figure("calls", "a fragment's write and its three acks", acks, "calls", "< 90"),
    ]


def main() -> None:
    """Print the counts by function."""
    for calls in count():
        print("put", total(calls, "put"), "wire", total(calls, "wire"))
        for (side, name), number in calls.most_common():
            print(f"  {number:4} {side} {name}")


if __name__ == "__main__":
    main()
