"""Apply the edit list of an MP4: mark or remove hidden pictures, and remove hidden sound.

An edit list cuts parts of a track. If a decoder may need the packets of such a part, FFmpeg returns
them with the mark "hidden". Matroska has a flag for pictures that are decoded but not shown
(invisible). So

- hidden pictures that shown pictures may need stay in their place and keep the mark. If the edit
  list repeats pictures, the hidden copies get the time of the shown picture before them.
- a hidden group of pictures without a shown one is not needed and is removed. So are hidden
  pictures at the end.
- hidden sound is removed, except at the start of the file: a decoder needs up to 0.1 s to start
  (the priming of AAC), and every MP4 with AAC has it.

`Edits.left_out` counts the removed frames of each track.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.sources.media import Kind, MediaPacket

__all__ = ["Edits"]

_PRIMING: Final = TICKS_PER_SECOND // 10  # our limit: AAC has 1024 to 2112 samples of it


class Edits:
    """Apply the edit list of one file; the module describes the rules."""

    def __init__(self) -> None:
        self.left_out = dict.fromkeys(Kind, 0)
        self._group: list[
            MediaPacket
        ] = []  # hidden pictures since the last shown one, or a key frame
        self._shown: MediaPacket | None = None  # the last picture that was yielded
        self._sound: list[MediaPacket] | None = []  # hidden sound at the start; None after it

    def apply(self, packets: Iterable[MediaPacket]) -> Iterator[MediaPacket]:
        """Yield the packets, without the hidden ones that no shown frame needs."""
        for packet in packets:
            yield from self._audio(packet) if packet.kind is Kind.AUDIO else self._video(packet)
        self.left_out[Kind.VIDEO] += len(self._group)
        self.left_out[Kind.AUDIO] += len(self._sound or ())

    def _audio(self, packet: MediaPacket) -> list[MediaPacket]:
        if packet.hidden:
            if self._sound is None:
                self.left_out[Kind.AUDIO] += 1
            else:
                self._sound.append(packet)
            return []
        if self._sound is None:
            return [packet]
        before, self._sound = self._sound, None
        if sum(held.duration for held in before) > _PRIMING:
            self.left_out[Kind.AUDIO] += len(before)
            before = []
        for held in before:
            held.hidden = False
        return [*before, packet]

    def _video(self, packet: MediaPacket) -> list[MediaPacket]:
        group = self._group
        if packet.hidden and not (packet.key_frame and group):
            group.append(packet)
            return []
        if packet.key_frame and group and group[0].key_frame:
            self.left_out[Kind.VIDEO] += len(group)
            group = []
        out = group if packet.hidden else [*group, packet]
        self._group = [packet] if packet.hidden else []
        for hidden in out:
            if hidden.hidden:
                self._squeeze(hidden)
        if not packet.hidden:
            self._shown = packet
        return out

    def _squeeze(self, packet: MediaPacket) -> None:
        """Give a hidden picture the times of the last shown picture, unless it is later."""
        last = self._shown
        if last is None:
            return
        if packet.dts is None or last.dts is None or packet.dts <= last.dts:
            packet.dts, packet.pts, packet.duration = last.dts, last.pts, 0
