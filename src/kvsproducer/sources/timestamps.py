"""Make the times of a track fit for a stream: complete, increasing, and without jumps.

KVS requires a presentation time for every frame, and decode times that do not decrease. A container
may lack either: Matroska has no dts, MPEG-TS has one time for several audio frames, and a broken
muxer omits some. `TrackTimes` derives a missing time from the previous frame. The first times of a
track are derived from the first known one, by counting back.

Times also jump: in joined files, when a camera restarts, and when the 33-bit counter of MPEG-TS
overflows. An offset then moves the rest of the source, so that it continues where the track was. A
`Timeline` has the offsets of all tracks, so that sound and pictures stay together: a track that
jumps first tries the offsets that it or another track used before. (FFmpeg's command line does the
same; see `-dts_delta_threshold` in its manual.)

A step forward is a jump only in containers whose times may restart (`gaps=False`: MPEG-TS, MPEG-PS,
FLV, and every pipe). In an MP4 or Matroska file it is a pause in the recording and is kept. But if
the next frame continues at the time before the step, only one frame had a wrong time. Then this
time is corrected.

Every derived or moved time is counted. Times are ticks in the file's own time line. This module
does not merge the tracks into one order, and does not know fragments.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources.media import Kind, MediaPacket, MediaTrack
from kvsproducer.sources.packet_duration import duration_rule

__all__ = ["Timeline", "TrackTimes", "seconds"]

_MAX_REORDERED: Final = (
    16  # maximum number of pictures between decoding and display, in H.264 and H.265
)
_MAX_WITHOUT_DTS: Final = 32  # our limit: packets held until one has a dts
_MAX_WITHOUT_TIME: Final = 2_000  # our limit: packets held until one has any time
_SMALL_STEP: Final = TICKS_PER_SECOND // 4  # our limit: a step back up to this is corrected
_MAX_OVERLAP: Final = (
    TICKS_PER_SECOND  # our limit: how early a track may be after another track's jump
)
_MAX_STEP: Final = 10 * TICKS_PER_SECOND  # a longer step may be a jump; FFmpeg's threshold too
_MAX_GAP: Final = 30 * 3600 * TICKS_PER_SECOND  # a longer gap is a wrong time; FFmpeg's threshold
_REMEMBERED: Final = 8  # our limit: offsets that may be used again


def seconds(ticks: int) -> str:
    """Return `ticks` as a position in a file, for messages: `1.040 s`."""
    return f"{ticks / TICKS_PER_SECOND:.3f} s"


class Timeline:
    """The offsets that are added to the times of a source; its tracks share them.

    `gaps`: a step forward is a pause in the recording, not a jump.
    """

    def __init__(self, *, gaps: bool = True) -> None:
        self.gaps = gaps
        self.jumps = 0
        """How often the times of the source jumped, or one frame had a wrong time."""
        self.tracks: list[TrackTimes] = []
        self._offsets: deque[int] = deque([0], maxlen=_REMEMBERED)

    def known_offset(self, time: int, track: TrackTimes) -> int | None:
        """Return an offset used before that moves `time` close to where the tracks are, or None.

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
        """Count a jump; store and return the offset that moves `time` to `place`.

        If another track continues slightly later than `place`, the offset moves `time` to that
        later time instead.
        """
        self.jumps += 1
        for other in self.tracks:
            if other.next_time is not None and 0 < other.next_time - place < _MAX_OVERLAP:
                place = other.next_time
        self._offsets.append(place - time)
        return place - time


