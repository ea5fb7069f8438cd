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
        """Return the event that the next `set` will set.

        To miss no change, call this first, then check the state, then wait for the event.
        """
        return self._event

    async def wait(self, timeout_s: float, event: asyncio.Event | None = None) -> None:
        """Wait for the next `set` (or for an `event` from `next`), at most `timeout_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await (event or self._event).wait()


class LiveStream:
    """The live state of one stream.

    Its uploads share the fragment numbers, and its readers wait for `changed`. `rate` is the quota
    of fragments that its uploads share. `enforced` is whether uploads that exceed it are slowed
    down; otherwise it is only logged.
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
