"""Frames of a source that are skipped, with the reason: every skipped frame is counted.

A source continues after damage. Consecutive frames that are skipped for the same reason are one
`Skip`. The first 100 skips are stored in detail, and all skipped frames are counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Final

from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.sources.media import Kind, MediaPacket
from kvsproducer.status import InvalidMedia, KvsError, StatusCode

__all__ = ["Reason", "Skip", "SkipLog"]

_MAX_SKIPS: Final = 100  # our limit: stored in detail
_MAX_NAMED: Final = 3  # our limit: named in a message

_KEYS = "encode with a key frame every 2 s: ffmpeg -i IN {encoder} OUT.mp4"
_REWRITE = "ffmpeg -i IN -c copy OUT.mp4 writes such a file anew"


class Reason(Enum):
    """Why frames are skipped: the text, the status of the error, and what to do about it."""

    BEFORE_KEY = ("before the first key frame", StatusCode.SUCCESS, "")
    DAMAGED = (
        "damaged, or in need of a damaged picture",
        StatusCode.MKV_INVALID_FRAME_DATA,
        "put an intact copy of the file if there is one",
    )
    FAR_APART = (
        "of a fragment that cannot end because the frames of the other track at this time lie more"
        " than 128 MB further on in the file",
        StatusCode.ACK_ERR_FRAMES_MISSING_FOR_TRACK,
        _REWRITE,
    )
    TOO_FAR_BEHIND = (
        "earlier than the fragment at their place in the file: the tracks lie too far apart in it",
        StatusCode.MKV_INVALID_FRAME_TIMESTAMP,
        _REWRITE,
    )
    NO_KEY_FRAME = (
        "no key frame came for 20 s, the longest that KVS lets a fragment be",
        StatusCode.ACK_ERR_FRAGMENT_DURATION_REACHED,
        _KEYS,
    )
    OVERLAPPING = (
        "more than 20 s after the start of their fragment, which cannot end because pictures after"
        " its key frames are shown among those before them",
        StatusCode.ACK_ERR_FRAGMENT_DURATION_REACHED,
        _KEYS,
    )
    SILENT_TRACK = (
        "more than 20 s after the start of their fragment, which cannot end because the other track"
        " has no frame there and KVS wants every track in every fragment",
        StatusCode.ACK_ERR_FRAMES_MISSING_FOR_TRACK,
        "put one track only (--tracks video)",
    )
    REFUSED = (
        "refused by the producer as not fit for the stream",
        StatusCode.MKV_INVALID_FRAME_DATA,
        "see the first refusal",
    )
    TOO_LARGE = (
        "over the 50 MB that KVS takes in a fragment",
        StatusCode.ACK_ERR_FRAGMENT_SIZE_REACHED,
        "lower the bit rate or place key frames closer",
    )

    def __init__(self, text: str, status: StatusCode, remedy: str) -> None:
        self.text = text
        self.status = status
        self.remedy = remedy


@dataclass(slots=True)
class Skip:
    """A stretch of `frames` consecutive frames of a track that were skipped for one reason.

    `first` is the number of its first frame in the track (from 0). `position` is the time of that
    frame in ticks from the start of the source.
    """

    track: Kind
    reason: Reason
    first: int
    position: int
    frames: int = 1

    def __str__(self) -> str:
        thing = "picture" if self.track is Kind.VIDEO else "audio frame"
        things = thing if self.frames == 1 else f"{thing}s"
        return (
            f"{self.frames} {things} from {self.position / TICKS_PER_SECOND:.3f} s on"
            f" ({self.reason.text})"
        )


class SkipLog:
    """Count the skipped frames, and record where they were."""

    def __init__(self) -> None:
        self.skips: list[Skip] = []
        self.frames: Counter[Reason] = Counter()
        self._last: dict[Kind, Skip] = {}

    def add(self, packet: MediaPacket, position: int, reason: Reason) -> None:
        """Count `packet` as skipped; `position` is its time in ticks after the source's start."""
        self.frames[reason] += 1
        last = self._last.get(packet.kind)
        if last is not None and last.reason is reason and last.first + last.frames == packet.number:
            last.frames += 1
            return
        self._last[packet.kind] = skip = Skip(packet.kind, reason, packet.number, position)
        if len(self.skips) < _MAX_SKIPS:
            self.skips.append(skip)

    def lost(self) -> int:
        """Return the number of skipped frames, without those before the first key frame.

        A correct source may have frames before its first key frame, so these are not counted as
        lost.
        """
        return self.frames.total() - self.frames[Reason.BEFORE_KEY]

    def error(self, name: str, put: int, encoder: str) -> KvsError | None:
        """Return the error for the skipped frames of source `name`, or None if nothing was lost.

        `put` frames were put. `encoder` has FFmpeg's options for the codec.
        """
        lost = self.lost()
        if not lost:
            return None
        skips = [skip for skip in self.skips if skip.reason is not Reason.BEFORE_KEY]
        reason = skips[0].reason
        named = "; ".join(str(skip) for skip in skips[:_MAX_NAMED])
        if len(skips) > _MAX_NAMED:
            named += "; and more"
        return InvalidMedia(
            reason.status,
            f"{name}: {lost} of {lost + put} frames cannot be put: {named}."
            f" The rest is put. To do: {reason.remedy.format(encoder=encoder)}",
        )
