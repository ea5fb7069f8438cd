"""The asyncio twins of `Producer` and `Stream`: the same engine, on the caller's own loop.

`put_frame` is a coroutine that suspends only when an offline stream's buffer is full; everywhere
else it returns without giving control away. Events come by `on_event`, called on the loop, or by
iterating `events()`. Not thread-safe, as asyncio is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType

from kvsproducer import client as core
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.producer.dispatcher import EventLog, deliver
from kvsproducer.producer.engine import Engine, now
from kvsproducer.producer.facade import OnEvent, ProducerFacade, StreamFacade, Timeout
from kvsproducer.producer.outcome import (
    closing_limit_s,
    interrupted_error,
    loss_error,
    no_space_error,
    timeout_seconds,
)
from kvsproducer.producer.service import Service

__all__ = ["Producer", "Stream"]


class Stream(StreamFacade):
    """One KVS stream being produced; made by `aio.Producer.open_stream`.

    As `kvsproducer.Stream`, with coroutines where that one waits.
    """

    async def put_frame(self, frame: core.Frame) -> None:
        """Put one frame; suspends only while an offline stream's buffer is full.

        Raises as `kvsproducer.Stream.put_frame` does.
        """
        engine = self._engine
        try:
            with engine.lock:
                self._core.put_frame(frame, now())
        except core.WouldBlock as full:
            await self._put_when_there_is_space(frame, full.deadline)
        if (engine.effects or engine.talkative) and not engine.poked:
            engine.poke()

    async def _put_when_there_is_space(self, frame: core.Frame, deadline: int) -> None:
        engine = self._engine
        while True:
            engine.poke()
            left = deadline - now()
            if left <= 0:
                raise no_space_error(self.name)
            await engine.changes(left / TICKS_PER_SECOND)
            if self._core.stopped:
                raise interrupted_error(self.name)
            try:
                with engine.lock:
                    return self._core.put_frame(frame, now())
            except core.WouldBlock:
                continue

    async def wait_ready(self, timeout: Timeout = 30) -> None:
        """Wait until the service has answered for this stream; raises what it said otherwise."""
        limit_s = timeout_seconds(timeout)
        answered = await self._engine.wait(lambda: self._core.ready or self._failed(), limit_s)
        self._require_ready(answered, limit_s)

    async def flush(self, timeout: Timeout = 120) -> core.FrameAccount:
        """End the open fragment and wait until all frames are stored, or the time is over."""
        self._engine.end_fragment(self._core)
        await self._engine.wait(
            lambda: self._core.account().held == 0 or self._failed(), timeout_seconds(timeout)
        )
        return self.account()

    async def close(self, timeout: Timeout = 120) -> core.FrameAccount:
        """Stop, send what is held, wait for the last ack; returns what became of the frames."""
        self.stop()
        await self._engine.wait(
            lambda: self._core.closed or self._failed() or self._engine.closed,
            timeout_seconds(timeout),
        )
        account = self.account()
        self._engine.free_stream(self._core)
        return account

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        account = await self.close(closing_limit_s(kind))
        if kind is None:
            loss = loss_error(self.name, account, self._core.failure)
            if loss is not None:
                raise loss


class Producer(ProducerFacade[Stream]):
    """A producer client on the running loop.

    Made inside a coroutine (or anywhere a loop is running); `async with` closes it. Events reach
    `on_event` on the loop.
    """

    _stream_type = Stream

    def _make_engine(self, device_info: core.DeviceInfo, service: Service) -> Engine:
        return Engine(device_info, service, asyncio.get_running_loop())

    def _listen(self, on_event: OnEvent | None) -> None:
        self._on_event = on_event
        self._iterated = False
        self._log = EventLog()
        self._engine.on_pumped = self._take_events

    async def events(self) -> AsyncIterator[core.Event]:
        """The events of all streams, from now on, until the producer is closed."""
        self._iterated = True
        while True:
            event = self._engine.next_event()
            if event is not None:
                self._log.add(event)
                yield event
            elif self._engine.closed:
                return
            else:
                self._log.settle()
                await self._engine.changes()

    async def close(self, timeout: Timeout = 120) -> dict[str, core.FrameAccount]:
        """Close all streams at once, within `timeout` together; then end everything.

        Cancelled, it ends everything at once. Closing twice is fine.
        """
        streams = dict(self._streams)
        try:
            closing = (stream.close(timeout) for stream in streams.values())
            return dict(zip(streams, await asyncio.gather(*closing), strict=True))
        finally:
            if not self._engine.closed:
                await self._engine.shutdown()
                self._take_events()

    def _take_events(self) -> None:
        if self._iterated and self._on_event is None:
            return  # they wait in the core for `events()`
        while (event := self._engine.next_event()) is not None:
            self._log.add(event)
            if self._on_event is not None:
                deliver(self._on_event, event)
        self._log.settle()

    async def __aenter__(self) -> Producer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        accounts = await self.close(closing_limit_s(kind))
        if kind is None:
            for name, account in accounts.items():
                loss = loss_error(name, account, self._streams[name].failure)
                if loss is not None:
                    raise loss
