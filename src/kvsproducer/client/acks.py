"""The effect of an ack: flag the fragment, trim the view, skip refused media, end an upload.

Source: AWS's ack processing. An ack names a fragment by its timecode, and the view's table finds
the fragment exactly. The acks of one connection come in the order of its fragments. So a PERSISTED
ack also covers the earlier fragments of the same session, but never those of another connection.

A fragment that was sent completely leaves the view with its PERSISTED ack (RECEIVED in a stream
without retention), even if no fragment follows it. If an older upload still waits for acks of
earlier fragments, the fragment stays in the view. It is then marked SKIP, so that no later
connection sends it again. A fragment is complete when its end was sent: the start of the next
fragment, an end-of-fragment tag, or the end of the session.

The service may also store the first part of an open fragment, if its connection was idle for too
long. Such an ack shows that the part sent so far is stored. The fragment stays in the view. It is
sent again from its start if more frames follow and the connection is lost.

An ack for a fragment that is not held (late, duplicate, or of another stream) is reported as
`AckRejected`. If the fragment left the view before its final ack came, its frames are now counted
as stored. An ERROR ack ends its upload, even if its fragment is not held.
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
# Globals, because in CPython 3.11 an enum member lookup takes 0.2 us.
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
        """Report an ack that cannot be used as `AckRejected`."""
        self._core.emit(AckRejected(self._core.name, upload, timecode, error.status, error.detail))

    def apply(self, number: int, upload: Upload | None, ack: FragmentAck, now: int) -> None:
        """Apply an ack of upload `number`; `upload` is the object, or None if it was removed."""
        core, kind = self._core, ack.ack_type
        if kind is _IDLE:
            return
        core.events.push(FragmentAcked(core.name, number, ack))
        flag = _FLAGS.get(kind, 0)
        if not flag and kind is not _ERROR:
            self.reject(
                number,
                kvs_error(
                    _S.INVALID_FRAGMENT_ACK_TYPE, f"the ack has the type {ack.ack_type.name}"
                ),
            )
            return
        if upload is None or upload.state is _TERMINATED:
            return
        if ack.timecode is None:
            index = self._find_without_timecode(upload, flag)
        else:
            index = self._times.index(upload, ack.timecode, flag)
        if index is not None or kind is _ERROR:
            self._count(kind)
        if kind is _ERROR:
            self._apply_error(upload, ack, index, now)
        elif index is None:
            self._apply_to_evicted(upload, ack, now)
        else:
            self._apply_to_fragment(upload, ack, index, flag, now)

    def _apply_to_fragment(
        self, upload: Upload, ack: FragmentAck, index: int, flag: int, now: int
    ) -> None:
        """Apply an ack of the type with the flag `flag` to the fragment of item `index`."""
        buffer, items = self._buffer, self._buffer.view.items
        fragment = items[index].fragment
        if flag == BUFFERING:
            upload.acknowledge(buffer.acknowledge(index, flag))
        elif upload.carries(fragment):  # else the service cannot have it from this connection
            upload.acknowledge(buffer.acknowledge(index, flag))
            start = items.get(fragment)
            started = buffer.ledger.evicted_fragment if start is None else start.ack_timestamp
            self._receive(upload, index, flag)
            if buffer.ledger.stored:
                self._report_stored(ack, (started, started), now)

    def _report_stored(self, ack: FragmentAck, acked: tuple[int, int], now: int) -> None:
        """Report the fragments that an ack shows to be stored: its own and earlier ones.

        The fragment that the ack names starts in the range of times `acked` (ticks).
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
    def _find_without_timecode(self, upload: Upload, flag: int) -> int | None:
        """Return the index of the item to which an ack without timecode refers, or None."""
        view = self._buffer.view
        if view.head == view.tail or self._carries_nothing(upload):
            return None
        if flag & (RECEIVED | PERSISTED):
            return self._oldest_lacking(upload, flag)
        # The ack is for the fragment that is being sent, or that was sent last.
        last = upload.last_fragment
        if last is not None and upload is not self._core.uploads.reader:
            return last if last >= view.tail else None
        return min(max(view.current, view.tail), view.head - 1)

    def _oldest_lacking(self, upload: Upload, flag: int) -> int | None:
        """Return the start of the oldest fragment that lacks the flag, or None.

        Only fragments that the upload has sent completely count. A RECEIVED or PERSISTED ack
        without a timecode refers to this fragment, because acks come in order. A later fragment may
        still be lost.
        """
        view, last = self._buffer.view, upload.last_fragment
        if upload.first_index is None or last is None:
            return None
        start = view.next_start(max(upload.first_index, view.tail))
        while start <= last and view[start].flags & (flag | SKIP):
            start = view.next_start(start + 1)
        if start > last or not self._is_end_sent(upload, view.next_start(start + 1)):
            return None
        return start

    def _is_end_sent(self, upload: Upload, end: int) -> bool:
        """Return whether the end of the fragment before item `end` was sent, not only its frames.

        The first bytes of the next fragment are enough, because they end the fragment.
        """
        view = self._buffer.view
        if end > self._buffer.sent_end:
            return False
        if view[end - 1].flags & END_OF_FRAGMENT or upload.tail_bytes == b"":
            return True
        while end < view.current and view[end].flags & SKIP:
            end += 1  # skipped, not sent
        return end < view.current

    def _apply_to_evicted(self, upload: Upload, ack: FragmentAck, now: int) -> None:
        """Apply an ack whose fragment is not held, and report it as rejected.

        If the fragment left the view before its final ack came, its frames are counted as stored.
        """
        if ack.timecode is not None and _FLAGS.get(ack.ack_type, 0) & self._buffer.final_flags:
            acked = self._times.span(upload, ack.timecode)
            self._settle_evicted(upload, *acked)
            if self._buffer.ledger.stored:
                self._report_stored(ack, acked, now)
        detail = f"the service sent {ack.ack_type.name} for a fragment that is not held"
        self.reject(
            upload.number,
            kvs_error(_S.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW, detail),
            ack.timecode,
        )

    def _settle_evicted(self, upload: Upload, first: int, last: int) -> None:
        """Count a fragment as stored that starts from `first` to `last` and has left the view.

        Nothing changes if the upload sent no such fragment.
        """
        core, view = self._core, self._buffer.view
        if upload.last_time is None or first > upload.last_time:
            return  # the upload sent no such fragment
        upload.acknowledge(self._buffer.final_flags)
        alone = not core.uploads.older_unfinished(upload)
        since = 0 if alone else upload.first_index or 0
        self._buffer.settle_unacked(last, since)
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

    # --- effects of an ack ----------------------------------------------------------------------
    def _receive(self, upload: Upload, index: int, flag: int) -> None:
        """Record that the service has received the sent part of the fragment of item `index`.

        If `flag` shows that the part is also stored, record this too.
        """
        end = self._buffer.view.next_start(index + 1)
        self._buffer.receive(end)
        if flag & self._buffer.final_flags:
            self._settle(upload, index, end)

    def _settle(self, upload: Upload, index: int, end: int) -> None:
        """Record that the fragment of item `index`, which ends before item `end`, is stored.

        While older uploads still wait for acks, the fragment is only marked as stored out of order.
        """
        core, view = self._core, self._buffer.view
        whole = self._is_end_sent(upload, end)
        if whole:
            start = view.items[index].fragment
            upload.acked_last = max(start, upload.acked_last or start)
            if (
                upload.state is UploadState.AWAITING_ACK
                and upload.acked_last == upload.last_fragment
            ):
                core.wake(upload)
        if core.uploads.older_unfinished(upload) and not self._older_have_all_acks(upload):
            if whole and upload.first_index is not None:
                self._buffer.store_out_of_order(upload.first_index, end)
            return
        done, sent = self._buffer.final_flags, self._buffer.sent_end
        self._control.reset_failures()
        self._buffer.settle_unacked(view.items[index].ack_timestamp)
        self._buffer.confirm(min(end, sent))
        following = end
        while following < sent and view[following].flags & (done | SKIP):
            following = view.next_start(following + 1)  # stored out of order, or refused
        if end < following <= sent:
            self._buffer.confirm(following)
        self._buffer.trim_settled(following)

    def _older_have_all_acks(self, upload: Upload) -> bool:
        """Return whether all older uploads have received every ack that they wait for."""
        older = takewhile(lambda other: other is not upload, self._core.uploads)
        return not any(
            other.active and other.used and other.acked_last != other.last_fragment
            for other in older
        )

    def _apply_error(self, upload: Upload, ack: FragmentAck, index: int | None, now: int) -> None:
        """Handle an ERROR ack: end its upload, and start another session.

        The refused fragment is skipped, unless it can be accepted when it is sent again.
        """
        core, view = self._core, self._buffer.view
        error = ack_error(ack.result)
        outside, concerned = index is None, not self._carries_nothing(upload)
        timecode = ack.timecode
        if index is None and view.head > view.tail:
            index = view.tail
        if index is not None and concerned:
            if not error.retriable and not outside:
                self._refuse(index, error)
            # If a part of the refused fragment was sent, the rest of it is skipped. Only items
            # before `current` can leave the view.
            following = skip_refused(self._buffer, index)
            if view[index].fragment >= view.current:
                following = min(following, view.current)
            self._buffer.rewind(following)
            timecode = view[index].timestamp // core.info.timecode_scale
        core.report(error.status, error.name, upload=upload.number, timecode=timecode)
        core.uploads.set_state(upload, UploadState.TERMINATED)
        core.effects.append(UploadAborted(core.name, upload.number))
        if upload.used:
            core.abort_uploads()  # only the view knows what this upload was given
        if concerned:
            lost = self._buffer.lost_result
            self._buffer.handle_loss(ack.result if lost is None else lost)
        self._control.handle_loss(ack.result, now, error.name)
        if outside and concerned:
            self.reject(
                upload.number,
                kvs_error(
                    _S.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW,
                    "the service sent ERROR for a fragment that is not held",
                ),
                ack.timecode,
            )

    def _refuse(self, index: int, error: AckError) -> None:
        """Skip a fragment, unless it can be sent again without declaring a missing track."""
        if error.status is _S.ACK_ERR_FRAMES_MISSING_FOR_TRACK and self._tracks.redeclare(index):
            return
        self._core.causes[DropReason.REFUSED] = error.status.name
        self._skip(index)

    def _carries_nothing(self, upload: Upload) -> bool:
        """Return whether the upload has sent no media while another upload has."""
        return not upload.used and any(other.used for other in self._core.uploads.active(upload))

    def _skip(self, index: int) -> None:
        """Drop a fragment that the service has refused, so that it is never sent again."""
        core, view = self._core, self._buffer.view
        start = view[index].fragment
        end = view.next_start(index + 1)
        for refused in range(max(start, view.tail), end):
            self._buffer.refuse(view[refused])
        if end >= view.head and core.generator.started:
            # It is still being written; the service would refuse the rest of it as well.
            core.refuse_until_key(new_session=True)
        core.wake_writers()  # the refused items free space, or a waiting frame must be skipped
