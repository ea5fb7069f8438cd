"""The system's two clocks, in ticks; the only place of the shell that asks them what time it is.

The wall clock (`now`) may be set forward or back at any time, such as by NTP: it is for timestamps,
expirations and the dates of requests. Whatever is a length of time (a timer, a timeout, a pause, a
rate) is measured by the monotonic clock, which is never set.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns, time_ns

__all__ = ["monotonic", "now", "steady"]


def now() -> int:
    """The time, in ticks of 100 ns since 1970: what `Frame.pts` takes for live media."""
    return time_ns() // 100


def monotonic() -> int:
    """Return the monotonic clock's time, in ticks of 100 ns since some moment."""
    return monotonic_ns() // 100


def steady(start: int) -> Callable[[], int]:
    """Return a clock that says `start` now (ticks) and goes on by the monotonic clock.

    Started at the wall clock's time, its times are easy to read, and are never set.
    """
    offset = start - monotonic()
    return lambda: offset + monotonic_ns() // 100
