"""Call the application's clock, random number and log functions, and handle their failures.

The clock and the random numbers are used under the producer's lock, so a failure cannot be logged
at once. Instead the system's function is used, and `fault` is called once for each function.
`fault` must not block. `log_print` runs on a separate thread, because it may block, and any thread
may log.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from kvsproducer.compat.structures import PlatformCallbacks
from kvsproducer.producer.hooks import Fault
from kvsproducer.service.clock import now
from kvsproducer.service.loop import start_thread

__all__ = ["LogPrint", "clock_of", "dice_of"]

_MAX_LINES: Final = 10_000  # our limit: lines that wait for a slow log_print; more are lost
_CLOSING_LIMIT_S: Final = 2.0  # for the last lines


def clock_of(platform: PlatformCallbacks, fault: Fault) -> Callable[[], int]:
    """Return a function that returns the wall-clock time in ticks.

    It uses the platform's clock. If the platform has none, or its clock fails, it uses the
    system's.
    """
    given = platform.get_current_time
    if given is None:
        return now

    def clock() -> int:
        try:
            return int(given())
        except Exception as error:  # noqa: BLE001  reported, and the producer continues
            report("get_current_time", error)
            return now()

    report = _report_once(fault)
    return clock


def dice_of(platform: PlatformCallbacks, fault: Fault) -> Callable[[int], int]:
    """Return a function of n that returns a random number from 0 to n - 1.

    It uses the platform's function. If the platform has none, or its function fails, it uses the
    system's.
    """
    given = platform.get_random_number
    if given is None:
        return secrets.randbelow

    def dice(sides: int) -> int:
        try:
            drawn = int(given(sides))
            if 0 <= drawn < sides:
                return drawn
            raise ValueError(f"{drawn} is not from 0 to {sides - 1}")
        except Exception as error:  # noqa: BLE001  reported, and the producer continues
            report("get_random_number", error)
            return secrets.randbelow(sides)

    report = _report_once(fault)
    return dice


def _report_once(fault: Fault) -> Callable[[str, Exception], None]:
    reported = False

    def report(name: str, error: Exception) -> None:
        nonlocal reported
        if not reported:
            reported = True
            fault(f"PlatformCallbacks.{name} failed: {type(error).__name__}: {error}")

    return report


class LogPrint(logging.Handler):
    """Pass log lines to a platform's `log_print`, on a separate thread.

    Lines that `log_print` logs are not passed to it again. Raises CREATE_THREAD_FAILED.
    """

    def __init__(self, log_print: Callable[[logging.LogRecord], object], level: int) -> None:
        super().__init__(level)
        self._log_print = log_print
        self._lines: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
        self._thread = start_thread(self._run, "kvsproducer-log")

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line for the thread. If too many lines wait, the line is lost."""
        if threading.current_thread() is not self._thread and self._lines.qsize() < _MAX_LINES:
            self._lines.put(record)

    def close(self) -> None:
        """Wait until the remaining lines are printed, for at most 2 s."""
        self._lines.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSING_LIMIT_S)
        super().close()

    def _run(self) -> None:
        while (record := self._lines.get()) is not None:
            try:
                self._log_print(record)
            except Exception:  # noqa: BLE001  reported as by every handler
                self.handleError(record)
