"""Events on their way to the user: to the log, and to `on_event` on a thread of its own.

A listener that is slow or raises never stalls an upload: it runs on one dispatcher thread (in
asyncio on the caller's loop), never on the network loop of blocking producers and never under the
lock. While it is busy, events wait in the core's bounded queue, where adjacent drops merge.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import fields

from kvsproducer import client as core
from kvsproducer.service.loop import start_thread
from kvsproducer.status import StatusCode

__all__ = ["LISTENER_LIMIT_S", "Dispatcher", "EventLog", "deliver", "line_of"]

log = logging.getLogger("kvsproducer")

LISTENER_LIMIT_S = 5  # waiting for a listener to take the last events

_READY_FAILURES: dict[type[core.Event], StatusCode] = {
    core.ClientReady: StatusCode.CLIENT_READY_CALLBACK_FAILED,
    core.StreamReady: StatusCode.STREAM_READY_CALLBACK_FAILED,
}
_LOSSES = core.FrameDropped | core.FragmentDropped | core.FrameSkipped
_WARNINGS = (
    core.StreamErrorReported
    | core.ClientErrorReported
    | core.AckRejected
    | core.TimeJumped
    | core.TimestampCorrected
    | core.TrackResumed
    | core.TrackSilent
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
            merged = None if self._loss is None else core.merge_events(self._loss, event)
            if merged is None:
                self.settle()
            self._loss = merged or event
            return
        if self._loss is not None:
            self.settle()
        if isinstance(event, _WARNINGS) or (isinstance(event, core.StreamReady) and event.warning):
            log.warning("%s", line_of(event))
        elif isinstance(event, core.FragmentAcked | _PRESSURES):
            if log.isEnabledFor(logging.DEBUG):  # an ack comes often, and its line costs
                log.debug("%s", line_of(event))
        elif isinstance(event, core.StreamStateChanged):
            log.info("stream %s: %s -> %s", event.stream, event.old.value, event.new.value)
        else:
            log.info("%s", line_of(event))

    def settle(self) -> None:
        """Nothing more is due: write what was gathered."""
        if self._loss is not None:
            log.warning("%s", line_of(self._loss))
            self._loss = None


def line_of(event: core.Event) -> str:
    """An event as a line of the log: stream and upload, what it is, its figures."""
    named = {field.name: getattr(event, field.name) for field in fields(event)}
    stream, upload = named.pop("stream"), named.pop("upload", None)
    where = "client" if stream is None else f"stream {stream}"
    if upload is not None:
        where += f" upload {upload}"
    told = "".join(f" {name}={_shown(value)}" for name, value in named.items() if value != "")
    return f"{where}: {type(event).__name__}{told}"


def _shown(value: object) -> object:
    if isinstance(value, StatusCode):
        return f"{value.name} ({value.hex})"
    return value.value if isinstance(value, core.DropReason) else value


class Dispatcher:
    """Takes events from the core, one at a time, and gives them to a listener on its thread.

    `last` is called on it after the last of them. With `logs` they are logged too.
    """

    def __init__(
        self,
        take: Callable[[], core.Event | None],
        listener: Callable[[core.Event], object] | None,
        last: Callable[[], None] | None = None,
        *,
        logs: bool = True,
    ) -> None:
        self._take = take
        self._listener = listener
        self._last = last
        self._due = threading.Event()
        self._ended = False
        self._log = EventLog() if logs else None
        self._thread = start_thread(self._run, "kvsproducer-events")

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
        ended = False
        while not ended:
            self._due.wait()
            self._due.clear()  # before the look: an event that comes after it sets it again
            ended = self._ended  # before looking: what came before it is delivered
            while (event := self._take()) is not None:
                if self._log is not None:
                    self._log.add(event)
                if self._listener is not None:
                    deliver(self._listener, event)
            if self._log is not None:
                self._log.settle()
        if self._last is not None:
            self._last()


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
