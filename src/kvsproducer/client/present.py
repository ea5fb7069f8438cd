"""Which tracks of a stream have frames, and so are in the sessions that begin.

The service refuses a fragment that lacks a declared track (ack 4011). A microphone that is switched
off would so cost all pictures, and the order coordinator would wait for its sound without end. A
track that has had no frames for a while is *silent*: the next session begins without it. With its
next frame it is present again, and another session begins with it.

Only streams whose tracks are put in order wait for a track, and only they are watched here.
"""

from __future__ import annotations

from kvsproducer import limits
from kvsproducer.client.core import StreamCore
from kvsproducer.client.events import TrackResumed, TrackSilent
from kvsproducer.client.frame import FLAG_END_OF_FRAGMENT, FLAG_KEY, Frame
from kvsproducer.client.frame_order import FrameOrderCoordinator
from kvsproducer.client.timeline import Timeline
from kvsproducer.mkv.tracks import TrackType

__all__ = ["PresentTracks"]


class PresentTracks:
    """The tracks of one stream. `present` is for sessions to come, `declared` for the open one."""

    __slots__ = (
        "_core",
        "_grace",
        "_order",
        "_share",
        "_timeline",
        "all",
        "beginning",
        "declared",
        "present",
        "sound_duration",
        "sound_only",
    )

    def __init__(
        self, core: StreamCore, order: FrameOrderCoordinator | None, timeline: Timeline
    ) -> None:
        self._core = core
        self._order = order
        self._timeline = timeline
        self._grace = limits.OFFLINE_TRACK_GRACE if core.offline else limits.TRACK_GRACE
        self._share = core.store.size_bytes // limits.TRACK_QUEUE_SHARE
        self.sound_duration = max(core.info.fragment_duration, limits.MIN_FRAGMENT_INTERVAL)
        self.all = frozenset(track.track_id for track in core.info.tracks)
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
        # Fragments begin with key frames of these tracks: a picture has to be decodable at once.
        self.beginning = video & present or present
        # Pictures that come back may be anywhere.
        self._timeline.leading = self.beginning | video
        # In a session of sound alone any packet may begin one: they are cut by time.
        self.sound_only = all(track.track_type is TrackType.AUDIO for track in tracks)

    def restart(self) -> None:
        """Forget which tracks were silent: the stream was reset."""
        if self._order is not None:
            self._order.silent.clear()
        self._choose(self.all)

    def declare(self) -> None:
        """Declare the present tracks in the header of a session that is about to begin."""
        if self.declared != self.present:
            self.declared = self.present
            self._core.generator.declare(self.declared)

    def queue(self, frame: Frame) -> None:
        """Queue a frame for its turn among those of other tracks; a silent track is back."""
        order = self._order
        assert order is not None, "the caller looked"
        if frame.track_id in order.silent:
            order.silent.discard(frame.track_id)
            order.join_epoch(frame.track_id)  # where the others are now
            self._core.emit(TrackResumed(self._core.name, frame.track_id, frame.dts))
            self._change()
        self._timeline.went(frame.track_id, frame.dts)
        order.put(frame)

    def find_silent(self) -> None:
        """Go on without tracks for which others have waited too long."""
        assert self._order is not None, "the caller looked"
        self._leave_out(self._order.overdue(self._grace, self._share))

    def end(self) -> None:
        """No more frames come: let no fragment begin that would lack a track."""
        if self._order is not None:
            self._leave_out(self._order.lacking(self.beginning, self._grace // 4))

    def _leave_out(self, tracks: list[int]) -> None:
        order, core = self._order, self._core
        assert order is not None, "the caller looked"
        if not tracks or len(order.silent) + len(tracks) >= len(self.all):
            return
        for track_id in tracks:
            order.silent.add(track_id)
            core.emit(TrackSilent(core.name, track_id, self._timeline.line(track_id).last))
        self._change()

    def _change(self) -> None:
        """Have a session begin with the next key frame."""
        assert self._order is not None, "the caller looked"
        self._choose(self.all - self._order.silent)
        self._core.reset_on_key = self._core.attention = True

    def leads_alone(self, frame: Frame) -> bool:
        """Return whether sound that is far off has become what moves the stream's time.

        Pictures would move it, but there was none in the time that a silent track is waited for.
        """
        timeline, order = self._timeline, self._order
        assert order is not None, "the caller looked"
        since = timeline.line(frame.track_id).since
        if since is None or frame.dts - since <= self._grace:
            return False
        self._leave_out([track for track in timeline.leading if track not in order.silent])
        return frame.track_id in timeline.leading

    def joins(self, frame: Frame) -> bool:
        """Return whether a frame that is far off is where another track's time has jumped to."""
        line = self._timeline.line(frame.track_id)
        if line.last is None:
            return False
        if abs(frame.dts - line.last) <= self._timeline.far(self._timeline.usual(frame.track_id)):
            return False  # it goes on
        return self._timeline.near_leading(frame)

    def follow(self, frame: Frame, last: int) -> None:
        """Let the time of a track, which was at `last`, go to where one of its frames is."""
        assert self._order is not None, "the caller looked"
        self._order.join_epoch(frame.track_id, back=frame.dts < last)
        self._timeline.line(frame.track_id).count = 0
        self._timeline.went(frame.track_id, frame.dts, jump=True)

    def flags(self, frame: Frame, *, ended: bool) -> int:
        """Return a frame's flags, KEY set only if the frame is to begin a fragment.

        Encoders and demuxers flag every packet of sound as a key frame, or none. With pictures the
        flag of sound counts for nothing; without, fragments are cut by `fragment_duration`, or
        after an end of fragment (`ended`).
        """
        flags = frame.flags
        if not self.sound_only:
            return flags if frame.track_id in self.beginning else flags & ~FLAG_KEY
        core, generator = self._core, self._core.generator
        if flags & FLAG_END_OF_FRAGMENT:
            return flags
        if (
            core.skip_until_key
            or core.reset_on_key
            or ended
            or not generator.started
            or frame.pts - generator.cluster_start[0] >= self.sound_duration
        ):
            return flags | FLAG_KEY
        return flags & ~FLAG_KEY
