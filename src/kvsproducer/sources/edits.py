"""What the edit list of an MP4 cuts away: pictures are hidden, or left out, and sound is left out.

FFmpeg gives the packets that an edit list cuts away as hidden ones where a decoder may need them.
Matroska has a flag for pictures that are decoded and not shown (invisible), and so

* hidden pictures that shown ones may need keep their place and are marked; where the same pictures
  come again at their own times, they are squeezed into the time of the one before;
* a hidden group without a shown picture, and what is hidden at the end, are needed by none and are
  left out;
* hidden sound is left out, except for the start of the file: the first 0.1 s or less is what a
  decoder needs to warm up (the priming of AAC), and every MP4 with AAC has it.

`Edits.left_out` counts the frames that were left out, by track.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.sources.media import Kind, MediaPacket

__all__ = ["Edits"]

_PRIMING: Final = TICKS_PER_SECOND // 10  # ours: AAC has 1024 to 2112 samples of it


class Edits:
    """Applies the edit list of one file; see the module."""

    def __init__(self) -> None:
        self.left_out = dict.fromkeys(Kind, 0)
        self._group: list[
            MediaPacket
        ] = []  # hidden pictures since the last shown one, or a key frame
        self._shown: MediaPacket | None = None  # the picture that went on last
        self._sound: list[MediaPacket] | None = []  # hidden sound at the start; None behind it

    def apply(self, packets: Iterable[MediaPacket]) -> Iterator[MediaPacket]:
        """The packets without those that are cut away and not needed."""
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
        """Move a hidden picture behind the one that went on last, if its own time is over."""
        last = self._shown
        if last is None:
            return
        if packet.dts is None or last.dts is None or packet.dts <= last.dts:
            packet.dts, packet.pts, packet.duration = last.dts, last.pts, 0
