"""The event loop that all blocking producers of a process share, in one background thread.

The thread is a daemon. It starts with the first producer and ends with the last. The asyncio
surface uses the caller's own loop in its place. The thread does not survive a fork: a child starts
its own, and never waits for a lock that a thread of the parent may have held.

A user's coroutine runs on this loop too (credentials).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import ClassVar, TypeVar

from kvsproducer.status import InvalidConfiguration, KvsError, StatusCode, kvs_error
from kvsproducer.status.system import without_numbers

__all__ = ["SharedLoop", "started"]

T = TypeVar("T")
log = logging.getLogger("kvsproducer")
_ENDING_LIMIT_S = 5  # what is left on a loop that ends
_JOIN_LIMIT_S = 15  # a user's coroutine that blocks is left behind, with the loop


class SharedLoop:
    """A counted reference to the process-wide loop: `acquire`, use, `release`."""

    _locks: ClassVar[dict[int, threading.RLock]] = {}  # by process id
    _process = 0  # whose loop it is
    _users = 0
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    @classmethod
    def acquire(cls) -> asyncio.AbstractEventLoop:
        """The running loop; started by the first user.

        Raises CREATE_THREAD_FAILED, CURL_INIT_FAILED without file descriptors for a loop, and
        INVALID_OPERATION where there are no real threads.
        """
        _refuse_green_threads()
        with cls._lock():
            if cls._process != os.getpid():  # a fork: the thread stayed in the parent
                cls._process, cls._users = os.getpid(), 0
                cls._loop = cls._thread = None
            if cls._loop is None:
                loop = _new_loop()
                try:
                    cls._thread = started(partial(_serve, loop), "kvsproducer-loop")
                except KvsError:
                    loop.close()
                    raise
                cls._loop = loop
            cls._users += 1
            return cls._loop

    @classmethod
    def release(cls, *, wait: bool = True) -> None:
        """Give the loop back; the last user ends the thread, and waits for it if `wait`."""
        with cls._lock():
            cls._users -= 1
            if cls._users or cls._loop is None or cls._thread is None:
                return
            loop, thread = cls._loop, cls._thread
            cls._loop = cls._thread = None
        loop.call_soon_threadsafe(loop.stop)
        if wait and thread is not threading.current_thread():
            thread.join(_JOIN_LIMIT_S)
            if thread.is_alive():
                log.warning("something blocks the event loop of the producers: it is left behind")

    @classmethod
    def _lock(cls) -> threading.RLock:
        """The lock of this process; its owner may take it again, in a signal handler."""
        return cls._locks.setdefault(os.getpid(), threading.RLock())


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.new_event_loop()
    except OSError as error:
        raise kvs_error(
            StatusCode.CURL_INIT_FAILED,
            f"no event loop could be made: {without_numbers(error)}",
        ) from error


def _refuse_green_threads() -> None:
    """Raise INVALID_OPERATION where gevent or eventlet has replaced what the loop's thread needs.

    The "thread" would be a greenlet of the caller's own thread, and each wait for it a deadlock.
    """
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    patched = [
        part
        for part in ("thread", "threading", "select", "selectors", "socket")
        if (gevent is not None and gevent.is_module_patched(part))
        or (eventlet is not None and eventlet.is_monkey_patched(part))
    ]
    if patched:
        raise InvalidConfiguration(
            StatusCode.INVALID_OPERATION,
            f"gevent or eventlet has patched {', '.join(patched)}, and the producer needs real"
            " threads and sockets: use patch_all(thread=False, socket=False, select=False), or run"
            " the producer in a process of its own that does not patch",
        )


def started(work: Callable[[], None], name: str) -> threading.Thread:
    """A daemon thread that runs `work`.

    Raises InternalError (CREATE_THREAD_FAILED) when the system gives no thread: it has as
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


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(_end_tasks())
    finally:
        loop.close()


async def _end_tasks() -> None:
    """Cancel what is left, such as of a producer whose closing was interrupted."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_ENDING_LIMIT_S)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.get_running_loop().shutdown_asyncgens(), _ENDING_LIMIT_S)
