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
from kvsproducer.status import StatusCode

__all__ = ["Dispatcher", "EventLog", "deliver"]

log = logging.getLogger("kvsproducer")

_READY_FAILURES: dict[type[core.Event], StatusCode] = {
    core.ClientReady: StatusCode.CLIENT_READY_CALLBACK_FAILED,
    core.StreamReady: StatusCode.STREAM_READY_CALLBACK_FAILED,
}
_LOSSES = core.FrameDropped | core.FragmentDropped | core.FrameSkipped
_WARNINGS = (
    core.StreamErrorReported
    | core.ClientErrorReported
    | core.AckRejected
    | core.TimestampsNearEpoch
)
_PRESSURES = (
    core.StreamLatencyPressure
    | core.BufferDurationPressure
    | core.StoragePressure
    | core.ConnectionStale
)


class EventLog:
    """Writes events to the log: failures and losses as warnings, acks and pressures for debugging.

    Frames that are lost one after another are told in one line, once something else happens or
    nothing more is due.
    """

    def __init__(self) -> None:
        self._loss: core.Event | None = None

    def add(self, event: core.Event) -> None:
        """Take the next event."""
        if isinstance(event, _LOSSES):
            merged = None if self._loss is None else core.merged(self._loss, event)
            if merged is None:
                self.settle()
            self._loss = merged or event
            return
        self.settle()
        if isinstance(event, _WARNINGS):
            log.warning("%s", event)
        elif isinstance(event, core.FragmentAcked | _PRESSURES):
            log.debug("%s", event)
        elif isinstance(event, core.StreamStateChanged):
            log.info("stream %s: %s -> %s", event.stream, event.old.value, event.new.value)
        else:
            log.info("%s", event)

    def settle(self) -> None:
        """Nothing more is due: write what was gathered."""
        if self._loss is not None:
            log.warning("%s", self._loss)
            self._loss = None


class Dispatcher:
    """Takes events from the core, one at a time, and gives them to a listener on its thread."""

    def __init__(
        self, take: Callable[[], core.Event | None], listener: Callable[[core.Event], object]
    ) -> None:
        self._take = take
        self._listener = listener
        self._due = threading.Event()
        self._ended = False
        self._log = EventLog()
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
                self._log.add(event)
                deliver(self._listener, event)
            self._log.settle()
            if self._ended:
                return


def deliver(listener: Callable[[core.Event], object], event: core.Event) -> None:
    """Call the listener; what it raises is logged and goes no further.

    A listener that fails when the client or a stream is ready is logged under the status for it.
    """
    try:
        listener(event)
    except Exception:
        status = _READY_FAILURES.get(type(event))
        name = "" if status is None else f" ({status.name})"
        log.exception("on_event raised while handling %s%s", event, name)
