"""The quota of fragments a second, as a token bucket. Sans-I/O.

Kinesis Video Streams quotas: 5 fragments a second for each stream. There is no ERROR ack for it: a
producer that sends more is read more slowly, so that its acks come late (producer-sdk-cpp #82).
"""

from __future__ import annotations

from typing import Final

from kvsproducer.duration import TICKS_PER_SECOND

__all__ = ["FragmentRate"]

_BURST_S: Final = 2  # so many seconds' fragments may come at once


class FragmentRate:
    """Of one stream. `per_s` fragments a second are allowed."""

    def __init__(self, per_s: int, now: int) -> None:
        self._interval = TICKS_PER_SECOND // per_s
        self._burst = _BURST_S * TICKS_PER_SECOND
        self._paid_until = now

    def wait(self, fragments: int, now: int) -> int:
        """How long (ticks) to read nothing more after so many fragments have begun; 0 for not."""
        self._paid_until = max(self._paid_until, now - self._burst) + fragments * self._interval
        return max(0, self._paid_until - now)
