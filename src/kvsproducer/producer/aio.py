"""The asyncio versions of `Producer` and `Stream`: the same engine, on the caller's loop.

`put_frame` is a coroutine that suspends only while an offline stream's buffer is full; otherwise it
returns without suspending. Events come through `on_event`, which is called on the loop, or through
iterating over `events()`. The classes are not thread-safe, like asyncio itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from kvsproducer import client as core
from kvsproducer import limits
from kvsproducer.client.events import EventQueue
from kvsproducer.duration import TICKS_PER_SECOND, Instant, to_seconds
from kvsproducer.producer.dispatcher import LISTENER_LIMIT_S, Dispatcher, EventLog, deliver
from kvsproducer.producer.engine import Engine
from kvsproducer.producer.facade import (
    OnEvent,
    ProducerFacade,
    StreamFacade,
    Timeout,
    refuse_events,
)
from kvsproducer.producer.hooks import Hooks
from kvsproducer.producer.outcome import (
    closing_limit_s,
    interrupted_error,
    loss_error,
    no_space_error,
    with_last_error,
)
from kvsproducer.service import interrupts, lifetime
from kvsproducer.service.service import Service

__all__ = ["Producer", "Stream"]

T = TypeVar("T")


class Stream(StreamFacade):
    """A KVS stream that frames are put into; `aio.Producer.open_stream` returns it.

    It has the methods of `kvsproducer.Stream`; the methods that wait are coroutines.
    """

    async def put_frame(self, frame: core.Frame) -> None:
        """Put one frame; suspends only while an offline stream's buffer is full.

        Raises what `kvsproducer.Stream.put_frame` raises.
        """
        engine, hooks = self._engine, self._engine.hooks
        reports: Sequence[Any] = ()
        engine.refuse_reentry()
        engine.refuse_other_loop()
        try:
            with engine.lock:
                now = engine.now()
                self._core.put_frame(frame, now)
                if hooks is not None:
                    reports = hooks.reports(self._core, now)
        except core.WouldBlock as full:
            reports = await self._put_when_there_is_space(frame, full.deadline - now)
        finally:  # the frame is accepted also if Ctrl-C was raised at the end of the call
            if (engine.effects or engine.active_queues) and not engine.poked:
                engine.poke()
        if reports and hooks is not None:
            hooks.report(reports)

    async def _put_when_there_is_space(self, frame: core.Frame, patience: int) -> Sequence[Any]:
        try:
            return await self._wait_for_space(
                partial(self._put_again, frame), patience / TICKS_PER_SECOND
            )
        except core.WouldBlock:
            with self._engine.lock:
                self._core.count_put_error()
            raise no_space_error(self.name, self.last_error) from None

    def _put_again(self, frame: core.Frame, now: int) -> Sequence[Any]:
        """Put a frame again that found no space before; return the reports of its callbacks."""
        engine, hooks = self._engine, self._engine.hooks
        if self._core.stopped:  # the core would raise a less exact status
            self._core.count_put_error()
            raise interrupted_error(self.name)
        self._core.put_frame(frame, now)
        return () if hooks is None else hooks.reports(self._core, engine.now())

    async def _wait_for_space(self, action: Callable[[int], T], limit_s: float) -> T:
        """Repeat an action of the core until there is space in the buffer; return its result.

        `action` is called with the monotonic time. Raises what the action raises; `WouldBlock` if
        there is still no space after `limit_s` seconds.
        """
        engine = self._engine
        engine.refuse_reentry()
        deadline = time.monotonic() + limit_s
        while True:
            try:
                with engine.lock:
                    return action(engine.now())
            except core.WouldBlock:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise
            engine.poke()
            await engine.changes(left_s)

    def end_fragment(self) -> None:
        """End the open fragment, so that the service can store it now.

        The next frame must then be a key frame; other frames are skipped and reported. Has no
        effect if no fragment is open. Never waits; use `flush` to wait for space.

        Raises END_OF_FRAGMENT_FRAME_INVALID_STATE without key-frame fragmentation,
        STREAM_HAS_BEEN_STOPPED, the status of the stream's failure, and OPERATION_TIMED_OUT if an
        offline stream has no space for frames that were waiting for frames of another track.
        """
        try:
            self._engine.do(self._core.end_fragment)
        except core.WouldBlock:
            raise no_space_error(self.name, self.last_error) from None

    async def wait_ready(self, timeout: Timeout = 30) -> None:
        """Wait until the stream is ready to upload; raises what `kvsproducer.Stream` raises."""
        limit_s = to_seconds(timeout)
        answered = await self._engine.wait(self._answered, limit_s)
        self._require_ready(answered, limit_s)

    async def flush(self, timeout: Timeout = 120) -> core.FrameAccount:
        """End the open fragment and wait until all frames are stored, at most for `timeout`.

        Returns and raises the same as `kvsproducer.Stream.flush`.
        """
        limit_s = to_seconds(timeout)
        deadline = time.monotonic() + limit_s
        try:
            self._engine.do(self._core.end_fragment)
        except core.WouldBlock:
            with contextlib.suppress(core.WouldBlock):
                await self._wait_for_space(self._core.end_fragment, limit_s)
            self._engine.poke()
        await self._engine.wait(
            lambda: self._core.account().held == 0 or self._failed(), deadline - time.monotonic()
        )
        return self.account()

    async def wait_stored(self, pts: Instant, timeout: Timeout = 30) -> None:
        """Wait until everything accepted with this pts or an earlier one is stored.

        The arguments and errors are those of `kvsproducer.Stream.wait_stored`.
        """
        limit_s = to_seconds(timeout)
        wait = self._stored_wait(pts)
        await self._engine.wait(wait.is_over, limit_s)
        self._require_stored(wait, limit_s)

    async def close(self, timeout: Timeout = 120) -> core.FrameAccount:
        """Stop the stream, send its frames, wait for the last ack, and return the account.

        Frames that are not stored after `timeout` are dropped, as by `kvsproducer.Stream.close`. If
        the call is cancelled, the stream is stopped but still holds its frames.
        """
        limit_s = to_seconds(timeout)
        deadline = time.monotonic() + limit_s
        await self._put_waiting(limit_s)
        self.stop()
        await self._engine.wait(
            lambda: self._core.closed or self._failed() or self._engine.closed,
            deadline - time.monotonic(),
        )
        return self._engine.free_stream(self._core)

    async def _put_waiting(self, limit_s: float) -> bool:
        """Put the frames that wait for frames of another track.

        Returns False if some of them got no space within `limit_s` seconds.
        """
        try:
            await self._wait_for_space(self._core.put_waiting, limit_s)
        except core.WouldBlock:
            return False
        return True

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._engine.forked and kind is not None:
            return
        account = await self.close(closing_limit_s(kind, self._engine.close_limit_s))
        if kind is None:
            loss = loss_error(self.name, account, self._core.failure, self._core.drops)
            if loss is not None:
                raise with_last_error(loss, self.last_error)


class Producer(ProducerFacade[Stream]):
    """A producer for asyncio; it works on the running loop.

    Create it inside a coroutine; `async with` closes it. `on_event` is called on the loop.
    """

    _stream_type = Stream

    def _make_engine(
        self, device_info: core.DeviceInfo, service: Service, hooks: Hooks | None
    ) -> Engine:
        return Engine(device_info, service, asyncio.get_running_loop(), hooks)

    def _listen(self, on_event: OnEvent | None) -> None:
        self._on_event = on_event
        self._iterators = 0  # how many iterators of `events()` are active
        self._log = EventLog()
        self._next_event = self._engine.next_event
        self._dispatcher: Dispatcher | None = None
        self._engine.on_events = self._take_events
        if self._engine.hooks is not None:
            self._run_hooks(self._engine.hooks)

    def _run_hooks(self, hooks: Hooks) -> None:
        """Run the callbacks of events in a thread, because they may block."""
        engine = self._engine
        arrived, lock = EventQueue(limits.MAX_QUEUED_EVENTS), threading.Lock()

        def arrive(event: core.Event) -> None:
            with lock:
                arrived.push(event)
            engine.loop.call_soon_threadsafe(self._arrived)

        def next_event() -> core.Event | None:
            with lock:
                return arrived.pop()

        self._next_event = next_event
        self._dispatcher = Dispatcher(engine.next_event, arrive, hooks.end, logs=False)
        engine.on_events = self._dispatcher.wake

    def _arrived(self) -> None:
        self._take_events()
        self._engine.wake_waiters()

    def events(self) -> AsyncIterator[core.Event]:
        """Return an iterator over the events of all streams until the producer is closed.

        `async for event in producer.events():` waits while there is no event, and may be left with
        `break`. If there are several iterators, each event goes to only one of them. Events wait in
        a bounded queue, as with `kvsproducer.Producer.events`. Without an iterator and `on_event`
        they are only logged.

        Raises INVALID_OPERATION if the producer has an `on_event`, which takes all events.
        """
        refuse_events(self._on_event)
        self._engine.refuse_fork()
        events = self._iterate()
        with contextlib.suppress(StopIteration):
            events.asend(None).send(None)  # start it: else its `finally` might never run
        return events

    async def _iterate(self) -> AsyncGenerator[Any, None]:
        """Yield None once, so that `events` can start the generator; then yield the events."""
        self._iterators += 1
        try:
            yield None
            while True:
                event = self._next_event()
                if event is not None:
                    self._log.add(event)
                    yield event
                elif self._engine.closed and self._dispatcher is None:
                    return
                else:
                    self._log.flush()
                    await self._engine.changes()
        finally:
            self._iterators -= 1
            self._arrived()  # log the remaining events if there is no other iterator

    async def close(self, timeout: Timeout = 120) -> dict[str, core.FrameAccount]:
        """Close all streams, within `timeout` for all of them together, and then the producer.

        Returns the accounts by stream name, as `kvsproducer.Producer.close` does. If the task is
        cancelled, the producer is closed at once. A second call has no effect.
        """
        self._engine.refuse_reentry()
        self._engine.closing = True
        try:
            streams = list(self._streams.values())
            await asyncio.gather(*(stream.close(timeout) for stream in streams))
        finally:
            lifetime.unregister(self)
            if not self._engine.closed:
                await self._shut_down()
        return self._engine.ended.accounts()

    async def _shut_down(self) -> None:
        """Shut down the engine and the dispatcher, even if the task is cancelled."""
        try:
            await self._engine.shutdown()
        finally:
            try:
                if self._dispatcher is not None:
                    self._dispatcher.end(0)
                    await asyncio.to_thread(self._dispatcher.end, LISTENER_LIMIT_S)
            finally:
                interrupts.unwatch(self._engine.lock)
                self._dispatcher = None
                self._arrived()

    def _take_events(self) -> None:
        if self._iterators:
            self._engine.wake_waiters()  # wakes `events()`, which takes the events
            return
        while (event := self._next_event()) is not None:
            self._log.add(event)
            if self._on_event is not None:
                deliver(self._on_event, event)
        self._log.flush()

    async def __aenter__(self) -> Producer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._engine.forked and kind is not None:
            return
        await self.close(closing_limit_s(kind, self._engine.close_limit_s))
        loss = self._engine.ended.loss()
        if kind is None and loss is not None:
            raise loss
