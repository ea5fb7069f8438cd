"""Base classes of the blocking and the asyncio `Producer` and `Stream`: all that does not wait.

The methods return at once. Those of a blocking producer may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import iscoroutinefunction
from typing import Generic, Literal, TypeVar, Unpack

from kvsproducer import client as core
from kvsproducer import limits
from kvsproducer.duration import Duration, Instant, instant_to_ticks, to_seconds
from kvsproducer.producer.engine import Engine
from kvsproducer.producer.hooks import Callbacks, Hooks
from kvsproducer.producer.outcome import CLOSE_LIMIT_S, with_last_error
from kvsproducer.producer.stored import StoredWait
from kvsproducer.service import interrupts, lifetime
from kvsproducer.service.connection import Connection, ConnectionOptions, connection_from
from kvsproducer.service.service import Service
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["OnEvent", "ProducerFacade", "StreamFacade", "Timeout", "refuse_events"]

Timeout = Duration
OnEvent = Callable[[core.Event], object]


class StreamFacade:
    """The common base of the blocking and the asyncio `Stream`."""

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
        """The current state of the stream; STREAMING while an upload runs."""
        return self._core.state

    @property
    def failure(self) -> KvsError | None:
        """The error that ended the stream permanently, or None."""
        return self._core.failure

    @property
    def stored_until(self) -> int | None:
        """The pts up to which all accepted frames are stored, or were reported as dropped.

        In ticks: the producer holds no frame with this pts or an earlier one. The value is None
        until a frame is stored or dropped. It grows with each stored fragment, in whatever order
        the acks arrive. It stays before any fragment that is sent again, and before any frame that
        waits for another track. It decreases if a frame is put with an earlier pts than stored
        frames. If the source's clock is set back (`TimeJumped`), the value follows the new times.
        The times are those of the stored frames; `TimestampCorrected` reports frames whose time was
        changed. Without `fragment_acks`, sent frames count as stored.
        """
        self._engine.refuse_fork()
        with self._lock:
            return self._core.stored_until

    @property
    def drops(self) -> dict[str, int]:
        """The number of dropped frames so far, by the value of their `DropReason`.

        If a reason has a status, the name of the status follows the reason:
        `{"overflow": 2, "invalid: MKV_...": 1}`.
        """
        self._engine.refuse_fork()
        with self._lock:
            return self._core.drops

    def put_fragment_metadata(
        self,
        name: str,
        value: str,
        *,
        persistent: bool = False,
        fragment: Literal["this", "next"] = "next",
    ) -> None:
        """Attach a name and value to a fragment, or to all following ones (`persistent`).

        By default the item is stored with the fragment that starts next. If the open fragment is
        ended before that (by `end_fragment`, `flush`, `close` or because the stream is idle), the
        item is stored with the open fragment, unless that has 10 items already. `close` reports
        items that were not stored.

        name: 1 to 128 bytes of UTF-8, not beginning with AWS.
        value: at most 256 bytes of UTF-8; an empty value removes a persistent item.
        persistent: repeat the item in all fragments from the next one on.
        fragment: "this" stores the item with the fragment that is open now. This fragment contains
            the last frame (with several tracks: the last frame that no longer waits for another
            track). The stream then ends this fragment with a mark. If no fragment is open, the item
            goes with the next one; if the fragment is dropped, so is the item.

        KVS accepts 10 items for a fragment. Persistent items, the tags of `put_event` and their
        pairs count too. The 11th item raises MAX_FRAGMENT_METADATA_COUNT, and the stream continues.
        Also raises INVALID_ARG for a name or value that is not text, for another `fragment`, and
        for a persistent item with `fragment="this"`; INVALID_METADATA_NAME,
        MKV_INVALID_TAG_NAME_LENGTH, MKV_INVALID_TAG_VALUE_LENGTH, STREAM_HAS_BEEN_STOPPED.
        """
        self._engine.refuse_reentry()
        with self._lock:  # this alone causes nothing to be sent, so the loop is not woken
            self._core.put_fragment_metadata(
                name, value, persistent, self._engine.now(), fragment=fragment
            )

    def put_event(
        self,
        types: core.EventType,
        *,
        image_prefix: str = "",
        pairs: Sequence[tuple[str, str]] = (),
        fragment: Literal["this", "next"] = "next",
    ) -> None:
        """Ask the service to create images in S3, or to send a notification, for a fragment.

        types: EventType.IMAGE_GENERATION, EventType.NOTIFICATION, or both.
        image_prefix: the beginning of the images' names.
        pairs: names and values to store with the event.
        fragment: "next" (the one that starts next) or "this", as in `put_fragment_metadata`.

        Each event, the prefix, and each pair of each event count as one of the 10 metadata items of
        a fragment; more raise MAX_FRAGMENT_METADATA_COUNT. Also raises INVALID_ARG,
        STREAM_NOT_STARTED before the first frame, DUPLICATE_STREAM_EVENT_TYPE while an event of the
        same type waits for its fragment, INVALID_IMAGE_PREFIX_LENGTH,
        INVALID_IMAGE_METADATA_KEY_LENGTH, INVALID_IMAGE_METADATA_VALUE_LENGTH,
        INVALID_METADATA_NAME, STREAM_HAS_BEEN_STOPPED. Source: the tags
        AWS_KINESISVIDEO_IMAGE_GENERATION and _NOTIFICATION.
        """
        self._engine.do(
            self._core.put_event,
            types,
            image_prefix=image_prefix,
            pairs=pairs,
            fragment=fragment,
        )

    def reset(self) -> None:
        """Drop the frames that are held, report them as dropped, and start the stream again.

        A failed or stopped stream accepts frames again after this. Raises STREAM_SHUTTING_DOWN for
        a closed stream, and CLIENT_FREED_BEFORE_STREAM.
        """
        self._engine.do(self._core.reset)

    def stop(self) -> None:
        """Accept no more frames, and send the frames that are held; `close` also waits for them."""
        self._engine.do(self._core.stop)

    def account(self) -> core.FrameAccount:
        """Return the counts of the frames so far: accepted = persisted + dropped + held.

        A closed stream holds no frames.
        """
        self._engine.refuse_fork()
        with self._lock:
            return self._core.account()

    def metrics(self, version: int = limits.STREAM_METRICS_VERSION) -> core.StreamMetrics:
        """Return a snapshot of the stream's metrics (AWS's StreamMetrics).

        `version` is the version of the layout that `to_dict` returns. Raises
        INVALID_STREAM_METRICS_VERSION.
        """
        self._engine.refuse_fork()
        with self._lock:
            return self._core.metrics(self._engine.now(), version)

    def _stored_wait(self, pts: Instant) -> StoredWait:
        with self._lock:
            return StoredWait(self._core, pts if isinstance(pts, int) else instant_to_ticks(pts))

    def _require_stored(self, wait: StoredWait, limit_s: float) -> None:
        """Raise an error if `wait` has ended but not all of its frames are stored."""
        last_error = self.last_error
        with self._lock:
            error = wait.error(limit_s, last_error)
        if error is not None:
            raise error

    def _failed(self) -> bool:
        return self._core.failure is not None

    def _require_ready(self, answered: bool, limit_s: float) -> None:
        """Raise an error if the stream is not ready.

        The error is the stream's failure, OPERATION_TIMED_OUT if `answered` is False (the wait
        timed out), or STREAM_BEING_SHUTDOWN if the stream was closed before it was ready.
        """
        if self._core.failure is not None:
            raise self._core.failure
        if not answered:
            detail = f"the stream is not ready after {limit_s:g} s (state {self.state.value})"
            raise with_last_error(
                kvs_error(StatusCode.OPERATION_TIMED_OUT, detail, stream=self.name), self.last_error
            )
        if not self._core.ready:
            raise kvs_error(
                StatusCode.STREAM_BEING_SHUTDOWN, "closed before it was ready", stream=self.name
            )

    def _answered(self) -> bool:
        """Return whether `wait_ready` is over: the stream is ready, failed, or closed."""
        return self._core.ready or self._failed() or self._core.freed

    @property
    def last_error(self) -> str:
        """The message of the last call or upload if it failed, else ""; also after `close`."""
        return self._engine.last_error(self.name)

    def __repr__(self) -> str:
        return f"<Stream {self.name!r} {self.state.value}>"


S = TypeVar("S", bound=StreamFacade)


class ProducerFacade(Generic[S]):
    """The common base of the blocking and the asyncio `Producer`.

    The streams of a producer share its credentials and its storage.
    """

    _stream_type: type[S]

    def __init__(
        self,
        *,
        connection: Connection | None = None,
        device_info: core.DeviceInfo | None = None,
        on_event: OnEvent | None = None,
        callbacks: Callbacks | None = None,
        close_timeout: Timeout = CLOSE_LIMIT_S,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        """Create a producer. This uses neither the network nor the credentials.

        Args:
            connection: how the service is reached; default: from the environment and the AWS
                profile, as in boto3. See `Connection`.
            device_info: storage size, time-outs, number of streams; see `DeviceInfo`.
            on_event: a function that is called with each event, never on the network loop of a
                blocking producer. Coroutines can iterate over `aio.Producer.events`.
            callbacks: a `CallbacksProvider` with C-style callbacks, which may fail a `put_frame` or
                answer a call. The producer frees them when it is closed.
            close_timeout: how long leaving a `with` block waits for the last acks: seconds, a
                `timedelta` or ISO 8601 text; default 30 s. Frames without an ack by then are
                reported as lost.
            options: the fields of a `Connection` as keywords (`region_name`, `profile_name`,
                `endpoint_url`, `session`, `credentials`, `verify`, `config`), instead of
                `connection`.

        Raises: INVALID_ARG if there is no region, if the profile is unknown, for `connection`
        together with one of its fields, for an unknown argument, and for an `on_event` that cannot
        be called; what `Connection` and `DeviceInfo` raise; INVALID_CA_CERT_PATH; INVALID_OPERATION
        for callbacks that another producer uses already.
        """
        service = Service(connection_from(connection, options, type(self)))
        _check_types(device_info, callbacks, on_event)
        self._streams: dict[str, S] = {}
        device = device_info or core.DeviceInfo()
        hooks = None if callbacks is None else callbacks.start(device.client_info.log_level)
        try:
            self._engine = self._make_engine(device, service, hooks)
            self._engine.close_limit_s = to_seconds(close_timeout, "close_timeout")
        except BaseException:
            if hooks is not None:
                hooks.end()
            raise
        self._engine.on_freed = self._forget
        self._listen(on_event)
        lifetime.register(self)
        interrupts.watch(self._engine.lock)
        self._engine.poke()

    def _make_engine(
        self, device_info: core.DeviceInfo, service: Service, hooks: Hooks | None
    ) -> Engine:
        """Return an engine on the event loop that this class uses."""
        raise NotImplementedError

    def _forget(self, stream: core.Stream) -> None:
        """Remove a stream that was closed; the caller must hold the lock."""
        surface = self._streams.get(stream.name)
        if surface is not None and surface._core is stream:
            del self._streams[stream.name]

    def _end_at_exit(self, limit_s: float) -> dict[str, core.FrameAccount]:
        """Close the core at interpreter exit; the loop has stopped, so nothing can be sent."""
        del limit_s
        if self._engine.closed:
            return {}
        self._engine.close_core()
        return self._engine.ended.accounts()

    def _listen(self, on_event: OnEvent | None) -> None:
        """Set up the delivery of the engine's events."""
        raise NotImplementedError

    def open_stream(self, name: str, stream_info: core.StreamInfo) -> S:
        """Open a stream and return it at once, before the service has answered.

        Frames that are put before the service has answered are held. `Stream.wait_ready` waits for
        the answer. Raises the statuses of `StreamInfo`, DUPLICATE_STREAM_NAME, MAX_STREAM_COUNT.
        """
        if not isinstance(name, str):
            raise _wrong_type("name", name, "the name of a stream as text")
        if not isinstance(stream_info, core.StreamInfo):
            raise _wrong_type("stream_info", stream_info, "a StreamInfo")
        stream = self._stream_type(self._engine, self._engine.open_stream(name, stream_info))
        with self._engine.lock:
            self._streams[name] = stream
        return stream

    @property
    def streams(self) -> dict[str, S]:
        """The open streams by name."""
        self._engine.refuse_fork()
        with self._engine.lock:
            return dict(self._streams)

    def metrics(self, version: int = limits.CLIENT_METRICS_VERSION) -> core.ClientMetrics:
        """Return a snapshot of the producer's metrics (AWS's ClientMetrics).

        `version` is the version of the layout that `to_dict` returns. Raises
        INVALID_CLIENT_METRICS_VERSION.
        """
        self._engine.refuse_fork()
        with self._engine.lock:
            return self._engine.core.metrics(self._engine.now(), version)

    def __repr__(self) -> str:
        where = self._engine.service.endpoint_url or self._engine.service.region_name
        return f"<Producer {where} streams={list(self._streams)}>"


