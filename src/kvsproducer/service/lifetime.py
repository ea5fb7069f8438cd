"""What happens to open producers when the interpreter exits, and after a fork.

If a script never calls `close`, its blocking producers are closed at exit, all of them together
within `EXIT_LIMIT_S`; a `RuntimeWarning` says which frames were not stored. The loop of an asyncio
producer is gone by then: a warning says what the producer still held. All threads of the package
are daemons, so that none of them keeps the interpreter running.

A producer does not survive a fork: its threads stay in the parent, and one of them may hold its
lock. So the process id is compared before the lock is taken: in the child every use of the producer
raises INVALID_OPERATION. The child may make a producer of its own.
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

__all__ = ["EXIT_LIMIT_S", "Closable", "closed", "opened", "refuse_fork"]

EXIT_LIMIT_S: Final = 10.0  # ours: as long as Ctrl-C is given


class Closable(Protocol):
    """What is closed at exit: a producer, or an iterator that reads from the service."""

    def _end_at_exit(self, limit_s: float) -> dict[str, FrameAccount]:
        """Close within the limit if possible; return the accounts of the frames by stream name."""


_open: dict[Closable, int] = {}  # with the id of the process that made it


def opened(producer: Closable) -> None:
    """Register a producer; it is kept until it is closed, as its engine is by its loop."""
    _open[producer] = os.getpid()


def closed(producer: Closable) -> None:
    """Remove a producer from those to close at exit."""
    _open.pop(producer, None)


def refuse_fork(maker: int, what: str) -> None:
    """Raise INVALID_OPERATION in a process that was forked from `maker`, which made a `what`."""
    if os.getpid() != maker:
        raise kvs_error(
            StatusCode.INVALID_OPERATION,
            f"this {what} belongs to process {maker}, of which this one is a fork: make another"
            f" {what} here, or fork before making one",
        )


def _at_exit() -> None:
    deadline = time.monotonic() + EXIT_LIMIT_S
    own = os.getpid()  # a forked child that exits leaves its parent's alone
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
            if account.held or account.dropped:
                warnings.warn(
                    f"{producer!r} was not closed; stream {name!r}: {account.persisted} of "
                    f"{account.accepted} accepted frames were stored, {account.dropped} dropped, "
                    f"{account.held} had no answer within {EXIT_LIMIT_S:g} s",
                    RuntimeWarning,
                    stacklevel=1,
                )


atexit.register(_at_exit)
