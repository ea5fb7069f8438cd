"""A program's own clock, dice and log at work: what fails or hangs in them stalls no producer.

Clock and dice are asked under the producer's lock, so a failure of theirs cannot be logged there:
the built-in one answers instead, and `fault` is told once, which may not wait for anything. Lines
for `log_print` go through a thread of their own, for one that hangs may be called from everywhere.
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
from kvsproducer.service.loop import started

__all__ = ["LogPrint", "clock_of", "dice_of"]

_MAX_LINES: Final = 10_000  # ours: those that wait for a slow log_print; more are lost
_CLOSING_LIMIT_S: Final = 2.0  # for the last lines


def clock_of(platform: PlatformCallbacks, fault: Fault) -> Callable[[], int]:
    """The wall-clock time in ticks, as the platform tells it, or the system if that fails."""
    given = platform.get_current_time
    if given is None:
        return now

    def clock() -> int:
        try:
            return int(given())
        except Exception as error:  # noqa: BLE001  told, and the producer goes on
            told("get_current_time", error)
            return now()

    told = _once(fault)
    return clock


def dice_of(platform: PlatformCallbacks, fault: Fault) -> Callable[[int], int]:
    """A number from 0 to below n: the platform's, or the system's if that fails."""
    given = platform.get_random_number
    if given is None:
        return secrets.randbelow

    def dice(sides: int) -> int:
        try:
            thrown = int(given(sides))
            if 0 <= thrown < sides:
                return thrown
            raise ValueError(f"{thrown} is not from 0 to {sides - 1}")
        except Exception as error:  # noqa: BLE001  told, and the producer goes on
            told("get_random_number", error)
            return secrets.randbelow(sides)

    told = _once(fault)
    return dice


def _once(fault: Fault) -> Callable[[str, Exception], None]:
    was_told = False

    def told(name: str, error: Exception) -> None:
        nonlocal was_told
        if not was_told:
            was_told = True
            fault(f"PlatformCallbacks.{name} failed: {type(error).__name__}: {error}")

    return told


class LogPrint(logging.Handler):
    """Gives lines of the log to a platform's `log_print`, on a thread of its own.

    What `log_print` itself logs there does not come back to it. Raises CREATE_THREAD_FAILED.
    """

    def __init__(self, log_print: Callable[[logging.LogRecord], object], level: int) -> None:
        super().__init__(level)
        self._log_print = log_print
        self._lines: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
        self._thread = started(self._run, "kvsproducer-log")

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a line over; it is lost when too many wait."""
        if threading.current_thread() is not self._thread and self._lines.qsize() < _MAX_LINES:
            self._lines.put(record)

    def close(self) -> None:
        """Print what is left, within a bound."""
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
