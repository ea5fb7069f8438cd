"""Run blocking functions (a user's callback, name resolution) in threads that can be abandoned.

A function that hangs must not keep the interpreter from exiting or delay other functions. In a
thread pool it would do both: the interpreter joins the pool's threads at exit, and a full pool
makes others wait. So each function runs in a daemon thread of its own.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import TypeVar

from kvsproducer.service.loop import start_thread

__all__ = ["in_daemon_thread", "in_thread"]

T = TypeVar("T")


def in_thread(work: Callable[..., T], *arguments: object, name: str = "callback") -> Future[T]:
    """Run `work` in a daemon thread and return the future of its result.

    If the future is cancelled, the thread runs on and its result is ignored; if the result is a
    coroutine, it is closed. Raises CREATE_THREAD_FAILED.
    """
    done: Future[T] = Future()

    def run() -> None:
        found: object = None
        try:
            found = returned = work(*arguments)
            apply = partial(done.set_result, returned)
        except Exception as error:  # noqa: BLE001  the future's reader handles it
            apply = partial(done.set_exception, error)
        try:
            apply()
        except InvalidStateError:  # the future was cancelled
            if inspect.iscoroutine(found):
                found.close()

    start_thread(run, f"kvsproducer-{name}")
    return done


async def in_daemon_thread(
    work: Callable[..., T], *arguments: object, timeout_s: float, name: str = "callback"
) -> T:
    """Run `work` in a daemon thread and return its result, or raise its exception.

    Raises TimeoutError after `timeout_s` seconds; the thread runs on and its result is ignored.
    Raises CREATE_THREAD_FAILED.
    """
    async with asyncio.timeout(timeout_s):
        return await asyncio.wrap_future(in_thread(work, *arguments, name=name))
