"""Frames on their way into blocks: NAL conversion, and parameter sets taken from key frames.

One adapter serves one stream. It holds no state of the stream: the same frame always gives the same
buffers. Only video tracks are touched; payload bytes are never copied (see `codecs.nal`).

Taking parameter sets from key frames differs from AWS's packager on purpose: AWS stores all that
precedes the IDR picture (SEI too) as Annex-B, though its frames then have lengths, so that a player
finds no valid configuration; here they become a proper avcC or hvcC record, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvsproducer.codecs import h264, h265
from kvsproducer.codecs.nal import Buffer, VideoCodec, annexb_to_avcc, avcc_to_annexb
from kvsproducer.mkv.codec_private import video_codec
from kvsproducer.mkv.tracks import NalAdaptation, TrackInfo, TrackType
from kvsproducer.mkv.validation import check_adaptation
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["FrameAdapter"]

_BUILDERS = {VideoCodec.H264: h264.build_avcc, VideoCodec.H265: h265.build_hvcc}


class FrameAdapter:
    """Converts the frames of a stream's tracks as `flags` (see `NalAdaptation`) ask.

    Raises MKV_BOTH_ANNEXB_AND_AVCC_SPECIFIED.
    """

    def __init__(
        self, tracks: Sequence[TrackInfo], flags: NalAdaptation, *, content_type: str
    ) -> None:
        check_adaptation(flags)
        frames = flags & (NalAdaptation.ANNEXB_NALS | NalAdaptation.AVCC_NALS)
        video = [track for track in tracks if track.track_type is TrackType.VIDEO]
        self.converted = frozenset(track.track_id for track in video) if frames else frozenset()
        self._convert = annexb_to_avcc if flags & NalAdaptation.ANNEXB_NALS else avcc_to_annexb
        self._extracted: dict[int, VideoCodec] = {}
        if flags & NalAdaptation.ANNEXB_NALS:
            for track in video:
                codec = video_codec(track, content_type)
                if codec is not None and not track.codec_private_data:
                    self._extracted[track.track_id] = codec

    def adapt(self, track_id: int, data: bytes) -> tuple[list[Buffer], int]:
        """The buffers that carry the frame, and their total number of bytes.

        Raises MKV_INVALID_FRAME_DATA (no data), MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA,
        MKV_INVALID_AVCC_NALU_IN_FRAME_DATA.
        """
        if not data:
            raise kvs_error(StatusCode.MKV_INVALID_FRAME_DATA, "the frame has no data")
        if track_id in self.converted:
            return self._convert(data)
        return [data], len(data)

    def codec_private_data(self, track_id: int, buffers: Sequence[Buffer]) -> bytes | None:
        """The avcC or hvcC record of a key frame, given the buffers that `adapt` made of it.

        None when the track came with codec private data, is not H.264 or H.265 in Annex-B, or the
        frame lacks parameter sets. The caller passes a new record to
        `MkvGenerator.set_codec_private_data(track_id, record, adapted=True)` before packing the
        frame, and begins a new stream when it differs from the one already sent.
        """
        codec = self._extracted.get(track_id)
        if codec is None:
            return None
        try:
            return _BUILDERS[codec](buffers[1::2])
        except KvsError:
            return None
