"""What a track is, and the flags that frames and adaptation carry.

The values are those of the Kinesis Video Streams producer interface (`TrackInfo`, frame flags, NAL
adaptation flags), so that configuration files and other producers' numbers mean the same here.
Immutable data only: the generator returns a new `TrackInfo` where it completes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

__all__ = ["FrameFlags", "FrameKind", "NalAdaptation", "TrackInfo", "TrackType"]


class TrackType(IntEnum):
    """Matroska's TrackType as far as KVS knows it; UNKNOWN carries any other data."""

    VIDEO = 1
    AUDIO = 2
    UNKNOWN = 3


class FrameFlags(IntFlag):
    """What a frame is. END_OF_FRAGMENT marks the empty frame that closes a fragment."""

    NONE = 0
    KEY = 1
    DISCARDABLE = 2
    INVISIBLE = 4
    END_OF_FRAGMENT = 8


class FrameKind(IntEnum):
    """What a packed frame begins: only a block, a new cluster, or a new stream (MKV header)."""

    BLOCK = 0
    CLUSTER = 1
    STREAM = 2


class NalAdaptation(IntFlag):
    """Which conversions video frames and codec private data need, bits as in `StreamCaps`.

    ANNEXB_NALS: frames come with start codes and leave with 4-byte lengths. AVCC_NALS: the other
    way round. ANNEXB_CPD_NALS: codec private data comes with start codes and leaves as avcC / hvcC.
    """

    NONE = 0
    ANNEXB_NALS = 8
    AVCC_NALS = 16
    ANNEXB_CPD_NALS = 32


@dataclass(frozen=True, slots=True)
class TrackInfo:
    """One track of a stream.

    `track_id` (1 or more) becomes TrackUID; the number in blocks is the position in the list.
    `codec_id` and `track_name` hold at most 32 bytes of UTF-8, `codec_private_data` at most 1 MiB.
    Video tracks use `width` and `height` (pixels), audio tracks `sampling_frequency` (Hz),
    `channels` and `bit_depth` (bits); 0 means unknown. Codec private data that can be read
    overrides them.
    """

    track_id: int
    track_type: TrackType
    codec_id: str
    track_name: str = ""
    codec_private_data: bytes = b""
    width: int = 0
    height: int = 0
    sampling_frequency: float = 0.0
    channels: int = 0
    bit_depth: int = 0
