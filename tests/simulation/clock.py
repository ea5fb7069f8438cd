"""Simulated time: a queue of what is to happen, and a clock that jumps from one to the next.

No real clock, no sleep. There are two times, both in ticks: `now` only grows and orders what
happens; `wall` is what a device's clock shows, which may be stepped (`step`) as NTP does. Things
that are due at the same time happen in the order in which they were asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

__all__ = ["SimulatedClock"]


class SimulatedClock:
    """Begins at `now` ticks since 1970; `later` adds to what is to happen, `advance` lets it."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.offset = 0  # of the device's clock, ticks
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = count()

    @property
    def wall(self) -> int:
        """What the device's clock shows."""
        return self.now + self.offset

    def step(self, offset: int) -> None:
        """Set the device's clock `offset` ticks off the true time."""
        self.offset = offset

    def later(self, delay: int, action: Callable[[], None]) -> None:
        """Have `action` happen `delay` ticks from now (at once when that is past)."""
        heappush(self._queue, (self.now + max(delay, 0), next(self._serial), action))

    @property
    def next_due(self) -> int | None:
        """When the next thing is due, or None."""
        return self._queue[0][0] if self._queue else None

    def advance(self, until: int) -> Callable[[], None] | None:
        """Go to the next thing that is due by `until` and return it; None: `until` is reached."""
        if self._queue and self._queue[0][0] <= until:
            due, _, action = heappop(self._queue)
            self.now = due
            return action
        self.now = max(self.now, until)
        return None
