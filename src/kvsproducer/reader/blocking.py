"""Iterate over an async generator from blocking code.

The async generator runs on the shared event loop. It is closed on `break`, on Ctrl-C while the
caller waits, when the iterator is garbage-collected (in any thread), and at interpreter exit before
the loop's thread stops. In a forked child the iterator raises, and closing it does not affect the
parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import CancelledError
from typing import Final, Generic, TypeVar

from kvsproducer.client import FrameAccount
from kvsproducer.service import lifetime
from kvsproducer.service.loop import SharedLoop
from kvsproducer.status import KvsError

__all__ = ["iterate_blocking"]

T = TypeVar("T")
log = logging.getLogger("kvsproducer")
_END_LIMIT_S: Final = 10.0  # our choice: how long to wait until the generator is closed


def iterate_blocking(source: AsyncGenerator[T, None]) -> Iterator[T]:
    """Yield the items of `source`; close it when the caller stops.

    Raises what `source` raises, CREATE_THREAD_FAILED, and INVALID_OPERATION in a forked child.
    """
    steps = _Steps(source)
    try:
        while (one := steps.next()) is not None:
            yield one[0]
    finally:
        steps.end()


class _Steps(Generic[T]):
    """One iteration; any thread, a finalizer or the interpreter's exit may call `end`."""

    def __init__(self, source: AsyncGenerator[T, None]) -> None:
        self._source = source
        self._loop = SharedLoop.acquire()
        self._task: asyncio.Task[object] | None = None
        self._once = threading.Lock()  # never released: only the first `end` gets it
        self._process = os.getpid()
        lifetime.register(self)

    def next(self) -> tuple[T] | None:
        """Return a tuple with the next item; None if there are no more or `end` was called."""
        lifetime.refuse_fork(self._process, "iterator")
        try:
            return asyncio.run_coroutine_threadsafe(self._step(), self._loop).result()
        except CancelledError:  # another thread or the interpreter's exit called `end`
            return None

    def end(self) -> None:
        """Close the generator and release the loop, within 10 s; later calls have no effect."""
        if os.getpid() != self._process or not self._once.acquire(blocking=False):
            return
        lifetime.unregister(self)
        try:
            ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
            # A finalizer may run on the loop's own thread, which cannot wait for itself.
            if not self._on_loop():
                ending.result(_END_LIMIT_S)
        except (TimeoutError, CancelledError, KvsError):
            log.debug("the iterator was not closed in time and is abandoned", exc_info=True)
        finally:
            SharedLoop.release()

    def _end_at_exit(self, limit_s: float) -> dict[str, FrameAccount]:
        """Close the generator at interpreter exit, while the loop still runs."""
        del limit_s
        self.end()
        return {}

    async def _step(self) -> tuple[T] | None:
        self._task = asyncio.current_task()
        try:
            return (await anext(self._source),)
        except StopAsyncIteration:
            return None

    async def _end(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._source.aclose()

    def _on_loop(self) -> bool:
        with contextlib.suppress(RuntimeError):  # no loop runs in this thread
            return asyncio.get_running_loop() is self._loop
        return False
