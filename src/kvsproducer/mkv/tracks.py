"""`TrackInfo`, frame flags and NAL adaptation flags, with the values of AWS's producer interface.

The values are the same as in AWS's producers, so configuration files can be shared. `TrackInfo` is
immutable: the generator returns a new one when it adds values from the codec private data.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from kvsproducer.members import check_members

__all__ = ["FrameFlags", "FrameKind", "NalAdaptation", "TrackInfo", "TrackType"]


class TrackType(IntEnum):
    """The type of a track in KVS; UNKNOWN is for data that is neither video nor audio."""

    VIDEO = 1
    AUDIO = 2
    UNKNOWN = 3


class FrameFlags(IntFlag):
    """Properties of a frame; END_OF_FRAGMENT marks the empty frame that closes a fragment."""

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
    """Conversions of video frames and codec private data; the bits are those of `StreamCaps`.

    ANNEXB_NALS: frames are put with start codes, and are converted to 4-byte lengths. AVCC_NALS:
    frames are put with lengths, and are converted to start codes. ANNEXB_CPD_NALS: codec private
    data is given with start codes, and is converted to an avcC or hvcC record.
    """

    NONE = 0
    ANNEXB_NALS = 8
    AVCC_NALS = 16
    ANNEXB_CPD_NALS = 32


@dataclass(frozen=True, slots=True)
class TrackInfo:
    """One track of a stream.

    `track_id` (at least 1) identifies the track in frames, and is its TrackUID. `codec_id` and
    `track_name` have at most 32 bytes of UTF-8, `codec_private_data` at most 1 MiB. Video tracks
    use `width` and `height` (pixels), audio tracks `sampling_frequency` (Hz), `channels` and
    `bit_depth` (bits); 0 means unknown. Values in valid codec private data override these.

    Raises INVALID_ARG for a value of another type.
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

    def __post_init__(self) -> None:
        check_members(self, track_id=int, track_type=int, codec_id=str)
