"""What happens on a stream right now: its uploads, and a signal for its readers.

For the event loop's thread only.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from kvsproducer.endpoint.fragment import FragmentNumbers
from kvsproducer.endpoint.fragment_rate import FragmentRate

__all__ = ["LiveStream", "OpenUpload", "Signal"]


class OpenUpload(Protocol):
    """What others may tell an upload."""

    def stop(self) -> None:
        """The endpoint shuts down."""

    def stream_deleted(self) -> None:
        """The stream is gone."""


class Signal:
    """Wakes everyone who waits at that moment."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wakes those who wait, and those who took `next` before."""
        self._event.set()
        self._event = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Is set by the next `set`: take it, look at the state, then wait for it."""
        return self._event

    async def wait(self, timeout_s: float, event: asyncio.Event | None = None) -> None:
        """Until the next `set` (or `event` taken earlier), or until the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await (event or self._event).wait()


class LiveStream:
    """One stream: its uploads share the fragment numbers, its readers wait for `changed`.

    `rate` is the quota of fragments that its uploads share, `enforced` whether they are slowed
    down; if not, exceeding it is only logged.
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
