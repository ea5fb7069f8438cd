"""The blocking producer: one core client, one engine on the process's shared loop.

`Producer` is what a script, a thread or a Flask handler uses; asyncio programs use
`kvsproducer.aio`. Making one touches neither the network nor the credentials.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from kvsproducer import client as core
from kvsproducer import limits
from kvsproducer.producer.dispatcher import Dispatcher, EventLog
from kvsproducer.producer.engine import Engine
from kvsproducer.producer.loop import SharedLoop
from kvsproducer.producer.outcome import closing_limit_s, loss_error, timeout_seconds
from kvsproducer.producer.service import Service
from kvsproducer.producer.stream import Stream

if TYPE_CHECKING:
    from botocore.session import Session

__all__ = ["Producer"]

SHUTDOWN_LIMIT_S = 10  # cutting connections that do not end by themselves
LISTENER_LIMIT_S = 5  # waiting for a listener to take the last events


class Producer:
    """A producer client: credentials, storage budget and streams that share them.

    Args:
        region_name: AWS region; default from the environment or the profile, as in boto3.
        session: a botocore or boto3 session to take credentials and configuration from.
        profile_name: the profile of `~/.aws/config` to use.
        endpoint_url: another control plane, such as the local endpoint's `http://127.0.0.1:8080`.
        verify: False to skip TLS verification, or the path of a CA bundle.
        device_info: storage size, time-outs, number of streams; see `DeviceInfo`.
        on_event: called with each event, on a thread of its own.

    Raises: INVALID_ARG without a region or with an unknown profile; the statuses of `DeviceInfo`.

    Use as a context manager: leaving the block closes all streams, and raises if a frame that was
    accepted was not stored (unless the block itself is raising: that exception goes on).
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
        loop = SharedLoop.acquire()
        try:
            self._engine = Engine(device_info or core.DeviceInfo(), service, loop)
        except BaseException:
            SharedLoop.release()
            raise
        self._streams: dict[str, Stream] = {}
        self._closed = False
        self._closing = threading.Lock()
        self._dispatcher: Dispatcher | None = None
        self._log = EventLog()
        if on_event is None:
            self._engine.on_pumped = self._log_events
        else:
            self._dispatcher = Dispatcher(self._engine.next_event, on_event)
            self._engine.on_pumped = self._dispatcher.wake
        self._engine.poke()

    def open_stream(self, name: str, stream_info: core.StreamInfo) -> Stream:
        """Start producing to a stream; checks the arguments and returns at once.

        Frames put before the service has answered are held. Use `Stream.wait_ready` to learn what
        it said. Raises the statuses of `StreamInfo`, DUPLICATE_STREAM_NAME, MAX_STREAM_COUNT.
        """
        stream = Stream(self._engine, self._engine.open_stream(name, stream_info))
        self._streams[name] = stream
        return stream

    def metrics(self, version: int = limits.CLIENT_METRICS_VERSION) -> core.ClientMetrics:
        """A snapshot of the client's figures (AWS's ClientMetrics; `to_dict` of that version).

        Raises INVALID_CLIENT_METRICS_VERSION.
        """
        with self._engine.lock:
            return self._engine.core.metrics(self._engine.now(), version)

    def close(self, timeout: float | timedelta | str = 120) -> dict[str, core.FrameAccount]:
        """Close all streams at once, within `timeout` together; then end everything.

        Returns what became of the frames, by stream name. Closing twice is fine.
        """
        deadline = time.monotonic() + timeout_seconds(timeout)
        for stream in self._streams.values():
            stream.stop()
        try:
            return {
                name: stream.close(max(0.0, deadline - time.monotonic()))
                for name, stream in self._streams.items()
            }
        finally:
            self._shut_down()

    def _shut_down(self) -> None:
        """End everything, once."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        try:
            SharedLoop.run(self._engine.loop, self._engine.shutdown()).result(SHUTDOWN_LIMIT_S)
        finally:
            if self._dispatcher is not None:
                self._dispatcher.end(LISTENER_LIMIT_S)
            else:
                self._log_events()
            SharedLoop.release()

    def _log_events(self) -> None:
        while (event := self._engine.next_event()) is not None:
            self._log.add(event)
        self._log.settle()

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        accounts = self.close(closing_limit_s(kind))
        if kind is None:
            for name, account in accounts.items():
                loss = loss_error(name, account, self._streams[name].failure)
                if loss is not None:
                    raise loss

    def __repr__(self) -> str:
        where = self._engine.service.endpoint_url or self._engine.service.region_name
        return f"<Producer {where} streams={list(self._streams)}>"
