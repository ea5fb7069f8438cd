"""The lock of a producer, and how threads and coroutines wait for changes of the core.

The lock is an `RLock` only because an `RLock` knows which thread owns it. A signal handler or a
finalizer may call the producer in the middle of another call of the same thread. The inner call
then raises; with another kind of lock it would wait forever. No thread takes the lock twice. Code
that holds the lock must not log, because a handler of `logging` may call the producer. While the
main thread holds the lock, Ctrl-C is deferred: see `kvsproducer.service.interrupts`.

A thread waits on a condition until `change_count` grows. The condition has a lock of its own, so
the thread does not hold the producer's lock while it waits. Ctrl-C therefore ends the wait at once.
A coroutine waits in `changes`, on the producer's loop.
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
    """The base class of the engine, with the lock and the methods that wait for changes.

    `loop` is the producer's event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lock = CoreLock()
        self.reentered: Callable[[], bool] = self.lock._is_owned
        self.change_count = 0
        self._changed = threading.Condition()
        self.process = os.getpid()  # the process that created the producer and runs its threads
        self._change: asyncio.Future[None] | None = None

    # --- refusals ----------------------------------------------------------------------------
    @property
    def forked(self) -> bool:
        """Whether this process is a fork of the one that created the producer."""
        return os.getpid() != self.process

    def refuse_fork(self) -> None:
        """Raise INVALID_OPERATION in a forked process, where the lock may never be released."""
        refuse_fork(self.process, "producer")

    def refuse_reentry(self) -> None:
        """Raise RuntimeError if this thread is already inside a call of this producer.

        The error is not a `KvsError`, because the core would treat a `KvsError` as the result of
        the interrupted call. Also raises what `refuse_fork` raises.
        """
        self.refuse_fork()
        if self.reentered():
            raise RuntimeError(_REENTERED)

    def refuse_loop(self) -> None:
        """Raise INVALID_OPERATION on the producer's loop, where a blocking call would deadlock."""
        running = None
        with contextlib.suppress(RuntimeError):  # no loop runs in this thread
            running = asyncio.get_running_loop()
        if running is self.loop:
            raise kvs_error(
                StatusCode.INVALID_OPERATION,
                "a blocking method was called on the producer's own event loop, which would wait"
                " for itself",
            )

    def refuse_other_loop(self) -> None:
        """Raise INVALID_OPERATION unless the running loop is the producer's."""
        if asyncio.get_running_loop() is not self.loop:
            raise kvs_error(
                StatusCode.INVALID_OPERATION, "this producer belongs to another event loop"
            )

    # --- waiting -----------------------------------------------------------------------------
    def block(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait in a thread until `done()` is true; return False if the time is over first.

        `done` is called under the lock. Raises INVALID_OPERATION on the loop's own thread.
        """
        self.refuse_reentry()
        self.refuse_loop()
        deadline = time.monotonic() + timeout_s
        while True:
            # Read the count before the check. If it were read after it, a change in between would
            # not end the wait.
            seen = self.change_count
            with self.lock:
                if done():
                    return True
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self.wait_for_change(seen, left_s)

    def wait_for_change(self, seen: int, timeout_s: float) -> None:
        """Wait in a thread until `change_count` differs from `seen`, or the time is over."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.change_count != seen, min(timeout_s, threading.TIMEOUT_MAX)
            )

    def notify(self) -> None:
        """Wake the waiting threads after a change of the core."""
        with self._changed:
            self.change_count += 1
            self._changed.notify_all()

    async def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait on the loop until `done()` is true; return False if the time is over first.

        `done` is called under the lock.
        """
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
        """Wait on the loop for the next change of the core; return False if the time is over first.

        Raises INVALID_OPERATION on another loop.
        """
        self.refuse_other_loop()
        if self._change is None:
            self._change = self.loop.create_future()
        change = self._change
        await asyncio.wait([change], timeout=timeout_s)
        return change.done()

    def wake_waiters(self) -> None:
        """Wake waiting threads and coroutines after a change of the core; runs on the loop."""
        self.notify()
        if self._change is not None:
            self._change.set_result(None)
            self._change = None
