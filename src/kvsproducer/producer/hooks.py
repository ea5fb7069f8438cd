"""C-style callbacks as the producer sees them: what it asks of them, and when.

The callbacks themselves are in `kvsproducer.compat`, which stands above the producer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from kvsproducer import client as core

__all__ = ["Callbacks", "Fault", "Hooks"]

Fault = Callable[[str], object]
"""Called once with what went wrong when a function of the platform fails."""


class Callbacks(Protocol):
    """What a user gives as `Producer(callbacks=...)`: a `CallbacksProvider`."""

    def start(self, log_level: int) -> Hooks:
        """Begin to serve a producer; INVALID_OPERATION when another one is served already."""


class Hooks(Protocol):
    """The callbacks at work for one producer."""

    def clock(self, fault: Fault) -> Callable[[], int]:
        """What tells the wall-clock time, in ticks since 1970."""

    def dice(self, fault: Fault) -> Callable[[int], int]:
        """What gives a random number from 0 to below n."""

    def reports(self, stream: core.Stream, now: int) -> Sequence[Any]:
        """What a `put_frame` that has just been made has to report; call it under the lock."""

    def report(self, reports: Sequence[Any]) -> None:
        """Run the callbacks for these; raises what the first one fails with. Not under the lock."""

    def next_reported(self) -> core.Event | None:
        """The next event that `report` has run the callbacks for; call it under the lock."""

    def notify(self, event: core.Event) -> None:
        """Run the callbacks of any other event; raises nothing."""

    def handles(self, call: core.Call) -> bool:
        """Whether a callback is to be asked about this call."""

    def ask(self, call: core.Call) -> object:
        """The callbacks' answer to a call, None when it is to be made; may block, and raise."""

    def end(self) -> None:
        """The producer is closed."""
