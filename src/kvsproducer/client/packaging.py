"""NAL adaptation at the door: Annex-B to length-prefixed frames and back, by reference.

Facts: AWS's NAL adaptation flags, for video tracks only; codec private data is taken from a key
frame when a track came without. It holds no frames.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvsproducer.client.frame import Frame
from kvsproducer.client.stream_info import NalAdaptation, StreamInfo
from kvsproducer.codecs.nal import annexb_to_avcc, avcc_to_annexb
from kvsproducer.mkv.generator import MkvGenerator
from kvsproducer.mkv.tracks import TrackType

__all__ = ["Packager"]


class Packager:
    """Adapts the frames of one stream."""

    __slots__ = ("_annexb", "_avcc", "_generator", "_missing", "_video")

    def __init__(self, info: StreamInfo, generator: MkvGenerator) -> None:
        self._generator = generator
        self._annexb = bool(info.nal_adaptation & NalAdaptation.ANNEXB_NALS)
        self._avcc = bool(info.nal_adaptation & NalAdaptation.AVCC_NALS)
        adapted = self._annexb or self._avcc
        self._video = frozenset(
            track.track_id
            for track in info.tracks
            if adapted and track.track_type is TrackType.VIDEO
        )
        self._missing = {
            track.track_id
            for track in info.tracks
            if track.track_id in self._video and not track.codec_private_data
        }

    def adapt(self, frame: Frame) -> tuple[Sequence[bytes | memoryview], int]:
        """The frame's payload as buffers, and their length in bytes. Raises as `codecs.nal`."""
        data = frame.data
        if frame.track_id not in self._video:
            return (data,), len(data)
        return annexb_to_avcc(data) if self._annexb else avcc_to_annexb(data)
