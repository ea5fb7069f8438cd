"""The event loop that all blocking producers of a process share, in one background thread.

The thread is a daemon and starts with the first producer; it ends with the last. Coroutines are
handed over with `run`. The asyncio twins use the caller's own loop and never come here. A producer
does not survive a fork; the child may make its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from kvsproducer.status import KvsError, StatusCode, kvs_error
from kvsproducer.status.system import without_numbers

__all__ = ["SharedLoop", "started"]

T = TypeVar("T")
_ENDING_LIMIT_S = 5


class SharedLoop:
    """A counted reference to the process-wide loop: `acquire`, use, `release`."""

    _lock = threading.Lock()
    _users = 0
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    @classmethod
    def acquire(cls) -> asyncio.AbstractEventLoop:
        """The running loop; started by the first user. Raises CREATE_THREAD_FAILED."""
        with cls._lock:
            if cls._loop is None:
                loop = asyncio.new_event_loop()
                try:
                    cls._thread = started(partial(_serve, loop), "kvsproducer-loop")
                except KvsError:
                    loop.close()
                    raise
                cls._loop = loop
            cls._users += 1
            return cls._loop

    @classmethod
    def release(cls) -> None:
        """Give the loop back; the last user ends the thread and waits for it."""
        with cls._lock:
            cls._users -= 1
            if cls._users:
                return
            loop, thread = cls._loop, cls._thread
            cls._loop = cls._thread = None
        assert loop is not None
        assert thread is not None
        loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join()

    @classmethod
    def forget(cls) -> None:
        """In a forked child: the thread did not come along, so the child starts its own."""
        cls._lock = threading.Lock()
        cls._users = 0
        cls._loop = cls._thread = None

    @staticmethod
    def run(loop: asyncio.AbstractEventLoop, work: Coroutine[None, None, T]) -> Future[T]:
        """Start a coroutine on the loop from another thread."""
        return asyncio.run_coroutine_threadsafe(work, loop)


def started(work: Callable[[], None], name: str) -> threading.Thread:
    """A daemon thread that runs `work`.

    Raises CREATE_THREAD_FAILED (also a `RuntimeError`) when the system gives no thread: it has as
    many as it may, or no memory for another one's stack.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        raise kvs_error(
            StatusCode.CREATE_THREAD_FAILED, f"{name}: {without_numbers(error)}"
        ) from error
    return thread


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SharedLoop.forget)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        for task in (left := asyncio.all_tasks(loop)):
            task.cancel()
        if left:  # of a producer whose closing was interrupted
            loop.run_until_complete(asyncio.wait(left, timeout=_ENDING_LIMIT_S))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
