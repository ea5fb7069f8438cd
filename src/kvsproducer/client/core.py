"""What the parts of one stream share: its view, uploads, books, and the two ways out.

`StreamCore` holds state and the few operations that every part needs (report, trim, wake); the
behaviour is in `control` (state machine), `sender` (read path), `acks` and `stream` (put path).
Effects go to the client's one queue, events to the stream's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from kvsproducer import limits
from kvsproducer.client.account import Ledger
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
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.heap import ContentStore, HoldingStore, Payload
from kvsproducer.mkv.generator import MkvGenerator
from kvsproducer.status import KvsError, StatusCode
from kvsproducer.view import (
    END_OF_FRAGMENT,
    FRAGMENT_START,
    PERSISTED,
    RECEIVED,
    SKIP,
    STREAM_START,
    ContentView,
    ViewItem,
)

__all__ = ["NEVER", "ClientServices", "StreamCore"]

NEVER: Final = 2**64 - 1


class ClientServices(Protocol):
    """What a stream needs of its client."""

    device_name: str
    client_info: ClientInfo
    retry_policy: RetryPolicy
    auth: AuthInfo | None
    closed: bool

    @property
    def failure(self) -> KvsError | None:
        """Why it will never make calls, or None."""

    def new_call_id(self) -> int:
        """A number for a call."""

    def new_upload(self) -> int:
        """A number for an upload."""

    def roll(self, sides: int) -> int:
        """A uniform int below `sides`."""

    def wall(self, now: int) -> int:
        """Return the wall-clock time at `now`, in ticks since 1970."""

    def authorize(self, now: int) -> bool:
        """Whether stream calls may be made now; if not, `StreamControl.resume` follows."""


class StreamCore:
    """The shared state of one stream; see the module's docstring."""

    def __init__(
        self,
        info: StreamInfo,
        generator: MkvGenerator,
        store: ContentStore,
        effects: deque[Effect],
        waiting: dict[str, None],
        notify: Callable[[], None],
        now: int,
    ) -> None:
        self.name = info.name
        self.info = info
        self.generator = generator
        self.store = store
        self.holding = store if isinstance(store, HoldingStore) else None  # it keeps the payloads
        self.item_overhead = limits.ITEM_OVERHEAD_BYTES  # charged for remembering an item
        if self.holding is not None:
            self.item_overhead = limits.HELD_ITEM_OVERHEAD_BYTES
        self.effects = effects
        self.waiting = waiting  # streams whose offline writers were told to wait, in order
        self.events = EventQueue(limits.MAX_QUEUED_EVENTS)
        self._notify = notify
        self.talking = False  # the client knows that there may be events
        self.view = ContentView(_view_capacity(info), info.buffer_duration)
        self.uploads = Uploads()
        self.metadata = MetadataQueue()
        self.counters = StreamCounters()
        self.rates = Rates(now)
        self.ledger = Ledger(self._report_drop)
        self.created_at = now
        # Media time of the newest item that was acknowledged as BUFFERING.
        self.buffering_time = -1
        self.offline = info.streaming_type is StreamingType.OFFLINE
        self.waits_for_acks = info.fragment_acks
        self.retains = bool(info.retention)  # until the service tells what it does
        self.lifecycle = Lifecycle.OPEN
        self.drops: dict[DropReason, int] = {}  # frames given up so far
        self.refusal = ""  # the service's name of the last error that cost a fragment
        self.attention = True  # the next frame is not the rule: see Stream._attend
        self.failure: KvsError | None = None
        self.skip_until_key = True  # frames are refused until a key frame comes
        self.reset_on_key = False  # the next key frame starts a new session
        self.loss_result: int | None = None  # of a lost connection whose media is to be sent again
        # One past the last item of this session that a RECEIVED or PERSISTED ack covers.
        self.received_end = 0
        self.on_wire: ViewItem | None = None  # handed out in part
        self.ended = False  # what ends the newest session was handed out too
        self.troubles: dict[str, ConnectionStale | StreamLatencyPressure] = {}  # not yet taken
        self.wire_charge = 0  # of an item on the wire that has left the view
        # (first item, stream start in ticks, stream header): what a re-sent item's session had.
        self.sessions: deque[tuple[int, int, bytes]] = deque()

    @property
    def stopped(self) -> bool:
        """Whether it takes no more frames."""
        return self.lifecycle >= Lifecycle.STOPPED

    @property
    def closed(self) -> bool:
        """Whether it has nothing left to send or to wait for."""
        return self.lifecycle >= Lifecycle.CLOSED

    # --- telling --------------------------------------------------------------------------------
    def emit(self, event: Event) -> None:
        """Tell an event."""
        self.events.push(event)
        if not self.talking:
            self._notify()
            self.talking = True

    def trouble(self, sign: ConnectionStale | StreamLatencyPressure) -> None:
        """Tell that the connection does badly, and have the shell look at it."""
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
        """Tell an error."""
        self.emit(StreamErrorReported(self.name, upload, timecode, status, detail, fatal))

    def _report_drop(self, first: int, last: int, count: int, reason: DropReason) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + count
        if self.info.streaming_type is StreamingType.NEAR_REALTIME:
            self.counters.dropped_fragments += count
            self.emit(FragmentDropped(self.name, first, last, count, reason))
        else:
            self.counters.dropped_frames += count
            self.emit(FrameDropped(self.name, first, last, count, reason))

    def wake(self, upload: Upload | None = None) -> None:
        """Tell the shell to read again, if it had gone idle on that upload (or on the reader)."""
        upload = upload or self.uploads.reader
        if upload is not None and upload.idle:
            self.effects.append(upload.available or self.available(upload))
            upload.idle = False

    def available(self, upload: Upload) -> DataAvailable:
        """The effect that says that there is something for the upload, made once."""
        effect = upload.available = DataAvailable(self.name, upload.number)
        return effect

    def want_space(self) -> None:
        """An offline writer was told to wait."""
        self.waiting[self.name] = None
        if self.view.newest is not None and self.view.newest.flags & SKIP:
            self.wake()  # see Sender._closing

    def wake_writers(self) -> None:
        """Tell the shell that waiting writers may try again: the store is all streams'."""
        if self.waiting:
            self.effects.extend(map(SpaceAvailable, self.waiting))
            self.waiting.clear()

    def release(self, charge: int) -> None:
        """Give bytes back to the store, for whoever waits for them."""
        self.store.release(charge)
        self.wake_writers()

    # --- items ----------------------------------------------------------------------------------
    @property
    def cut(self) -> bool:
        """Whether the newest item that was begun was not handed out whole, and is held."""
        wire = self.on_wire
        return wire is not None and not self.wire_charge and wire.index == self.view.current - 1

    @property
    def evicted_wire(self) -> int | None:
        """The index of an item that is being handed out and has left the view, if there is one."""
        return self.on_wire.index if self.on_wire is not None and self.wire_charge else None

    def leave_wire(self) -> None:
        """The item on the wire was handed out whole, or its connection is gone."""
        self.on_wire = None
        charge, self.wire_charge = self.wire_charge, 0
        if charge:
            self.release(charge)

    def trim(self, to: int) -> None:
        """Drop the items before `to`, which are settled."""
        view, payloads = self.view, []
        if self.holding is not None:  # out of the view first: what is in it can be read
            payloads = [view[index].payload for index in range(view.tail, to)]
        total = view.trim(to)
        for payload in payloads:
            self.give_up(payload)
        if total:
            self.release(total)

    def empty(self) -> None:
        """Drop all items, whether they are settled or not."""
        items = list(self.view.items.values())
        self.view.clear()
        for item in items:
            self.give_up(item.payload)
        if items:
            self.release(sum(item.charge for item in items))

    def trim_settled(self, end: int = NEVER) -> None:
        """Drop the oldest fragments before item `end` of which no frame is held any more.

        Their frames were stored, or given up. A fragment that is still open stays, since the frames
        that follow need its cluster.
        """
        view = self.view
        sent = min(view.current - self.cut, end)
        index = min(max(self.ledger.settled, view.tail), sent)
        while index < sent and view[index].flags & SKIP:
            index += 1
        if index < view.head or not self.closed_newest:
            index = view.start_of(index)
        if index > view.tail:
            self.trim(index)

    @property
    def closed_newest(self) -> bool:
        """Whether the newest fragment that is held takes no more frames on its connection."""
        newest = self.view.newest
        return newest is None or bool(newest.flags & (END_OF_FRAGMENT | SKIP)) or self.ended

    def give_up_sent(self) -> None:
        """Everything was sent, and no connection is left that could tell what became of it."""
        self.ledger.lose_doubts()
        self.ledger.unconfirmed = self.view.head
        self.ledger.confirm(self.view, self.view.head, self.final_flags)

    @property
    def final_flags(self) -> int:
        """The acks after which the service has a fragment for good."""
        return PERSISTED if self.retains else PERSISTED | RECEIVED

    def give_up(self, payload: Payload) -> None:
        """Let a store that holds payloads forget one; its failure is told, and nobody's fault."""
        if self.holding is not None:
            try:
                self.holding.free(payload)
            except KvsError as error:
                self.report(error.status, error.detail)

    def evict(self) -> bool:
        """Drop the oldest item for want of room; return False if there is none."""
        view = self.view
        if view.tail >= view.head:
            return False
        sent = view.tail < view.current
        self.ledger.evict(view[view.tail], sent=sent, lost=self.loss_result is not None)
        item = view.drop_tail()
        self.give_up(item.payload)
        if item is self.on_wire:
            self.wire_charge = item.charge  # its bytes are still in use: see Sender
        else:
            self.release(item.charge)
        if not sent and item.flags & STREAM_START:
            self._move_stream_start()
        return True

    def _move_stream_start(self) -> None:
        """The item that would have begun a session is gone: the next fragment begins it."""
        view = self.view
        index = view.next_start(view.tail)
        if index < view.head:
            self.add_stream_header(view[index])
        else:
            self.reset_on_key = self.attention = True

    def refuse_until_key(self, *, new_session: bool = False) -> None:
        """Skip frames until a key frame, which begins a new session if asked to."""
        self.skip_until_key = self.attention = True
        self.reset_on_key |= new_session

    def add_stream_header(self, item: ViewItem) -> None:
        """Make an item begin a session, unless it does."""
        if item.flags & STREAM_START:
            return
        assert item.flags & FRAGMENT_START, "a session begins with a fragment"
        header = self._session_of(item.index)[1]
        size = len(header)
        if self.store.charge(size):
            item.charge += size
        self.view.change_header(item, header + item.header, size, item.flags | STREAM_START)

    def strip_stream_header(self, item: ViewItem) -> None:
        """The session that the item began is under way: it is a fragment like others now."""
        prefix = item.prefix_length
        self.view.change_header(item, item.header[prefix:], 0, item.flags & ~STREAM_START)
        item.charge -= prefix
        self.release(prefix)

    # --- uploads --------------------------------------------------------------------------------
    def abort_uploads(self) -> None:
        """Give all uploads up, and have the shell close their connections."""
        for upload in self.uploads.active():
            self.effects.append(UploadAborted(self.name, upload.number))
            self.uploads.set_state(upload, UploadState.TERMINATED)
            upload.idle = False

    def session_start_of(self, index: int) -> int:
        """What the relative timecodes of item `index` count from, in ticks."""
        return self._session_of(index)[0]

    def session_number(self, index: int) -> int:
        """The item with which the session of item `index` began, though it may have left."""
        began = 0
        for first, _, _ in self.sessions:
            if first > index:
                break
            began = first
        return began

    def _session_of(self, index: int) -> tuple[int, bytes]:
        """Stream start and stream header of the session in which item `index` was packed.

        The header is not the generator's newest: parameter sets may have changed since.
        """
        found: tuple[int, bytes] | None = None
        for first, start, header in self.sessions:
            if found is not None and first > index:
                break
            found = start, header
        return found or (0, self.generator.header())


def _view_capacity(info: StreamInfo) -> int:
    """How many items the view holds: frames, whatever the streaming type."""
    seconds = info.buffer_duration // TICKS_PER_SECOND
    return info.frame_rate * seconds
