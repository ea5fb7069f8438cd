"""Deliver events to the log and to the user's `on_event`.

A slow or failing listener never delays an upload. It runs on a dispatcher thread (in asyncio on the
caller's loop), never on the network loop of a blocking producer and never under the lock. While the
listener is busy, events wait in the core's bounded queue, which merges adjacent drops.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import fields

from kvsproducer import client as core
from kvsproducer.service.loop import start_thread
from kvsproducer.status import StatusCode

__all__ = ["LISTENER_LIMIT_S", "Dispatcher", "EventLog", "deliver", "log_line"]

log = logging.getLogger("kvsproducer")

LISTENER_LIMIT_S = 5  # how long `close` waits until the listener has got the last events

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
    """Writes events to the log: failures and losses as warnings, acks and pressures as debug.

    Consecutive losses are collected and written as one line, when another event comes or when there
    are no more events for now.
    """

    def __init__(self) -> None:
        self._loss: core.Event | None = None

    def add(self, event: core.Event) -> None:
        """Write an event to the log, or collect it if it is a loss."""
        if isinstance(event, _LOSSES):
            merged = None if self._loss is None else core.merge_events(self._loss, event)
            if merged is None:
                self.flush()
            self._loss = merged or event
            return
        if self._loss is not None:
            self.flush()
        if isinstance(event, _WARNINGS) or (isinstance(event, core.StreamReady) and event.warning):
            log.warning("%s", log_line(event))
        elif isinstance(event, core.FragmentAcked | core.FragmentStored | _PRESSURES):
            if log.isEnabledFor(logging.DEBUG):  # these are frequent, so format them only if needed
                log.debug("%s", log_line(event))
        elif isinstance(event, core.StreamStateChanged):
            log.info("stream %s: %s -> %s", event.stream, event.old.value, event.new.value)
        else:
            log.info("%s", log_line(event))

    def flush(self) -> None:
        """Write the collected losses; the caller does this when no more events wait."""
        if self._loss is not None:
            log.warning("%s", log_line(self._loss))
            self._loss = None


def log_line(event: core.Event) -> str:
    """Return an event as a line for the log: stream and upload, type, fields."""
    named = {field.name: getattr(event, field.name) for field in fields(event)}
    stream, upload = named.pop("stream"), named.pop("upload", None)
    where = "client" if stream is None else f"stream {stream}"
    if upload is not None:
        where += f" upload {upload}"
    values = "".join(f" {name}={_text(value)}" for name, value in named.items() if value != "")
    return f"{where}: {type(event).__name__}{values}"


def _text(value: object) -> object:
    if isinstance(value, StatusCode):
        return f"{value.name} ({value.hex})"
    return value.value if isinstance(value, core.DropReason) else value


class Dispatcher:
    """A thread that takes events from the core and calls a listener with each of them.

    take: returns the next event, or None.
    listener: the function to call, or None.
    last: called on the thread after the last event.
    logs: whether to log the events too.
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
        """Wake the thread, so that it looks for events; cheap if there are none."""
        self._due.set()

    def end(self, timeout_s: float) -> None:
        """Deliver the remaining events and end the thread; wait for at most `timeout_s` seconds."""
        self._ended = True
        self._due.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        ended = False
        while not ended:
            self._due.wait()
            # Clear and read both flags before taking events. An event that comes during the loop
            # sets `_due` again; with the opposite order its wake-up would be lost.
            self._due.clear()
            ended = self._ended
            while (event := self._take()) is not None:
                if self._log is not None:
                    self._log.add(event)
                if self._listener is not None:
                    deliver(self._listener, event)
            if self._log is not None:
                self._log.flush()
        if self._last is not None:
            self._last()


def deliver(listener: Callable[[core.Event], object], event: core.Event) -> None:
    """Call the listener; log the exception if it raises.

    For the events ClientReady and StreamReady the log names the status of AWS's SDK for this case.
    """
    try:
        listener(event)
    except Exception:
        status = _READY_FAILURES.get(type(event))
        name = "" if status is None else f" ({status.name})"
        log.exception("on_event raised while handling %s%s", event, name)
