"""The buffer of one stream: the items of its view, the books of its frames, its share of the store.

These three change together, or the promise breaks: an item that leaves the view is settled in the
books first, and gives its bytes back to the store. So there is one owner. Others read `view` and
`ledger`; what changes them is a method here.

The life of an item:

* `append` (or `append_mark`): charged to the store, counted as held.
* `take`: its first byte is handed out. `put_on_wire` and `leave_wire`: it is handed out in part.
* `acknowledge`, `confirm`: the service has its fragment; the frame counts as stored.
* `refuse`: the service, or a damaged store, will never let it be stored. It counts as dropped, and
  stays as SKIP until what is before it is settled.
* `trim_settled`: what is settled and was sent leaves the view. `evict`: the oldest leaves for want
  of room: as dropped, or if it was sent, as one whose ack is still awaited.
* `lose`: its connection is gone; `begin_session` goes on where `resume` says, with what was not
  stored.

A *session* is what one upload carries: it begins with a stream header. Media that is sent again may
have been packed for a session before the newest one, whose tracks and parameter sets were others;
so each session's start and header are kept while it has items.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from kvsproducer import limits
from kvsproducer.client.buffer.ledger import Ledger, Stored
from kvsproducer.client.buffer.view import (
    BUFFERING,
    END_OF_FRAGMENT,
    FRAGMENT_START,
    PERSISTED,
    RECEIVED,
    SKIP,
    STREAM_START,
    ContentView,
    ViewItem,
)
from kvsproducer.client.events import DropReason
from kvsproducer.client.stream_info import StreamInfo, StreamingType
from kvsproducer.duration import TICKS_PER_SECOND, ticks
from kvsproducer.heap import ContentStore, HoldingStore, Payload
from kvsproducer.status import KvsError, StatusCode

__all__ = ["NEVER", "Buffer", "Outbox"]

NEVER: Final = 2**64 - 1  # later than any time, and behind any item
_NOT_ACKED: Final = ~(BUFFERING | RECEIVED | PERSISTED)


class Outbox(Protocol):
    """What a buffer reports to its stream."""

    def report(self, status: StatusCode, detail: str = "") -> None:
        """Report an error."""

    def report_drop(self, first: int, last: int, count: int, reason: DropReason) -> None:
        """Report that frames with dts from `first` to `last` (ticks) were dropped."""

    def wake_writers(self) -> None:
        """Wake the writers of all streams that wait for space: the store has more."""

    def begin_session_on_key(self) -> None:
        """Have the next key frame begin a session."""


class Buffer:
    """See the module. `header` gives the newest stream header."""

    __slots__ = (
        "_header",
        "_on_wire",
        "_outbox",
        "_wire_charge",
        "buffering_time",
        "ended",
        "final_flags",
        "holding",
        "item_overhead",
        "ledger",
        "lost",
        "offline",
        "received_end",
        "replay_duration",
        "sessions",
        "store",
        "view",
        "waits_for_acks",
    )

    def __init__(
        self,
        info: StreamInfo,
        store: ContentStore,
        header: Callable[[], bytes],
        outbox: Outbox,
    ) -> None:
        self._outbox = outbox
        self._header = header
        self.store = store
        self.holding = store if isinstance(store, HoldingStore) else None  # it keeps the payloads
        self.item_overhead = limits.ITEM_OVERHEAD_BYTES  # charged for remembering an item
        if self.holding is not None:
            self.item_overhead = limits.HELD_ITEM_OVERHEAD_BYTES
        duration = ticks(info.buffer_duration)
        self.view = ContentView(info.frame_rate * (duration // TICKS_PER_SECOND), duration)
        self.ledger = Ledger(outbox.report_drop)
        self.offline = info.streaming_type is StreamingType.OFFLINE
        self.waits_for_acks = info.fragment_acks
        self.replay_duration = ticks(info.replay_duration)
        # The acks after which the service has a fragment for good.
        self.set_retention(retains=bool(info.retention))  # until the service says what it does
        # (first item, stream start in ticks, stream header)
        self.sessions: deque[tuple[int, int, bytes]] = deque()
        self.lost: int | None = None  # result of a lost connection whose media is to be sent again
        # Media time of the newest item that was acknowledged as BUFFERING.
        self.buffering_time = -1
        # One past the last item of this session that a RECEIVED or PERSISTED ack covers.
        self.received_end = 0
        self.ended = False  # what ends the newest session was handed out too
        self._on_wire: ViewItem | None = None  # handed out in part
        self._wire_charge = 0  # of an item on the wire that has left the view

    # --- frames come in ---------------------------------------------------------------------------
    def append(self, item: ViewItem, *, jump: bool = False) -> None:
        """Add the newest item, which was charged; `jump` and errors as `ContentView.append`."""
        self.view.append(item, jump=jump)

    def note_put(self, item: ViewItem, now: int) -> None:
        """Note when an item was put that begins a fragment, in ticks of the core's clock."""
        item.put_at = now

    def append_mark(self, data: bytes, *, charged: bool) -> None:
        """Add an end-of-fragment mark.

        It needs no free space: without it, what fills the buffer could not be stored. One that does
        not fit is not charged; there is at most one for each fragment.
        """
        charge = len(data) + self.item_overhead
        if not charged or not self.store.charge(charge):
            charge = 0
        self.view.append_mark(data, charge)

    def begin_session_at(self, item: ViewItem, start: int) -> None:
        """Note that the newest item begins a session; times count from `start` (ticks)."""
        if not self.sessions or self.sessions[-1][0] != item.index:
            self.sessions.append((item.index, start, self._header()))
        while len(self.sessions) > 1 and self.sessions[1][0] <= self.view.tail:
            self.sessions.popleft()

    def accept(self, count: int = 1) -> None:
        """Count frames as accepted; -1 for one that turned out to be no frame to hold."""
        self.ledger.accepted += count

    def skip(self) -> None:
        """Count a frame that is not accepted, since frames are skipped up to a key frame."""
        self.ledger.skipped += 1

    def drop(self, dts: int, pts: int, reason: DropReason) -> None:
        """Count and report a frame that was accepted and has no item."""
        self.ledger.drop((dts, dts), (pts, pts), 1, reason, self.view.line)

    def settled_until(self, waiting: Iterable[int]) -> int | None:
        """Return the media time up to which everything accepted is stored or was dropped.

        `waiting` are the pts of accepted frames that have no item. None while nothing is settled.
        """
        return self.ledger.settled_until(self.view, waiting)

    def take_back(self, charge: int, payload: Payload) -> None:
        """Undo the charge for an item that was not added."""
        self.store.release(charge)
        self.give_up(payload)

    def give_up(self, payload: Payload) -> None:
        """Have a store that holds payloads forget one; if that fails, report it and go on."""
        if self.holding is not None:
            try:
                self.holding.free(payload)
            except KvsError as error:
                self._outbox.report(error.status, error.detail)

    def release(self, charge: int) -> None:
        """Give bytes back to the store, for whichever stream waits for them."""
        self.store.release(charge)
        self._outbox.wake_writers()

    # --- items go out -----------------------------------------------------------------------------
    def take(self) -> ViewItem | None:
        """The next item to send, which loses the acks it had on another connection."""
        item = self.view.take()
        if item is not None:
            item.flags &= _NOT_ACKED
        return item

    def pass_over(self) -> None:
        """Go on behind the next item, which is not to be sent."""
        self.view.take()

    def take_again(self, item: ViewItem) -> None:
        """As `take`, for an item that `advance` is to pass."""
        item.flags &= _NOT_ACKED

    def advance(self, to: int, size: int) -> None:
        """Note that items of `size` bytes were taken, up to before item `to`."""
        self.view.current = to
        self.view.unsent_bytes -= size

    def put_on_wire(self, item: ViewItem) -> None:
        """Note that an item is handed out in part."""
        self._on_wire = item

    def leave_wire(self) -> None:
        """Give back the bytes of the item on the wire: it is handed out, or its connection gone."""
        self._on_wire = None
        charge, self._wire_charge = self._wire_charge, 0
        if charge:
            self.release(charge)

    @property
    def on_wire(self) -> ViewItem | None:
        """The item that is being handed out."""
        return self._on_wire

    @property
    def charged_bytes(self) -> int:
        """What the store is charged for this stream."""
        return sum(item.charge for item in self.view.items.values()) + self._wire_charge

    @property
    def cut(self) -> bool:
        """Whether the newest item that was begun was not handed out whole, and is held."""
        wire = self._on_wire
        return wire is not None and not self._wire_charge and wire.index == self.view.current - 1

    @property
    def sent(self) -> int:
        """One past the last item that was handed out to its last byte."""
        return self.view.current if self._on_wire is None else self.view.current - self.cut

    @property
    def evicted_wire(self) -> int | None:
        """The index of an item that is being handed out and has left the view, if there is one."""
        return self._on_wire.index if self._on_wire is not None and self._wire_charge else None

    def rewind(self, index: int) -> None:
        """Make `index` the next item to send."""
        self.view.rewind(index)

    # --- sessions ---------------------------------------------------------------------------------
    def begin_session(self, index: int) -> int:
        """Begin an upload at a fragment; what its relative timecodes count from, in ticks."""
        view = self.view
        acked = view.last_flagged(BUFFERING, index)  # what is sent again loses its acks
        self.buffering_time = -1 if acked is None else acked.media_time
        if self.lost is not None:
            self.lost = None
            self.ledger.unconfirmed = max(self.ledger.unconfirmed, index)
        self.ended = False
        self.received_end = min(self.received_end, index)
        self.leave_wire()
        view.rewind(index)
        self.add_stream_header(view[index])
        return self.session_start(index)

    def end_session(self) -> None:
        """Note that what ends the session was handed out, too."""
        self.ended = True

    def lose(self, result: int) -> None:
        """Have what was not stored sent again: a connection that carried media is gone."""
        self.lost = result
        self.ledger.lose_doubts()

    def session_number(self, index: int) -> int:
        """The item with which the session of item `index` began, though it may have left."""
        began = 0
        for first, _, _ in self.sessions:
            if first > index:
                break
            began = first
        return began

    def session_start(self, index: int) -> int:
        """What the relative timecodes of item `index` count from, in ticks."""
        return self._session_of(index)[0]

    def _session_of(self, index: int) -> tuple[int, bytes]:
        """Stream start and stream header of the session in which item `index` was packed."""
        found: tuple[int, bytes] | None = None
        for first, start, header in self.sessions:
            if found is not None and first > index:
                break
            found = start, header
        return found or (0, self._header())

    def split_session(self, place: int, first: int, header: bytes) -> None:
        """Have the rest of a session, from item `first` on, be one of its own with that header."""
        began, start, _ = self.sessions[place]
        session = first, start, header
        if began == first:
            self.sessions[place] = session
        else:  # what is before it may have to be sent again, too
            self.sessions.insert(place + 1, session)
        if self.view[first].flags & STREAM_START:
            self.strip_stream_header(self.view[first])  # the next upload gives it the new one

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
        """Take the stream header off an item whose session is under way."""
        prefix = item.prefix_length
        self.view.change_header(item, item.header[prefix:], 0, item.flags & ~STREAM_START)
        item.charge -= prefix
        self.release(prefix)

    # --- what the service says --------------------------------------------------------------------
    def set_retention(self, *, retains: bool) -> None:
        """Note whether the service keeps the stream's media: without, RECEIVED is the last ack."""
        self.final_flags = PERSISTED if retains else PERSISTED | RECEIVED

    def acknowledge(self, index: int, flag: int) -> int:
        """Flag item `index`; returns the flags that are new."""
        item = self.view.items[index]
        new = flag & ~item.flags
        item.flags |= flag
        if flag == BUFFERING and index < self.view.current:
            self.buffering_time = max(self.buffering_time, item.media_time)
        return new

    def receive(self, end: int) -> None:
        """Note that the service has what was sent of the items before `end`."""
        self.received_end = max(self.received_end, min(end, self.sent))

    def confirm(self, end: int) -> None:
        """Settle everything of the session up to item `end`: the service has stored it."""
        self.ledger.confirm(self.view, end, self.final_flags)

    def store_out_of_order(self, start: int, end: int) -> None:
        """Note that items of [start, end) are stored, before others that were sent earlier."""
        self.ledger.store(self.view, start, end)

    def clear_doubts(self, last: int, since: int = 0) -> None:
        """Note that fragments that left the view and start at `last` (ticks) or before are stored.

        Items before index `since` are not meant.
        """
        self.ledger.clear_doubts(last, since, self.evicted_wire)

    def refuse(self, item: ViewItem, reason: DropReason = DropReason.REFUSED) -> None:
        """Drop an item, which is not sent (again): the service refused it, or for the `reason`."""
        self.ledger.refuse(item, self.view.line_of(item.index), reason)

    def settle_sent(self) -> None:
        """Count what was handed out as stored, in a stream without acks."""
        self.ledger.confirm(self.view, self.view.current - (self._on_wire is not None))
        if self._on_wire is None:
            self.ledger.clear_doubts(NEVER)  # what left the view while it was on the wire
        self.ledger.stored.clear()  # no ack says that it is stored

    def take_stored(self) -> list[Stored]:
        """Take what turned out to be stored since the last call, fragment by fragment."""
        stored, self.ledger.stored = self.ledger.stored, []
        return stored

    def give_up_sent(self) -> None:
        """Settle what was sent: no connection is left on which an ack could come."""
        self.ledger.lose_doubts()
        self.ledger.unconfirmed = self.view.head
        self.confirm(self.view.head)

    # --- items leave ------------------------------------------------------------------------------
    def trim_settled(self, end: int = NEVER) -> None:
        """Drop the oldest fragments before item `end` of which no frame is held any more.

        Their frames were stored, or given up. A fragment that is still open stays, since the frames
        that follow need its cluster.
        """
        view = self.view
        sent = min(self.sent, end)
        index = min(max(self.ledger.settled, view.tail), sent)
        while index < sent and view[index].flags & SKIP:
            index += 1
        if index < view.head or not self.closed_newest:
            index = view.start_of(index)
        if index > view.tail:
            self._trim(index)

    @property
    def closed_newest(self) -> bool:
        """Whether the newest fragment that is held takes no more frames on its connection."""
        newest = self.view.newest
        return newest is None or bool(newest.flags & (END_OF_FRAGMENT | SKIP)) or self.ended

    def _trim(self, to: int) -> None:
        """Drop the items before `to`, which are settled."""
        view, payloads = self.view, []
        if self.holding is not None:  # out of the view first: what is in it can be read
            payloads = [view[index].payload for index in range(view.tail, to)]
        total = view.trim(to)
        for payload in payloads:
            self.give_up(payload)
        if total:
            self.release(total)

    def evict(self) -> bool:
        """Drop the oldest item for want of room; return False if there is none."""
        view = self.view
        if view.tail >= view.head:
            return False
        sent = view.tail < view.current
        line = view.line_of(view.tail)
        self.ledger.evict(view[view.tail], line, sent=sent, lost=self.lost is not None)
        item = view.drop_tail()
        self.give_up(item.payload)
        if item is self._on_wire:
            self._wire_charge = item.charge  # its bytes are still in use: see Sender
        else:
            self.release(item.charge)
        if not sent and item.flags & STREAM_START:
            self._move_stream_start()
        return True

    def _move_stream_start(self) -> None:
        """The item that would have begun a session is gone: the next fragment begins it."""
        index = self.view.next_start(self.view.tail)
        if index < self.view.head:
            self.add_stream_header(self.view[index])
        else:
            self._outbox.begin_session_on_key()

    def abandon(self, reason: DropReason) -> None:
        """Drop everything, for a reason; what was sent is unconfirmed."""
        self.leave_wire()
        self.ledger.abandon(self.view, reason)
        self._empty()

    def drop_held(self, queued: Sequence[tuple[int, int]], reason: DropReason) -> None:
        """Drop everything by the counts alone, since items and books may not agree any more.

        `queued` are dts and pts of frames that were accepted and have no item.
        """
        times = [(item.timestamp, item.pts) for item in self.view.items.values()]
        dts, pts = zip(*times, *queued, strict=True) if times or queued else ((0,), (0,))
        first_last = (min(dts), max(dts)), (min(pts), max(pts))
        self.ledger.drop_held(self.view, *first_last, reason)
        self._empty()

    def _empty(self) -> None:
        items = list(self.view.items.values())
        self.view.clear()
        for item in items:
            self.give_up(item.payload)
        if items:
            self.release(sum(item.charge for item in items))
        self.lost = None
