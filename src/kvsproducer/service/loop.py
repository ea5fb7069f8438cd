"""The event loop that all blocking producers of a process share, in one background thread.

The thread is a daemon. It starts with the first producer and ends with the last. An asyncio
producer uses the caller's loop instead. The thread does not survive a fork: a child process starts
its own. Each process has a lock of its own too, because a thread of the parent may have held the
parent's lock during the fork.

Coroutines of a user's credentials provider run on this loop too.
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

__all__ = ["SharedLoop", "start_thread"]

T = TypeVar("T")
log = logging.getLogger("kvsproducer")
_ENDING_LIMIT_S = 5  # how long a stopping loop waits for its remaining tasks
_JOIN_LIMIT_S = 15  # after that, a loop that a user's coroutine blocks is abandoned


class SharedLoop:
    """The event loop of the process, with a reference count: `acquire`, use, `release`."""

    _locks: ClassVar[dict[int, threading.RLock]] = {}  # by process id
    _process = 0  # id of the process that started the loop
    _users = 0
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    @classmethod
    def acquire(cls) -> asyncio.AbstractEventLoop:
        """Return the running loop, and start it for the first user.

        Raises CREATE_THREAD_FAILED, CURL_INIT_FAILED if the process has no file descriptors left
        for a loop, and INVALID_OPERATION if gevent or eventlet has replaced the threads.
        """
        _refuse_green_threads()
        with cls._lock():
            if cls._process != os.getpid():  # a fork: the thread stayed in the parent
                cls._process, cls._users = os.getpid(), 0
                cls._loop = cls._thread = None
            if cls._loop is None:
                loop = _new_loop()
                try:
                    cls._thread = start_thread(partial(_serve, loop), "kvsproducer-loop")
                except KvsError:
                    loop.close()
                    raise
                cls._loop = loop
            cls._users += 1
            return cls._loop

    @classmethod
    def release(cls, *, wait: bool = True) -> None:
        """Give up one reference; the last one stops the loop's thread, and joins it if `wait`."""
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
                log.warning(
                    "the producers' event loop did not stop within %d s, because a coroutine blocks"
                    " it; its thread is abandoned",
                    _JOIN_LIMIT_S,
                )

    @classmethod
    def _lock(cls) -> threading.RLock:
        """Return this process's lock; it is reentrant, because a signal handler may take it too."""
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
    """Raise INVALID_OPERATION if gevent or eventlet has patched a module that the loop needs.

    The loop's "thread" would be a greenlet in the caller's own thread, so waiting for it would be a
    deadlock.
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


def start_thread(work: Callable[[], None], name: str) -> threading.Thread:
    """Start a daemon thread that runs `work`, and return it.

    Raises InternalError (CREATE_THREAD_FAILED) if the operating system cannot start a thread: the
    limit of threads is reached, or there is no memory for another stack.
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
    """Cancel the remaining tasks, such as those of a producer whose `close` was interrupted."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_ENDING_LIMIT_S)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.get_running_loop().shutdown_asyncgens(), _ENDING_LIMIT_S)
