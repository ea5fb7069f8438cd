"""Blocking functions, of the user's and others, in threads that nobody has to wait for.

A pool's threads are joined when the interpreter exits, and a pool that is full keeps others
waiting; a function that hangs may do neither. So each runs in a daemon thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from kvsproducer.producer.loop import started

__all__ = ["in_daemon_thread"]

T = TypeVar("T")


async def in_daemon_thread(
    work: Callable[..., T], *arguments: object, timeout_s: float, name: str = "callback"
) -> T:
    """What `work` returns or raises; TimeoutError when it takes longer, and is left behind.

    Raises CREATE_THREAD_FAILED.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(apply: Callable[[], None]) -> None:
        if not done.done():
            apply()

    def run() -> None:
        try:
            apply = partial(done.set_result, work(*arguments))
        except BaseException as error:  # noqa: BLE001  handed over to whoever waits
            apply = partial(done.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, apply)

    started(run, f"kvsproducer-{name}")
    async with asyncio.timeout(timeout_s):
        return await done
