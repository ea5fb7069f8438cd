"""How far this machine's clock is off the service's, learnt from the service's answers.

SigV4 refuses a request whose date is more than 5 minutes off, and a camera without a battery-backed
clock starts in 1970. Every answer of the service has a `Date`; from one minute on (a Date has whole
seconds, and a stale one from a proxy must do no harm) the difference counts: it is reported, and
requests are signed with the service's time. AWS's C producer has no such correction. A Date that
is absurd does not count: with one beyond the calendar nothing could be signed any more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from kvsproducer import limits, wire
from kvsproducer.duration import TICKS_PER_MINUTE, TICKS_PER_SECOND, instant_to_ticks
from kvsproducer.service.clock import monotonic
from kvsproducer.status import KvsError

__all__ = ["ClockSkew"]

log = logging.getLogger("kvsproducer.clock")

_HALF_SECOND: Final = TICKS_PER_SECOND // 2  # a Date is cut to its second


class ClockSkew:
    """The difference in ticks: the service's clock minus ours; 0 while they agree.

    `on_change(ticks)` is called, in any thread, when the clocks turn out to differ, when the
    difference changes by a minute or more, and with 0 when they agree again.
    """

    def __init__(self) -> None:
        self.ticks = 0
        self._ahead: int | None = None  # of the monotonic clock was ours at the service's last Date
        self.on_change: Callable[[int], None] = lambda _ticks: None
        self._lock = threading.Lock()

    def knows(self, now: int) -> bool:
        """Return whether a Date of the service came since our clock, which says `now`, was set.

        A clock that is set forward would make all credentials look expired, and without them no
        call is made whose answer would have a Date.
        """
        if self._ahead is None:
            return False
        return abs(now - monotonic() - self._ahead) < limits.CLOCK_SKEW_NOTICED

    def observe(self, headers: Mapping[str, str], took: int, received: int) -> bool:
        """Look at an answer's headers, which came `took` ticks after the request was sent.

        `received` is what our clock says now, in ticks. (`took` is measured by the monotonic clock:
        ours may have been set in between.)
        Only answers of the service itself count (they have its request id), not those of a proxy.
        Returns whether the difference has changed.
        """
        told = _date(headers)
        if told is None:
            return False
        self._ahead = received - monotonic()
        found = told + _HALF_SECOND - (received - took // 2)
        with self._lock:
            # A reported difference is not taken back because it wavers about the limit.
            if abs(found) < limits.CLOCK_SKEW_NOTICED // (2 if self.ticks else 1):
                found = 0
            if abs(found - self.ticks) < limits.CLOCK_SKEW_NOTICED:
                return False
            self.ticks = found
        if found:
            log.warning("%s; requests are signed with the service's time", described(found))
        else:
            log.info("this machine's clock agrees with the service's")
        self.on_change(found)
        return True


def described(ticks: int) -> str:
    """`this machine's clock is 20 min 3 s behind the service's`."""
    minutes, rest = divmod(abs(ticks), TICKS_PER_MINUTE)
    side = "behind" if ticks > 0 else "ahead of"
    return (
        f"this machine's clock is {minutes} min {rest // TICKS_PER_SECOND} s {side} the service's"
    )


def _date(headers: Mapping[str, str]) -> int | None:
    """The service's time in ticks, None when the answer is not its own or has no usable Date."""
    names = {name.lower(): value for name, value in headers.items()}
    if wire.HEADER_REQUEST_ID.lower() not in names or "date" not in names:
        return None
    try:
        told = instant_to_ticks(parsedate_to_datetime(names["date"]))
    except (ValueError, KvsError):  # no date, or one without a zone
        return None
    earliest, latest = limits.SERVICE_TIMES
    return told if earliest <= told < latest else None
