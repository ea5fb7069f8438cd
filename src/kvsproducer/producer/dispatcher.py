"""Events on their way to the user: to the log, and to `on_event` on a thread of its own.

A listener that is slow or raises never stalls an upload: it runs on one dispatcher thread (in
asyncio on the caller's loop), never on the network loop of blocking producers and never under the
lock. While it is busy, events wait in the core's bounded queue, where adjacent drops merge.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from kvsproducer import client as core

__all__ = ["Dispatcher", "log_event"]

log = logging.getLogger("kvsproducer")

_WARNINGS = (
    core.StreamErrorReported
    | core.ClientErrorReported
    | core.FrameDropped
    | core.FragmentDropped
    | core.FrameSkipped
    | core.AckRejected
)
_PRESSURES = (
    core.StreamLatencyPressure
    | core.BufferDurationPressure
    | core.StoragePressure
    | core.ConnectionStale
)


def log_event(event: core.Event) -> None:
    """One line for an event: failures and losses as warnings, acks and pressures for debugging."""
    if isinstance(event, _WARNINGS):
        log.warning("%s", event)
    elif isinstance(event, core.FragmentAcked | _PRESSURES):
        log.debug("%s", event)
    elif isinstance(event, core.StreamStateChanged):
        log.info("stream %s: %s -> %s", event.stream, event.old.value, event.new.value)
    else:
        log.info("%s", event)


class Dispatcher:
    """Takes events from the core, one at a time, and gives them to a listener on its thread."""

    def __init__(
        self, take: Callable[[], core.Event | None], listener: Callable[[core.Event], object]
    ) -> None:
        self._take = take
        self._listener = listener
        self._due = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="kvsproducer-events", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There may be events; costs little when there are none."""
        self._due.set()

    def end(self, timeout_s: float) -> None:
        """Deliver what is left and end the thread; a listener that hangs is left behind."""
        self._ended = True
        self._due.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            while (event := self._take()) is not None:
                log_event(event)
                deliver(self._listener, event)
            if self._ended:
                return


def deliver(listener: Callable[[core.Event], object], event: core.Event) -> None:
    """Call the listener; what it raises is logged and goes no further."""
    try:
        listener(event)
    except Exception:
        log.exception("on_event raised while handling %s", event)
