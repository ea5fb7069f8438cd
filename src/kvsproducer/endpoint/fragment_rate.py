"""The quota of fragments per second, as a token bucket. Sans-I/O.

Source: Kinesis Video Streams quotas: 5 fragments a second for each stream. The service sends no
ERROR ack when a producer exceeds the quota. Instead it reads the upload more slowly, so that acks
are late (producer-sdk-cpp #82).
"""

from __future__ import annotations

from typing import Final

from kvsproducer.duration import TICKS_PER_SECOND

__all__ = ["FragmentRate"]

_BURST_S: Final = 2  # fragments of this many seconds may arrive at once


class FragmentRate:
    """The quota of one stream: `per_s` fragments a second."""

    def __init__(self, per_s: int, now: int) -> None:
        self._interval = TICKS_PER_SECOND // per_s
        self._burst = _BURST_S * TICKS_PER_SECOND
        self._used_until = now

    def wait(self, fragments: int, now: int) -> int:
        """Count new fragments, and return for how many ticks to pause reading (0: no pause)."""
        self._used_until = max(self._used_until, now - self._burst) + fragments * self._interval
        return max(0, self._used_until - now)
