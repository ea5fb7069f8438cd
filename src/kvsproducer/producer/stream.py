"""The blocking stream: `put_frame` in the caller's thread, waits on a condition.

All methods may be called from any thread, also at once. What can go wrong with a frame is raised
where the frame was put; what goes wrong later is an event, and the stream's failure, which the
next call raises. See `kvsproducer.client.stream` for what happens inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType

from kvsproducer import client as core
from kvsproducer import limits
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.producer.engine import Engine, now
from kvsproducer.producer.outcome import (
    closing_limit_s,
    interrupted_error,
    loss_error,
    no_space_error,
    timeout_seconds,
)
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["Stream"]

Timeout = float | timedelta | str


class Stream:
    """One KVS stream being produced; made by `Producer.open_stream`.

    Use as a context manager: leaving the block closes the stream, and raises if a frame that was
    accepted was not stored (unless the block itself is raising: that exception goes on).
    """

    def __init__(self, engine: Engine, stream: core.Stream) -> None:
        self._engine = engine
        self._core = stream
        self._lock = engine.lock
        self._put = stream.put_frame

    @property
    def name(self) -> str:
        """The stream's name."""
        return self._core.name

    @property
    def state(self) -> core.StreamState:
        """Where the stream is on its way to an upload."""
        return self._core.state

    @property
    def failure(self) -> KvsError | None:
        """Why the stream will not recover, None while it works."""
        return self._core.failure

    def put_frame(self, frame: core.Frame) -> None:
        """Put one frame; what it accepted is stored, reported as dropped, or still held.

        Returns at once, except for an offline stream whose buffer is full: that waits until the
        service has stored something (`offline_buffer_availability_timeout` at most).

        Raises: STREAM_HAS_BEEN_STOPPED; MKV_TRACK_INFO_NOT_FOUND, MKV_INVALID_FRAME_TIMESTAMP and
        the other MKVGen codes for a frame that KVS could not store; STORE_OUT_OF_MEMORY when it
        does not fit; OPERATION_TIMED_OUT when no space came in time,
        BLOCKING_PUT_INTERRUPTED_STREAM_TERMINATED when the stream was stopped meanwhile; the
        status of the stream's failure when the service refused it for good.
        """
        engine = self._engine
        try:
            with self._lock:
                self._put(frame, now())
        except core.WouldBlock as full:
            self._put_when_there_is_space(frame, full.deadline)
        if (engine.effects or engine.talkative) and not engine.poked:
            engine.poke()

    def _put_when_there_is_space(self, frame: core.Frame, deadline: int) -> None:
        changed = self._engine.changed
        with changed:
            while True:
                # Stopping answers before the core does: the wait was interrupted.
                if self._core.stopped:
                    raise interrupted_error(self.name)
                try:
                    return self._put(frame, now())
                except core.WouldBlock:
                    left = deadline - now()
                if left <= 0:
                    raise no_space_error(self.name)
                self._engine.poke()
                changed.wait(left / TICKS_PER_SECOND)

    def end_fragment(self) -> None:
        """Close the fragment being written, so that the service can store it now.

        The next frame must then be a key frame; others are skipped and reported. Does nothing when
        no fragment is open. Raises END_OF_FRAGMENT_FRAME_INVALID_STATE without key-frame
        fragmentation, STREAM_HAS_BEEN_STOPPED.
        """
        self._engine.end_fragment(self._core)

    def put_fragment_metadata(self, name: str, value: str, *, persistent: bool = False) -> None:
        """Attach a name and value to the next fragment, or with `persistent` to all that follow.

        Name 1 to 128 characters, not beginning with AWS; value up to 256; an empty value clears a
        persistent item. Raises INVALID_METADATA_NAME, MKV_INVALID_TAG_NAME_LENGTH,
        MKV_INVALID_TAG_VALUE_LENGTH, MAX_FRAGMENT_METADATA_COUNT, STREAM_HAS_BEEN_STOPPED.
        """
        self._engine.do(self._core.put_fragment_metadata, name, value, persistent)

    def put_event(
        self,
        types: core.EventType,
        *,
        image_prefix: str = "",
        pairs: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Have the service make images (to S3) or send a notification for the next fragment.

        `types` is EventType.IMAGE_GENERATION, NOTIFICATION or both. `image_prefix` goes before the
        images' names; `pairs` are up to 10 names and values that go with them. Raises
        STREAM_NOT_STARTED before the first frame, DUPLICATE_STREAM_EVENT_TYPE while one of the
        kind waits, INVALID_IMAGE_PREFIX_LENGTH, INVALID_IMAGE_METADATA_KEY_LENGTH,
        INVALID_IMAGE_METADATA_VALUE_LENGTH, INVALID_METADATA_NAME, STREAM_HAS_BEEN_STOPPED.
        Source: the tags AWS_KINESISVIDEO_IMAGE_GENERATION and _NOTIFICATION.
        """
        self._engine.do(self._core.put_event, types, image_prefix=image_prefix, pairs=pairs)

    def reset(self) -> None:
        """Throw away what is held (reported as dropped) and begin anew; revives a failed stream."""
        self._engine.do(self._core.reset)

    def wait_ready(self, timeout: Timeout = 30) -> None:
        """Wait until the service has answered for this stream; raises what it said otherwise.

        Raises OPERATION_TIMED_OUT, or the status of the stream's failure.
        """
        limit_s = timeout_seconds(timeout)
        changed = self._engine.changed
        with changed:
            answered = changed.wait_for(lambda: self._core.ready or self._failed(), limit_s)
            if self._core.failure is not None:
                raise self._core.failure
        if not answered:
            raise kvs_error(
                StatusCode.OPERATION_TIMED_OUT,
                f"the service did not answer within {limit_s:g} s (state {self.state.value})",
                stream=self.name,
            )

    def flush(self, timeout: Timeout = 120) -> core.FrameAccount:
        """End the open fragment and wait until all frames are stored, or the time is over.

        Returns what became of them; `held` is not 0 when the time was too short.
        """
        self._engine.end_fragment(self._core)
        changed = self._engine.changed
        with changed:
            changed.wait_for(
                lambda: self._core.account().held == 0 or self._failed(), timeout_seconds(timeout)
            )
            return self._core.account()

    def stop(self) -> None:
        """Take no more frames and let what is held go out; `close` waits for it."""
        self._engine.do(self._core.stop)

    def close(self, timeout: Timeout = 120) -> core.FrameAccount:
        """Stop, send what is held, wait for the last ack; then give the stream back.

        Returns what became of the frames. What is not stored when the time is over counts as
        held. Closing twice is fine.
        """
        self.stop()
        changed = self._engine.changed
        with changed:
            changed.wait_for(
                lambda: self._core.closed or self._failed() or self._engine.closed,
                timeout_seconds(timeout),
            )
            account = self._core.account()
        self._engine.free_stream(self._core)
        return account

    def account(self) -> core.FrameAccount:
        """What has become of the frames so far: accepted = persisted + dropped + held."""
        with self._lock:
            return self._core.account()

    def metrics(self, version: int = limits.STREAM_METRICS_VERSION) -> core.StreamMetrics:
        """A snapshot of the stream's figures (AWS's StreamMetrics; `to_dict` of that version).

        Raises INVALID_STREAM_METRICS_VERSION.
        """
        with self._lock:
            return self._core.metrics(now(), version)

    def _failed(self) -> bool:
        return self._core.failure is not None

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        account = self.close(closing_limit_s(kind))
        if kind is None:
            loss = loss_error(self.name, account, self._core.failure)
            if loss is not None:
                raise loss

    def __repr__(self) -> str:
        return f"<Stream {self.name!r} {self.state.value}>"
