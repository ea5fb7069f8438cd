"""Matroska as Kinesis Video Streams uses it: the generator, the parser, tracks and tags.

`generator` makes the bytes that precede a frame's payload. `parser` parses a stream incrementally
into the dataclasses of `events`. This package and `codecs` raise the statuses with the base
0x32000000.

This package is in layer 2 (see ARCHITECTURE.md).
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
