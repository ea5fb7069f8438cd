"""Frames on their way into blocks: NAL conversion, and parameter sets taken from key frames.

One adapter serves one stream. It knows the parameter sets in force, nothing else: the same frame
always gives the same buffers. Only video tracks are touched; payload bytes are never copied (see
`codecs.nal`).

Taking parameter sets from key frames differs from AWS's packager on purpose. AWS stores all that
precedes the IDR picture (SEI too) as Annex-B, though its frames then have lengths, so that a player
finds no valid configuration; here they become a proper avcC or hvcC record, or nothing. And AWS
never looks again where private data was given: an encoder that changes its picture size goes on
under the old record.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvsproducer.codecs import h264, h265
from kvsproducer.codecs.nal import (
    Buffer,
    VideoCodec,
    annexb_to_avcc,
    avcc_to_annexb,
    is_annexb,
    nal_type,
    parameter_sets,
    split_annexb,
)
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
        # Of the tracks whose key frames are looked into: the codec, and the sets in force.
        self._codecs: dict[int, VideoCodec] = {}
        self._sets: dict[int, list[bytes]] = {}
        if flags & NalAdaptation.ANNEXB_NALS:
            for track in video:
                self._look_into(track, video_codec(track, content_type))

    def _look_into(self, track: TrackInfo, codec: VideoCodec | None) -> None:
        """Note the parameter sets that a track came with; data that can't be read is left alone."""
        if codec is None:
            return
        try:
            sets = _sets_of(track.codec_private_data, codec)
        except KvsError:
            return
        self._codecs[track.track_id] = codec
        self._sets[track.track_id] = sets

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
        """The new avcC or hvcC record, when a key frame (as `adapt` made it) changes the sets.

        None when the frame has no parameter set that is not in force already, the track is not
        H.264 or H.265 in Annex-B, or no record can be made of the sets. Sets of a kind that the
        frame lacks stay. The caller passes a new record to
        `MkvGenerator.set_codec_private_data(track_id, record, adapted=True)` before packing the
        frame, and begins a new stream with it.
        """
        codec = self._codecs.get(track_id)
        if codec is None:
            return None
        found = parameter_sets(buffers[1::2], codec)
        known = self._sets[track_id]
        if all(unit in known for unit in found):
            return None
        kinds = {nal_type(unit, codec) for unit in found}
        kept = [unit for unit in known if nal_type(unit, codec) not in kinds]
        try:
            record = _BUILDERS[codec]([*kept, *buffers[1::2]])
        except KvsError:
            return None
        self._sets[track_id] = kept + found
        return record


def _sets_of(data: bytes, codec: VideoCodec) -> list[bytes]:
    """The parameter sets in codec private data; raises what its parser raises."""
    if not data:
        return []
    if is_annexb(data):
        return parameter_sets(split_annexb(data), codec)
    if codec is VideoCodec.H264:
        config = h264.parse_avcc(data)
        return [*config.sps, *config.pps]
    return parameter_sets([unit for _, unit in h265.parse_hvcc(data).units], codec)
