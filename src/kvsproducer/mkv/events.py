"""The events of the parser: one for each element, or for each part of a long one, in order.

`raw` is exactly the input that an event consumed: the `raw` of all events, joined, is the input.
Events that only mark a position (ClusterEnd, EndOfFile) have an empty `raw`. Payloads are views of
`raw`, without another copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = [
    "Block",
    "ClusterEnd",
    "ClusterStart",
    "EbmlHeader",
    "EndOfFile",
    "Event",
    "SegmentInfo",
    "SegmentStart",
    "Skipped",
    "Tags",
    "TrackEntry",
    "Tracks",
]


@dataclass(slots=True)
class EbmlHeader:
    """The EBML header that begins a document; a GetMedia response has one for each fragment."""

    raw: bytes
    doc_type: str
    doc_type_version: int
    doc_type_read_version: int


@dataclass(slots=True)
class SegmentStart:
    """The beginning of the Segment; `size` is in bytes, None if unknown."""

    raw: bytes
    size: int | None


@dataclass(slots=True)
class SegmentInfo:
    """The Info element; `timecode_scale_ns` is the number of nanoseconds per timecode unit."""

    raw: bytes
    timecode_scale_ns: int = 1_000_000
    segment_uid: bytes = b""
    title: str = ""
    muxing_app: str = ""
    writing_app: str = ""


@dataclass(slots=True)
class TrackEntry:
    """One track of the Tracks element; 0 and "" stand for values that are not given."""

    number: int = 0
    uid: int = 0
    track_type: int = 0
    name: str = ""
    codec_id: str = ""
    codec_private: bytes = b""
    width: int = 0
    height: int = 0
    sampling_frequency: float = 0.0
    channels: int = 0
    bit_depth: int = 0
    default_duration_ns: int = 0


@dataclass(slots=True)
class Tracks:
    """The Tracks element."""

    raw: bytes
    entries: list[TrackEntry] = field(default_factory=list)


@dataclass(slots=True)
class Tags:
    """A Tags element: (name, value) of every SimpleTag in order, nested ones included."""

    raw: bytes
    pairs: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class ClusterStart:
    """The beginning of a cluster, up to its Timestamp.

    `timecode` is in timecode units; `size` is in bytes, None if unknown.
    """

    raw: bytes
    timecode: int
    size: int | None


@dataclass(slots=True)
class Block:
    """A SimpleBlock or a BlockGroup.

    `relative_timecode` is in timecode units, relative to the cluster's timecode. `frames` has one
    view per frame (several with lacing). `duration` is in timecode units, None if not given.
    """

    raw: bytes
    track_number: int
    relative_timecode: int
    key_frame: bool
    invisible: bool
    discardable: bool
    frames: list[memoryview]
    duration: int | None = None


@dataclass(slots=True)
class ClusterEnd:
    """The end of a complete cluster."""

    raw: bytes = b""


@dataclass(slots=True)
class Skipped:
    """An element that is not parsed: Void, CRC-32, SeekHead, Cues, Position, or unknown.

    A long element gives several events with the same id; `last` marks the final one.
    """

    raw: bytes
    id: int
    last: bool = True


@dataclass(slots=True)
class EndOfFile:
    """The end of the input, at a position where a stream may end."""

    raw: bytes = b""


Event: TypeAlias = (
    EbmlHeader
    | SegmentStart
    | SegmentInfo
    | Tracks
    | Tags
    | ClusterStart
    | Block
    | ClusterEnd
    | Skipped
    | EndOfFile
)
