"""How long to wait before a service call is repeated: exponential, with full jitter.

Source: AWS's state machines. The wait is base * 2**n, capped, plus a random part that is smaller
than this amount. n starts over after a quiet period. Unlike in AWS's client, n also starts over
once the service has stored media. So a connection that breaks often but works in between does not
cause longer and longer pauses. A client and each of its streams have their own backoff. (AWS's
share one, so streams that fail together delay one another.) Random numbers and times are arguments.
"""

from __future__ import annotations

from collections.abc import Callable

from kvsproducer.limits import (
    BACKOFF_BASE,
    BACKOFF_RESET_AFTER,
    MAX_BACKOFF,
    OFFLINE_MAX_BACKOFF,
)

__all__ = ["Backoff"]


class Backoff:
    """Computes the waits, in ticks; `dice(n)` returns a uniform int below n."""

    __slots__ = ("_count", "_dice", "_last")

    def __init__(self, dice: Callable[[int], int]) -> None:
        self._dice = dice
        self._count = 0
        self._last: int | None = None

    def next_wait(self, now: int, *, offline: bool = False) -> int:
        """Return the wait before the next attempt, in ticks from `now`, and count the attempt.

        The wait is base * 2**n, up to a maximum, plus a random part that is smaller than this
        amount. The maximum is lower for an offline stream, because its writer waits.
        """
        if self._last is not None and now - self._last > BACKOFF_RESET_AFTER:
            self._count = 0
        most = OFFLINE_MAX_BACKOFF if offline else MAX_BACKOFF
        # 2**n is capped before it is computed: n grows for as long as an outage lasts.
        wait = min(BACKOFF_BASE << min(self._count, 16), most)
        wait += self._dice(wait)
        self._count += 1
        self._last = now + wait
        return wait

    def reset(self) -> None:
        """Start over with the shortest wait, because an attempt succeeded."""
        self._count = 0
