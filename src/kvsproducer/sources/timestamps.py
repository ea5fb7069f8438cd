"""The times of one track, made fit for a stream: complete, rising, and without jumps.

KVS needs a presentation time on every frame, and decode times that do not go back. A container may
leave out either: Matroska has no dts, MPEG-TS gives one time to several audio frames, a broken
muxer forgets some. `TrackTimes` derives what is missing from the frame before, and the first times
of a track from the first one that is known, counted back.

Times also jump: in joined files, when a camera restarts, when the 33-bit counter of MPEG-TS wraps.
The rest of the source is then moved so that it goes on where the track was. A `Timeline` holds
these offsets for all tracks, so that sound and pictures stay together: a track that jumps first
looks whether an offset that another track found, or an earlier one, fits its new time. (FFmpeg's
command line does the same; see `-dts_delta_threshold` in its manual.)

A step forward is a jump only in containers whose times may restart (`gaps=False`: MPEG-TS, MPEG-PS,
FLV, and every pipe). In an MP4 or Matroska file it is a pause in the recording and is kept, unless
the next frame goes back to the old time: then one frame had a wrong time, and that is corrected.

Everything that is derived or moved is counted. Times are ticks in the file's own time line; the
module neither orders tracks nor knows fragments.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources.media import Kind, MediaPacket, MediaTrack
from kvsproducer.sources.packet_duration import duration_rule

__all__ = ["Timeline", "TrackTimes", "seconds"]

_MAX_REORDERED: Final = 16  # pictures between decoding and display, in H.264 and H.265
_MAX_WITHOUT_DTS: Final = 32  # ours: packets held until one has a dts
_MAX_WITHOUT_TIME: Final = 2_000  # ours: packets held until one has a time at all
_SMALL_STEP: Final = TICKS_PER_SECOND // 4  # ours: a step back up to this is evened out
_MAX_OVERLAP: Final = TICKS_PER_SECOND  # ours: how early a track may be after another's jump
_MAX_STEP: Final = 10 * TICKS_PER_SECOND  # a longer step may be a jump; FFmpeg's threshold too
_MAX_GAP: Final = 30 * 3600 * TICKS_PER_SECOND  # a longer gap is a wrong time; FFmpeg's threshold
_REMEMBERED: Final = 8  # ours: offsets that may be returned to


def seconds(ticks: int) -> str:
    """`ticks` as people read a position in a file: `1.040 s`."""
    return f"{ticks / TICKS_PER_SECOND:.3f} s"


class Timeline:
    """How far the times of a source are moved; shared by its tracks.

    `gaps` says that a step forward is a pause in the recording rather than a jump.
    """

    def __init__(self, *, gaps: bool = True) -> None:
        self.gaps = gaps
        self.jumps = 0
        """How often the times of the source jumped, or one frame had a wrong time."""
        self.tracks: list[TrackTimes] = []
        self._offsets: deque[int] = deque([0], maxlen=_REMEMBERED)

    def known_offset(self, time: int, track: TrackTimes) -> int | None:
        """The offset, of those found so far, that puts `time` where the tracks are now, or None.

        `time` is the source's own time of a packet of `track`.
        """
        best, smallest = None, _MAX_STEP + 1
        expected = [other.next_time for other in self.tracks if other.next_time is not None]
        for offset in (track.offset, *reversed(self._offsets)):
            overlap = _SMALL_STEP if offset == track.offset else _MAX_OVERLAP
            if track.next_time is not None and time + offset < track.next_time - overlap:
                continue
            gap = min((abs(time + offset - place) for place in expected), default=0)
            if gap < smallest:
                best, smallest = offset, gap
        return best

    def jump(self, time: int, place: int) -> int:
        """Remember and return the offset that moves `time` to `place`.

        It moves it behind what other tracks have already, if that is close by.
        """
        self.jumps += 1
        for other in self.tracks:
            if other.next_time is not None and 0 < other.next_time - place < _MAX_OVERLAP:
                place = other.next_time
        self._offsets.append(place - time)
        return place - time


class TrackTimes:
    """Completes one track: `push` packets in decode order, take what comes out, then `flush`."""

    def __init__(self, track: MediaTrack, timeline: Timeline | None = None) -> None:
        self.reordered = track.reordered
        """Whether pictures are shown in another order than they are decoded in."""
        self._is_video = track.kind is Kind.VIDEO
        self._duration = duration_rule(track)
        self._timeline = timeline or Timeline()
        self._timeline.tracks.append(self)
        self._held: list[MediaPacket] = []  # the first packets, while their times are not known
        self._suspect: MediaPacket | None = None  # far ahead; the next packet decides
        self._last_pts = self._last_dts = 0
        self._last_duration = self._step = 0
        self._overlaps = False  # still behind its own last packet, after another track's jump
        self.offset = 0  # what is added to the source's times at present
        self.next_time: int | None = None
        """When the next packet is expected to be decoded, None before the first."""
        self.repairs = 0

    def push(self, packet: MediaPacket) -> list[MediaPacket]:
        """Take a packet; return those that are ready, `packet` among them or not yet.

        A packet of a track with B-frames that has no presentation time here is marked as corrupt:
        its place in the order of display is not known.
        """
        if packet.duration <= 0:
            packet.duration = self._duration(packet.data)
        if self._suspect is not None:
            return self._decided(packet)
        if packet.pts is None and not self._completed(packet):
            return self._hold(packet, _MAX_WITHOUT_TIME)
        if packet.dts is None and self.reordered and self.next_time is None:
            return self._hold(packet, _MAX_WITHOUT_DTS)
        if self._held:
            assert packet.pts is not None
            next_dts = packet.pts if packet.dts is None else packet.dts
            return [*self._release(next_dts), *self._ordered(packet)]
        return self._ordered(packet)

    def flush(self) -> list[MediaPacket]:
        """Return the packets still held."""
        packets: list[MediaPacket] = []
        if self._suspect is not None:
            packets, self._suspect = [self._put(self._suspect)], None
        if self._held:
            known = [packet.pts for packet in self._held if packet.pts is not None]
            duration = self._held[0].duration
            length = sum(packet.duration for packet in self._held)
            packets += self._release(min(known) + duration if known else length)
        return packets

    def _hold(self, packet: MediaPacket, limit: int) -> list[MediaPacket]:
        self._held.append(packet)
        return self.flush() if len(self._held) >= limit else []

    def _release(self, next_dts: int) -> list[MediaPacket]:
        """Count the times of the held packets back from `next_dts`, that of the packet after."""
        held, self._held = self._held, []
        for packet in reversed(held):
            next_dts -= packet.duration or TICKS_PER_MS
            packet.dts = next_dts
            if packet.pts is None:
                packet.pts = next_dts
                packet.corrupt |= self.reordered
                self.repairs += 1
        return [ready for packet in held for ready in self._ordered(packet)]

    def _completed(self, packet: MediaPacket) -> bool:
        """Give `packet` a pts; return False if nothing is known yet to derive it from."""
        if packet.dts is None:
            if self.next_time is None:
                return False
            packet.dts = self.next_time - self.offset
        packet.pts = packet.dts
        packet.corrupt |= self.reordered
        self.repairs += 1
        return True

    def _ordered(self, packet: MediaPacket) -> list[MediaPacket]:
        """Hold the packet against the one before it; this is the common path."""
        assert packet.pts is not None
        if self.next_time is None:
            if self._timeline.jumps and packet.dts is not None:
                self.offset = self._timeline.known_offset(packet.dts, self) or 0
            if packet.dts is None:
                packet.dts = packet.pts
            return [self._put(packet)]
        if packet.dts is None or self._is_guess(packet):
            packet.dts = self._derived_dts(packet.pts)
        step = packet.dts + self.offset - self._last_dts
        if 0 <= step <= _SMALL_STEP:
            self._step = step
            return [self._put(packet)]
        return self._stepped(packet, step)

    def _is_guess(self, packet: MediaPacket) -> bool:
        """Whether a decode time cannot be right, as FFmpeg's is after a pause in a Matroska file.

        Such a file has none. FFmpeg gives the presentation times in rising order, so that the first
        pictures after a pause have decode times from before it.
        """
        assert packet.pts is not None
        return (
            self._is_video
            and self._timeline.gaps
            and packet.dts is not None
            and packet.pts - packet.dts > max(_SMALL_STEP, _MAX_REORDERED * packet.duration)
        )

    def _derived_dts(self, pts: int) -> int:
        """The dts of a packet that has a pts only, both in the source's time."""
        assert self.next_time is not None
        if not self.reordered:
            return pts
        next_dts = self.next_time - self.offset
        if pts - next_dts > max(_SMALL_STEP, _MAX_REORDERED * self._last_duration):
            return pts - (self._last_pts - self._last_dts)  # a step forward; it is looked at later
        return min(pts, next_dts)

    def _stepped(self, packet: MediaPacket, step: int) -> list[MediaPacket]:
        """A packet that is earlier than the one before it, or much later."""
        assert packet.dts is not None
        assert self.next_time is not None
        usual = max(packet.duration, self._last_duration, self._step)
        if 0 < step <= 3 * usual:  # such as one picture a minute
            self._step = step
            return [self._put(packet)]
        if step < 0 and -step <= max(
            _SMALL_STEP, self._last_duration, self._overlaps * _MAX_OVERLAP
        ):
            return [self._put(packet)]
        offset = self._timeline.known_offset(packet.dts, self)
        if offset is None and self._timeline.gaps and 0 < step <= _MAX_GAP:
            self._suspect = packet
            return []
        if offset is None:
            offset = self._timeline.jump(packet.dts, self.next_time)
        self.offset = offset
        self._overlaps = packet.dts + offset < self._last_dts
        return [self._put(packet)]

    def _decided(self, packet: MediaPacket) -> list[MediaPacket]:
        """Put the packet that was far ahead, now that the one after it is known."""
        suspect, self._suspect = self._suspect, None
        assert suspect is not None
        assert suspect.dts is not None
        assert suspect.pts is not None
        assert self.next_time is not None
        time = packet.pts if packet.dts is None or self._is_guess(packet) else packet.dts
        if time is not None and time < suspect.dts - _SMALL_STEP:
            lag = suspect.pts - suspect.dts
            suspect.dts = self.next_time - self.offset
            suspect.pts = suspect.dts + (lag if 0 <= lag <= TICKS_PER_SECOND else 0)
            self._timeline.jumps += 1
        return [self._put(suspect), *self.push(packet)]

    def _put(self, packet: MediaPacket) -> MediaPacket:
        """Move the packet by the offset, behind the one before it, and remember its times."""
        assert packet.pts is not None
        assert packet.dts is not None
        offset, last_dts = self.offset, self._last_dts
        pts, dts = packet.pts + offset, packet.dts + offset
        if self.next_time is not None:
            repaired = dts < last_dts
            if repaired:
                dts = last_dts
            if pts < self._last_pts and self._is_video and last_dts < dts <= pts:
                self.reordered = True  # B-frames that the start of the source did not have
            if not self.reordered and pts <= self._last_pts:
                pts, repaired = self._last_pts + TICKS_PER_MS, True
            elif pts - dts > _MAX_STEP and pts - dts > _MAX_REORDERED * packet.duration:
                pts, repaired = dts + self._last_pts - last_dts, True
            self.repairs += repaired
        packet.pts = self._last_pts = pts
        packet.dts = self._last_dts = dts
        self._last_duration = packet.duration
        self.next_time = dts + packet.duration
        return packet
