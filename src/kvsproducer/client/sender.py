"""The read path: which bytes an upload is to send next.

An upload is read until it is over. READY, it looks for where to begin (`buffer.resume`); what it
carries from there is one session, which begins with a stream header at a fragment's start.
STREAMING, it is given items until there are no more (`DataAvailable` says when there are), or until
an item belongs to another session, or the stream was stopped. TERMINATING, it is given the rest of
the last item and what ends the session. AWAITING_ACK, everything was sent, and the connection stays
open for the last PERSISTED ack.

Three rules hold it together:

* Only the oldest upload that still has something to say is given media. A newer one, made while a
  token is replaced, begins where the older one ends, never in mid-fragment. (AWS's client gives
  data to whichever asks first.)
* A block is given only to an upload that was given its cluster. One whose cluster has left the
  buffer is refused: a player could not place it.
* An item counts as sent once its first byte was handed out. One that was handed out in part is *on
  the wire*: it may leave the view for want of room, and its bytes stay charged until it has gone.

Buffers are handed out by reference, and may be cut at any byte. Most items are blocks that go on
where the last one was; `_plain_items` hands them out without asking more. It gives the same as the
way for all items (tests/client/test_straight_on.py).

Facts: AWS's getStreamData and the states of its upload handles.
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

# As globals: in CPython 3.11 it takes 0.2 us to look a member up in its class.
_NEW, _READY, _STREAMING, _TERMINATING, _AWAITING_ACK, _TERMINATED = UploadState
_OPEN = Lifecycle.OPEN
_NOT_PLAIN = SKIP | STREAM_START


class ReadStatus(Enum):
    """What to do after `next_buffers`."""

    MORE = "more"  # the limit was reached: call again
    NO_MORE_DATA = "no-more-data"  # wait for DataAvailable
    AWAITING_PERSISTED_ACK = "awaiting-persisted-ack"  # all sent: keep the connection for acks
    END_OF_STREAM = "end-of-stream"  # end the body after these buffers; the upload is over
    ABORTED = "aborted"  # the core has given the upload up: close its connection

    @property
    def status(self) -> StatusCode:
        """What AWS's getKinesisVideoStreamData returns then."""
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
        "_settles",
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
        self._rest: Buffers = []  # of the item that is being handed out, last buffer first
        self._wire_item: ViewItem | None = None  # the last item handed out
        self._plain = False  # whole blocks may follow what was handed out: see `_look`
        self._cluster = -1  # the fragment whose cluster this session has been given
        info = core.info
        self._staleness = ticks(info.connection_staleness_duration) if info.fragment_acks else 0
        self._settles = not info.fragment_acks

    def next_buffers(
        self, number: int, limit: int, now: int
    ) -> tuple[list[bytes | memoryview], ReadStatus]:
        """Up to `limit` bytes for an upload; see `Stream.next_buffers`."""
        upload = self._uploads.reader
        if upload is None or upload.number != number:
            upload = self._uploads.find(number)
        if upload is None or limit <= 0:
            raise self._bad_read(number, limit)
        out: Buffers = []
        if self._plain and upload.state is _STREAMING:
            # Mostly there is a block or two, and then nothing: that way is short.
            size = self._plain_items(upload, out, limit)
            up_to_date = self._view.current == self._view.head
            if size and up_to_date and self._core.lifecycle is _OPEN:
                upload.idle = True
                self._count(size, now)
                return out, _NO_MORE_DATA
            limit -= size
        status = self._step(upload, out, limit)
        self._look()
        if out:
            self._count(sum(map(len, out)), now)
        upload.idle = status is _NO_MORE_DATA or status is _AWAITING
        if status is _END or status is _ABORTED:
            self._finish(upload, status, now)
        return out, status

    def _bad_read(self, number: int, limit: int) -> KvsError:
        if limit <= 0 or not 0 <= number < NEVER:
            return kvs_error(StatusCode.INVALID_ARG, f"upload {number}, a limit of {limit} bytes")
        return kvs_error(
            StatusCode.UPLOAD_HANDLE_ABORTED,
            "no such upload",
            stream=self._core.name,
            upload=number,
        )

    def _look(self) -> None:
        """See whether plain items may follow at once what was handed out."""
        wire = self._wire_item
        self._plain = (
            wire is not None
            and not wire.flags & STREAM_START
            and not self._rest
            and self._buffer.holding is None
        )

    def _count(self, size: int, now: int) -> None:
        """Note that `size` bytes were handed out."""
        rates = self._rates
        rates.transferred += size
        if now >= rates.next_read:
            rates.sample_read(now)
        limit, item = self._staleness, self._wire_item
        if limit and item is not None:
            unheard = item.timestamp - item.skipped - self._buffer.buffering_time
            if unheard > limit:
                self._check_staleness()
        if self._settles:
            self._buffer.settle_sent()

    # --- states of an upload --------------------------------------------------------------------
    def _step(self, upload: Upload, out: Buffers, limit: int) -> ReadStatus:
        """Fill `out` according to the upload's state."""
        core = self._core
        if upload.state is _TERMINATED:
            return _ABORTED
        if upload.state is _AWAITING_ACK:
            return self._awaiting(upload)
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

    def _awaiting(self, upload: Upload) -> ReadStatus:
        if upload.last_fragment is None or (
            upload.acked_last is not None and upload.acked_last >= upload.last_fragment
        ):
            return _END
        # What was sent again may have been stored before: then there is nothing to wait for.
        return _AWAITING if self._buffer.ledger.held else _END

    def _begin_session(self, upload: Upload) -> bool:
        """Find where the upload is to begin; False when there is nothing yet."""
        core, view = self._core, self._buffer.view
        index = self._usable_start(resume_index(self._buffer))
        if index >= view.head:
            self._buffer.rewind(index)  # what was refused can leave the view
            return False
        self.forget_wire_item()
        upload.first_index = index
        upload.session_start = self._buffer.begin_session(index)
        core.uploads.set_state(upload, _STREAMING)
        core.counters.total_active_sessions += 1
        if core.waiting:  # what was refused may make room, now that it is left behind
            self._buffer.trim_settled()
        return True

    def _usable_start(self, index: int) -> int:
        """The fragment start at or before `index`; when it has left the view, the next one.

        Frames whose cluster has left the view cannot be sent: they are dropped.
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
        """Hand out items until `room` is used up; returns what is left of it.

        Leaves the state STREAMING when there is nothing more yet, TERMINATING at the end.
        """
        while upload.is_streaming():
            if self._rest:
                room = self._hand_out(out, room)
                if not room:
                    return 0
            self._strip_sent()
            self._look()
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
        """The payload; None when the store that holds it has damaged it: the frame is dropped.

        With the first item of a session its stream header goes too: the session begins anew, with
        the next fragment, or is READY to.
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
                    f"the store gave {held} bytes of {item.length - len(item.header)}",
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
        """Take the stream header off an item that was handed out whole."""
        wire = self._wire_item
        if wire is not None and wire.flags & STREAM_START and wire.index >= self._buffer.view.tail:
            self._buffer.strip_stream_header(wire)

    def _plain_items(self, upload: Upload, out: Buffers, room: int) -> int:
        """Hand out whole blocks and clusters, which is what most items are; their bytes.

        They take less than `room`, and none begins a session. Only while `_plain`.
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
                if item.flags & _NOT_PLAIN or not self._goes_on(upload, item):
                    break
                self._buffer.take_again(item)
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

    def _goes_on(self, upload: Upload, item: ViewItem) -> bool:
        """Whether an item continues the session; a cluster that does is the open one from now."""
        if item.flags & FRAGMENT_START:
            sessions, first = self._buffer.sessions, upload.first_index
            if first is None or sessions[-1][0] > first:
                return False  # `_next_item` looks whose session it is
            upload.last_fragment = self._cluster = item.index
            upload.last_time = item.ack_timestamp
        return True

    def _next_item(self, upload: Upload) -> ViewItem | None:
        """The next item of the session, or None: nothing yet, or the state says that it is over."""
        core, view = self._core, self._buffer.view
        while (index := view.current) < view.head:
            item = view[index]
            if item.flags & SKIP:
                self._buffer.pass_over()
                if item.flags & END_OF_FRAGMENT and self._left_open():
                    return item  # it ends the fragment before the refused one as well
            elif item.flags & FRAGMENT_START and self._starts_session(item, upload):
                core.uploads.set_state(upload, _TERMINATING)
                upload.tail_bytes = self._session_tail(at_end=False)
                return None
            elif item.fragment != self._cluster and not item.flags & FRAGMENT_START:
                self._buffer.refuse(item)  # its cluster was dropped: a block without one
            else:
                return self._buffer.take()
        if core.stopped:
            core.uploads.set_state(upload, _TERMINATING)
            upload.tail_bytes = self._session_tail(at_end=True)
        elif core.name in core.waiting and self._left_open():
            newest = view.newest
            if newest is not None and newest.flags & SKIP:
                return self._closing(newest)
        return None

    def _left_open(self) -> bool:
        """Whether the service waits for more of the last fragment that was handed out."""
        last = self._wire_item
        return last is not None and not last.flags & END_OF_FRAGMENT

    @staticmethod
    def _closing(refused: ViewItem) -> ViewItem:
        """The mark that ends what was sent before a refused fragment.

        The next fragment would, but its writer waits for the ack of what was sent.
        """
        return mark_at(refused, end_of_fragment_tag())

    def _starts_session(self, item: ViewItem, upload: Upload) -> bool:
        """Whether a fragment belongs to another session than what the upload was given.

        Its mark may be gone: stripped when it was sent before, or refused with the first fragment.
        """
        first = upload.first_index
        if item.index == first or first is None:
            return False
        if self._buffer.session_number(item.index) != self._buffer.session_number(first):
            self._buffer.add_stream_header(item)
        return bool(item.flags & STREAM_START)

    def _session_tail(self, *, at_end: bool) -> bytes:
        """What ends a session: metadata that no fragment took, and the end-of-stream tag."""
        last = self._wire_item  # not the newest: that may have been refused, and not sent
        closed = last is not None and bool(last.flags & END_OF_FRAGMENT)
        tail = self._last_metadata(closed=closed) if at_end else b""
        if at_end and closed:
            return b""
        return tail + end_of_fragment_tag()

    def _last_metadata(self, *, closed: bool) -> bytes:
        """The metadata that the last fragment of all still takes; what is left is reported."""
        core, last, newest = self._core, self._wire_item, self._view.newest
        tail = b""
        if not (closed or last is None or newest is None or last.fragment != newest.fragment):
            tail = core.metadata.at_end()
            core.metadata.ended()
        if left := core.metadata.clear():
            core.report(
                StatusCode.MAX_FRAGMENT_METADATA_COUNT,
                f"{left} metadata items were not sent: the stream was stopped before the fragment"
                " that they were to go with began",
            )
        return tail

    def _end_session(self, upload: Upload, out: Buffers, room: int) -> ReadStatus:
        """Hand out the tail of a session that is over."""
        tail = upload.tail_bytes or b""
        if tail:
            out.append(tail[:room])
            upload.tail_bytes = tail[room:]
            if len(tail) >= room:
                return _MORE
        self._buffer.end_session()
        if not self._buffer.waits_for_acks:
            return _END
        status = self._awaiting(upload)
        if status is _AWAITING:
            self._core.uploads.set_state(upload, _AWAITING_ACK)
            self._core.wake()
        return status

    def _finish(self, upload: Upload, status: ReadStatus, now: int) -> None:
        """The upload is over: forget it, and see who goes on."""
        core = self._core
        core.uploads.remove(upload)
        self._control.tally.upload_over(upload, now)
        if core.uploads.active():
            core.wake()
            return
        if core.stopped and not anything_to_send(self._buffer):
            self._control.close(upload.number)
        elif status is _END:
            self._control.lost(200, now)  # another session has media to send

    # --- bytes ----------------------------------------------------------------------------------
    def _hand_out(self, out: Buffers, room: int) -> int:
        """Give what is left of the item on the wire; returns the room that is left."""
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
        """Forget the rest of the item on the wire: a session begins, or the view is emptied."""
        self._rest = []
        self._wire_item = None
        self._plain = False
        self._cluster = -1
        self._buffer.leave_wire()

    def _check_staleness(self) -> None:
        """Tell when the service has not said BUFFERING for too long; it is asked at every read."""
        core, view = self._core, self._buffer.view
        last = view.current - 1
        if last < view.tail:
            return
        newest = view[last].media_time
        before = newest - self._staleness
        late = view.last_before(before, view.current)
        # `_count` has seen to it that none after that one is acknowledged.
        if late is None or late.flags & BUFFERING:
            return
        core.counters.stale_events += 1
        sign = ConnectionStale(core.name, newest - late.media_time)
        tell = core.trouble if self._unheard(last, before) else core.emit
        tell(sign)

    def _unheard(self, index: int, before: int) -> bool:
        """Whether the service has not said BUFFERING for a fragment that began before a time.

        It says so once a fragment: in a long one it owes nothing more, whatever AWS's event says.
        There is one from before: the caller has found an item of it.
        """
        view = self._buffer.view
        start = view[view.start_of(index)]
        while not start.flags & BUFFERING and start.media_time >= before:
            assert start.index > view.tail, "an item from before is in the view"
            start = view[view.start_of(start.index - 1)]
        return not start.flags & BUFFERING
