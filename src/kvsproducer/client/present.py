"""Which tracks of a stream have frames and are therefore declared in new sessions.

The service refuses a fragment that lacks a declared track (ack 4011). So if a microphone were
switched off, all pictures would be refused, and the order coordinator would wait for sound forever.
A track that had no frames for a while therefore counts as *silent*: the next session begins without
it. The next frame of the track makes it present again, and another session begins with it.

When the order coordinator orders the tracks, it finds the track for which the others wait. Without
it (PASS_THROUGH) no frame waits, and fragments that lack a track are sent and refused. In this mode
`_watch` looks through the open fragment when it is about to end, so that no work is done for each
frame. If the service refuses a fragment before that, `redeclare` has it sent again.
"""

from __future__ import annotations

from kvsproducer import limits
from kvsproducer.client.buffer.view import END_OF_FRAGMENT
from kvsproducer.client.core import StreamCore
from kvsproducer.client.events import TrackResumed, TrackSilent
from kvsproducer.client.frame import FLAG_END_OF_FRAGMENT, FLAG_KEY, Frame
from kvsproducer.client.frame_order import FrameOrderCoordinator
from kvsproducer.client.timeline import Timeline
from kvsproducer.duration import ticks
from kvsproducer.mkv.tracks import TrackType

__all__ = ["PresentTracks"]


