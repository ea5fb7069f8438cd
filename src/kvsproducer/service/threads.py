"""Blocking functions, of the user and others, in threads that can be left behind.

A pool's threads are joined when the interpreter exits, and a pool that is full keeps others
waiting; a function that hangs may do neither. So each runs in a daemon thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import TypeVar

from kvsproducer.service.loop import started

__all__ = ["in_daemon_thread", "in_thread"]

T = TypeVar("T")


def in_thread(work: Callable[..., T], *arguments: object, name: str = "callback") -> Future[T]:
    """What `work` returns or raises; cancelled, it is left behind.

    A coroutine that it returns after that is closed; `sys.exit()` is a RuntimeError. Raises
    CREATE_THREAD_FAILED.
    """
    done: Future[T] = Future()

    def run() -> None:
        found: object = None
        try:
            found = returned = work(*arguments)
            apply = partial(done.set_result, returned)
        except Exception as error:  # noqa: BLE001  the caller's
            apply = partial(done.set_exception, error)
        except BaseException as error:  # noqa: BLE001  what waits for it is not to end
            apply = partial(done.set_exception, RuntimeError(repr(error)))
        try:
            apply()
        except InvalidStateError:  # it was cancelled
            if inspect.iscoroutine(found):
                found.close()

    started(run, f"kvsproducer-{name}")
    return done


async def in_daemon_thread(
    work: Callable[..., T], *arguments: object, timeout_s: float, name: str = "callback"
) -> T:
    """What `work` returns or raises; TimeoutError when it takes longer, and is left behind.

    Raises CREATE_THREAD_FAILED.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: Future[T]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(ended.set)

    future = in_thread(work, *arguments, name=name)
    future.add_done_callback(wake)
    try:
        async with asyncio.timeout(timeout_s):
            await ended.wait()
    finally:
        future.cancel()  # left behind, unless it is done
    return future.result()
