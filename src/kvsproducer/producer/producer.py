"""The blocking `Producer`: an engine on the event loop that all producers of a process share.

Scripts and threads use this class; asyncio programs use `kvsproducer.aio`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from kvsproducer import client as core
from kvsproducer import limits
from kvsproducer.client.events import EventQueue
from kvsproducer.duration import to_seconds
from kvsproducer.producer.dispatcher import LISTENER_LIMIT_S, Dispatcher, EventLog
from kvsproducer.producer.engine import Engine
from kvsproducer.producer.facade import OnEvent, ProducerFacade, Timeout, refuse_events
from kvsproducer.producer.hooks import Hooks
from kvsproducer.producer.outcome import closing_limit_s
from kvsproducer.producer.stream import Stream
from kvsproducer.service import interrupts, lifetime
from kvsproducer.service.loop import SharedLoop
from kvsproducer.service.service import Service
from kvsproducer.status import KvsError

__all__ = ["Producer"]

log = logging.getLogger("kvsproducer")

SHUTDOWN_LIMIT_S = 10  # how long to wait until the engine has closed its connections


class Producer(ProducerFacade[Stream]):
    """A producer with blocking calls; may be used from any number of threads.

    Events are passed to `on_event` on a thread of its own, or are read from `events()`.

    Use it as a context manager: leaving the `with` block closes all streams, and raises if an
    accepted frame was not stored. If the block itself raises, that exception is raised instead.
    """

    _stream_type = Stream

    def _make_engine(
        self, device_info: core.DeviceInfo, service: Service, hooks: Hooks | None
    ) -> Engine:
        loop = SharedLoop.acquire()
        try:
            return Engine(device_info, service, loop, hooks)
        except BaseException:
            SharedLoop.release()
            raise

    def _listen(self, on_event: OnEvent | None) -> None:
        self._once = threading.Lock()  # never released: only the first `_shut_down` gets it
        self._dispatcher: Dispatcher | None = None
        self._log = EventLog()
        self._on_event = on_event
        self._iterators = 0  # how many iterators of `events()` are active
        self._ended = False  # whether all events have been delivered
        self._next_event = self._engine.next_event
        hooks = self._engine.hooks
        if on_event is None and hooks is None:
            self._engine.on_events = self._take_events
        else:
            try:
                self._dispatcher = Dispatcher(
                    self._engine.next_event,
                    on_event or self._pass_on(),
                    None if hooks is None else hooks.end,
                )
            except KvsError:
                self._shut_down()
                raise
            self._engine.on_events = self._dispatcher.wake

    def _pass_on(self) -> OnEvent:
        """Return a listener that queues events for `events()` after their callbacks have run."""
        arrived, lock = EventQueue(limits.MAX_QUEUED_EVENTS), threading.Lock()

        def arrive(event: core.Event) -> None:
            if self._iterators:
                with lock:
                    arrived.push(event)
                self._engine.notify()

        def next_event() -> core.Event | None:
            with lock:
                return arrived.pop()

        self._next_event = next_event
        return arrive

    def events(self) -> Iterator[core.Event]:
        """Return an iterator over the events of all streams until the producer is closed.

        `for event in producer.events():` blocks while there is no event, and may be left with
        `break`. It may be used in any thread except those of callbacks. If there are several
        iterators, each event goes to only one of them. Without an iterator and `on_event`, events
        are only logged.

        Events wait in a bounded queue. In the queue, adjacent drops and skips are merged, and only
        the newest pressure event of each kind is kept. If 2,000 events of a stream wait, the oldest
        one that is not a drop or a skip is removed.

        Raises INVALID_OPERATION if the producer has an `on_event`, which takes all events.
        """
        refuse_events(self._on_event)
        self._engine.refuse_fork()
        events = self._iterate()
        next(events)  # a generator that was not started does not run its `finally`
        return events

    def _iterate(self) -> Iterator[Any]:
        """Yield None once, so that `events` can start the generator; then yield the events."""
        engine = self._engine
        self._iterators += 1
        try:
            yield None
            while True:
                # Read both before taking an event. A change after the read ends the wait at once,
                # and the events that came before `_ended` was set are still returned.
                seen = engine.change_count
                ended = self._ended
                engine.refuse_reentry()
                event = self._next_event()
                if event is not None:
                    if self._dispatcher is None:
                        self._log.add(event)
                    yield event
                elif ended:
                    return
                else:
                    engine.refuse_loop()
                    self._log.flush()
                    engine.wait_for_change(seen, threading.TIMEOUT_MAX)
        finally:
            self._iterators -= 1

    def _take_events(self) -> None:
        if self._iterators:
            self._engine.notify()
        else:
            self._log_events()

    def close(self, timeout: Timeout = 120) -> dict[str, core.FrameAccount]:
        """Close all streams, within `timeout` for all of them together, and then the producer.

        `timeout`: seconds, a `timedelta` or ISO 8601 text; default 120 s. Returns the accounts of
        the frames by stream name, also of streams that were closed before (of the newest 1,000
        names). A second call has no effect.
        """
        deadline = time.monotonic() + to_seconds(timeout)
        self._engine.refuse_reentry()
        self._engine.refuse_loop()
        with self._engine.lock:
            self._engine.closing = True
            streams = list(self._streams.values())
        try:
            for stream in streams:
                if stream._put_waiting(0):  # if not, `close` first waits for space
                    stream.stop()
            for stream in streams:
                stream.close(max(0.0, deadline - time.monotonic()))
        finally:
            self._shut_down()
        return self._engine.ended.accounts()

    def _shut_down(self) -> None:
        """Shut down the engine and release the loop; later calls have no effect."""
        if not self._once.acquire(blocking=False):
            return
        engine = self._engine
        try:
            ending = asyncio.run_coroutine_threadsafe(engine.shutdown(), engine.loop)
            ending.result(SHUTDOWN_LIMIT_S)
        except TimeoutError:
            log.warning("%r: its uploads did not end within %d s", self, SHUTDOWN_LIMIT_S)
        finally:
            try:
                self._end_core()
            finally:
                interrupts.unwatch(engine.lock)
                SharedLoop.release()

    def _end_core(self) -> None:
        """Close the core and deliver the remaining events."""
        self._engine.close_core()
        lifetime.unregister(self)
        if self._dispatcher is not None:
            self._dispatcher.end(LISTENER_LIMIT_S)
        elif not self._iterators:
            self._log_events()
        self._ended = True
        self._engine.notify()

    def _end_at_exit(self, limit_s: float) -> dict[str, core.FrameAccount]:
        """Close the producer at interpreter exit, while the loop still runs."""
        return self.close(limit_s)

    def _log_events(self) -> None:
        while (event := self._engine.next_event()) is not None:
            self._log.add(event)
        self._log.flush()

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._engine.forked and kind is not None:
            return
        self.close(closing_limit_s(kind, self._engine.close_limit_s))
        loss = self._engine.ended.loss()
        if kind is None and loss is not None:
            raise loss
