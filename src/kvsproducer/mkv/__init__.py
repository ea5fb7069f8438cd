"""Matroska as Kinesis Video Streams uses it: the generator, the parser, tracks and tags.

Floor 2. `generator` writes what precedes a frame's payload, `parser` reads a stream incrementally
into the dataclasses of `events`. Statuses 0x3200.... come from here and from `codecs`.
"""

from kvsproducer.mkv.generator import MkvGenerator, Packed
from kvsproducer.mkv.parser import MkvParser
from kvsproducer.mkv.tags import end_of_fragment_tag, tag_part, tags
from kvsproducer.mkv.tracks import FrameFlags, FrameKind, NalAdaptation, TrackInfo, TrackType

__all__ = [
    "MkvGenerator",
    "Packed",
    "MkvParser",
    "FrameFlags",
    "FrameKind",
    "NalAdaptation",
    "TrackInfo",
    "TrackType",
    "end_of_fragment_tag",
    "tag_part",
    "tags",
]
