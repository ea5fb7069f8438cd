"""Close open producers when the interpreter exits, and refuse their use after a fork.

If a script never calls `close`, its blocking producers are closed at exit, all of them together
within `EXIT_LIMIT_S`. A `RuntimeWarning` counts the frames that were dropped. The event loop of an
asyncio producer no longer runs by then, so the frames that the producer holds are dropped at once.
All threads of the package are daemons, so that none of them keeps the interpreter running.

A producer does not survive a fork: its threads exist only in the parent, and one of them may have
held the producer's lock. So every method compares process ids before it takes the lock, and in the
child it raises INVALID_OPERATION. The child may create a producer of its own.
"""

from __future__ import annotations

import atexit
import os
import time
import warnings
from typing import Final, Protocol

from kvsproducer.client import FrameAccount
from kvsproducer.status import StatusCode, kvs_error
from kvsproducer.status.system import without_numbers

__all__ = ["EXIT_LIMIT_S", "Closable", "refuse_fork", "register", "unregister"]

EXIT_LIMIT_S: Final = 10.0  # our choice: the same limit as after Ctrl-C


class Closable(Protocol):
    """An object that is closed at exit: a producer, or an iterator that reads from the service."""

    def _end_at_exit(self, limit_s: float) -> dict[str, FrameAccount]:
        """Close, within the limit if possible; return the frame accounts by stream name."""


_open: dict[Closable, int] = {}  # each with the id of the process that created it


def register(producer: Closable) -> None:
    """Register a producer or iterator to be closed at exit.

    This keeps a reference to it until `unregister`, so that it is not garbage-collected while open.
    """
    _open[producer] = os.getpid()


def unregister(producer: Closable) -> None:
    """Remove a producer or iterator from those that are closed at exit."""
    _open.pop(producer, None)


def refuse_fork(maker: int, what: str) -> None:
    """Raise INVALID_OPERATION if this process is not the one that created an object.

    `maker` is the id of the process that created the object. `what` is a noun for the object, which
    the message contains ("producer").
    """
    if os.getpid() != maker:
        raise kvs_error(
            StatusCode.INVALID_OPERATION,
            f"this {what} belongs to process {maker}, of which this one is a fork: make another"
            f" {what} here, or fork before making one",
        )


def _at_exit() -> None:
    deadline = time.monotonic() + EXIT_LIMIT_S
    own = os.getpid()  # a forked child that exits must not close its parent's producers
    for producer in [one for one, maker in _open.items() if maker == own]:
        try:
            accounts = producer._end_at_exit(max(0.0, deadline - time.monotonic()))
        except Exception as error:  # noqa: BLE001  the others are closed all the same
            warnings.warn(
                f"{producer!r} was not closed, and closing it failed: {without_numbers(error)}",
                RuntimeWarning,
                stacklevel=1,
            )
            continue
        for name, account in accounts.items():
            if account.dropped:
                warnings.warn(
                    f"{producer!r} was not closed; stream {name!r}: {account.persisted} of "
                    f"{account.accepted} accepted frames were stored, {account.dropped} dropped. "
                    "Close the producer, or use it in a `with` block",
                    RuntimeWarning,
                    stacklevel=1,
                )


atexit.register(_at_exit)
