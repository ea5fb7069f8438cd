"""Waiting until something is the case, within a bound that only what never comes exceeds."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(
    happened: Callable[[], object], within_s: float = 30, seen: Callable[[], object] | None = None
) -> None:
    """Look every 10 ms; what takes too long fails, and tells what was `seen` instead."""
    deadline = time.monotonic() + within_s
    while not happened():
        told = "" if seen is None else f": {seen()}"
        assert time.monotonic() < deadline, f"not within {within_s} s{told}"
        time.sleep(0.01)
