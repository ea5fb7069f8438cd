"""Media as plain data, which `pyav` passes to the rest of `sources/`.

Times are ticks of 100 ns in the file's own time line. A packet is one access unit or one audio
packet, in decode order for each track. This module does not import PyAV.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

__all__ = ["Kind", "MediaPacket", "MediaReader", "MediaTrack", "Packets"]


class Kind(Enum):
    """The kind of a track: video or audio."""

    VIDEO = "video"
    AUDIO = "audio"

    # Members are singletons, and are looked up several times per packet.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class MediaTrack:
    """A track as the container describes it.

    `codec`: FFmpeg's name of the codec. `rate`: frames per second. `reordered`: decode and display
    order differ (B-frames). `length`: in ticks, None if the container does not have it. `pauses`:
    two neighbouring entries in the file's index are further apart than a fragment may last.
    """

    kind: Kind
    codec: str
    extradata: bytes = b""
    width: int = 0
    height: int = 0
    rate: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    reordered: bool = False
    length: int | None = None
    pauses: bool = False


@dataclass(slots=True)
class MediaPacket:
    """One packet. `pts` or `dts` is None if the container has none; `number` counts per track.

    `corrupt`: the packet is damaged or truncated. `encrypted`: decoding it needs a key. `hidden`:
    other pictures need it, but it is not shown. `lead`: as in `Frame`. `arrived`: when its first
    byte arrived through a pipe, on the monotonic clock; None for a file.
    """

    kind: Kind
    data: bytes
    pts: int | None
    dts: int | None
    duration: int
    key_frame: bool
    number: int
    corrupt: bool = False
    encrypted: bool = False
    hidden: bool = False
    lead: int = 0
    arrived: int | None = None


Packets: TypeAlias = Generator[MediaPacket, None, None]  # closing it releases the codecs


class MediaReader(Protocol):
    """A source of media packets: a container, or an encoder.

    `duration`: in ticks, None if unknown.

    `taken`: names of the tracks that were chosen because there are several of their kind.

    `ignored`: names of tracks that are not read.

    `warnings`: messages for the user.

    `left_out`: number of frames that an edit list hides and no other frame needs. They are not
    yielded.

    `reach`: number of bytes that the file must have according to its index, 0 without an index.

    `repairs`: number of derived times.

    `breaks`: how often reading failed and then continued.

    `unread`: the places, as text, where FFmpeg skipped bytes without an error.

    `gaps`: times never restart, so a step forward is a pause in the recording. This is true for MP4
    and Matroska, but not for MPEG-TS.
    """

    tracks: list[MediaTrack]
    duration: int | None
    taken: list[str]
    ignored: list[str]
    warnings: list[str]
    left_out: dict[Kind, int]
    reach: int
    repairs: int
    breaks: int
    unread: list[str]
    gaps: bool

    @property
    def raw(self) -> bool:
        """Whether this is a plain Annex-B stream. It has no times, so they are derived."""
        ...

    def packets(self) -> Packets:
        """Yield the packets, roughly in the order of their times."""
        ...

    def close(self) -> None:
        """Close the file and the codecs."""
        ...
