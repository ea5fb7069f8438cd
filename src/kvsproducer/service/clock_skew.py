"""The difference between this machine's clock and the service's, measured from its responses.

The service refuses a request whose SigV4 date is more than 5 minutes off, and a camera without a
battery-backed clock starts in 1970. Every response of the service has a `Date` header. If it
differs from this machine's clock by a minute or more, the difference is reported and requests are
signed with the service's time. Smaller differences are ignored: a Date has whole seconds, and a
proxy may send an old one. A Date outside `limits.SERVICE_TIMES` is ignored too, because a date
beyond the calendar could not be signed. AWS's C producer has no such correction.
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
    """The difference in `ticks`: the service's clock minus this machine's; 0 while they agree.

    `on_change(ticks)` may be called in any thread. It is called when the clocks begin to differ,
    when the difference changes by a minute or more, and with 0 when the clocks agree again.
    """

    def __init__(self) -> None:
        self.ticks = 0
        # The wall clock minus the monotonic clock at the service's last Date.
        self._ahead: int | None = None
        self.on_change: Callable[[int], None] = lambda _ticks: None
        self._lock = threading.Lock()

    def knows(self, now: int) -> bool:
        """Return whether the service has sent a Date since this machine's clock was last set.

        `now` is the wall clock's time in ticks. If the result is False, the caller has to request a
        Date: after the clock was set forward, all credentials look expired. Without credentials no
        call is made, so no response would bring a Date.
        """
        if self._ahead is None:
            return False
        return abs(now - monotonic() - self._ahead) < limits.CLOCK_SKEW_NOTICED

    def observe(self, headers: Mapping[str, str], took: int, received: int) -> bool:
        """Measure the difference from a response; return whether it has changed.

        headers: the headers of the response. Only those of the service itself are used (they have
            a request id), not those of a proxy.
        took: ticks of the monotonic clock between the request and the response.
        received: the wall clock's time of the response, in ticks.
        """
        served = _date(headers)
        if served is None:
            return False
        self._ahead = received - monotonic()
        found = served + _HALF_SECOND - (received - took // 2)
        with self._lock:
            # Hysteresis: a difference that varies around the limit is not reported again and again.
            if abs(found) < limits.CLOCK_SKEW_NOTICED // (2 if self.ticks else 1):
                found = 0
            if abs(found - self.ticks) < limits.CLOCK_SKEW_NOTICED:
                return False
            self.ticks = found
        if found:
            log.warning("%s; requests are signed with the service's time", describe_skew(found))
        else:
            log.info("this machine's clock agrees with the service's")
        self.on_change(found)
        return True


def describe_skew(ticks: int) -> str:
    """Return a sentence such as `this machine's clock is 20 min 3 s behind the service's`."""
    minutes, rest = divmod(abs(ticks), TICKS_PER_MINUTE)
    side = "behind" if ticks > 0 else "ahead of"
    return (
        f"this machine's clock is {minutes} min {rest // TICKS_PER_SECOND} s {side} the service's"
    )


def _date(headers: Mapping[str, str]) -> int | None:
    """Return the time of the Date header in ticks, or None if there is no usable one.

    A Date without a request id beside it is ignored, because a proxy may have sent it.
    """
    names = {name.lower(): value for name, value in headers.items()}
    if wire.HEADER_REQUEST_ID.lower() not in names or "date" not in names:
        return None
    try:
        served = instant_to_ticks(parsedate_to_datetime(names["date"]))
    except (ValueError, KvsError):  # not a date, or one without a time zone
        return None
    earliest, latest = limits.SERVICE_TIMES
    return served if earliest <= served < latest else None
