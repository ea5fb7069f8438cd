"""What an ack does: flag the fragment, trim the view, skip what was refused, end an upload.

Facts: AWS's ack processing. An ack names a fragment by its timecode; the view's table of fragments
finds it exactly. Acks of one connection come in the order of its fragments, so PERSISTED for one
covers those before it in the same session; it never covers what another connection sent.

Stored is done: a fragment that was sent whole leaves the view with its PERSISTED ack (RECEIVED in a
stream without retention), whether or not anything follows it. If an older upload still waits for
the acks of fragments before it, it stays in the view and is marked SKIP, so that no later
connection sends it again. A fragment is whole when its end was sent: the next fragment, an
end-of-fragment tag, or the end of the session.

The service may also store what it has of a fragment that is still open, when its connection was
idle for too long. Such an ack settles what was sent so far. The fragment stays in the view, and is
sent again from its start if more frames follow and the connection is lost.

An ack that names nothing that is held (late, duplicate, foreign) is reported as `AckRejected` and
changes nothing else; only an ERROR among them still ends its upload.
"""

from __future__ import annotations

from itertools import takewhile

from kvsproducer.client.ack import FragmentAck
from kvsproducer.client.ack_times import AckTimes
from kvsproducer.client.buffer.resume import skip_refused
from kvsproducer.client.buffer.view import BUFFERING, END_OF_FRAGMENT, PERSISTED, RECEIVED, SKIP
from kvsproducer.client.control import StreamControl
from kvsproducer.client.core import StreamCore
from kvsproducer.client.effects import UploadAborted
from kvsproducer.client.events import AckRejected, DropReason, FragmentAcked, FragmentStored
from kvsproducer.client.present import PresentTracks
from kvsproducer.client.session import Upload
from kvsproducer.client.states import UploadState
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.status import KvsError, StatusCode, kvs_error
from kvsproducer.wire import AckError, AckType, ack_error

__all__ = ["AckHandler"]

_S = StatusCode
# As globals: in CPython 3.11 it takes 0.2 us to look a member up in its class.
_UNDEFINED, _BUFFERING, _RECEIVED, _PERSISTED, _ERROR, _IDLE = AckType
_TERMINATED = UploadState.TERMINATED
_FLAGS = {_BUFFERING: BUFFERING, _RECEIVED: RECEIVED, _PERSISTED: PERSISTED}


