"""Producers that nobody closed: at the interpreter's exit, and in a forked child.

A script that ends without `close` has its blocking producers closed for it, all of them together
within `EXIT_LIMIT_S`; a `RuntimeWarning` tells what was not stored. An asyncio producer's loop is
gone by then: what it held is told. The threads of the package are daemons, so nothing else keeps
the interpreter.

A producer does not survive a fork: its threads stay in the parent, and its lock may be held by one.
In the child every use of it raises INVALID_OPERATION; the child may make its own.
"""

from __future__ import annotations

import atexit
import os
import time
import warnings
from typing import Final, NoReturn, Protocol

from kvsproducer.client import FrameAccount
from kvsproducer.status import StatusCode, kvs_error
from kvsproducer.status.system import without_numbers

__all__ = ["EXIT_LIMIT_S", "Closable", "ForeignLock", "closed", "opened"]

EXIT_LIMIT_S: Final = 10.0  # ours: as long as Ctrl-C is given


class Closable(Protocol):
    """A producer, as far as this module knows it."""

    def end_at_exit(self, limit_s: float) -> dict[str, FrameAccount]:
        """Close within the limit, if that can be done; what became of the frames."""

    def end_in_child(self) -> None:
        """This is a forked child: refuse everything from now on."""


_open: set[Closable] = set()


def opened(producer: Closable) -> None:
    """A producer was made. It is kept until it is closed, as its engine is by its loop."""
    _open.add(producer)


def closed(producer: Closable) -> None:
    """It was closed."""
    _open.discard(producer)


class ForeignLock:
    """What stands in for the lock of a producer of the parent process."""

    def __init__(self) -> None:
        self._parent = os.getppid()

    def __enter__(self) -> NoReturn:
        raise kvs_error(
            StatusCode.INVALID_OPERATION,
            f"this producer belongs to process {self._parent}, of which this one is a fork: "
            "make another producer here, or fork before making one",
        )

    def __exit__(self, *_: object) -> None:
        """Never entered, never left."""


def _at_exit() -> None:
    deadline = time.monotonic() + EXIT_LIMIT_S
    for producer in list(_open):
        try:
            accounts = producer.end_at_exit(max(0.0, deadline - time.monotonic()))
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


def _in_child() -> None:
    for producer in _open:
        producer.end_in_child()
    _open.clear()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
