"""What the parser tells: one event per element, or per part of one, in stream order.

INVARIANT: `raw` holds exactly the input bytes that an event consumed; the `raw` of all events
joined is the input. Events that mark a place only (ClusterEnd, EndOfFile) have an empty one.
Payloads are views over `raw`: nothing is copied a second time.
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
    """The head of a document; a stream that GetMedia answers with has one per fragment."""

    raw: bytes
    doc_type: str
    doc_type_version: int
    doc_type_read_version: int


@dataclass(slots=True)
class SegmentStart:
    """Id and size of the Segment; `size` in bytes is None when unknown."""

    raw: bytes
    size: int | None


@dataclass(slots=True)
class SegmentInfo:
    """The Info element. `timecode_scale_ns` is nanoseconds per timecode unit."""

    raw: bytes
    timecode_scale_ns: int = 1_000_000
    segment_uid: bytes = b""
    title: str = ""
    muxing_app: str = ""
    writing_app: str = ""


@dataclass(slots=True)
class TrackEntry:
    """One track as its stream describes it; 0 and "" where it says nothing."""

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
    """A cluster up to its Timestamp. `timecode` in stream units; `size` None when unknown."""

    raw: bytes
    timecode: int
    size: int | None


@dataclass(slots=True)
class Block:
    """A SimpleBlock or a BlockGroup.

    `relative_timecode` counts from the cluster's timecode in stream units. `frames` has one view
    per frame (several with lacing). `duration` in stream units is None when not given.
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
    """The cluster before is whole."""

    raw: bytes = b""


@dataclass(slots=True)
class Skipped:
    """An element that carries no media: Void, CRC-32, SeekHead, Cues, Position, unknown ones.

    A long one comes in several events, all with its id; `last` marks the final part.
    """

    raw: bytes
    id: int
    last: bool = True


@dataclass(slots=True)
class EndOfFile:
    """The input ended at a place where a stream may end."""

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