class TrackTimes:
    """Complete the times of one track.

    The caller passes the packets in decode order to `push`, and then calls `flush`.
    """

    def __init__(self, track: MediaTrack, timeline: Timeline | None = None) -> None:
        self.reordered = track.reordered
        """Whether the display order of pictures differs from their decode order."""
        self._is_video = track.kind is Kind.VIDEO
        self._duration = duration_rule(track)
        self._timeline = timeline or Timeline()
        self._timeline.tracks.append(self)
        self._held: list[MediaPacket] = []  # the first packets, until their times are known
        self._suspect: MediaPacket | None = (
            None  # far ahead; the next packet decides whether its time is wrong
        )
        self._last_pts = self._last_dts = 0
        self._last_duration = self._step = 0
        self._overlaps = False  # after another track's jump, still behind its own last packet
        self.offset = 0  # currently added to the source's times
        self.next_time: int | None = None
        """When the next packet is expected to be decoded, None before the first."""
        self.repairs = 0

    def push(self, packet: MediaPacket) -> list[MediaPacket]:
        """Accept a packet. Return the packets that are ready, which may not include this one yet.

        If a packet has no pts and its track has B-frames, it is marked as corrupt, because its
        display position is unknown.
        """
        if packet.duration <= 0:
            packet.duration = self._duration(packet.data)
        if self._suspect is not None:
            return self._decide(packet)
        if packet.pts is None and not self._complete(packet):
            return self._hold(packet, _MAX_WITHOUT_TIME)
        if packet.dts is None and self.reordered and self.next_time is None:
            return self._hold(packet, _MAX_WITHOUT_DTS)
        if self._held:
            assert packet.pts is not None
            next_dts = packet.pts if packet.dts is None else packet.dts
            return [*self._release(next_dts), *self._order_packet(packet)]
        return self._order_packet(packet)

    def flush(self) -> list[MediaPacket]:
        """Return the packets that were held back, with their times."""
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
        """Return the held packets with times, counted back from the next packet's dts."""
        held, self._held = self._held, []
        for packet in reversed(held):
            next_dts -= packet.duration or TICKS_PER_MS
            packet.dts = next_dts
            if packet.pts is None:
                packet.pts = next_dts
                packet.corrupt |= self.reordered
                self.repairs += 1
        return [ready for packet in held for ready in self._order_packet(packet)]

    def _complete(self, packet: MediaPacket) -> bool:
        """Derive the pts of `packet` from its dts, or else from the packet before it.

        Return False if neither is known.
        """
        if packet.dts is None:
            if self.next_time is None:
                return False
            packet.dts = self.next_time - self.offset
        packet.pts = packet.dts
        packet.corrupt |= self.reordered
        self.repairs += 1
        return True

    def _order_packet(self, packet: MediaPacket) -> list[MediaPacket]:
        """Set the final times of a packet, and return the packets that are ready.

        The usual case is a small step from the previous packet.
        """
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
        return self._handle_step(packet, step)

    def _is_guess(self, packet: MediaPacket) -> bool:
        """Return whether FFmpeg guessed a packet's dts wrongly, after a pause in the recording.

        A Matroska file has no decode times. FFmpeg uses the presentation times in increasing order,
        so the first pictures after a pause get decode times from before the pause.
        """
        assert packet.pts is not None
        return (
            self._is_video
            and self._timeline.gaps
            and packet.dts is not None
            and packet.pts - packet.dts > max(_SMALL_STEP, _MAX_REORDERED * packet.duration)
        )

    def _derived_dts(self, pts: int) -> int:
        """Return the dts of a packet that has only a pts. Both are in the source's own time."""
        assert self.next_time is not None
        if not self.reordered:
            return pts
        next_dts = self.next_time - self.offset
        if pts - next_dts > max(_SMALL_STEP, _MAX_REORDERED * self._last_duration):
            return pts - (self._last_pts - self._last_dts)  # a step forward, which is checked later
        return min(pts, next_dts)

    def _handle_step(self, packet: MediaPacket, step: int) -> list[MediaPacket]:
        """Handle a packet whose dts is before the previous packet's, or much later."""
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

    def _decide(self, packet: MediaPacket) -> list[MediaPacket]:
        """Decide whether the suspect packet, far ahead, has a wrong time; if so, correct it.

        `packet` is the packet after it. Return the packets that are ready.
        """
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
        """Add the offset to the times of a packet, keep them in order, and remember them."""
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
