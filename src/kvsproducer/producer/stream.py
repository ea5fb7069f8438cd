"""The blocking `Stream`: `put_frame` runs in the caller's thread.

All methods may be called from any thread, also at the same time. An error in a frame is raised by
its `put_frame`. A later error is reported as an event; if it ends the stream, the next call raises
it. `kvsproducer.client.stream` has the logic behind these methods.
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
    interrupted_error,
    loss_error,
    no_space_error,
    with_last_error,
)

__all__ = ["Stream"]

T = TypeVar("T")


class Stream(StreamFacade):
    """A KVS stream that frames are put into; `Producer.open_stream` returns it.

    Use it as a context manager: leaving the `with` block closes the stream, and raises if an
    accepted frame was not stored. If the block itself raises, that exception is raised instead.
    """

    def __init__(self, engine: Engine, stream: core.Stream) -> None:
        super().__init__(engine, stream)
        self._put = stream.put_frame
        self._now = engine.now
        self._process = engine.process
        self._reentered = engine.reentered
        self._hooks = engine.hooks

    def put_frame(self, frame: core.Frame) -> None:
        """Put one frame; it is held until the service has stored it or it is reported as dropped.

        Returns at once. Only an offline stream with a full buffer waits until the service has
        stored something, at most for `offline_buffer_availability_timeout`.

        Raises: STREAM_HAS_BEEN_STOPPED; MKV_TRACK_INFO_NOT_FOUND, MKV_INVALID_FRAME_TIMESTAMP and
        the other MKVGen codes for a frame that KVS could not store; STORE_OUT_OF_MEMORY if the
        frame does not fit into the storage; OPERATION_TIMED_OUT if there was no space in time;
        BLOCKING_PUT_INTERRUPTED_STREAM_TERMINATED if the stream was stopped while the frame waited;
        the status of the stream's failure if the stream has failed. If a callback of
        `StreamCallbacks` fails, its error is raised although the frame was accepted. Ctrl-C raises
        KeyboardInterrupt after the frame was accepted or refused. While the frame waits for space,
        Ctrl-C raises it at once.
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
        finally:  # the frame is accepted also if Ctrl-C was raised at the end of the call
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
        """Put a frame again that found no space before; return the reports of its callbacks."""
        if self._core.stopped:  # the core would raise a less exact status
            self._core.count_put_error()
            raise interrupted_error(self.name)
        self._put(frame, now)
        return () if self._hooks is None else self._hooks.reports(self._core, self._now())

    def _wait_for_space(self, action: Callable[[int], T], limit_s: float) -> T:
        """Repeat an action of the core until there is space in the buffer; return its result.

        `action` is called with the monotonic time. Raises what the action raises; `WouldBlock` if
        there is still no space after `limit_s` seconds.
        """
        engine = self._engine
        engine.refuse_reentry()
        engine.refuse_loop()
        deadline = time.monotonic() + limit_s
        while True:
            # Read the count before the attempt. If it were read after it, a change in between would
            # not end the wait.
            seen = engine.change_count
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
        """End the open fragment, so that the service can store it now.

        The next frame must then be a key frame; other frames are skipped and reported. Has no
        effect if no fragment is open. Frames that are waiting for frames of another track are put
        first; an offline stream with a full buffer waits for space for them, as `put_frame` does.

        Raises END_OF_FRAGMENT_FRAME_INVALID_STATE without key-frame fragmentation,
        STREAM_HAS_BEEN_STOPPED, the status of the stream's failure, and OPERATION_TIMED_OUT if
        there was no space in time.
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
        """Wait until the stream is ready to upload: it exists, and the service accepts its calls.

        `timeout`: seconds, a `timedelta` or ISO 8601 text; default 30 s. Raises
        OPERATION_TIMED_OUT, the status of the stream's failure, and STREAM_BEING_SHUTDOWN if the
        stream is closed meanwhile.
        """
        limit_s = to_seconds(timeout)
        answered = self._engine.block(self._answered, limit_s)
        self._require_ready(answered, limit_s)

    def flush(self, timeout: Timeout = 120) -> core.FrameAccount:
        """End the open fragment and wait until all frames are stored, at most for `timeout`.

        `timeout`: seconds, a `timedelta` or ISO 8601 text; default 120 s. Returns the account of
        the frames; its `held` is above 0 if the time was too short or the stream failed meanwhile.
        Raises END_OF_FRAGMENT_FRAME_INVALID_STATE without key-frame fragmentation,
        STREAM_HAS_BEEN_STOPPED, and the stream's failure if it had failed before.
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
        """Wait until all accepted frames with this pts or an earlier one are stored.

        `pts` is in ticks, or an aware `datetime`. Another thread may put frames up to `pts`
        meanwhile. The service stores whole fragments, so the last fragment is stored after the next
        key frame, `end_fragment` or `flush`. Without `fragment_acks` this waits until the frames
        are sent; without retention, until the service has received them.

        `timeout`: seconds, a `timedelta` or ISO 8601 text; default 30 s. Raises
        PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED if a frame up to `pts` was dropped,
        OPERATION_TIMED_OUT, the status of the stream's failure, and STREAM_HAS_BEEN_STOPPED if the
        stream ends, or has ended, before that pts.
        """
        limit_s = to_seconds(timeout)
        wait = self._stored_wait(pts)
        self._engine.block(wait.is_over, limit_s)
        self._require_stored(wait, limit_s)

    def close(self, timeout: Timeout = 120) -> core.FrameAccount:
        """Stop the stream, send its frames, wait for the last ack, and free the stream.

        `timeout`: seconds, a `timedelta` or ISO 8601 text; default 120 s. Returns the account of
        the frames. Frames that are not stored by then, or cannot be stored because the stream has
        failed, are dropped: a closed stream holds no frames. `FrameDropped` reports them with the
        reason CLOSED, or UNCONFIRMED if they were sent. Call `flush` to wait without closing. A
        second call returns the same account.
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
        """Put the frames that wait for frames of another track.

        An offline stream may have to wait for space for them. Returns False if some of them got no
        space within `limit_s` seconds; `stop` would drop the ones that still wait.
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
                raise with_last_error(loss, self.last_error)
