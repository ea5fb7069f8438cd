"""Blocking functions of the user's, in threads that nobody has to wait for.

A pool's threads are joined when the interpreter exits, and a pool that is full keeps others
waiting; a user's function that hangs may do neither. So each runs in a daemon thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_daemon_thread"]

T = TypeVar("T")


async def in_daemon_thread(work: Callable[..., T], *arguments: object, timeout_s: float) -> T:
    """What `work` returns or raises; TimeoutError when it takes longer, and is left behind."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]  None is what it returned
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work(*arguments)
        except BaseException as raised:  # noqa: BLE001  handed over to whoever waits
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="kvsproducer-callback", daemon=True).start()
    async with asyncio.timeout(timeout_s):
        return await done
