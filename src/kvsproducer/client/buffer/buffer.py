"""The buffer of one stream: the items of its view, the accounts of its frames, its share of the
store.

These three must change together. For example, an item that leaves the view is first counted in the
accounts, and its bytes are returned to the store. So one class owns all three. Other modules read
`view` and `ledger`, and change them only through methods of `Buffer`.

The life of an item:

* `append` (or `append_mark`): its bytes are charged to the store, and its frame counts as held.
* `take`: it is handed out to an upload. If it is handed out in parts, it is *on the wire* from
  `put_on_wire` to `leave_wire`.
* `acknowledge`, `confirm`: the service has its fragment; the frame counts as stored.
* `refuse`: it will never be stored, because the service refused it or the store damaged it. It
  counts as dropped, and stays in the view, marked SKIP, until all items before it are settled.
* `trim_settled`: items that were sent, and are stored or dropped (*settled*), leave the view.
* `evict`: the oldest item leaves the view because space is short. It counts as dropped, or as
  unacknowledged if it was sent.
* `handle_loss`: its connection is lost. `begin_session` continues at the item that `resume`
  selects, so that unstored media is sent again.

A *session* is what one upload carries; it begins with a stream header. Media that is sent again may
have been packaged for an older session with other tracks and parameter sets. So the start and the
header of each session are kept while it has items.
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

NEVER: Final = 2**64 - 1  # later than any time, and after any item
_NOT_ACKED: Final = ~(BUFFERING | RECEIVED | PERSISTED)


class Outbox(Protocol):
    """Receives the reports of a buffer."""

    def report(self, status: StatusCode, detail: str = "") -> None:
        """Report an error."""

    def report_drop(self, first: int, last: int, count: int, reason: DropReason) -> None:
        """Report that frames with dts from `first` to `last` (ticks) were dropped."""

    def wake_writers(self) -> None:
        """Wake the writers of all streams that wait for space, because the store has more."""

    def begin_session_on_key(self) -> None:
        """Begin a session with the next key frame."""


class Buffer:
    """The items, the accounts and the share of the store of one stream; see the module's docstring.

    `header()` returns the newest stream header.
    """

    __slots__ = (
        "_header",
        "_on_wire",
        "_outbox",
        "_wire_charge",
        "buffering_time",
        "final_flags",
        "holding",
        "item_overhead",
        "ledger",
        "lost_result",
        "offline",
        "received_end",
        "replay_duration",
        "session_ended",
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
        # set if the store keeps the payloads
        self.holding = store if isinstance(store, HoldingStore) else None
        self.item_overhead = limits.ITEM_OVERHEAD_BYTES  # charged for each item besides its bytes
        if self.holding is not None:
            self.item_overhead = limits.HELD_ITEM_OVERHEAD_BYTES
        duration = ticks(info.buffer_duration)
        self.view = ContentView(info.frame_rate * (duration // TICKS_PER_SECOND), duration)
        self.ledger = Ledger(outbox.report_drop)
        self.offline = info.streaming_type is StreamingType.OFFLINE
        self.waits_for_acks = info.fragment_acks
        self.replay_duration = ticks(info.replay_duration)
        # The acks with which a fragment is stored permanently.
        self.set_retention(retains=bool(info.retention))  # until the service says what it does
        # (first item, stream start in ticks, stream header)
        self.sessions: deque[tuple[int, int, bytes]] = deque()
        self.lost_result: int | None = (
            None  # result of a lost connection whose media must be sent again
        )
        # Media time of the newest item with a BUFFERING ack.
        self.buffering_time = -1
        # One past the last item of this session that has a RECEIVED or PERSISTED ack.
        self.received_end = 0
        self.session_ended = False  # the end of the newest session was handed out too
        self._on_wire: ViewItem | None = None  # the item that was handed out in part
        self._wire_charge = 0  # charge of an item on the wire that has left the view

    # --- adding frames ----------------------------------------------------------------------------
    def append(self, item: ViewItem, *, jump: bool = False) -> None:
        """Add a new item, whose bytes the caller has charged to the store.

        `jump` and the errors are as in `ContentView.append`.
        """
        self.view.append(item, jump=jump)

    def note_put(self, item: ViewItem, now: int) -> None:
        """Set the time when the first item of a fragment was put, in ticks of the core's clock."""
        item.put_at = now

    def append_mark(self, data: bytes, *, charged: bool) -> None:
        """Add an end-of-fragment mark, of which each fragment has at most one.

        The mark is added even if the store is full, because a buffer full of one fragment could
        otherwise never be stored. In that case, and without `charged`, the store is not charged for
        it.
        """
        charge = len(data) + self.item_overhead
        if not charged or not self.store.charge(charge):
            charge = 0
        self.view.append_mark(data, charge)

    def begin_session_at(self, item: ViewItem, start: int) -> None:
        """Record that the newest item begins a session whose times count from `start` (ticks)."""
        self.sessions.append((item.index, start, self._header()))
        while len(self.sessions) > 1 and self.sessions[1][0] <= self.view.tail:
            self.sessions.popleft()

    def accept(self, count: int = 1) -> None:
        """Count frames as accepted; -1 undoes this for a frame that will not be held."""
        self.ledger.accepted += count

    def skip(self) -> None:
        """Count a frame that was not accepted because frames are skipped up to a key frame."""
        self.ledger.skipped += 1

    def drop(self, dts: int, pts: int, reason: DropReason) -> None:
        """Count and report the drop of an accepted frame that has no item."""
        self.ledger.drop((dts, dts), (pts, pts), 1, reason, self.view.line)

    def settled_until(self, waiting: Iterable[int]) -> int | None:
        """Return the media time up to which all accepted frames are stored or dropped.

        `waiting` are the pts of accepted frames that have no item. The result is None if no frame
        has been stored or dropped so far.
        """
        return self.ledger.settled_until(self.view, waiting)

    def undo_charge(self, charge: int, payload: Payload) -> None:
        """Release the charge and the payload of an item that was not added."""
        self.store.release(charge)
        self.free_payload(payload)

    def free_payload(self, payload: Payload) -> None:
        """Free a payload in a store that holds payloads; report an error and continue."""
        if self.holding is not None:
            try:
                self.holding.free(payload)
            except KvsError as error:
                self._outbox.report(error.status, error.detail)

    def release(self, charge: int) -> None:
        """Return bytes to the store and wake the streams that wait for space."""
        self.store.release(charge)
        self._outbox.wake_writers()

    # --- handing out items ------------------------------------------------------------------------
    def take(self) -> ViewItem:
        """Return the next item to send and move past it. Clear acks of earlier connections."""
        item = self.view.take()
        assert item is not None, "the caller checked"
        item.flags &= _NOT_ACKED
        return item

    def skip_next(self) -> None:
        """Move past the next item without sending it."""
        self.view.take()

    def clear_acks(self, item: ViewItem) -> None:
        """Clear an item's acks from earlier connections, as `take` does.

        For items that the caller hands out without `take`, and passes with one call of `advance`.
        """
        item.flags &= _NOT_ACKED

    def advance(self, to: int, size: int) -> None:
        """Make `to` the next item to send. The items before it, `size` bytes, were handed out."""
        self.view.current = to
        self.view.unsent_bytes -= size

    def put_on_wire(self, item: ViewItem) -> None:
        """Record that an item is being handed out in parts."""
        self._on_wire = item

    def leave_wire(self) -> None:
        """Record that the item on the wire was handed out completely, or lost its connection.

        If the item has left the view, its bytes are now returned to the store.
        """
        self._on_wire = None
        charge, self._wire_charge = self._wire_charge, 0
        if charge:
            self.release(charge)

    @property
    def on_wire(self) -> ViewItem | None:
        """The item that is being handed out in parts, or None."""
        return self._on_wire

    @property
    def charged_bytes(self) -> int:
        """Number of bytes of the store that are charged to this stream."""
        return sum(item.charge for item in self.view.items.values()) + self._wire_charge

    @property
    def partly_sent(self) -> bool:
        """True if an upload is sending an item, and that item is still in the view."""
        wire = self._on_wire
        return wire is not None and not self._wire_charge and wire.index == self.view.current - 1

    @property
    def sent_end(self) -> int:
        """The index after the last item that was handed out completely."""
        return self.view.current if self._on_wire is None else self.view.current - self.partly_sent

    @property
    def evicted_wire(self) -> int | None:
        """The index of the item on the wire if that item has left the view, else None."""
        return self._on_wire.index if self._on_wire is not None and self._wire_charge else None

    def rewind(self, index: int) -> None:
        """Make `index` the next item to send."""
        self.view.rewind(index)

    # --- sessions ---------------------------------------------------------------------------------
    def begin_session(self, index: int) -> int:
        """Begin a session at the fragment that starts at `index`.

        Return the time in ticks from which the session's relative timecodes count.
        """
        view = self.view
        acked = view.last_flagged(BUFFERING, index)  # media that is sent again loses its acks
        self.buffering_time = -1 if acked is None else acked.media_time
        if self.lost_result is not None:
            self.lost_result = None
            self.ledger.unconfirmed = max(self.ledger.unconfirmed, index)
        self.session_ended = False
        self.received_end = min(self.received_end, index)
        self.leave_wire()
        view.rewind(index)
        self.add_stream_header(view[index])
        return self.session_start(index)

    def end_session(self) -> None:
        """Record that an upload was given the end of the session, behind the last item."""
        self.session_ended = True

    def handle_loss(self, result: int) -> None:
        """Prepare to send unstored media again, because a connection that carried media was lost.

        Frames that have left the view and still wait for their ack are dropped.
        """
        self.lost_result = result
        self.ledger.drop_unacked()

    def session_number(self, index: int) -> int:
        """Return the index of the first item of the session to which the item `index` belongs.

        That first item may have left the view.
        """
        began = 0
        for first, _, _ in self.sessions:
            if first > index:
                break
            began = first
        return began

    def session_start(self, index: int) -> int:
        """Return the time in ticks from which the relative timecodes of an item count."""
        return self._session_of(index)[0]

    def _session_of(self, index: int) -> tuple[int, bytes]:
        """Return the stream start (ticks) and the stream header of an item's session."""
        found: tuple[int, bytes] | None = None
        for first, start, header in self.sessions:
            if found is not None and first > index:
                break
            found = start, header
        return found or (0, self._header())

    def split_session(self, place: int, first: int, header: bytes) -> None:
        """Split a session: its items from `first` on become a session with another header.

        `place` is the position of the session in `sessions`.
        """
        began, start, _ = self.sessions[place]
        session = first, start, header
        if began == first:
            self.sessions[place] = session
        else:  # the items before it may have to be sent again too
            self.sessions.insert(place + 1, session)
        if self.view[first].flags & STREAM_START:
            self.strip_stream_header(self.view[first])  # the next upload adds the new header

    def add_stream_header(self, item: ViewItem) -> None:
        """Put the stream header of its session before an item, unless the item has one."""
        if item.flags & STREAM_START:
            return
        assert item.flags & FRAGMENT_START, "a session begins with a fragment"
        header = self._session_of(item.index)[1]
        size = len(header)
        if self.store.charge(size):
            item.charge += size
        self.view.change_header(item, header + item.header, size, item.flags | STREAM_START)

    def strip_stream_header(self, item: ViewItem) -> None:
        """Remove the stream header from an item that does not begin a session any more."""
        prefix = item.prefix_length
        self.view.change_header(item, item.header[prefix:], 0, item.flags & ~STREAM_START)
        item.charge -= prefix
        self.release(prefix)

    # --- acks
    # ---------------------------------------------------------------------------------------
    def set_retention(self, *, retains: bool) -> None:
        """Set whether the service keeps the stream's media; if not, RECEIVED is the last ack."""
        self.final_flags = PERSISTED if retains else PERSISTED | RECEIVED

    def acknowledge(self, index: int, flag: int) -> int:
        """Add the flag of an ack to an item; return 0 if the item already had it, else the flag."""
        item = self.view.items[index]
        new = flag & ~item.flags
        item.flags |= flag
        if flag == BUFFERING and index < self.view.current:
            self.buffering_time = max(self.buffering_time, item.media_time)
        return new

    def receive(self, end: int) -> None:
        """Record that the service has received the items before `end`, as far as they were sent."""
        self.received_end = max(self.received_end, min(end, self.sent_end))

    def confirm(self, end: int) -> None:
        """Count the session's items before `end` as stored; see `Ledger.confirm`."""
        self.ledger.confirm(self.view, end, self.final_flags)

    def store_out_of_order(self, start: int, end: int) -> None:
        """Count the items of [start, end) as stored, while earlier items still wait for acks."""
        self.ledger.store(self.view, start, end)

    def settle_unacked(self, last: int, since: int = 0) -> None:
        """Count fragments that have left the view as stored, if they start at `last` or before.

        `last` is in ticks. Items before index `since` are not affected.
        """
        self.ledger.settle_unacked(last, since, self.evicted_wire)

    def refuse(self, item: ViewItem, reason: DropReason = DropReason.REFUSED) -> None:
        """Drop an item that will not be sent, or not be sent again.

        The default reason is that the service refused it.
        """
        self.ledger.refuse(item, self.view.line_of(item.index), reason)

    def settle_sent(self) -> None:
        """Count all items that were handed out as stored, in a stream without acks."""
        self.ledger.confirm(self.view, self.view.current - (self._on_wire is not None))
        if self._on_wire is None:
            self.ledger.settle_unacked(NEVER)  # items that left the view while on the wire
        self.ledger.stored.clear()  # there are no acks to report

    def take_stored(self) -> list[Stored]:
        """Return the fragments that were counted as stored since the last call."""
        stored, self.ledger.stored = self.ledger.stored, []
        return stored

    def settle_all_sent(self) -> None:
        """Stop waiting for acks, because no connection is left on which one could arrive.

        Fragments that have their last ack count as stored; other frames are dropped as UNCONFIRMED.
        """
        self.ledger.drop_unacked()
        self.ledger.unconfirmed = self.view.head
        self.confirm(self.view.head)

    # --- removing items
    # -----------------------------------------------------------------------------
    def trim_settled(self, end: int = NEVER) -> None:
        """Remove the oldest fragments before item `end` whose frames are all stored or dropped.

        The open fragment stays, because the next frames need its cluster.
        """
        view = self.view
        sent = min(self.sent_end, end)
        index = min(max(self.ledger.settled, view.tail), sent)
        while index < sent and view[index].flags & SKIP:
            index += 1
        if index < view.head or not self.closed_newest:
            index = view.start_of(index)
        if index > view.tail:
            self._trim(index)

    @property
    def closed_newest(self) -> bool:
        """True if no more frames can follow in the newest fragment."""
        newest = self.view.newest
        return newest is None or bool(newest.flags & (END_OF_FRAGMENT | SKIP)) or self.session_ended

    def _trim(self, to: int) -> None:
        """Remove the items before `to`, all of which are stored or dropped."""
        view, payloads = self.view, []
        # removed from the view first, because items in the view must be readable
        if self.holding is not None:
            payloads = [view[index].payload for index in range(view.tail, to)]
        total = view.trim(to)
        for payload in payloads:
            self.free_payload(payload)
        self.release(total)

    def evict(self) -> bool:
        """Remove the oldest item because space is short; return False if there is none."""
        view = self.view
        if view.tail >= view.head:
            return False
        sent = view.tail < view.current
        line = view.line_of(view.tail)
        self.ledger.evict(view[view.tail], line, sent=sent, lost=self.lost_result is not None)
        item = view.drop_tail()
        self.free_payload(item.payload)
        if item is self._on_wire:
            self._wire_charge = item.charge  # its bytes are still in use, see Sender
        else:
            self.release(item.charge)
        if not sent and item.flags & STREAM_START:
            self._move_stream_start()
        return True

    def _move_stream_start(self) -> None:
        """Make the next fragment begin the session whose first item was dropped."""
        index = self.view.next_start(self.view.tail)
        if index < self.view.head:
            self.add_stream_header(self.view[index])
        else:
            self._outbox.begin_session_on_key()

    def abandon(self, reason: DropReason) -> None:
        """Drop all items for `reason`; frames that were sent are reported as UNCONFIRMED."""
        self.leave_wire()
        self.ledger.abandon(self.view, reason)
        self._empty()

    def drop_held(self, queued: Sequence[tuple[int, int]], reason: DropReason) -> None:
        """Drop all held frames by their count, not item by item.

        This is for a stream whose items and accounts may have become inconsistent. `queued` are
        (dts, pts) of frames that were accepted and have no item.
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
            self.free_payload(item.payload)
        if items:
            self.release(sum(item.charge for item in items))
        self.lost_result = None
