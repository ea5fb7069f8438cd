"""The read path: which bytes an upload sends next.

The shell (the code that runs the core: threads, sockets, clocks) reads from an upload until the
upload is over. One upload carries one session, which begins with a stream header at the start of a
fragment. What `next_buffers` does depends on the upload's state:

* READY: `buffer.resume` finds the item to begin with.
* STREAMING: items are handed out until there are none (`DataAvailable` reports new ones), until an
  item belongs to another session, or until the stream is stopped.
* TERMINATING: the rest of the last item and the bytes that end the session are handed out.
* AWAITING_ACK: everything was sent. The connection stays open for the last PERSISTED ack.

Three rules keep this correct:

* Only the oldest upload that still has bytes to send gets media. A newer upload, made while a token
  is replaced, begins where the older one ends, never within a fragment. (AWS's client gives data to
  the upload that asks first.)
* An upload gets a block only if it also got the header of the block's cluster. A block whose
  cluster has left the buffer is dropped, because a player could not place it in time.
* An item counts as sent once its first byte was handed out. While only a part is handed out, the
  item is *on the wire*. It may leave the view if space is short, but its bytes stay charged until
  the rest was handed out.

Buffers are handed out by reference and may be cut at any byte. Most items are blocks that follow
the last one directly. `_plain_items` hands these out with few checks. Its output equals that of the
general path (tests/client/test_fast_paths.py).

Source: AWS's getStreamData and the states of its upload handles.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from kvsproducer.client.buffer.resume import anything_to_send, resume_index
from kvsproducer.client.buffer.view import (
    BUFFERING,
    END_OF_FRAGMENT,
    FRAGMENT_START,
    SKIP,
    STREAM_START,
    ViewItem,
    mark_at,
)
from kvsproducer.client.control import StreamControl
from kvsproducer.client.core import NEVER, StreamCore
from kvsproducer.client.events import ConnectionStale, DropReason
from kvsproducer.client.session import Upload
from kvsproducer.client.states import Lifecycle, UploadState
from kvsproducer.duration import ticks
from kvsproducer.heap import Payload
from kvsproducer.mkv.tags import end_of_fragment_tag
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["ReadStatus", "Sender"]

# Globals, because in CPython 3.11 an enum member lookup takes 0.2 us.
_NEW, _READY, _STREAMING, _TERMINATING, _AWAITING_ACK, _TERMINATED = UploadState
_OPEN = Lifecycle.OPEN
_NOT_PLAIN = SKIP | STREAM_START


class ReadStatus(Enum):
    """What the caller has to do after `next_buffers`."""

    MORE = "more"  # the limit was reached: call again
    NO_MORE_DATA = "no-more-data"  # wait for DataAvailable
    AWAITING_PERSISTED_ACK = "awaiting-persisted-ack"  # all sent: keep the connection open for acks
    END_OF_STREAM = "end-of-stream"  # the upload is over: end the request body after these buffers
    ABORTED = "aborted"  # the core has given up the upload: close its connection

    @property
    def status(self) -> StatusCode:
        """The status that AWS's getKinesisVideoStreamData returns in this case."""
        return _STATUSES[self]


_STATUSES: Final = {
    ReadStatus.MORE: StatusCode.SUCCESS,
    ReadStatus.NO_MORE_DATA: StatusCode.NO_MORE_DATA_AVAILABLE,
    ReadStatus.AWAITING_PERSISTED_ACK: StatusCode.AWAITING_PERSISTED_ACK,
    ReadStatus.END_OF_STREAM: StatusCode.END_OF_STREAM,
    ReadStatus.ABORTED: StatusCode.END_OF_STREAM,
}
Buffers = list[bytes | memoryview]
_MORE, _NO_MORE_DATA, _AWAITING, _END, _ABORTED = ReadStatus


