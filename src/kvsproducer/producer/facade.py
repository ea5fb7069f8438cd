"""What the blocking and the asyncio stream have in common: everything that does not wait.

The methods here may be called from any thread for a blocking stream, and return at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from kvsproducer import client as core
from kvsproducer import limits
from kvsproducer.producer.engine import Engine, now
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["StreamFacade", "Timeout"]

Timeout = float | timedelta | str


class StreamFacade:
    """One KVS stream being produced, on an engine."""

    def __init__(self, engine: Engine, stream: core.Stream) -> None:
        self._engine = engine
        self._core = stream
        self._lock = engine.lock

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

    def stop(self) -> None:
        """Take no more frames and let what is held go out; `close` waits for it."""
        self._engine.do(self._core.stop)

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

    def _require_ready(self, answered: bool, limit_s: float) -> None:
        """Raise what the service said instead of "ready", or that it said nothing in time."""
        if self._core.failure is not None:
            raise self._core.failure
        if not answered:
            told = f"the service did not answer within {limit_s:g} s (state {self.state.value})"
            if self._engine.last_failure:
                told += f"; the last call: {self._engine.last_failure}"
            raise kvs_error(StatusCode.OPERATION_TIMED_OUT, told, stream=self.name)

    def __repr__(self) -> str:
        return f"<Stream {self.name!r} {self.state.value}>"
