"""An async generator, iterated by a blocking caller: it runs on the shared loop.

The generator is closed on `break`, on Ctrl-C while the caller waits, when it is garbage-collected
(in any thread), and at interpreter exit, before the thread of the event loop stops. A forked child
cannot use it, and ends nothing of the parent's.
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

__all__ = ["iterated"]

T = TypeVar("T")
log = logging.getLogger("kvsproducer")
_END_LIMIT_S: Final = 10.0  # ours: closing what the generator has open


def iterated(source: AsyncGenerator[T, None]) -> Iterator[T]:
    """What `source` gives, until it ends or the caller stops.

    Raises what it raises, CREATE_THREAD_FAILED, and INVALID_OPERATION in a forked child.
    """
    steps = _Steps(source)
    try:
        while (one := steps.next()) is not None:
            yield one[0]
    finally:
        steps.end()


class _Steps(Generic[T]):
    """The generator as the caller's thread and the interpreter's exit use it."""

    def __init__(self, source: AsyncGenerator[T, None]) -> None:
        self._source = source
        self._loop = SharedLoop.acquire()
        self._task: asyncio.Task[object] | None = None
        self._once = threading.Lock()  # is never released
        self._process = os.getpid()
        lifetime.opened(self)

    def next(self) -> tuple[T] | None:
        """The next one; None when there are no more, or it was ended meanwhile."""
        lifetime.refuse_fork(self._process, "iterator")
        try:
            return asyncio.run_coroutine_threadsafe(self._step(), self._loop).result()
        except CancelledError:  # ended by another thread, or by the program's exit
            return None

    def end(self) -> None:
        """Close the generator, and give the loop back; once. Bounded."""
        if os.getpid() != self._process or not self._once.acquire(blocking=False):
            return
        lifetime.closed(self)
        try:
            ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
            if not self._on_loop():  # where a finalizer may have come, which cannot wait
                ending.result(_END_LIMIT_S)
        except (TimeoutError, CancelledError, KvsError):
            log.debug("what was iterated is left behind", exc_info=True)
        finally:
            SharedLoop.release()

    def _end_at_exit(self, limit_s: float) -> dict[str, FrameAccount]:
        """See `kvsproducer.service.lifetime`: the loop still runs."""
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
