"""The interface between the producer and C-style callbacks.

`kvsproducer.compat` implements it. The producer does not import that package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from kvsproducer import client as core

__all__ = ["Callbacks", "Fault", "Hooks"]

Fault = Callable[[str], object]
"""A function that is called once, with a message, if a platform callback fails."""


class Callbacks(Protocol):
    """The type of `Producer(callbacks=...)`, which `CallbacksProvider` implements."""

    def start(self, log_level: int) -> Hooks:
        """Return the hooks for a producer.

        Raises INVALID_OPERATION if another producer uses them.
        """


class Hooks(Protocol):
    """The callbacks of one producer."""

    def clock(self, fault: Fault) -> Callable[[], int]:
        """Return a function that returns the wall-clock time in ticks since 1970."""

    def dice(self, fault: Fault) -> Callable[[int], int]:
        """Return a function that returns a random int from 0 to n - 1."""

    def reports(self, stream: core.Stream, now: int) -> Sequence[Any]:
        """Return the reports of the `put_frame` that has just run, for the method `report`.

        The caller must hold the lock.
        """

    def report(self, reports: Sequence[Any]) -> None:
        """Run the callbacks for `reports`; raise the first error.

        The caller must not hold the lock.
        """

    def next_reported(self) -> core.Event | None:
        """Return the next event for which `report` has already called the callbacks.

        The caller must hold the lock.
        """

    def notify(self, event: core.Event) -> None:
        """Run the callbacks for an event that `report` does not handle; never raises."""

    def handles(self, call: core.Call) -> bool:
        """Return whether there is a callback for this call."""

    def ask(self, call: core.Call) -> object:
        """Return the callbacks' answer, or None to call the service; may block and raise."""

    def end(self) -> None:
        """Free the callbacks after the producer is closed."""
