"""Deliver Ctrl-C that arrives during a call of the core at the end of that call.

Python raises KeyboardInterrupt between any two bytecodes of the main thread. A call of the core
changes many fields that belong together. An exception between two of the changes would leave them
inconsistent: a frame could use space in the storage without being in the buffer, or be in the
buffer without being counted. So the interrupt must wait until the call returns. The first producer
that is created in the main thread replaces Python's default handler of SIGINT, as `asyncio.Runner`
does. The last producer that is closed restores it. If the program has installed a handler of its
own, that handler stays.

The handler needs to know whether the main thread is inside the core. It asks the producer's lock: a
thread takes the lock before it enters the core and releases it afterwards, and the lock knows which
thread owns it. (A separate flag would have to be set just after the lock is taken, and an interrupt
could come between the two steps.) These are the cases:

- Before the main thread has the lock, also while another thread holds it: the handler raises at
  once. The core has not been touched.
- While the main thread owns the lock: the handler only sets `deferred` on the lock. `__enter__` is
  RLock's own, in C, so Python runs no bytecode between taking the lock and entering the `with`
  block that releases it.
- In `__exit__`: the lock is released first, and `deferred` is checked second. An interrupt before
  the release sets `deferred`, and the check finds it. An interrupt after the release is raised at
  once and clears `deferred`, so that several signals raise one exception. With the opposite order,
  an interrupt between the check and the release would be lost. Another thread may see `deferred`
  after the release, but only the main thread raises it.
- While the main thread waits for space or for acks: it does not own the lock, so the handler raises
  at once and the wait ends.

A put may therefore raise KeyboardInterrupt although its frame was accepted. A caller that counts
its frames then counts one too few, never one too many.

If the handler is not installed (the program has one of its own, or every producer was created in
another thread), or if the handler of another signal raises, the exception is raised inside the
core. The stream then fails; see `client.Stream`.
"""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

__all__ = ["CoreLock", "interrupt", "unwatch", "watch"]


class CoreLock(_thread.RLock):  # type: ignore[misc]  # final in typeshed, but not in CPython
    """The lock of one producer; `interrupt` is deferred while the main thread owns it."""

    __slots__ = ("deferred",)

    _is_owned: Callable[[], bool]  # of RLock, for conditions; typeshed leaves it out

    def __init__(self) -> None:
        self.deferred: type[KeyboardInterrupt] | None = None

    def __exit__(self, *_: object) -> None:
        """Release the lock, then raise the interrupt that was deferred while it was owned."""
        self.release()
        if self.deferred is not None:
            self._deliver()

    def _deliver(self) -> None:
        """Raise the deferred interrupt if the main thread has released the lock completely.

        The lock may still be owned: the handler of another signal may read statistics, which takes
        the lock a second time.
        """
        deferred = self.deferred
        if deferred is not None and _in_main_thread() and not self.owned:
            self.deferred = None
            raise deferred

    @property
    def owned(self) -> bool:
        """Whether the current thread owns the lock."""
        return self._is_owned()


_locks: set[CoreLock] = set()  # of the producers that are open


def watch(lock: CoreLock) -> None:
    """Defer Ctrl-C while the main thread owns the lock, until `unwatch`.

    Installs the handler of SIGINT if this is the main thread and the current handler is Python's
    default.
    """
    _locks.add(lock)
    if _in_main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with suppress(ValueError):  # a subinterpreter cannot install signal handlers
            signal.signal(signal.SIGINT, _on_sigint)


def unwatch(lock: CoreLock) -> None:
    """Remove a lock; after the last one, restore Python's handler unless it was replaced meanwhile.

    Only the main thread can restore it. If another thread removes the last lock, our handler stays
    and behaves like Python's.
    """
    _locks.discard(lock)
    if not _locks and _in_main_thread() and signal.getsignal(signal.SIGINT) is _on_sigint:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupt(kind: type[KeyboardInterrupt] = KeyboardInterrupt) -> None:
    """Raise `kind` now, or at the end of the call of the core that this thread is running.

    Signal handlers call this; Python runs them in the main thread.
    """
    locks = tuple(_locks)  # one atomic step: another thread may open or close a producer
    for lock in locks:
        if lock.owned:
            lock.deferred = lock.deferred or kind
            return
    for lock in locks:
        lock.deferred = None
    raise kind


def _on_sigint(_number: int, _frame: FrameType | None) -> None:
    interrupt()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