def refuse_events(on_event: OnEvent | None) -> None:
    """Raise INVALID_OPERATION if the producer has an `on_event`, which gets all events."""
    if on_event is not None:
        raise kvs_error(
            StatusCode.INVALID_OPERATION,
            "this producer's on_event takes all events: make the producer without on_event to"
            " iterate over events()",
        )


def _wrong_type(name: str, value: object, wanted: str) -> KvsError:
    return kvs_error(StatusCode.INVALID_ARG, f"{name}= is {type(value).__name__}: give {wanted}")


def _check_types(device_info: object, callbacks: object, on_event: OnEvent | None) -> None:
    if not isinstance(device_info, core.DeviceInfo | None):
        raise _wrong_type("device_info", device_info, "a DeviceInfo")
    if callbacks is not None and not callable(getattr(callbacks, "start", None)):
        raise _wrong_type("callbacks", callbacks, "a CallbacksProvider")
    _check_listener(on_event)


def _check_listener(on_event: OnEvent | None) -> None:
    """Raise INVALID_ARG if `on_event` cannot be called or is a coroutine function."""
    if on_event is None:
        return
    if not callable(on_event):
        raise _wrong_type("on_event", on_event, "a function that takes an Event")
    if iscoroutinefunction(on_event):
        raise kvs_error(
            StatusCode.INVALID_ARG,
            "on_event is a coroutine function, which is not awaited: give a function (it may"
            " start tasks), or read `async for event in producer.events()` of kvsproducer.aio",
        )
