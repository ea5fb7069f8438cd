"""The live state of a stream: its open uploads, and a signal for its readers.

Only the event loop's thread may use it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from kvsproducer.endpoint.fragment import FragmentNumbers
from kvsproducer.endpoint.fragment_rate import FragmentRate

__all__ = ["LiveStream", "OpenUpload", "Signal"]


class OpenUpload(Protocol):
    """The methods that the endpoint calls on an open upload."""

    def stop(self) -> None:
        """End the upload because the endpoint shuts down."""

    def stream_deleted(self) -> None:
        """End the upload because its stream was deleted."""


class Signal:
    """An event that wakes all current waiters and resets automatically."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the tasks in `wait`, and set the event that `next` returned."""
        self._event.set()
        self._event = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Return the event that the next call of `set` will set.

        Call this method first, then check the state, then wait for the event. In any other order, a
        change between the check and the wait would be missed.
        """
        return self._event

    async def wait(self, timeout_s: float, event: asyncio.Event | None = None) -> None:
        """Wait for the next `set` (or for an `event` from `next`), at most `timeout_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await (event or self._event).wait()


class LiveStream:
    """The live state of one stream.

    All uploads of the stream share the fragment numbers and `rate`, the quota of fragments. If
    `enforced` is true, uploads that exceed the quota are slowed down; otherwise this is only
    logged. Readers wait for `changed`.
    """

    def __init__(
        self, arn: str, last_number: str, rate: FragmentRate, *, enforced: bool = False
    ) -> None:
        self.arn = arn
        self.numbers = FragmentNumbers(last_number)
        self.uploads: set[OpenUpload] = set()
        self.changed = Signal()
        self.rate = rate
        self.enforced = enforced
