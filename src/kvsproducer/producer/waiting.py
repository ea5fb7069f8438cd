"""The lock of one producer, and waiting for what changes under it: in threads and on the loop.

The lock is an `RLock` only to know its owner: a signal handler or a finalizer that interrupts a
call of its own thread is refused, where another kind of lock would wait forever. No thread takes it
twice. Code that holds it may not log, since a handler of `logging` may call the producer. While the
main thread holds it, Ctrl-C is deferred: see `kvsproducer.service.interrupts`.

Threads wait for `change_count` to grow, on a condition with a lock of its own: they do not hold the
producer's lock while they wait, so that Ctrl-C ends the wait at once. Coroutines wait for
`changes`, on the producer's own loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable

from kvsproducer.service.interrupts import CoreLock
from kvsproducer.service.lifetime import refuse_fork
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["Waiting"]

_REENTERED = (
    "a signal handler or a finalizer calls this producer in the middle of another call of the same "
    "thread: have it set a flag, and call the producer outside"
)


class Waiting:
    """What an engine is for those who wait; `loop` is the producer's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lock = CoreLock()
        self.reentered: Callable[[], bool] = self.lock._is_owned
        self.change_count = 0
        self._changed = threading.Condition()
        self.process = os.getpid()  # that made the producer, and has its threads
        self._change: asyncio.Future[None] | None = None

    # --- refusals ----------------------------------------------------------------------------
    @property
    def forked(self) -> bool:
        """Whether this process is a fork of the one that made the producer."""
        return os.getpid() != self.process

    def refuse_fork(self) -> None:
        """Raise INVALID_OPERATION in a fork, where the lock may never be released."""
        refuse_fork(self.process, "producer")

    def refuse_reentry(self) -> None:
        """Raise RuntimeError in the middle of another call of this thread, and as `refuse_fork`.

        It is no `KvsError`, for the core takes that for its own word about the interrupted call.
        """
        self.refuse_fork()
        if self.reentered():
            raise RuntimeError(_REENTERED)

    def refuse_loop(self) -> None:
        """Raise INVALID_OPERATION on the loop: a call that blocks it would wait for itself."""
        running = None
        with contextlib.suppress(RuntimeError):  # no loop runs in this thread
            running = asyncio.get_running_loop()
        if running is self.loop:
            raise kvs_error(
                StatusCode.INVALID_OPERATION,
                "called on the producer's own event loop, which would wait for itself",
            )

    def refuse_other_loop(self) -> None:
        """Raise INVALID_OPERATION unless the running loop is the producer's."""
        if asyncio.get_running_loop() is not self.loop:
            raise kvs_error(
                StatusCode.INVALID_OPERATION, "this producer belongs to another event loop"
            )

    # --- waiting -----------------------------------------------------------------------------
    def block(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait in a thread until `done()` (asked under the lock) or until the time is over.

        Raises INVALID_OPERATION on the loop's own thread.
        """
        self.refuse_reentry()
        self.refuse_loop()
        deadline = time.monotonic() + timeout_s
        while True:
            seen = self.change_count  # before the look: a change after it ends the wait at once
            with self.lock:
                if done():
                    return True
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self.wait_for_change(seen, left_s)

    def wait_for_change(self, seen: int, timeout_s: float) -> None:
        """Wait in a thread until `change_count` is not `seen` any more, or the time is over."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.change_count != seen, min(timeout_s, threading.TIMEOUT_MAX)
            )

    def notify(self) -> None:
        """Have the threads that wait look again, after a change of the core."""
        with self._changed:
            self.change_count += 1
            self._changed.notify_all()

    async def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait on the loop until `done()` (asked under the lock) or until the time is over."""
        self.refuse_fork()
        deadline = self.loop.time() + timeout_s
        while True:
            with self.lock:
                if done():
                    return True
            left_s = deadline - self.loop.time()
            if left_s <= 0:
                return False
            await self.changes(left_s)

    async def changes(self, timeout_s: float | None = None) -> bool:
        """Wait on the loop for the next change in the core; False when the time was over first.

        Raises INVALID_OPERATION on another loop.
        """
        self.refuse_other_loop()
        if self._change is None:
            self._change = self.loop.create_future()
        change = self._change
        await asyncio.wait([change], timeout=timeout_s)
        return change.done()

    def settled(self) -> None:
        """Have all that wait for a change of the core look again. On the loop."""
        self.notify()
        if self._change is not None:
            self._change.set_result(None)
            self._change = None