class AckHandler:
    """Applies acks to one stream."""

    __slots__ = ("_buffer", "_control", "_core", "_times", "_tracks")

    def __init__(self, core: StreamCore, control: StreamControl, tracks: PresentTracks) -> None:
        self._tracks = tracks
        self._core = core
        self._buffer = core.buffer
        self._control = control
        self._times = AckTimes(core)

    def reject(self, upload: int, error: KvsError, timecode: int | None = None) -> None:
        """Tell about an ack that cannot be used."""
        self._core.emit(AckRejected(self._core.name, upload, timecode, error.status, error.detail))

    def apply(self, number: int, upload: Upload | None, ack: FragmentAck, now: int) -> None:
        """Take an ack of upload `number`, which is `upload` unless it is forgotten."""
        core, kind = self._core, ack.ack_type
        if kind is _IDLE:
            return
        core.events.push(FragmentAcked(core.name, number, ack))
        flag = _FLAGS.get(kind, 0)
        if not flag and kind is not _ERROR:
            self.reject(number, kvs_error(_S.INVALID_FRAGMENT_ACK_TYPE, ack.ack_type.name))
            return
        if upload is None or upload.state is _TERMINATED:
            return
        if ack.timecode is None:
            index = self._without_timecode(upload, flag)
        else:
            index = self._times.index(upload, ack.timecode, flag)
        if index is not None or kind is _ERROR:
            self._count(kind)
        if kind is _ERROR:
            self._error(upload, ack, index, now)
        elif index is None:
            self._outside(upload, ack, now)
        else:
            self._inside(upload, ack, index, flag, now)

    def _inside(self, upload: Upload, ack: FragmentAck, index: int, flag: int, now: int) -> None:
        """Take an ack, which gives `flag`, of the fragment of item `index`."""
        buffer, items = self._buffer, self._buffer.view.items
        fragment = items[index].fragment
        if flag == BUFFERING:
            upload.acknowledge(buffer.acknowledge(index, flag))
        elif upload.carries(fragment):  # else the service cannot have it from this connection
            upload.acknowledge(buffer.acknowledge(index, flag))
            start = items.get(fragment)
            started = buffer.ledger.evicted_fragment if start is None else start.ack_timestamp
            self._arrived(upload, index, flag)
            if buffer.ledger.stored:
                self._report_stored(ack, (started, started), now)

    def _report_stored(self, ack: FragmentAck, acked: tuple[int, int], now: int) -> None:
        """Report what an ack has shown to be stored: its own fragment, and others before it.

        `acked` are the earliest and the latest time, in ticks, at which its own fragment starts.
        """
        first, last = acked
        for run in self._buffer.take_stored():
            own = first <= run.fragment <= last
            event = FragmentStored(
                self._core.name,
                run.first_pts,
                run.last_pts,
                run.frames,
                ack.sequence_number if own else "",
                (now - run.put_at) / TICKS_PER_SECOND,
            )
            self._core.events.push(event)

    def _count(self, kind: AckType) -> None:
        counters = self._core.counters
        if kind is _BUFFERING:
            counters.buffered_acks += 1
        elif kind is _RECEIVED:
            counters.received_acks += 1
        elif kind is _PERSISTED:
            counters.persisted_acks += 1
        else:
            counters.error_acks += 1

    # --- finding the fragment -------------------------------------------------------------------
    def _without_timecode(self, upload: Upload, flag: int) -> int | None:
        """Return the index that an ack without timecode means, which gives `flag`, or None."""
        view = self._buffer.view
        if view.head == view.tail or self._looks_on(upload):
            return None
        if flag & (RECEIVED | PERSISTED):
            return self._oldest_without(upload, flag)
        # What is being sent is meant, or what was sent last.
        last = upload.last_fragment
        if last is not None and upload is not self._core.uploads.reader:
            return last if last >= view.tail else None
        return min(max(view.current, view.tail), view.head - 1)

    def _oldest_without(self, upload: Upload, flag: int) -> int | None:
        """The oldest fragment that an upload has sent whole and that lacks the flag, or None.

        It is what RECEIVED or PERSISTED without a timecode means: acks come in order, and a later
        fragment may still be lost.
        """
        view, last = self._buffer.view, upload.last_fragment
        if upload.first_index is None or last is None:
            return None
        start = view.next_start(max(upload.first_index, view.tail))
        while start <= last and view[start].flags & (flag | SKIP):
            start = view.next_start(start + 1)
        if start > last or not self._sent_whole(upload, view.next_start(start + 1)):
            return None
        return start

    def _sent_whole(self, upload: Upload, end: int) -> bool:
        """Whether the end of the fragment before item `end` was sent, not only its frames.

        The next fragment ends it, of which the first bytes are enough.
        """
        view = self._buffer.view
        if end > self._buffer.sent:
            return False
        if view[end - 1].flags & END_OF_FRAGMENT or upload.tail_bytes == b"":
            return True
        while end < view.current and view[end].flags & SKIP:
            end += 1  # passed over, not sent
        return end < view.current

    def _outside(self, upload: Upload, ack: FragmentAck, now: int) -> None:
        """Settle the frames of a fragment that has left the view before its ack came."""
        if ack.timecode is not None and _FLAGS.get(ack.ack_type, 0) & self._buffer.final_flags:
            acked = self._times.span(upload, ack.timecode)
            self._stored_outside(upload, *acked)
            if self._buffer.ledger.stored:
                self._report_stored(ack, acked, now)
        detail = f"{ack.ack_type.name} for a fragment that is not held"
        self.reject(
            upload.number,
            kvs_error(_S.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW, detail),
            ack.timecode,
        )

    def _stored_outside(self, upload: Upload, first: int, last: int) -> None:
        """The service has a fragment for good whose start, between two times, has left the view."""
        core, view = self._core, self._buffer.view
        if upload.last_time is None or first > upload.last_time:
            return  # it was given no such fragment
        upload.acknowledge(self._buffer.final_flags)
        alone = not core.uploads.older_unfinished(upload)
        since = 0 if alone else upload.first_index or 0
        self._buffer.clear_doubts(last, since)
        if upload.last_time <= last:
            upload.acked_last = upload.last_fragment
            if upload.state is UploadState.AWAITING_ACK:
                core.wake(upload)
        rest = view.next_start(view.tail)
        held_in_part = (
            first <= self._buffer.ledger.evicted_fragment <= last and rest <= view.current
        )
        if held_in_part and alone:
            self._buffer.confirm(rest)
            self._buffer.trim_settled(rest)

    # --- what it means --------------------------------------------------------------------------
    def _arrived(self, upload: Upload, index: int, flag: int) -> None:
        """The service has the fragment of item `index`, or what was sent of it so far."""
        end = self._buffer.view.next_start(index + 1)
        self._buffer.receive(end)
        if flag & self._buffer.final_flags:
            self._stored(upload, index, end)

    def _stored(self, upload: Upload, index: int, end: int) -> None:
        """The service has stored the fragment of item `index`, which ends before item `end`."""
        core, view = self._core, self._buffer.view
        whole = self._sent_whole(upload, end)
        if whole:
            start = view.items[index].fragment
            upload.acked_last = max(start, upload.acked_last or start)
            if (
                upload.state is UploadState.AWAITING_ACK
                and upload.acked_last == upload.last_fragment
            ):
                core.wake(upload)
        if core.uploads.older_unfinished(upload) and not self._older_done(upload):
            if whole and upload.first_index is not None:
                self._buffer.store_out_of_order(upload.first_index, end)
            return
        done, sent = self._buffer.final_flags, self._buffer.sent
        self._control.confirmed()
        self._buffer.clear_doubts(view.items[index].ack_timestamp)
        self._buffer.confirm(min(end, sent))
        following = end
        while following < sent and view[following].flags & (done | SKIP):
            following = view.next_start(following + 1)  # stored out of order, or refused
        if end < following <= sent:
            self._buffer.confirm(following)
        self._buffer.trim_settled(following)

    def _older_done(self, upload: Upload) -> bool:
        """Whether the older uploads wait for nothing but being asked again."""
        older = takewhile(lambda other: other is not upload, self._core.uploads)
        return not any(
            other.active and other.used and other.acked_last != other.last_fragment
            for other in older
        )

    def _error(self, upload: Upload, ack: FragmentAck, index: int | None, now: int) -> None:
        """ERROR: skip the fragment unless trying again helps, and start another session."""
        core, view = self._core, self._buffer.view
        error = ack_error(ack.result)
        outside, concerned = index is None, not self._looks_on(upload)
        timecode = ack.timecode
        if index is None and view.head > view.tail:
            index = view.tail
        if index is not None and concerned:
            if not error.retriable and not outside:
                self._refuse(index, error)
            # A refused fragment of which a part was sent is passed over: only what is before
            # `current` can leave the view, and nothing more of that fragment is sent.
            following = skip_refused(self._buffer, index)
            if view[index].fragment >= view.current:
                following = min(following, view.current)
            self._buffer.rewind(following)
            timecode = view[index].timestamp // core.info.timecode_scale
        core.report(error.status, error.name, upload=upload.number, timecode=timecode)
        core.uploads.set_state(upload, UploadState.TERMINATED)
        core.effects.append(UploadAborted(core.name, upload.number))
        if upload.used:
            core.abort_uploads()  # only the view knows what this one was given
        if concerned:
            lost = self._buffer.lost
            self._buffer.lose(ack.result if lost is None else lost)
        self._control.lost(ack.result, now, error.name)
        if outside and concerned:
            self.reject(
                upload.number,
                kvs_error(_S.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW, "ERROR for a fragment not held"),
                ack.timecode,
            )

    def _refuse(self, index: int, error: AckError) -> None:
        """Skip a fragment, unless it lacks a track that its session need not declare."""
        if error.status is _S.ACK_ERR_FRAMES_MISSING_FOR_TRACK and self._tracks.redeclare(index):
            return
        self._core.causes[DropReason.REFUSED] = error.status.name
        self._skip(index)

    def _looks_on(self, upload: Upload) -> bool:
        """Whether it was given nothing, while another upload carries what was sent."""
        return not upload.used and any(other.used for other in self._core.uploads.active(upload))

    def _skip(self, index: int) -> None:
        """The service refused this fragment for good."""
        core, view = self._core, self._buffer.view
        start = view[index].fragment
        end = view.next_start(index + 1)
        for refused in range(max(start, view.tail), end):
            self._buffer.refuse(view[refused])
        if end >= view.head and core.generator.started:
            # It is still being written: the rest of it would be refused as well.
            core.refuse_until_key(new_session=True)
        core.wake_writers()  # what was refused makes room, or a frame in hand is to be skipped
