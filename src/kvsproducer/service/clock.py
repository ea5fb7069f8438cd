"""The system's two clocks, in ticks of 100 ns. No other module outside the core reads them.

The wall clock (`now`) may be set forward or back at any time, for example by NTP. It is for
timestamps, expirations and the dates of requests. Durations (a timer, a timeout, a pause, a rate)
are measured with the monotonic clock, which is never set.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns, time_ns

__all__ = ["monotonic", "now", "steady"]


def now() -> int:
    """Return the wall clock's time in ticks of 100 ns since 1970; live media use it as pts."""
    return time_ns() // 100


def monotonic() -> int:
    """Return the monotonic clock's time in ticks of 100 ns; its zero is an arbitrary moment."""
    return monotonic_ns() // 100


def steady(start: int) -> Callable[[], int]:
    """Return a function that reads a monotonic clock in ticks; its time is `start` at this call.

    If `start` is the wall clock's time, the values look like wall-clock times in logs, but setting
    the wall clock does not change them.
    """
    offset = start - monotonic()
    return lambda: offset + monotonic_ns() // 100
