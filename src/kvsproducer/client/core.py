"""The state that the parts of one stream share: view, uploads, accounts, effects and events.

`StreamCore` holds the state and the few operations that every part needs (report, trim, wake). The
behaviour is in `control` (state machine), `sender` (read path), `acks`, and `stream` (put path).
Effects, which are requests for the caller such as a service call, go to the client's queue. Events
go to the stream's queue.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from kvsproducer import limits
from kvsproducer.client.buffer.buffer import NEVER, Buffer
from kvsproducer.client.buffer.view import (
    SKIP,
)
from kvsproducer.client.device_info import ClientInfo
from kvsproducer.client.effects import (
    AuthInfo,
    ConnectionTroubled,
    DataAvailable,
    Effect,
    SpaceAvailable,
    UploadAborted,
)
from kvsproducer.client.events import (
    ConnectionStale,
    DropReason,
    Event,
    EventQueue,
    FragmentDropped,
    FrameDropped,
    StreamErrorReported,
    StreamLatencyPressure,
)
from kvsproducer.client.metadata import MetadataQueue
from kvsproducer.client.metrics import Rates, StreamCounters
from kvsproducer.client.retry import RetryPolicy
from kvsproducer.client.session import Upload, Uploads
from kvsproducer.client.states import Lifecycle, UploadState
from kvsproducer.client.stream_info import StreamInfo, StreamingType
from kvsproducer.heap import ContentStore
from kvsproducer.mkv.generator import MkvGenerator
from kvsproducer.status import KvsError, StatusCode

__all__ = ["NEVER", "ClientServices", "StreamCore"]


class ClientServices(Protocol):
    """The methods and attributes of the client that a stream uses."""

    device_name: str
    client_info: ClientInfo
    retry_policy: RetryPolicy
    auth: AuthInfo | None
    closed: bool

    @property
    def failure(self) -> KvsError | None:
        """The error with which the client failed permanently, or None."""

    def new_call_id(self) -> int:
        """Return a new number that identifies a call."""

    def new_upload(self) -> int:
        """Return a new number for an upload."""

    def roll(self, sides: int) -> int:
        """Return a uniform random int below `sides`."""

    def wall(self, now: int) -> int:
        """Return the wall-clock time at `now`, in ticks since 1970."""

    def authorize(self, now: int) -> bool:
        """Return whether stream calls may be made now; if not, `StreamControl.resume` follows."""


class StreamCore:
    """The shared state of one stream; see the module's docstring."""

    def __init__(
        self,
        info: StreamInfo,
        generator: MkvGenerator,
        store: ContentStore,
        effects: deque[Effect],
        waiting: dict[str, None],
        active_queues: deque[EventQueue],
        now: int,
    ) -> None:
        self.name = info.name
        self.info = info
        self.generator = generator
        self.effects = effects
        self.waiting = waiting  # streams whose offline writers wait for space, in order
        self.events = EventQueue(limits.MAX_QUEUED_EVENTS, active_queues)
        self.buffer = Buffer(info, store, generator.header, self)
        self.uploads = Uploads()
        self.metadata = MetadataQueue()
        self.counters = StreamCounters()
        self.rates = Rates(now)
        self.created_at = now
        self.lifecycle = Lifecycle.OPEN
        self.drops: dict[DropReason, int] = {}  # number of frames dropped so far, by reason
        self.causes: dict[DropReason, str] = {}  # name of the status that last caused such drops
        self.attention = True  # the next frame needs `Intake._attend`
        self.failure: KvsError | None = None
        self.skip_until_key = True  # frames are skipped until a key frame comes
        self.reset_on_key = False  # the next key frame starts a new session
        # by kind, until the caller takes them
        self.troubles: dict[str, ConnectionStale | StreamLatencyPressure] = {}

    @property
    def stopped(self) -> bool:
        """True if the stream accepts no more frames."""
        return self.lifecycle >= Lifecycle.STOPPED

    @property
    def closed(self) -> bool:
        """True if the stream has nothing left to send or to wait for."""
        return self.lifecycle >= Lifecycle.CLOSED

    # --- reporting ------------------------------------------------------------------------------
    def emit(self, event: Event) -> None:
        """Queue an event."""
        self.events.push(event)

    def report_trouble(self, sign: ConnectionStale | StreamLatencyPressure) -> None:
        """Report a connection problem, and emit an effect that asks the caller to check it."""
        self.emit(sign)
        if not self.troubles:
            self.effects.append(ConnectionTroubled(self.name))
        self.troubles[type(sign).__name__] = sign

    def report(
        self,
        status: StatusCode,
        detail: str = "",
        *,
        fatal: bool = False,
        upload: int | None = None,
        timecode: int | None = None,
    ) -> None:
        """Report an error as a `StreamErrorReported` event."""
        self.emit(StreamErrorReported(self.name, upload, timecode, status, detail, fatal))

    def report_drop(self, first: int, last: int, count: int, reason: DropReason) -> None:
        """Report that frames with dts from `first` to `last` (ticks) were dropped."""
        self.drops[reason] = self.drops.get(reason, 0) + count
        if self.info.streaming_type is StreamingType.NEAR_REALTIME:
            self.counters.dropped_fragments += count
            self.emit(FragmentDropped(self.name, first, last, count, reason))
        else:
            self.counters.dropped_frames += count
            self.emit(FrameDropped(self.name, first, last, count, reason))

    def wake(self, upload: Upload | None = None) -> None:
        """Emit DataAvailable if the last read of the upload (default: the reader) found no data."""
        upload = upload or self.uploads.reader
        if upload is not None and upload.idle:
            self.effects.append(upload.available or self.available(upload))
            upload.idle = False

    def available(self, upload: Upload) -> DataAvailable:
        """Return a DataAvailable effect for the upload, which the upload keeps for reuse."""
        effect = upload.available = DataAvailable(self.name, upload.number)
        return effect

    def note_waiting_writer(self) -> None:
        """Record that the writer of an offline stream waits for space."""
        self.waiting[self.name] = None
        if self.buffer.view.newest is not None and self.buffer.view.newest.flags & SKIP:
            self.wake()  # see Sender._closing_mark

    def wake_writers(self) -> None:
        """Emit SpaceAvailable for the waiting writers of all streams, which share the store."""
        if self.waiting:
            self.effects.extend(map(SpaceAvailable, self.waiting))
            self.waiting.clear()

    # --- what the next key frame does -----------------------------------------------------------
    def begin_session_on_key(self) -> None:
        """Make the next key frame begin a new session."""
        self.reset_on_key = self.attention = True

    def refuse_until_key(self, *, new_session: bool = False) -> None:
        """Skip frames until a key frame; with `new_session`, that key frame begins a session."""
        self.skip_until_key = self.attention = True
        self.reset_on_key |= new_session

    # --- uploads --------------------------------------------------------------------------------
    def abort_uploads(self) -> None:
        """Abort all uploads, and emit effects that ask the caller to close their connections."""
        for upload in self.uploads.active():
            self.effects.append(UploadAborted(self.name, upload.number))
            self.uploads.set_state(upload, UploadState.TERMINATED)
            upload.idle = False
