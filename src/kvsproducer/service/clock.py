"""The system's clock, in ticks; the only place of the shell that asks it what time it is."""

from __future__ import annotations

import time

__all__ = ["now"]


def now() -> int:
    """The time, in ticks of 100 ns since 1970: what `Frame.pts` takes for live media."""
    return time.time_ns() // 100
