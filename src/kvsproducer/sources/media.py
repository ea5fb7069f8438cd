"""Media as plain data: what the PyAV border hands to the rest of `sources/`.

Times are ticks of 100 ns in the file's own time line. A packet is one access unit or one audio
packet, in decode order per track. Nothing here knows PyAV.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

__all__ = ["Kind", "MediaPacket", "MediaReader", "MediaTrack", "Packets"]


class Kind(Enum):
    """What a track carries."""

    VIDEO = "video"
    AUDIO = "audio"

    # A member is its only copy, and looked up several times for each packet.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class MediaTrack:
    """A track as the container describes it; `codec` is FFmpeg's name, `rate` frames a second.

    `reordered` tells that decode and display order differ (B-frames); `length` in ticks is None
    where the container does not say how long the track is; `pauses` that its index has a step that
    is longer than a fragment may be.
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
    """One packet; `pts` or `dts` is None where the container has none, `number` counts per track.

    `corrupt` marks a packet that is damaged or cut, `encrypted` one that needs a key, `hidden` a
    picture that others need and that is not shown. `lead` is that of a `Frame`. `arrived` is when
    the first of its bytes came through a pipe, on the monotonic clock; None for a file.
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


Packets: TypeAlias = Generator[MediaPacket, None, None]  # closed, it lets go of the codecs


class MediaReader(Protocol):
    """Something that media packets come from: a container, or an encoder.

    `raw` says that it is a bare Annex-B stream, without times of its own; `reach` is how many bytes
    of the file its index needs, 0 without an index; `warnings` is what a user should know of it.
    `gaps` says that its times never restart, so that a step forward is a pause in the recording
    (MP4 and Matroska, but not MPEG-TS). `repairs` counts the times that it derived,
    `breaks` the places where it could not read and went on, `unread` those, as text, where FFmpeg
    passed over bytes without an error.
    `taken` names the tracks that were chosen among several, `ignored` those that are not read.
    `left_out` counts frames that an edit list hides and that no other needs; they are no packets.
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
        """Whether times are made up."""
        ...

    def packets(self) -> Packets:
        """The packets, interleaved roughly by time."""
        ...

    def close(self) -> None:
        """Let go of the file and the codecs."""
        ...