class Sender:
    """Hands out the media of one stream."""

    __slots__ = (
        "_buffer",
        "_cluster",
        "_control",
        "_core",
        "_plain",
        "_rates",
        "_rest",
        "_settles_sent",
        "_staleness",
        "_uploads",
        "_view",
        "_wire_item",
    )

    def __init__(self, core: StreamCore, control: StreamControl) -> None:
        self._core = core
        self._control = control
        self._uploads, self._rates = core.uploads, core.rates
        self._buffer, self._view = core.buffer, core.buffer.view
        self._rest: Buffers = []  # of the item that is handed out in part, last buffer first
        self._wire_item: ViewItem | None = None  # the last item handed out
        self._plain = False  # the next items may be plain; see `_update_plain`
        self._cluster = -1  # the fragment whose cluster was handed out in this session
        info = core.info
        self._staleness = ticks(info.connection_staleness_duration) if info.fragment_acks else 0
        self._settles_sent = not info.fragment_acks

    def next_buffers(
        self, number: int, limit: int, now: int
    ) -> tuple[list[bytes | memoryview], ReadStatus]:
        """Return up to `limit` bytes for an upload; see `Stream.next_buffers`."""
        upload = self._uploads.reader
        if upload is None or upload.number != number:
            upload = self._uploads.find(number)
        if upload is None or limit <= 0:
            raise self._read_error(number, limit)
        out: Buffers = []
        if self._plain and upload.state is _STREAMING:
            # Fast path. Most reads find one or two blocks and then no more data.
            size = self._plain_items(upload, out, limit)
            up_to_date = self._view.current == self._view.head
            if size and up_to_date and self._core.lifecycle is _OPEN:
                upload.idle = True
                self._count(size, now)
                return out, _NO_MORE_DATA
            limit -= size
        status = self._step(upload, out, limit)
        self._update_plain()
        if out:
            self._count(sum(map(len, out)), now)
        upload.idle = status is _NO_MORE_DATA or status is _AWAITING
        if status is _END or status is _ABORTED:
            self._finish(upload, status, now)
        return out, status

    def _read_error(self, number: int, limit: int) -> KvsError:
        if limit <= 0 or not 0 <= number < NEVER:
            return kvs_error(
                StatusCode.INVALID_ARG,
                f"upload {number} cannot be read with a limit of {limit} bytes; "
                "give an upload of this stream, and a limit above 0",
            )
        return kvs_error(
            StatusCode.UPLOAD_HANDLE_ABORTED,
            f"upload {number} does not exist, or has ended",
            stream=self._core.name,
            upload=number,
        )

    def _update_plain(self) -> None:
        """Set whether plain items may directly follow the bytes that were handed out."""
        wire = self._wire_item
        self._plain = (
            wire is not None
            and not wire.flags & STREAM_START
            and not self._rest
            and self._buffer.holding is None
        )

    def _count(self, size: int, now: int) -> None:
        """Count `size` bytes as handed out."""
        rates = self._rates
        rates.transferred += size
        if now >= rates.next_read:
            rates.sample_read(now)
        limit, item = self._staleness, self._wire_item
        if limit and item is not None:
            unheard = item.timestamp - item.skipped - self._buffer.buffering_time
            if unheard > limit:
                self._check_staleness()
        if self._settles_sent:
            self._buffer.settle_sent()

    # --- states of an upload --------------------------------------------------------------------
    def _step(self, upload: Upload, out: Buffers, limit: int) -> ReadStatus:
        """Fill `out` with up to `limit` bytes, and return what the caller has to do next.

        What is handed out depends on the state of the upload.
        """
        core = self._core
        if upload.state is _TERMINATED:
            return _ABORTED
        if upload.state is _AWAITING_ACK:
            return self._ack_status(upload)
        if upload.state is _NEW or core.uploads.reader is not upload:
            return _NO_MORE_DATA
        if upload.state is _READY and not self._begin_session(upload):
            done = core.stopped and not anything_to_send(self._buffer)
            return _END if done else _NO_MORE_DATA
        if upload.is_streaming():
            room = self._fill(upload, out, limit)
            if not room:
                return _MORE
            if upload.is_streaming() or not upload.used:
                return _NO_MORE_DATA
            limit = room
        return self._end_session(upload, out, limit)

    def _ack_status(self, upload: Upload) -> ReadStatus:
        if upload.last_fragment is None or (
            upload.acked_last is not None and upload.acked_last >= upload.last_fragment
        ):
            return _END
        # Media sent again may have been stored before. Then no ack is expected.
        return _AWAITING if self._buffer.ledger.held else _END

    def _begin_session(self, upload: Upload) -> bool:
        """Find the item with which the upload begins; return False if there is none yet."""
        core, view = self._core, self._buffer.view
        index = self._usable_start(resume_index(self._buffer))
        if index >= view.head:
            self._buffer.rewind(index)  # refused items can now leave the view
            return False
        self.forget_wire_item()
        upload.first_index = index
        upload.session_start = self._buffer.begin_session(index)
        core.uploads.set_state(upload, _STREAMING)
        core.counters.total_active_sessions += 1
        if core.waiting:  # refused items are behind the read position now, and may leave the view
            self._buffer.trim_settled()
        return True

    def _usable_start(self, index: int) -> int:
        """Return the first item of the fragment of item `index`, or of the next usable fragment.

        If the start of the fragment has left the view or was refused, the rest of the fragment
        cannot be sent. Its frames are then dropped.
        """
        core, view = self._core, self._buffer.view
        if index >= view.head:
            return index
        start = view.start_of(index)
        if view[start].flags & FRAGMENT_START and not view[start].flags & SKIP:
            return start
        following = view.next_start(index)
        for orphan in range(start, following):
            self._buffer.refuse(view[orphan])
        while following < view.head and view[following].flags & SKIP:
            following = view.next_start(following + 1)
        if following >= view.head:
            core.refuse_until_key()
        return following

    def _fill(self, upload: Upload, out: Buffers, room: int) -> int:
        """Hand out items until `room` bytes are used; return the unused rest of `room`.

        The state stays STREAMING while more items may follow. When the session is over, it becomes
        TERMINATING.
        """
        while upload.is_streaming():
            if self._rest:
                room = self._hand_out(out, room)
                if not room:
                    return 0
            self._strip_sent()
            self._update_plain()
            if self._plain:
                room -= self._plain_items(upload, out, room)
            item = self._next_item(upload)
            if item is None:
                return room
            payload = self._load(upload, item)
            if payload is None:
                continue
            self._wire_item = item
            if item.flags & FRAGMENT_START:
                upload.last_fragment = self._cluster = item.index
                upload.last_time = item.ack_timestamp
            if item.length <= room:
                out.append(item.header)
                out.extend(payload)
                room -= item.length
                if not room:
                    return 0
            else:
                self._buffer.put_on_wire(item)
                self._rest = [*reversed(payload), item.header]
        return room

    def _load(self, upload: Upload, item: ViewItem) -> Payload | None:
        """Return an item's payload; if the store has damaged it, drop the frame and return None.

        If the first item of a session is damaged, its stream header is lost too. Then the session
        begins again with the next fragment, or the upload returns to READY.
        """
        core = self._core
        if self._buffer.holding is None:
            return item.payload
        try:
            payload = list(item.payload)
            held = sum(map(len, payload))
            if held != item.length - len(item.header):
                raise kvs_error(
                    StatusCode.VIEW_ITEM_SIZE_GREATER_THAN_ALLOCATION,
                    f"the content store returned {held} bytes of a frame; "
                    f"{item.length - len(item.header)} were stored in it",
                )
            return payload
        except KvsError as error:
            core.report(error.status, error.detail, upload=upload.number)
            core.causes[DropReason.UNREADABLE] = error.status.name
            self._buffer.refuse(item, DropReason.UNREADABLE)
            if item.index == upload.first_index:
                upload.first_index = None
                core.uploads.set_state(upload, _READY)
                self._begin_session(upload)
            return None

    def _strip_sent(self) -> None:
        """Remove the stream header from an item that was handed out completely."""
        wire = self._wire_item
        if wire is not None and wire.flags & STREAM_START and wire.index >= self._buffer.view.tail:
            self._buffer.strip_stream_header(wire)

    def _plain_items(self, upload: Upload, out: Buffers, room: int) -> int:
        """Hand out plain items, which are whole blocks and clusters; return their number of bytes.

        They take less than `room` bytes, and none of them begins a session. The caller must call
        this only while `_plain` is true.
        """
        view, cluster = self._view, self._cluster
        items, index, head = view.items, view.current, view.head
        size = 0
        while index < head:
            item = items[index]
            length = size + item.length
            if length >= room:
                break
            if item.flags:
                if item.flags & _NOT_PLAIN or not self._continues_session(upload, item):
                    break
                self._buffer.clear_acks(item)
                cluster = self._cluster
            if item.fragment != cluster:
                break
            size = length
            out.append(item.header)
            out += item.payload
            self._wire_item = item
            index += 1
        if size:
            self._buffer.advance(index, size)
        return size

    def _continues_session(self, upload: Upload, item: ViewItem) -> bool:
        """Return whether an item continues the session.

        If the item begins a cluster, this becomes the open cluster.
        """
        if item.flags & FRAGMENT_START:
            sessions, first = self._buffer.sessions, upload.first_index
            if first is None or sessions[-1][0] > first:
                return False  # `_next_item` decides to which session it belongs
            upload.last_fragment = self._cluster = item.index
            upload.last_time = item.ack_timestamp
        return True

    def _next_item(self, upload: Upload) -> ViewItem | None:
        """Return the next item of the session, or None.

        If it returns None and the state is still STREAMING, there is no item yet. If the state has
        changed, the session is over.
        """
        core, view = self._core, self._buffer.view
        while (index := view.current) < view.head:
            item = view[index]
            if item.flags & SKIP:
                self._buffer.skip_next()
                if item.flags & END_OF_FRAGMENT and self._is_fragment_open():
                    return item  # this mark also ends the fragment before the refused one
            elif item.flags & FRAGMENT_START and self._starts_session(item, upload):
                core.uploads.set_state(upload, _TERMINATING)
                upload.tail_bytes = self._session_tail(at_end=False)
                return None
            elif item.fragment != self._cluster and not item.flags & FRAGMENT_START:
                self._buffer.refuse(item)  # its cluster was dropped
            else:
                return self._buffer.take()
        if core.stopped:
            core.uploads.set_state(upload, _TERMINATING)
            upload.tail_bytes = self._session_tail(at_end=True)
        elif core.name in core.waiting and self._is_fragment_open():
            newest = view.newest
            if newest is not None and newest.flags & SKIP:
                return self._closing_mark(newest)
        return None

    def _is_fragment_open(self) -> bool:
        """Return True if the last fragment that was handed out is not complete yet."""
        last = self._wire_item
        return last is not None and not last.flags & END_OF_FRAGMENT

    @staticmethod
    def _closing_mark(refused: ViewItem) -> ViewItem:
        """Return a mark that ends the media sent before a refused fragment.

        Normally the next fragment ends this media. Here the writer of the next fragment waits for
        the ack of this media, so without the mark neither would come.
        """
        return mark_at(refused, end_of_fragment_tag())

    def _starts_session(self, item: ViewItem, upload: Upload) -> bool:
        """Return whether a fragment begins another session than the upload's.

        If it does, add its stream header if it is missing. The header may have been removed when it
        was sent before, or refused with the first fragment.
        """
        first = upload.first_index
        if item.index == first or first is None:
            return False
        if self._buffer.session_number(item.index) != self._buffer.session_number(first):
            self._buffer.add_stream_header(item)
        return bool(item.flags & STREAM_START)

    def _session_tail(self, *, at_end: bool) -> bytes:
        """Return the bytes that end a session; with `at_end`, they include remaining metadata."""
        last = self._wire_item  # not the newest item, which may have been refused and never sent
        closed = last is not None and bool(last.flags & END_OF_FRAGMENT)
        tail = self._last_metadata(closed=closed) if at_end else b""
        if at_end and closed:
            return b""
        return tail + end_of_fragment_tag()

    def _last_metadata(self, *, closed: bool) -> bytes:
        """Return the metadata that the last fragment can still take; report the rest as unsent."""
        core, last, newest = self._core, self._wire_item, self._view.newest
        tail = b""
        if not (closed or last is None or newest is None or last.fragment != newest.fragment):
            tail = core.metadata.at_end()
            core.metadata.note_end()
        if left := core.metadata.clear():
            core.report(
                StatusCode.MAX_FRAGMENT_METADATA_COUNT,
                f"{left} metadata items were not sent: the stream was stopped before the fragment"
                " that they were to go with began",
            )
        return tail

    def _end_session(self, upload: Upload, out: Buffers, room: int) -> ReadStatus:
        """Hand out the bytes that end a session."""
        tail = upload.tail_bytes or b""
        if tail:
            out.append(tail[:room])
            upload.tail_bytes = tail[room:]
            if len(tail) >= room:
                return _MORE
        self._buffer.end_session()
        if not self._buffer.waits_for_acks:
            return _END
        status = self._ack_status(upload)
        if status is _AWAITING:
            self._core.uploads.set_state(upload, _AWAITING_ACK)
            self._core.wake()
        return status

    def _finish(self, upload: Upload, status: ReadStatus, now: int) -> None:
        """Remove an upload that is over; close the stream or start another session if needed."""
        core = self._core
        core.uploads.remove(upload)
        self._control.tally.count_upload(upload, now)
        if core.uploads.active():
            core.wake()
            return
        if core.stopped and not anything_to_send(self._buffer):
            self._control.close(upload.number)
        elif status is _END:
            self._control.handle_loss(200, now)  # media of another session is waiting

    # --- bytes ----------------------------------------------------------------------------------
    def _hand_out(self, out: Buffers, room: int) -> int:
        """Hand out the rest of the item on the wire; return the unused rest of `room`."""
        rest = self._rest
        while rest and room:
            buffer = rest.pop()
            if len(buffer) > room:
                whole = memoryview(buffer)
                out.append(whole[:room])
                rest.append(whole[room:])
                return 0
            out.append(buffer)
            room -= len(buffer)
        if not rest:
            self._buffer.leave_wire()
        return room

    def forget_wire_item(self) -> None:
        """Forget the item on the wire, because a session begins or the view was emptied."""
        self._rest = []
        self._wire_item = None
        self._plain = False
        self._cluster = -1
        self._buffer.leave_wire()

    def _check_staleness(self) -> None:
        """Report `ConnectionStale` if no BUFFERING ack came for too long.

        The caller has already made a cheaper check that shows whether this is possible.
        """
        core, view = self._core, self._buffer.view
        last = view.current - 1
        if last < view.tail:
            return
        newest = view[last].media_time
        before = newest - self._staleness
        late = view.last_before(before, view.current)
        # `_count` has made sure that no item after that one is acknowledged.
        if late is None or late.flags & BUFFERING:
            return
        core.counters.stale_events += 1
        sign = ConnectionStale(core.name, newest - late.media_time)
        tell = core.report_trouble if self._lacks_buffering_ack(last, before) else core.emit
        tell(sign)

    def _lacks_buffering_ack(self, index: int, before: int) -> bool:
        """Return whether a fragment that began before `before` still lacks its BUFFERING ack.

        The search goes back from the fragment of item `index`. The service sends one BUFFERING ack
        for each fragment. While a long fragment lasts, it owes no further ack, although AWS's
        client then reports staleness. The view has a fragment from before that time, because the
        caller found an item of it.
        """
        view = self._buffer.view
        start = view[view.start_of(index)]
        while not start.flags & BUFFERING and start.media_time >= before:
            assert start.index > view.tail, "an item from before is in the view"
            start = view[view.start_of(start.index - 1)]
        return not start.flags & BUFFERING
