"""The one timer of an engine: wakes it, on its loop, at the time that its core asks for.

The core's times are the wall clock's, the loop's are not. A wait is measured once, when the alarm
is set: a clock that is set back afterwards makes it no longer, and the core, which is woken in
time, sees that it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kvsproducer.duration import TICKS_PER_SECOND

__all__ = ["Alarm"]


class Alarm:
    """Calls `ring` on the loop, once for each time that it is set to. Not thread-safe."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._due: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, due: int | None, now: int) -> None:
        """Ring at `due`, in ticks as `now`; None: not at all.

        Set again to the same time, before it has rung, it is left as it is.
        """
        if self._timer is not None:
            if due == self._due:
                return
            self._timer.cancel()
            self._timer = None
        self._due = due
        if due is not None:
            self._timer = self._loop.call_later(max(0, due - now) / TICKS_PER_SECOND, self._rings)

    @property
    def rings_at(self) -> float | None:
        """When it does, by the loop's clock; None while it is not set."""
        return None if self._timer is None else self._timer.when()

    def _rings(self) -> None:
        self._timer = None
        self._ring()
