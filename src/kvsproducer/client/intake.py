"""The put path: what happens to a frame between `Stream.put_frame` and the buffer.

A frame goes through three stages. A stage that refuses a frame changes nothing.

1. *Decide*. Most frames are ordinary: a block of the open fragment, close in time to the newest
   frame, while no session or fragment is due. `put` recognizes these with a few comparisons. For
   the others, these questions are answered in this order:
   - Can a player decode the frame? (`formats`)
   - Is its time far from that of its neighbours? Then it is held until later frames decide.
     (`timeline`)
   - Is the stream open, is a session or a fragment due, are frames skipped up to the next key
     frame? (`_attend`)
   - Which timestamp does the service accept in its fragment? (`borders`)
   Frames of several tracks are first put into one order by the order coordinator.
2. *Package*. NAL units are adapted without a copy of the payload, and the size is computed.
3. *Charge and append*. `Admission` finds space. If there is none, it drops older frames or raises
   `WouldBlock`, depending on the stream's policies. The generator returns the bytes before the
   payload, and the buffer takes the item.

Source: AWS's putFrame and its order of checks.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from kvsproducer import limits
from kvsproducer.client.borders import Borders
from kvsproducer.client.buffer.admission import Admission, WouldBlock
from kvsproducer.client.buffer.view import FRAGMENT_START, STREAM_START, ViewItem
from kvsproducer.client.control import StreamControl
from kvsproducer.client.core import StreamCore
from kvsproducer.client.events import (
    DropReason,
    FrameSkipped,
    TimeJumped,
    TimestampCorrected,
)
from kvsproducer.client.formats import Formats
from kvsproducer.client.fragment_end import FragmentEnd
from kvsproducer.client.frame import FLAG_END_OF_FRAGMENT, FLAG_KEY, Frame, check_types
from kvsproducer.client.frame_order import FrameOrderCoordinator
from kvsproducer.client.present import PresentTracks
from kvsproducer.client.stream_info import FrameOrderMode
from kvsproducer.client.timeline import (
    Timeline,
    Verdict,
    check_instant,
    misplaced_error,
    usual_step,
    with_time,
)
from kvsproducer.duration import ticks
from kvsproducer.heap.store import compact
from kvsproducer.mkv.adaptation import FrameAdapter
from kvsproducer.mkv.tracks import FrameKind, TrackType
from kvsproducer.status import KvsError, StatusCode, kvs_error, with_detail

__all__ = ["Intake"]

_S = StatusCode
_TIME_ERRORS: Final = frozenset(
    {
        _S.CONTENT_VIEW_INVALID_TIMESTAMP,
        _S.MKV_INVALID_FRAME_TIMESTAMP,
        _S.MKV_MAX_FRAME_TIMECODE,
    }
)
# What the packager raises. TypeError and struct.error come from members of a wrong type.
_PACKAGING_ERRORS: Final = (KvsError, TypeError, struct.error)
_KIND_FLAGS: Final = (0, FRAGMENT_START, STREAM_START | FRAGMENT_START)  # by FrameKind


class Intake:
    """Takes the frames of one stream; an offline writer waits up to `waits` ticks for space."""

    def __init__(self, core: StreamCore, control: StreamControl, waits: int) -> None:
        info = core.info
        self._core = core
        self._control = control
        self._rotation = control.rotation
        self._adapter = FrameAdapter(
            info.tracks, info.nal_adaptation, content_type=info.content_type
        )
        self._admission = Admission(core.buffer, info, core, waits)
        self.order = (
            None
            if info.frame_order_mode is FrameOrderMode.PASS_THROUGH
            else FrameOrderCoordinator(info.tracks, info.frame_order_mode, info.timecode_scale)
        )
        self._track_ids = frozenset(track.track_id for track in info.tracks)
        # Tracks in which frames depend on key frames. Each audio frame can be decoded alone.
        self._leading = frozenset(
            track.track_id for track in info.tracks if track.track_type is not TrackType.AUDIO
        )
        self._borders = Borders(info, core.buffer.view, core.generator)
        self._epoch = 0  # epoch of the newest frame that came out of the order coordinator
        self._lost_key_tracks: set[int] = set()  # tracks whose newest key frame was refused
        self._after_jump = False  # the next item is the first one after a jump
        # dts of the newest frame that was skipped, or refused for another reason than its time.
        self._skipped_dts: int | None = None
        # A frame up to so many ticks after the newest needs no decision; -1: each frame needs one.
        self._stride = limits.FAR_TIMESTAMP
        self._durations = {  # default durations, by track
            track.track_id: info.frame_duration if track.track_type is TrackType.VIDEO else 0
            for track in info.tracks
        }
        self._converted = self._adapter.converted
        self.timeline = Timeline(frozenset(), info.timecode_scale)
        self.tracks = self._tracks = PresentTracks(core, self.order, self.timeline)
        self._formats = Formats(core, self._tracks, self._adapter, ordered=self.order is not None)
        self._end = FragmentEnd(core, control, self._admission)
        # the newest key frame was refused: the store was full, or the frame invalid
        self._key_refused = False
        self._stalled = False  # the next frame from the order coordinator found no space
        # time of the last put; None: no put since creation or reset
        self.last_put: int | None = None
        self._max_latency = ticks(info.max_latency)
        self._assigns_times = not info.frame_timecodes
        self._wall = control.wall
        self._clock_offset: int | None = (
            None  # wall clock minus `now`, for the times that we assign
        )
        self._absolute = info.absolute_fragment_times and not self._assigns_times
        # Short names for objects that are used for every frame.
        self._buffer, self._view = core.buffer, core.buffer.view
        self._generator, self._uploads = core.generator, core.uploads
        self._metadata = core.metadata
        self._scale = info.timecode_scale

    @property
    def idle(self) -> bool:
        """True if there is nothing to end: no frame waits, and the newest fragment has ended."""
        return not self.waiting and (self.last_put is None or self._end.reached)

    @property
    def fragment_open(self) -> bool:
        """Whether a fragment has begun and not ended."""
        return self._end.is_open

    @property
    def waiting(self) -> int:
        """Number of accepted frames that wait until later frames decide on their order or time."""
        return len(self.timeline) + (0 if self.order is None else len(self.order))

    def waiting_pts(self) -> list[int]:
        """Return the original pts of the accepted frames counted by `waiting`."""
        timeline = self.timeline
        times = [frame.pts for frame in (*timeline.held, *timeline.due)]
        return times if self.order is None else times + self.order.waiting_pts()

    def put(self, frame: Frame, now: int) -> None:
        """Take a frame; see `Stream.put_frame`."""
        if self.order is not None:
            self._put_in_order(frame, now)
            return
        view, pts = self._view, frame.pts
        newest = view.newest
        plain = self._formats.plain.get(frame.track_id)
        if (
            frame.flags
            or self._core.attention
            or self._assigns_times
            or now >= self._rotation.due
            or newest is None
            or view.head == view.tail
            or not newest.timestamp <= frame.dts <= pts <= newest.timestamp + self._stride
            or not self._borders.least <= pts - self._generator.block_start
            or not pts - self._generator.block_start < self._generator.block_room
            or (plain is not None and plain(frame.data) is None)
        ):
            self._put_any(frame, now)
            return
        try:
            self._store(frame, 0, pts, pts, now, pts)
            self._buffer.accept()
        except KvsError as error:
            self._note_refusal(frame, error)
            raise

    def _put_any(self, frame: Frame, now: int) -> None:
        """Decide on a frame that is not plain, and store it unless it is held or skipped."""
        check_types(frame, self._core.name)
        if self._assigns_times:
            frame = self._stamp(frame, now)
        try:
            checked = self._formats.check(frame)
            if checked is not None:
                if self._put_in_time(checked, now):
                    self._buffer.accept()
                else:
                    self._note_skipped(frame)
                self._formats.finish(frame.track_id)
                self._report_stamp(frame, now)
        except KvsError as error:
            self._note_refusal(frame, error)  # with the time that `_stamp` assigned, if it did
            raise
        finally:
            self._set_stride()

    def _stamp(self, frame: Frame, now: int) -> Frame:
        """Return a copy of a frame whose time is the wall-clock time of its put.

        When the wall clock is set, the new time takes effect with the next fragment. Until then,
        times advance with `now`, so that no fragment is cut short. If the clock was set back a
        little, the frame gets the time just after the newest frame's, until the clock has passed
        that time. Refusing such frames would not help: the caller has no influence on their times.
        """
        begins = frame.flags & FLAG_KEY or self._tracks.sound_only
        if self._clock_offset is None or (begins and frame.track_id in self._tracks.beginning):
            self._clock_offset = self._wall(now) - now
        time = now + self._clock_offset
        copy = with_time(frame, time)
        last = self._last(copy)
        if last is None or not time < last <= time + self.timeline.far(self._usual_step(copy)):
            return copy
        return with_time(frame, last + self._scale)

    def _report_stamp(self, frame: Frame, now: int) -> None:
        """Report it if `_stamp` gave a frame a later time than that of its put."""
        if self._clock_offset is not None and frame.dts > now + self._clock_offset:
            name, given = self._core.name, now + self._clock_offset
            self._core.emit(TimestampCorrected(name, frame.track_id, given, frame.dts))

    def _set_stride(self) -> None:
        """Allow the fast path of `put` only while no frame is held or far off in time."""
        self._stride = limits.FAR_TIMESTAMP if self.timeline.undisturbed else -1

    def _note_refusal(self, frame: Frame, error: KvsError) -> None:
        """Record a refused frame; if it is a key frame, skip its track up to the next one."""
        core = self._core
        if error.status not in _TIME_ERRORS and self._continues_track(frame):
            self._skipped_dts = frame.dts
        if error.status is _S.MKV_LARGE_FRAME_TIMECODE and frame.data:
            core.refuse_until_key()  # the fragment is full for all tracks
        if not frame.flags & FLAG_KEY:
            return
        if not self._generator.started:
            core.refuse_until_key()
        elif frame.track_id in self._leading:
            self._lost_key_tracks.add(frame.track_id)
            core.attention = True
        else:
            return
        self._key_refused = error.status not in _TIME_ERRORS

    def _continues_track(self, frame: Frame) -> bool:
        """Return whether a frame has media and no frame of its track is far off in time."""
        return self._has_media(frame) and not self.timeline.line(frame.track_id).far_count

    def _has_media(self, frame: Frame) -> bool:
        """Return whether a frame has payload and belongs to a track of this stream."""
        return bool(frame.data) and frame.track_id in self._track_ids

    def _note_skipped(self, frame: Frame) -> None:
        """Record the time of a skipped frame, unless the time is far off."""
        newest = self._view.newest
        if newest is not None:
            last = max(newest.timestamp, self._skipped_dts or 0)
            if abs(frame.dts - last) <= self.timeline.far(self._usual_step(frame)):
                self._skipped_dts = frame.dts

    # --- frames whose time is far from their neighbours' ----------------------------------------
    def _put_in_time(self, frame: Frame, now: int) -> bool:
        """Put a frame after the frames that wait, or hold it; return whether it was accepted."""
        if frame.flags & FLAG_END_OF_FRAGMENT:
            self.check_open()
            self._release_held()
        self._put_due(now)
        if self._must_hold(frame, now):
            self.timeline.held.append(frame)
            return True
        return self._put(frame, now)

    def _must_hold(self, frame: Frame, now: int) -> bool:
        """Return whether to hold a frame until later frames decide on its time.

        Raises an error if the frame is refused for its time alone.
        """
        last, timeline = self._last(frame), self.timeline
        if not self._has_media(frame):
            return False
        near = last is not None and last <= frame.dts <= frame.pts <= last + limits.FAR_TIMESTAMP
        if timeline.undisturbed and near:
            return False
        if self._absolute and (last is not None or frame.flags & FLAG_KEY):
            check_instant(self._core.name, frame.pts, self._wall(now))
        if last is None:
            return False
        # An offline source may have waited for space. That is not a pause in its media, unless we
        # assign the times. Held frames that are put below do not end the pause.
        before = None if self._buffer.offline and not self._assigns_times else self.last_put
        elapsed = 0 if before is None else now - before
        while True:
            verdict = self._judge(frame, last, elapsed)
            if verdict in (Verdict.RETURN, Verdict.LEAVE):
                self._settle_held(frame, last, left=verdict is Verdict.LEAVE)
                self._put_due(now)
                last = self._last(frame) or last
            elif verdict is Verdict.JUMP:
                timeline.jump(frame)
                self._jump(timeline.due[0] if timeline.due else frame, last)
                self._put_due(now)
                return False
            elif verdict is Verdict.REFUSE and self._leads_now(frame, last, now):
                continue  # decide again: its track now drives the stream's time
            else:  # the view or the generator refuses a frame that goes back in time
                return verdict is Verdict.HOLD and self._may_hold(frame, now)

    def _judge(self, frame: Frame, last: int, elapsed: int) -> Verdict:
        """Return what to do with a frame; `last` is the dts with which its time is compared.

        `elapsed` is the time in ticks since the previous put.
        """
        verdict = self.timeline.judge(frame, last, self._usual_step(frame), elapsed)
        if self._assigns_times and verdict is not Verdict.GO:
            return Verdict.JUMP  # our own times have no outliers: the wall clock was set
        return verdict

    def _leads_now(self, frame: Frame, last: int, now: int) -> bool:
        """Return whether the track of a far-off frame now drives the stream's time.

        If it does not, the frame is refused, by an error or later by the view or the generator.
        Held frames of its track then get times up to the time of the tracks that drive the stream's
        time.
        """
        if self._tracks.takes_over_time(frame):
            return True
        if self.timeline.holds(frame.track_id) and frame.dts > last:
            until = self.timeline.leading_time(last)
            self._correct(frame.track_id, last, until, 0)
            self._put_due(now)
        if self.order is not None or frame.dts > last:
            raise misplaced_error(self._core.name, frame, last)
        return False  # the view or the generator refuses the frame

    def _usual_step(self, frame: Frame) -> int | None:
        if self.order is None:
            return usual_step(self._view, self._core.rates.elementary)
        return self.timeline.usual(frame.track_id)

    def _may_hold(self, frame: Frame, now: int) -> bool:
        """Return True if there is space to hold a frame; otherwise raise an error."""
        self.check_open()
        self._admission.check_memory(len(frame.data))
        try:
            self._admission.check_queued(len(frame.data) + self.timeline.size_bytes, now)
        except WouldBlock:
            self.timeline.forget_newest(frame)
            raise
        return True

    def _settle_held(self, frame: Frame, last: int, *, left: bool) -> None:
        """Decide on the held frames of a track, because a new frame does not continue from them.

        If `left` is true and the track can drive the stream's time, time has jumped to the held
        frames. Otherwise they are outliers and get times between their neighbours'.
        """
        timeline, track_id = self.timeline, frame.track_id
        if left and self._tracks.make_leading(track_id):
            timeline.jump(next(held for held in timeline.held if held.track_id == track_id))
            self._jump(timeline.due[0], last)
        else:
            self._correct(track_id, last, frame.dts, timeline.far(self._usual_step(frame)))

    def _correct(self, track_id: int, last: int, until: int, far: int) -> None:
        """Give a track's held frames times after `last` and up to `until`; report the changes."""
        core = self._core
        for given, used in self.timeline.correct(track_id, last, until, far):
            if self.order is not None:
                self.order.replace(given, used)
            core.emit(TimestampCorrected(core.name, track_id, given.dts, used.dts))

    def _last(self, frame: Frame) -> int | None:
        """Return the dts with which to compare a frame, or None if the frame may have any time."""
        core, newest = self._core, self._view.newest
        if self.order is not None:
            return self.timeline.line(frame.track_id).last
        if newest is None or frame.flags & FLAG_END_OF_FRAGMENT:
            return None
        # a frame after held ones decides on them, and is always compared
        if not self.timeline.held:
            if (core.skip_until_key and core.reset_on_key) or not self._generator.started:
                return None
            if (core.skip_until_key or self._end.reached) and not frame.flags & FLAG_KEY:
                return None
        return (
            newest.timestamp
            if self._skipped_dts is None
            else max(newest.timestamp, self._skipped_dts)
        )

    def _release_held(self) -> None:
        """Make the held frames due as they are, because no later frame will decide on them."""
        timeline = self.timeline
        if timeline.held:
            timeline.end()
            first = timeline.due[0]
            self._jump(first, self._last(first) or 0)

    def _jump(self, first: Frame, last: int) -> None:
        """Handle a jump of time from `last` to the time of the frame `first`."""
        core = self._core
        core.emit(TimeJumped(core.name, last, first.dts))
        if self.order is not None:
            self.order.join_epoch(first.track_id, back=first.dts < last)
            self.timeline.advance(first.track_id, first.dts, jump=True)
            return
        self._skipped_dts, self._after_jump = None, True
        if first.dts < last or not self._borders.fits(first):
            core.refuse_until_key(new_session=True)

    def _put_due(self, now: int) -> None:
        """Put the held frames whose time has been decided; report those that fail."""
        due = self.timeline.due
        while due:
            frame = due.popleft()
            try:
                if self.order is not None:
                    self._tracks.queue(frame)
                elif not self._put(frame, now):
                    self._buffer.accept(-1)
            except WouldBlock:
                due.appendleft(frame)
                raise
            except KvsError as error:
                self._note_refusal(frame, error)
                self._drop_invalid(frame.dts, frame.pts, error)

    def put_waiting(self, now: int) -> None:
        """Put all waiting frames as they are, because no later frames will decide on them."""
        self._release_held()
        self._put_due(now)
        if self.order is not None:
            self._tracks.end()
            self.drain(now, flush=True)
        self._set_stride()

    def end_waiting(self, now: int) -> None:
        """Put all waiting frames because the stream stops; drop the frames that find no space."""
        self._admission.final = True
        self.put_waiting(now)
        self._admission.final = False
        if self._metadata:
            self._end.put_late_metadata(last=True)

    def take_all(self) -> list[Frame]:
        """Remove and return the waiting frames."""
        return self.timeline.take_all() + ([] if self.order is None else self.order.take_all())

    def restart(self) -> None:
        """Start over after the view was emptied: the next key frame begins a new session."""
        self._end.reached = False
        self.last_put = None
        self._lost_key_tracks.clear()
        self.timeline.restart()
        self._tracks.restart()
        self._skipped_dts = None
        self._set_stride()
        self._core.refuse_until_key(new_session=True)

    def _put_in_order(self, frame: Frame, now: int) -> None:
        """Put a frame through the order coordinator, after the frames that wait for space."""
        order = self.order
        assert order is not None, "the caller checked"
        check_types(frame, self._core.name)
        if self._assigns_times:
            frame = self._stamp(frame, now)
        order.check(frame)
        self.check_open()
        if self._stalled:
            self.drain(now, flush=False)
        checked = self._formats.check(frame)
        if checked is None:
            return
        self._admission.check_queued(len(checked.data) + order.size_bytes, now)
        if frame.flags & FLAG_END_OF_FRAGMENT:
            self._release_held()
            self._put_due(now)
            self.drain(now, flush=True)
            self._put(frame, now)
            order.end_fragment()
            return
        if not self._follow_other_track(checked, now) and self._must_hold(checked, now):
            self.timeline.held.append(checked)
            order.reserve(checked)
        else:
            self._tracks.queue(checked)
        self._formats.queued[frame.track_id] = checked.dts
        self._formats.finish(frame.track_id)
        self._report_stamp(frame, now)
        self._buffer.accept()
        self._tracks.find_silent()
        with suppress(WouldBlock):  # this frame was accepted; the next put waits
            self.drain(now, flush=False)

    def _follow_other_track(self, frame: Frame, now: int) -> bool:
        """Return whether a frame's time has jumped to the time of another track.

        If it has, first decide on the held frames, then move the time of the frame's track.
        """
        last = self.timeline.line(frame.track_id).last
        if last is None or not self._tracks.jumped_to_other_track(frame, last):
            return False
        if self.timeline.held:
            self._correct(
                frame.track_id, last, frame.dts, self.timeline.far(self._usual_step(frame))
            )
            self._put_due(now)
        self._tracks.follow(frame, last)
        return True

    def drain(self, now: int, *, flush: bool) -> None:
        """Store the frames that the order coordinator releases; with `flush`, all queued frames.

        These frames were accepted before, so errors are reported and not raised. The exception is
        `WouldBlock`, if an offline stream has no space; the frame then stays in its queue.
        """
        order = self.order
        assert order is not None, "the caller checked"
        self._stalled = False
        for frame in order.ready(flush=flush):
            if order.last_epoch > self._epoch:  # its time is before that of the last frame
                self._epoch = order.last_epoch
                self._core.refuse_until_key(new_session=True)
            try:
                if not self._put(frame, now):
                    self._buffer.accept(-1)
            except WouldBlock:
                order.put_back(frame)
                self._stalled = True
                raise
            except KvsError as error:
                self._note_refusal(frame, error)
                self._drop_invalid(order.original_dts, order.original_pts, error)

    def _drop_invalid(self, dts: int, pts: int, error: KvsError) -> None:
        """Drop an accepted frame that cannot be stored, and report the reason."""
        self._core.report(error.status, error.detail)
        self._core.causes[DropReason.INVALID] = error.status.name
        self._buffer.drop(dts, pts, DropReason.INVALID)

    def _put(self, frame: Frame, now: int) -> bool:
        """Store a frame; return False if it was skipped, or was an end-of-fragment mark."""
        flags = self._tracks.flags(frame, ended=self._end.reached)
        core = self._core
        if (core.attention or now >= self._rotation.due or flags & FLAG_END_OF_FRAGMENT) and (
            not self._attend(frame, flags, now)
        ):
            return False
        pts, start = self._borders.fit(frame, flags, join=not core.skip_until_key)
        given = frame.pts if self.order is None else self.order.original_pts
        self._store(frame, flags, pts, start, now, given)
        return True

    def _store(self, frame: Frame, flags: int, pts: int, start: int, now: int, given: int) -> None:
        """Package a frame with the time `pts`, count its bytes in the budget, and append it.

        `start` is the pts of the fragment that the frame may begin. `given` is the pts with which
        the frame was put.
        """
        track_id, data = frame.track_id, frame.data
        payload: Sequence[bytes | memoryview] = (data,)
        alive = size = len(data)
        if track_id in self._converted:
            payload, size = self._adapter.adapt(track_id, data)
        room, metadata = size + limits.MAX_BLOCK_HEADER_BYTES, b""
        if flags & FLAG_KEY:
            room, metadata = self._prepare_key(frame, flags, payload, size, pts, frame.dts)
        if size != alive or len(payload) > limits.MAX_PAYLOAD_BUFFERS:
            kept = alive if self._buffer.holding is None else size
            payload, alive = compact(payload, size, kept)
        charge = (
            room + alive - size + self._buffer.item_overhead
        ) + limits.BUFFER_OVERHEAD_BYTES * len(payload)
        if not self._admission.charge(room, charge):
            self._refuse_early(frame, flags, pts, start, size, room, charge)
            begins = bool(self._generator.kind_of(flags, pts))
            with self._end.before_waiting(begins):
                payload = self._admission.admit(room, charge, now, payload, size, begins=begins)
        try:
            header, kind, prefix_length, timestamp, ack_timestamp, duration = self._generator.pack(
                track_id,
                flags,
                pts,
                frame.dts,
                frame.duration or self._durations.get(track_id, 0),
                size,
                start,
            )
            if kind and self._metadata:
                self._end.put_late_metadata()
            if metadata:
                header = header[:prefix_length] + metadata + header[prefix_length:]
            item = ViewItem(
                timestamp,
                ack_timestamp,
                duration,
                _KIND_FLAGS[kind],
                header,
                prefix_length,
                payload,
                len(header) + size,
                charge,
                given,
            )
            self._buffer.append(item, jump=self._after_jump)
        except _PACKAGING_ERRORS:
            self._buffer.undo_charge(charge, payload)
            raise
        self._after_jump = False
        if flags & FLAG_KEY:
            self._lost_key_tracks.discard(track_id)
        if kind:
            self._note_fragment_start(item, now)
        self._finish_put(now)

    def _refuse_early(
        self, frame: Frame, flags: int, pts: int, start: int, size: int, room: int, charge: int
    ) -> None:
        """Raise the errors of `pack` early, before older frames are dropped to make room."""
        if self._admission.needs_eviction(room, charge):
            times = pts, frame.dts, frame.duration
            self._generator.check(frame.track_id, flags, *times, size, start)
            self._borders.check_order(frame.dts)

    def _finish_put(self, now: int) -> None:
        """Finish a put: check the latency, and wake the upload if it waits for data."""
        self.last_put = now
        if self._max_latency and self._view.head - self._view.current > 1:
            self._admission.check_latency(self._max_latency)
        upload = self._uploads.reader
        if upload is not None and upload.idle:
            self._core.wake(upload)

    def _prepare_key(
        self,
        frame: Frame,
        flags: int,
        payload: Sequence[bytes | memoryview],
        size: int,
        pts: int,
        dts: int,
    ) -> tuple[int, bytes]:
        """Return the maximum size of a key frame's item, and the metadata to write with it."""
        core = self._core
        self._borders.check_order(dts)
        self._formats.take_parameter_sets(frame.track_id, payload)
        kind = core.generator.kind_of(flags, pts)
        if kind is FrameKind.STREAM:
            self._formats.require_private_data()
        metadata = core.metadata.at_start() if kind and core.metadata else b""
        return size + core.generator.overhead(kind) + len(metadata), metadata

    def _note_fragment_start(self, item: ViewItem, now: int) -> None:
        core = self._core
        self._buffer.note_put(item, now)
        # the next fragment begins after a duration, see `PresentTracks`
        if self._tracks.sound_only:
            generator = self._generator
            generator.block_room = min(generator.block_room, self._tracks.sound_duration)
        self._end.reached = core.skip_until_key = core.reset_on_key = False
        self._stay_attentive()
        self._key_refused = False
        self._skipped_dts = None
        self._borders.note_fragment_start(new_session=bool(item.flags & STREAM_START))
        core.rates.sample_put(self._buffer.ledger.accepted, item.ack_timestamp, now)
        if item.flags & STREAM_START:
            self._formats.outdated.clear()
            generator = core.generator
            self._buffer.begin_session_at(item, generator.stream_start)
        core.metadata.note_start()

    def check_open(self) -> None:
        """Raise an error if the stream is stopped, freed or failed, so that it takes no frames."""
        core = self._core
        if core.stopped:
            raise kvs_error(
                _S.STREAM_HAS_BEEN_STOPPED,
                "the stream is stopped or closed, and takes no more frames",
                stream=core.name,
            )
        if core.failure is not None:
            failure = core.failure
            raise with_detail(failure, failure.detail, stream=core.name)

    def _attend(self, frame: Frame, flags: int, now: int) -> bool:
        """Check whether the stream takes this frame, and start due sessions.

        Returns False if the frame needs no further work: it was skipped, or was an end-of-fragment
        mark.
        """
        core, control = self._core, self._control
        if flags & FLAG_END_OF_FRAGMENT:
            self.check_open()
            self._end.put(now)
            return False
        if frame.track_id not in self._track_ids:
            raise kvs_error(
                _S.MKV_TRACK_INFO_NOT_FOUND,
                f"the frame has track_id {frame.track_id}; "
                f"the stream has {sorted(self._track_ids)}",
                stream=core.name,
            )
        self.check_open()
        control.leave_ready(now)
        if now >= self._rotation.rotate_at:
            control.rotate(now)
        if now >= self._rotation.session_at:
            control.cancel_session_due()
            core.reset_on_key = True
        if self._end.reached:
            core.skip_until_key = True
        if flags & FLAG_KEY:
            # The frame may still be refused. State that belongs to the new fragment changes only in
            # `_note_fragment_start`.
            self._stay_attentive()
            self._prepare_generator()
            return True
        unusable = self._lost_key_tracks | self._formats.outdated
        lost = frame.track_id in unusable or frame.track_id not in self._tracks.declared
        if lost or core.skip_until_key or not core.generator.started:
            if self._key_refused:
                self._admission.check_memory(len(frame.data))
            self._buffer.skip()
            dts = frame.dts if self.order is None else self.order.original_dts
            core.emit(FrameSkipped(core.name, dts, dts, 1))
            return False
        self._stay_attentive()
        return True

    def _stay_attentive(self) -> None:
        """Set whether `_attend` must also be called for the next frame.

        It must be called while a session is due, or frames are skipped until a key frame. The same
        applies after a track's key frame was refused, and while some tracks are not declared.
        """
        core = self._core
        core.attention = (
            core.reset_on_key
            or core.skip_until_key
            or bool(self._lost_key_tracks)
            or self._tracks.declared != self._track_ids
        )

    def _prepare_generator(self) -> None:
        """Make the next key frame begin a session if one is due, otherwise a fragment."""
        core = self._core
        by_time = not core.info.key_frame_fragmentation and not self._end.reached
        if core.reset_on_key or (core.skip_until_key and by_time):
            core.generator.reset()
        elif core.skip_until_key:
            core.generator.close_fragment()
        if not core.generator.started:
            self._tracks.declare()

    def end_fragment(self, now: int) -> None:
        """Put the waiting frames, then end the open fragment. See `Stream.end_fragment`."""
        self.check_open()
        order, view = self.order, self._view
        self._release_held()
        try:
            self._put_due(now)
        finally:
            self._set_stride()
        if order is not None and len(order):
            self._admission.check_queued(order.size_bytes, now)
            self.drain(now, flush=True)
        if self._end.reached or view.head == view.tail:
            return
        self._end.put(now)
        if order is not None:
            order.end_fragment()
