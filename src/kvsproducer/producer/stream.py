"""The blocking stream: `put_frame` in the caller's thread, waits on a condition.

All methods may be called from any thread, also at once. What can go wrong with a frame is raised
where the frame was put; what goes wrong later is an event, and the stream's failure, which the
next call raises. See `kvsproducer.client.stream` for what happens inside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from os import getpid
from types import TracebackType
from typing import Any, TypeVar

from kvsproducer import client as core
from kvsproducer.duration import TICKS_PER_SECOND, Instant, to_seconds
from kvsproducer.producer.engine import Engine
from kvsproducer.producer.facade import StreamFacade, Timeout
from kvsproducer.producer.outcome import (
    closing_limit_s,
    explained,
    interrupted_error,
    loss_error,
    no_space_error,
)

__all__ = ["Stream"]

T = TypeVar("T")


class Stream(StreamFacade):
    """One KVS stream being produced; made by `Producer.open_stream`.

    Use as a context manager: leaving the block closes the stream, and raises if a frame that was
    accepted was not stored (unless the block itself is raising: that exception goes on).
    """

    def __init__(self, engine: Engine, stream: core.Stream) -> None:
        super().__init__(engine, stream)
        self._put = stream.put_frame
        self._now = engine.now
        self._process = engine.process
        self._reentered = engine.reentered
        self._hooks = engine.hooks

    def put_frame(self, frame: core.Frame) -> None:
        """Put one frame; what it accepted is stored, reported as dropped, or still held.

        Returns at once, except for an offline stream whose buffer is full: that waits until the
        service has stored something (`offline_buffer_availability_timeout` at most).

        Raises: STREAM_HAS_BEEN_STOPPED; MKV_TRACK_INFO_NOT_FOUND, MKV_INVALID_FRAME_TIMESTAMP and
        the other MKVGen codes for a frame that KVS could not store; STORE_OUT_OF_MEMORY when it
        does not fit; OPERATION_TIMED_OUT when no space came in time,
        BLOCKING_PUT_INTERRUPTED_STREAM_TERMINATED when the stream was stopped meanwhile; the
        status of the stream's failure when the service refused it for good. After the frame was
        accepted: what a callback fails with (`StreamCallbacks`). Ctrl-C raises KeyboardInterrupt
        when the frame has been accepted or refused; while it waits for space, at once.
        """
        engine, hooks = self._engine, self._hooks
        reports: Sequence[Any] = ()
        if self._reentered() or getpid() != self._process:
            engine.refuse_reentry()
        try:
            with self._lock:
                now = self._now()
                self._put(frame, now)
                if hooks is not None:
                    reports = hooks.reports(self._core, now)
        except core.WouldBlock as full:
            reports = self._put_when_there_is_space(frame, full.deadline - now)
        finally:  # also if Ctrl-C was delivered at the end of the call, which accepted the frame
            if (engine.effects or engine.active_queues) and not engine.poked:
                engine.poke()
        if reports and hooks is not None:
            hooks.report(reports)

    def _put_when_there_is_space(self, frame: core.Frame, patience: int) -> Sequence[Any]:
        try:
            return self._wait_for_space(
                partial(self._put_again, frame), patience / TICKS_PER_SECOND
            )
        except core.WouldBlock:
            with self._lock:
                self._core.count_put_error()
            raise no_space_error(self.name, self.last_error) from None

    def _put_again(self, frame: core.Frame, now: int) -> Sequence[Any]:
        """Put a frame that has waited for space."""
        if self._core.stopped:  # the core would only say that it is stopped
            self._core.count_put_error()
            raise interrupted_error(self.name)
        self._put(frame, now)
        return () if self._hooks is None else self._hooks.reports(self._core, self._now())

    def _wait_for_space(self, action: Callable[[int], T], limit_s: float) -> T:
        """Repeat an action of the core, which takes `now`, until there is space for it.

        Raises what the action raises; `WouldBlock` when there is still no space after `limit_s`.
        """
        engine = self._engine
        engine.refuse_reentry()
        engine.refuse_loop()
        deadline = time.monotonic() + limit_s
        while True:
            seen = engine.change_count  # before the attempt: a change after it ends the wait
            try:
                with self._lock:
                    return action(self._now())
            except core.WouldBlock:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise
            finally:
                engine.poke()
            engine.wait_for_change(seen, left_s)

    def end_fragment(self) -> None:
        """End the fragment being written, so that the service can store it now.

        The next frame must then be a key frame; others are skipped and reported. Does nothing when
        no fragment is open. Frames that wait for others, because of their order or their time, are
        put first. Needs no space in the buffer; but an offline stream waits, as `put_frame` does,
        while such frames have no space.

        Raises END_OF_FRAGMENT_FRAME_INVALID_STATE without key-frame fragmentation,
        STREAM_HAS_BEEN_STOPPED, the status of the stream's failure, OPERATION_TIMED_OUT when no
        space came in time.
        """
        try:
            self._engine.do(self._core.end_fragment)
            return
        except core.WouldBlock as full:
            patience = full.deadline - self._now()
        try:
            self._wait_for_space(self._core.end_fragment, patience / TICKS_PER_SECOND)
        except core.WouldBlock:
            raise no_space_error(self.name, self.last_error) from None

    def wait_ready(self, timeout: Timeout = 30) -> None:
        """Wait until the service has answered for this stream; raises what it said otherwise.

        Raises OPERATION_TIMED_OUT, the status of the stream's failure, STREAM_BEING_SHUTDOWN when
        the stream is closed meanwhile.
        """
        limit_s = to_seconds(timeout)
        answered = self._engine.block(self._answered, limit_s)
        self._require_ready(answered, limit_s)

    def flush(self, timeout: Timeout = 120) -> core.FrameAccount:
        """End the open fragment and wait until all frames are stored, or the time is over.

        Returns what became of them; `held` is not 0 when the time was too short, or the stream has
        failed. Raises END_OF_FRAGMENT_FRAME_INVALID_STATE without key-frame fragmentation,
        STREAM_HAS_BEEN_STOPPED, the stream's failure if it had failed before.
        """
        limit_s = to_seconds(timeout)
        deadline = time.monotonic() + limit_s
        self._engine.refuse_loop()
        try:
            self._engine.do(self._core.end_fragment)
        except core.WouldBlock:
            with suppress(core.WouldBlock):
                self._wait_for_space(self._core.end_fragment, limit_s)
        self._engine.block(
            lambda: self._core.account().held == 0 or self._failed(), deadline - time.monotonic()
        )
        return self.account()

    def wait_stored(self, pts: Instant, timeout: Timeout = 30) -> None:
        """Wait until everything accepted with this pts or an earlier one is stored.

        `pts` is in ticks, or an aware `datetime`. Frames up to there may still be put meanwhile, by
        another thread. The service stores whole fragments: the last one is stored after the next
        key frame, or after `end_fragment` or `flush`. Without `fragment_acks` this waits until the
        frames are sent; without retention, until the service has received them.

        Raises PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED when a frame up to `pts` was dropped,
        OPERATION_TIMED_OUT after `timeout`, the status of the stream's failure, and
        STREAM_HAS_BEEN_STOPPED when the stream ends, or has ended, before that pts.
        """
        limit_s = to_seconds(timeout)
        wait = self._stored_wait(pts)
        self._engine.block(wait.is_over, limit_s)
        self._require_stored(wait, limit_s)

    def close(self, timeout: Timeout = 120) -> core.FrameAccount:
        """Stop, send what is held, and wait for the last ack.

        Returns the account of the frames. Frames that are not stored after `timeout`, or when the
        stream has failed, are dropped: a closed stream holds nothing. `FrameDropped` reports them
        with the reason CLOSED, or UNCONFIRMED if they were sent. Call `flush` to wait without
        closing. A second call returns the same account.
        """
        self._engine.refuse_loop()
        limit_s = to_seconds(timeout)
        deadline = time.monotonic() + limit_s
        self._put_waiting(limit_s)
        self.stop()
        self._engine.block(
            lambda: self._core.closed or self._failed() or self._engine.closed,
            deadline - time.monotonic(),
        )
        return self._engine.free_stream(self._core)

    def _put_waiting(self, limit_s: float) -> bool:
        """Put the frames that wait for others; offline, they may have to wait for space.

        Return False when some had none in `limit_s`: `stop` would drop them.
        """
        try:
            self._wait_for_space(self._core.put_waiting, limit_s)
        except core.WouldBlock:
            return False
        return True

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
        account = self.close(closing_limit_s(kind, self._engine.close_limit_s))
        if kind is None:
            loss = loss_error(self.name, account, self._core.failure, self._core.drops)
            if loss is not None:
                raise explained(loss, self.last_error)
