"""How long to wait before a service call is repeated: exponential, with full jitter.

Facts: AWS's state machines: wait = base * 2**n, capped, plus a random part below the same amount;
n starts over after a quiet period, and (unlike AWS's) once the service has stored media: a link
that breaks often but works in between is not answered by ever longer pauses. A client and each of
its streams have one of their own (AWS's share one, so that many streams that fail together wait
for one another). The dice and the time are arguments.
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
    """Gives the waits, in ticks; `dice(n)` gives a uniform int below n."""

    __slots__ = ("_count", "_dice", "_last")

    def __init__(self, dice: Callable[[int], int]) -> None:
        self._dice = dice
        self._count = 0
        self._last: int | None = None

    def next_wait(self, now: int, *, offline: bool = False) -> int:
        """The wait before the next attempt, ticks from `now`; counts that attempt.

        base * 2**n is capped, lower for an offline stream, whose writer waits. With its random part
        a wait is below twice as much.
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
        """It worked: the next failure is the first again."""
        self._count = 0
