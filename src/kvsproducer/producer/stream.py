"""The blocking stream: `put_frame` in the caller's thread, waits on a condition.

All methods may be called from any thread, also at once. What can go wrong with a frame is raised
where the frame was put; what goes wrong later is an event, and the stream's failure, which the
next call raises. See `kvsproducer.client.stream` for what happens inside.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from kvsproducer import client as core
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.producer.callbacks.chains import Report
from kvsproducer.producer.engine import Engine
from kvsproducer.producer.facade import StreamFacade, Timeout
from kvsproducer.producer.outcome import (
    closing_limit_s,
    explained,
    interrupted_error,
    loss_error,
    no_space_error,
    timeout_seconds,
)

__all__ = ["Stream"]


class Stream(StreamFacade):
    """One KVS stream being produced; made by `Producer.open_stream`.

    Use as a context manager: leaving the block closes the stream, and raises if a frame that was
    accepted was not stored (unless the block itself is raising: that exception goes on).
    """

    def __init__(self, engine: Engine, stream: core.Stream) -> None:
        super().__init__(engine, stream)
        self._put = stream.put_frame
        self._now = engine.now
        self._reentered = engine.reentered
        self._chains = engine.chains

    def end_in_child(self) -> None:
        """See `kvsproducer.producer.lifetime`."""
        super().end_in_child()
        self._reentered = self._engine.reentered

    def put_frame(self, frame: core.Frame) -> None:
        """Put one frame; what it accepted is stored, reported as dropped, or still held.

        Returns at once, except for an offline stream whose buffer is full: that waits until the
        service has stored something (`offline_buffer_availability_timeout` at most).

        Raises: STREAM_HAS_BEEN_STOPPED; MKV_TRACK_INFO_NOT_FOUND, MKV_INVALID_FRAME_TIMESTAMP and
        the other MKVGen codes for a frame that KVS could not store; STORE_OUT_OF_MEMORY when it
        does not fit; OPERATION_TIMED_OUT when no space came in time,
        BLOCKING_PUT_INTERRUPTED_STREAM_TERMINATED when the stream was stopped meanwhile; the
        status of the stream's failure when the service refused it for good. After the frame was
        accepted: what a callback fails with (`StreamCallbacks`).
        """
        engine, chains = self._engine, self._chains
        reports: Sequence[Report] = ()
        if self._reentered():
            engine.refuse_reentry()
        try:
            with self._lock:
                now = self._now()
                self._put(frame, now)
                if chains is not None:
                    reports = chains.reports(self._core, now)
        except core.WouldBlock as full:
            reports = self._put_when_there_is_space(frame, full.deadline - now)
        if (engine.effects or engine.talkative) and not engine.poked:
            engine.poke()
        if reports and chains is not None:
            chains.report(reports)

    def _put_when_there_is_space(self, frame: core.Frame, patience: int) -> Sequence[Report]:
        changed, chains = self._engine.changed, self._chains
        self._engine.refuse_loop()
        deadline = time.monotonic() + patience / TICKS_PER_SECOND
        with changed:
            while True:
                # Stopping answers before the core does: the wait was interrupted.
                if self._core.stopped:
                    raise interrupted_error(self.name)
                try:
                    self._put(frame, self._now())
                    return () if chains is None else chains.reports(self._core, self._now())
                except core.WouldBlock:
                    left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise no_space_error(self.name, self.met_with)
                self._engine.poke()
                changed.wait(left_s)

    def wait_ready(self, timeout: Timeout = 30) -> None:
        """Wait until the service has answered for this stream; raises what it said otherwise.

        Raises OPERATION_TIMED_OUT, the status of the stream's failure, STREAM_BEING_SHUTDOWN when
        the stream is closed meanwhile.
        """
        limit_s = timeout_seconds(timeout)
        answered = self._engine.block(self._answered, limit_s)
        self._require_ready(answered, limit_s)

    def flush(self, timeout: Timeout = 120) -> core.FrameAccount:
        """End the open fragment and wait until all frames are stored, or the time is over.

        Returns what became of them; `held` is not 0 when the time was too short.
        """
        self._engine.refuse_loop()
        self._engine.end_fragment(self._core)
        self._engine.block(
            lambda: self._core.account().held == 0 or self._failed(), timeout_seconds(timeout)
        )
        return self.account()

    def close(self, timeout: Timeout = 120) -> core.FrameAccount:
        """Stop, send what is held, wait for the last ack; then give the stream back.

        Returns what became of the frames. What is not stored when the time is over counts as
        held. Closing twice is fine.
        """
        self._engine.refuse_loop()
        self.stop()
        self._engine.block(
            lambda: self._core.closed or self._failed() or self._engine.closed,
            timeout_seconds(timeout),
        )
        account = self.account()
        self._engine.free_stream(self._core, account)
        return account

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._engine.forked and kind is not None:
            return
        account = self.close(closing_limit_s(kind))
        if kind is None:
            loss = loss_error(self.name, account, self._core.failure)
            if loss is not None:
                raise explained(loss, self.met_with)