class PresentTracks:
    """The tracks of one stream: `present` is for future sessions, `declared` for the open one."""

    __slots__ = (
        "_core",
        "_grace",
        "_missing_since",
        "_numbers",
        "_order",
        "_seen",
        "_share",
        "_skipped_since",
        "_timeline",
        "_watches",
        "all",
        "beginning",
        "declared",
        "present",
        "silent",
        "sound_duration",
        "sound_only",
    )

    def __init__(
        self, core: StreamCore, order: FrameOrderCoordinator | None, timeline: Timeline
    ) -> None:
        self._core = core
        self._order = order
        self._timeline = timeline
        waits = core.buffer.offline and order is not None
        self._grace = limits.OFFLINE_TRACK_GRACE if waits else limits.TRACK_GRACE
        timeline.grace = self._grace
        self._share = core.buffer.store.size_bytes // limits.TRACK_QUEUE_SHARE
        self.sound_duration = max(ticks(core.info.fragment_duration), limits.MIN_FRAGMENT_INTERVAL)
        self._numbers = {track.track_id: n for n, track in enumerate(core.info.tracks, 1)}
        self.all = frozenset(self._numbers)
        self.silent: set[int] = set() if order is None else order.silent
        # Without an order coordinator, this class looks for silent tracks.
        self._watches = order is None and len(self.all) > 1
        # By track, dts in ticks, as found by `_watch`: the newest frame, and the start of the time
        # without frames.
        self._seen: dict[int, int] = {}
        self._missing_since: dict[int, int] = {}
        # dts of the first skipped frame since a picture came
        self._skipped_since: int | None = None
        self.declared = self.all
        self._choose(self.all)

    def _choose(self, present: frozenset[int]) -> None:
        tracks = [track for track in self._core.info.tracks if track.track_id in present]
        video = frozenset(
            track.track_id
            for track in self._core.info.tracks
            if track.track_type is TrackType.VIDEO
        )
        self.present = present
        # Fragments begin with key frames of these tracks: a player must be able to decode the first
        # picture.
        self.beginning = video & present or present
        # Pictures that come back may have any time.
        self._timeline.leading = self.beginning | video
        # In a session of sound alone any packet may begin a fragment, so fragments are cut by time.
        self.sound_only = all(track.track_type is TrackType.AUDIO for track in tracks)

    def restart(self) -> None:
        """Forget which tracks were silent, because the stream was reset."""
        self.silent.clear()
        self._seen.clear()
        self._missing_since.clear()
        self._choose(self.all)

    def declare(self) -> None:
        """Declare the present tracks in the header of a session that is about to begin."""
        if self.declared != self.present:
            self.declared = self.present
            self._core.generator.declare(self.declared)

    def queue(self, frame: Frame) -> None:
        """Queue a frame in the order coordinator; a silent track becomes present again."""
        order = self._order
        assert order is not None, "the caller looked"
        if frame.track_id in self.silent:
            order.join_epoch(frame.track_id)  # at the current time of the other tracks
            self._resume(frame)
        self._timeline.advance(frame.track_id, frame.dts)
        order.put(frame)

    def _resume(self, frame: Frame) -> None:
        """Make a silent track present again and report it."""
        self.silent.discard(frame.track_id)
        self._core.emit(TrackResumed(self._core.name, frame.track_id, frame.dts))
        self._begin_session()

    def _watch(self, frame: Frame, flags: int) -> bool:
        """Find silent tracks in a stream without order coordinator; return whether a track changed.

        It searches in three cases. A key frame is about to end the fragment. The fragment is full
        because no key frame came. Frames are skipped up to a key frame.
        """
        core, generator = self._core, self._core.generator
        if frame.track_id in self.silent:
            self._resume(frame)
            return True
        if core.skip_until_key or not generator.started:
            return self._wait_for_key(frame)
        self._skipped_since = None
        if not (flags & FLAG_KEY or frame.pts - generator.block_start >= generator.block_room):
            return False
        return self._mark_silent([t for t in self._find_missing() if t != frame.track_id])

    def _wait_for_key(self, frame: Frame) -> bool:
        """Mark the tracks that begin fragments as silent if other frames were skipped for too long.

        Return whether a track was marked.
        """
        if frame.track_id in self.beginning or self._skipped_since is None:
            self._skipped_since = None if frame.track_id in self.beginning else frame.dts
            return False
        late = frame.dts - self._skipped_since > self._grace
        return late and self._mark_silent(sorted(self.beginning))

    def _find_missing(self) -> list[int]:
        """Return the declared tracks that had no frame in the last seconds of the open fragment."""
        view = self._core.buffer.view
        newest = view.newest
        if newest is None or view.head == view.tail:
            return []
        first = max(newest.fragment, view.tail)
        absent = {self._numbers[track]: track for track in self.declared}
        index = view.head
        # few steps in most cases: each track has a frame among the newest
        while absent and index > first:
            index -= 1
            item = view.items[index]
            if item.flags & END_OF_FRAGMENT:
                continue
            track = absent.pop(item.header[-4] & 0x7F, None)
            if track is not None:
                self._seen[track] = self._missing_since[track] = item.timestamp
        start = view.items[first].timestamp
        for track in absent.values():
            self._missing_since[track] = min(self._missing_since.get(track, start), start)
        return [
            track
            for track in sorted(self.declared - self.silent)
            if newest.timestamp - self._missing_since[track] > self._grace
        ]

    def redeclare(self, index: int) -> bool:
        """Have a refused fragment sent again without declaring the tracks that it lacks.

        `index` is the index of one of its items. A new session begins at the fragment and declares
        only the tracks that the fragment has. That works only if the rest of the session has no
        frames of other tracks. Return whether the fragment will be sent again; otherwise it is
        lost.
        """
        core, view = self._core, self._core.buffer.view
        first = view[index].fragment
        place = sum(began <= first for began, _, _ in core.buffer.sessions) - 1
        if not self._watches or first < view.tail or place < 0:
            return False
        newest = place == len(core.buffer.sessions) - 1
        end = view.head if newest else core.buffer.sessions[place + 1][0]
        tracks = self._tracks_of(first, view.next_start(first + 1))
        header = core.buffer.sessions[place][2]
        # Only a header that the generator can reproduce is used: the formats may have changed
        # since.
        declared = self.declared if newest else self.all
        known = core.generator.header_for(declared) == header
        if not known or not tracks < declared or self._tracks_of(first, end) != tracks:
            return False
        core.buffer.split_session(place, first, core.generator.header_for(tracks))
        if newest:
            self._declare_only(tracks)
        return True

    def _tracks_of(self, first: int, end: int) -> frozenset[int]:
        """Return the tracks of the frames from item `first` to the item before `end`."""
        items = (self._core.buffer.view.items[index] for index in range(first, end))
        numbers = {i.header[-4] & 0x7F for i in items if not i.flags & END_OF_FRAGMENT}
        return frozenset(track for track, number in self._numbers.items() if number in numbers)

    def _declare_only(self, tracks: frozenset[int]) -> None:
        """Declare only these tracks in the open session from now on."""
        begins = self._core.reset_on_key
        self._mark_silent(sorted(self.declared - tracks - self.silent))
        self._core.reset_on_key = begins
        self.declared = tracks
        self._core.generator.declare(tracks)

    def find_silent(self) -> None:
        """Mark as silent the tracks for which the others have waited too long."""
        assert self._order is not None, "the caller looked"
        self._mark_silent(self._order.find_overdue(self._grace, self._share))

    def end(self) -> None:
        """Mark tracks without frames as silent, because no more frames will follow."""
        assert self._order is not None, "the caller checked"
        self._mark_silent(self._order.find_lacking(self.beginning))

    def _mark_silent(self, tracks: list[int]) -> bool:
        """Mark tracks as silent, unless no track would be left; return whether they were marked."""
        core = self._core
        if not tracks or len(self.silent) + len(tracks) >= len(self.all):
            return False
        for track_id in tracks:
            self.silent.add(track_id)
            last = self._seen.get(track_id)
            if self._order is not None:
                last = self._timeline.line(track_id).last
            core.emit(TrackSilent(core.name, track_id, last))
        self._begin_session()
        return True

    def _begin_session(self) -> None:
        """Make the next key frame begin a session that declares the tracks that are not silent."""
        self._missing_since.clear()
        self._skipped_since = None
        self._choose(self.all - self.silent)
        self._core.begin_session_on_key()

    def takes_over_time(self, frame: Frame) -> bool:
        """Return whether the track of a far-off sound frame now drives the stream's time.

        Normally pictures drive it. Sound takes over when no picture came within the silence limit.
        """
        timeline = self._timeline
        since = timeline.line(frame.track_id).far_since
        if since is None or frame.dts - since <= self._grace:
            return False
        return self.make_leading(frame.track_id)

    def make_leading(self, track_id: int) -> bool:
        """Mark the tracks that drive time as silent; return whether this track then drives it."""
        timeline = self._timeline
        if track_id not in timeline.leading:
            self._mark_silent([track for track in timeline.leading if track not in self.silent])
        return track_id in timeline.leading

    def jumped_to_other_track(self, frame: Frame, last: int) -> bool:
        """Return whether the time of a frame has jumped to the time of another track.

        `last` is the dts of the previous frame in its track.
        """
        timeline = self._timeline
        if abs(frame.dts - last) <= timeline.far(timeline.usual(frame.track_id)):
            return False  # the frame continues its own track
        return timeline.near_leading(frame, last)

    def follow(self, frame: Frame, last: int) -> None:
        """Move the time of a frame's track from `last` to the time of the frame."""
        assert self._order is not None, "the caller looked"
        self._order.join_epoch(frame.track_id, back=frame.dts < last)
        self._timeline.line(frame.track_id).far_count = 0
        self._timeline.advance(frame.track_id, frame.dts, jump=True)

    def flags(self, frame: Frame, *, ended: bool) -> int:
        """Return the flags with which to store a frame.

        KEY is set only if the frame begins a fragment. Encoders and demuxers flag either every
        sound packet as a key frame, or none. In a stream with pictures, the flag of a sound packet
        is ignored. Without pictures, a fragment ends after `fragment_duration`, or after an end of
        fragment (`ended`). The frame may also show that the pictures have stopped; sound then
        begins the fragments.
        """
        flags = self._flags(frame, ended=ended)
        if self._watches and self._watch(frame, flags):
            flags = self._flags(frame, ended=ended)
        return flags

    def _flags(self, frame: Frame, *, ended: bool) -> int:
        flags = frame.flags
        if flags & FLAG_END_OF_FRAGMENT:
            return flags
        if frame.track_id not in self.beginning:
            return flags & ~FLAG_KEY
        if not self.sound_only:
            return flags
        core, generator = self._core, self._core.generator
        begins = core.skip_until_key or ended or not generator.started
        if not begins and core.reset_on_key:
            begins = not self._completes_fragment(frame)
        elif not begins:
            begins = frame.pts - generator.cluster_start[0] >= self.sound_duration
        return flags | FLAG_KEY if begins else flags & ~FLAG_KEY

    def _completes_fragment(self, frame: Frame) -> bool:
        """Return whether a sound frame fits into the open fragment, as the first of its track."""
        view, generator = self._core.buffer.view, self._core.generator
        newest = view.newest
        if newest is None or view.head == view.tail or frame.track_id not in self.declared:
            return False
        first = max(newest.fragment, view.tail)
        fits = 0 <= frame.pts - generator.block_start < generator.block_room
        return fits and frame.track_id not in self._tracks_of(first, view.head)
