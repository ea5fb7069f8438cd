"""The asyncio twins of `Producer` and `Stream`: the same engine, on the caller's own loop.

`put_frame` is a coroutine that suspends only when an offline stream's buffer is full; everywhere
else it returns without giving control away. Events come by `on_event`, called on the loop, or by
iterating `events()`. Not thread-safe, as asyncio is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING

from kvsproducer import client as core
from kvsproducer import limits
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.producer.dispatcher import EventLog, deliver
from kvsproducer.producer.engine import Engine, now
from kvsproducer.producer.facade import StreamFacade, Timeout
from kvsproducer.producer.outcome import (
    closing_limit_s,
    interrupted_error,
    loss_error,
    no_space_error,
    timeout_seconds,
)
from kvsproducer.producer.service import Service

if TYPE_CHECKING:
    from botocore.session import Session

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


class Producer:
    """A producer client on the running loop; arguments as of `kvsproducer.Producer`.

    Made inside a coroutine (or anywhere a loop is running); `async with` closes it.
    """

    def __init__(
        self,
        region_name: str | None = None,
        *,
        session: Session | None = None,
        profile_name: str | None = None,
        endpoint_url: str | None = None,
        verify: bool | str = True,
        device_info: core.DeviceInfo | None = None,
        on_event: Callable[[core.Event], object] | None = None,
    ) -> None:
        service = Service(
            region_name=region_name,
            session=session,
            profile_name=profile_name,
            endpoint_url=endpoint_url,
            verify=verify,
        )
        self._engine = Engine(device_info or core.DeviceInfo(), service, asyncio.get_running_loop())
        self._streams: dict[str, Stream] = {}
        self._on_event = on_event
        self._iterated = False
        self._log = EventLog()
        self._engine.on_pumped = self._take_events
        self._engine.poke()

    def open_stream(self, name: str, stream_info: core.StreamInfo) -> Stream:
        """Start producing to a stream; checks the arguments and returns at once."""
        stream = Stream(self._engine, self._engine.open_stream(name, stream_info))
        self._streams[name] = stream
        return stream

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

    def metrics(self, version: int = limits.CLIENT_METRICS_VERSION) -> core.ClientMetrics:
        """A snapshot of the client's figures (AWS's ClientMetrics; `to_dict` of that version).

        Raises INVALID_CLIENT_METRICS_VERSION.
        """
        return self._engine.core.metrics(now(), version)

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
