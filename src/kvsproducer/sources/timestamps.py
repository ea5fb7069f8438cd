"""The times of one track, made fit for a stream: what is missing is derived, what is wrong refused.

KVS needs a presentation time on every frame, and decode times that do not go back. A container may
leave either out (Matroska has no dts, a broken muxer no pts) or repeat one. What follows from the
frame before is repaired and counted; everything else is an error that names the frame.

Times are ticks in the file's own time line. It neither orders tracks nor knows fragments.
"""

from __future__ import annotations

from typing import Final

from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources.media import MediaPacket, MediaTrack
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["TrackTimes", "seconds"]

_MAX_WITHOUT_DTS: Final = 32  # ours: packets held until one has a dts; H.265 reorders at most 16

# How to encode video anew, by its codec (FFmpeg's name).
_REMEDIES: Final = {
    "h264": "-c:v libx264",
    "hevc": "-c:v libx265 -x265-params open-gop=0",
}


def seconds(ticks: int) -> str:
    """`ticks` as people read a position in a file: `1.040 s`."""
    return f"{ticks / TICKS_PER_SECOND:.3f} s"


def _at(packet: MediaPacket) -> str:
    return "" if packet.pts is None else f" at {seconds(packet.pts)}"


class TrackTimes:
    """Repairs one track: `push` packets in decode order, take what comes out, then `flush`."""

    def __init__(self, track: MediaTrack) -> None:
        self._reordered = track.reordered
        self._remedy = _REMEDIES.get(track.codec, _REMEDIES["h264"])
        self._frame = int(TICKS_PER_SECOND / track.rate) if track.rate else 0
        self._held: list[MediaPacket] = []  # the first packets, while no dts is known
        self._last: MediaPacket | None = None
        self.repairs = 0

    def push(self, packet: MediaPacket) -> list[MediaPacket]:
        """Packets that are ready, `packet` among them or not yet.

        Raises MKV_INVALID_FRAME_TIMESTAMP for a time that cannot be derived or goes back,
        MKV_INVALID_FRAME_DATA for a damaged packet.
        """
        if packet.corrupt:
            raise kvs_error(
                StatusCode.MKV_INVALID_FRAME_DATA,
                f"{packet.kind.value} frame {packet.number}{_at(packet)} is damaged or cut off."
                f" What can be read of such a file: ffmpeg -i IN {self._remedy} -c:a aac OUT.mp4",
            )
        if packet.duration <= 0:
            packet.duration = self._frame
        self._complete_pts(packet)
        if packet.dts is None and self._last is None and self._reordered:
            self._held.append(packet)
            return self.flush() if len(self._held) == _MAX_WITHOUT_DTS else []
        held = self._release(packet.dts)
        return [*held, self._ordered(packet)]

    def flush(self) -> list[MediaPacket]:
        """The packets still held."""
        return self._release(None)

    def _release(self, next_dts: int | None) -> list[MediaPacket]:
        """Give the held packets decode times that end one frame before `next_dts`."""
        held, self._held = self._held, []
        if not held:
            return []
        if next_dts is None:
            next_dts = min(packet.pts or 0 for packet in held) + held[0].duration
        for packet in reversed(held):
            next_dts -= packet.duration
            packet.dts = next_dts
        return [self._ordered(packet) for packet in held]

    def _complete_pts(self, packet: MediaPacket) -> None:
        if packet.pts is not None:
            return
        if self._reordered:
            raise self._error(packet, "has no presentation time, and its track has B-frames")
        if packet.dts is None and self._last is None:
            raise self._error(packet, "has no timestamp at all, nor has any frame before it")
        if packet.dts is not None:
            packet.pts = packet.dts
        else:
            assert self._last is not None
            assert self._last.pts is not None
            packet.pts = self._last.pts + self._last.duration
        self.repairs += 1

    def _ordered(self, packet: MediaPacket) -> MediaPacket:
        """Hold `packet` against the one before it, and remember it."""
        assert packet.pts is not None
        last, self._last = self._last, packet
        if packet.dts is None:
            packet.dts = packet.pts
            if last is not None and last.dts is not None and self._reordered:
                packet.dts = min(packet.pts, last.dts + last.duration)
        if last is None:
            return packet
        assert last.pts is not None
        assert last.dts is not None
        overlap = max(last.duration, TICKS_PER_MS)
        if packet.dts < last.dts:
            if last.dts - packet.dts > overlap:
                raise self._back(packet, "decode", packet.dts, last.dts)
            packet.dts = last.dts
            self.repairs += 1
        if not self._reordered and packet.pts <= last.pts:
            if last.pts - packet.pts > overlap:
                raise self._back(packet, "presentation", packet.pts, last.pts)
            packet.pts = last.pts + TICKS_PER_MS
            packet.dts = max(packet.dts, last.dts)
            self.repairs += 1
        return packet

    def _back(self, packet: MediaPacket, what: str, time: int, before: int) -> KvsError:
        return self._error(
            packet,
            f"goes back in time: its {what} time {seconds(time)} follows {seconds(before)}",
        )

    def _error(self, packet: MediaPacket, what: str) -> KvsError:
        return kvs_error(
            StatusCode.MKV_INVALID_FRAME_TIMESTAMP,
            f"{packet.kind.value} frame {packet.number} {what}."
            f" Write the file anew: ffmpeg -fflags +genpts -i IN {self._remedy} -c:a aac OUT.mp4",
        )
