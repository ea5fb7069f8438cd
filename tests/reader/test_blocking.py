"""Blocking iteration over an async generator on the shared loop, and how it can end."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator

import pytest
from tests.forks import in_child

import kvsproducer as kvs
from kvsproducer.reader.blocking import iterate_blocking
from kvsproducer.service import lifetime
from kvsproducer.service.loop import SharedLoop


class Source:
    """A source that yields numbers and then waits without a limit."""

    def __init__(self, count: int, *, waits: bool = True) -> None:
        self.waiting, self.ended = threading.Event(), threading.Event()
        self._count, self._waits = count, waits

    async def numbers(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self._count):
                yield number
            if self._waits:
                self.waiting.set()
                await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # closing takes a turn of the loop
            self.ended.set()


def gone() -> bool:
    """Return whether the loop's thread has ended."""
    return not lifetime._open and SharedLoop._loop is None


def test_all_items_are_yielded() -> None:
    """Also items that are false; then the loop is released."""
    source = Source(3, waits=False)
    assert list(iterate_blocking(source.numbers())) == [0, 1, 2]
    assert source.ended.is_set()
    assert gone()


def test_interrupted_while_it_waits() -> None:
    """Ctrl-C raises KeyboardInterrupt, not the RuntimeError of a running generator."""
    source = Source(1)

    def interrupt() -> None:
        source.waiting.wait(30)
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        for _ in iterate_blocking(source.numbers()):
            pass
    assert source.ended.wait(30)
    assert gone()


def test_garbage_collected_on_the_loop() -> None:
    """A finalizer may run in any thread; on the loop's own thread it must not wait."""
    source, other = Source(5), SharedLoop.acquire()
    kept = [iterate_blocking(source.numbers())]
    assert next(kept[0]) == 0

    async def drop() -> None:
        kept.clear()
        gc.collect()

    asyncio.run_coroutine_threadsafe(drop(), other).result(10)
    assert source.ended.wait(30)
    SharedLoop.release()
    assert gone()


def test_ended_while_another_thread_waits() -> None:
    """A daemon thread reads while the program exits; its iteration ends without an error."""
    source, seen = Source(2), []
    reader = threading.Thread(
        target=lambda: seen.extend(iterate_blocking(source.numbers())), daemon=True
    )
    reader.start()
    assert source.waiting.wait(30)
    lifetime._at_exit()
    reader.join(30)
    assert seen == [0, 1]
    assert gone()


PROGRAM = """
import sys
import kvsproducer as kvs
fragments = kvs.get_media("door", endpoint_url=sys.argv[1])
print(next(fragments).number, flush=True)
"""


def filled(url: str) -> None:
    info = kvs.StreamInfo.video("h264", retention="PT1H", nal_adaptation=kvs.NalAdaptation.NONE)
    with kvs.Producer(endpoint_url=url) as producer, producer.open_stream("door", info) as stream:
        for number in range(4):
            stream.put_frame(kvs.Frame(b"x", kvs.now() + number * 10_000_000, key_frame=True))


def test_program_exits_after_reading_one_fragment(endpoint_url: str) -> None:
    """The generator is a global variable, which the interpreter deletes last."""
    filled(endpoint_url)
    command = [sys.executable, "-c", PROGRAM, endpoint_url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.strip().isdigit()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_is_refused(endpoint_url: str) -> None:
    """In the child it raises; the parent continues to read."""
    filled(endpoint_url)
    fragments = kvs.get_media("door", endpoint_url=endpoint_url)
    next(fragments)

    def work() -> int:
        with pytest.raises(kvs.KvsError, match="fork"):
            next(fragments)
        fragments.close()  # type: ignore[attr-defined]
        return 7

    assert in_child(work) == 7
    assert next(fragments).number
    fragments.close()  # type: ignore[attr-defined]
    assert gone()
