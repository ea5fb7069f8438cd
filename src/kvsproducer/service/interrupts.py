"""Ctrl-C during a call of the core is delivered at the end of that call.

Python raises KeyboardInterrupt between any two bytecodes of the main thread. A call of the core
changes many fields that belong together, and an exception between two of them would leave frames
that are charged but not held, or held but not counted. So nothing is raised there: the first
producer that is made in the main thread replaces Python's default handler of SIGINT, as
`asyncio.Runner` does, and the last one that is closed restores it. Any other handler is left alone.

The lock of a producer says whether a call of the core is running in the main thread: the lock is
taken before the core is touched, released after, and knows its owner. A separate flag would have to
be set just after the lock is taken, and an interrupt could come between the two. This leaves:

- Before the lock is taken, also while another thread holds it: the interrupt is raised at once, and
  the core has not been touched.
- While the main thread owns the lock: the handler notes the interrupt in the lock. `__enter__` is
  RLock's own, in C, so there is no bytecode of ours between taking the lock and the `with` block
  that releases it.
- In `__exit__`, the lock is released first and looked at second. An interrupt before the release is
  noted, and found by the look; one after it is raised at once, and clears the note, so that several
  signals are one interrupt. Looking first would lose what is noted between the look and the
  release. Another thread may see the note after the release; it is not the one to raise it.
- A thread that waits for space or for acks does not own the lock, so waiting ends at once.

A put may thus be interrupted although its frame was accepted. A caller that counts frames counts
too few then, never too many.

Without the handler (another one is installed, or every producer was made in another thread), and
for handlers of other signals that raise, the exception is raised inside the core. That fails the
stream: see `client.Stream`.
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
    """The lock of one producer; defers `interrupt` while the main thread owns it."""

    __slots__ = ("deferred",)

    _is_owned: Callable[[], bool]  # of RLock, for conditions; typeshed leaves it out

    def __init__(self) -> None:
        self.deferred: type[KeyboardInterrupt] | None = None

    def __exit__(self, *_: object) -> None:
        """Release the lock; raise the interrupt that came while the main thread owned it."""
        self.release()
        if self.deferred is not None:
            self._deliver()

    def _deliver(self) -> None:
        """Raise what was deferred, in the main thread, once it has released the lock for good.

        A handler of another signal may look at figures, and so take the lock a second time.
        """
        deferred = self.deferred
        if deferred is not None and _in_main_thread() and not self.owned:
            self.deferred = None
            raise deferred

    @property
    def owned(self) -> bool:
        """Whether the current thread has taken the lock."""
        return self._is_owned()


_locks: set[CoreLock] = set()  # of the producers that are open


def watch(lock: CoreLock) -> None:
    """Defer Ctrl-C while the main thread owns the lock, until `unwatch`.

    Installs the handler of SIGINT if this is the main thread and Python's default is in place.
    """
    _locks.add(lock)
    if _in_main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with suppress(ValueError):  # the main thread of an interpreter that gets no signals
            signal.signal(signal.SIGINT, _on_sigint)


def unwatch(lock: CoreLock) -> None:
    """Forget a lock; after the last one, restore Python's handler if ours is still in place.

    Only the main thread can restore it. A handler of ours that stays does what Python's does.
    """
    _locks.discard(lock)
    if not _locks and _in_main_thread() and signal.getsignal(signal.SIGINT) is _on_sigint:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupt(kind: type[KeyboardInterrupt] = KeyboardInterrupt) -> None:
    """Raise `kind` at once, or at the end of the core's call that is running in this thread.

    For signal handlers, which Python runs in the main thread.
    """
    locks = tuple(_locks)  # in one step: another thread may open or close a producer
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
