"""Blocking functions, of the user and others, in threads that can be left behind.

A pool's threads are joined when the interpreter exits, and a pool that is full keeps others
waiting; a function that hangs may do neither. So each runs in a daemon thread of its own.
"""

from __future__ import annotations

import asyncio
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

    A coroutine that it returns after that is closed. Raises CREATE_THREAD_FAILED.
    """
    done: Future[T] = Future()

    def run() -> None:
        found: object = None
        try:
            found = returned = work(*arguments)
            apply = partial(done.set_result, returned)
        except Exception as error:  # noqa: BLE001  the caller's
            apply = partial(done.set_exception, error)
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
    async with asyncio.timeout(timeout_s):
        return await asyncio.wrap_future(in_thread(work, *arguments, name=name))
