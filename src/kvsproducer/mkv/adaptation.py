"""Frames on their way into blocks: NAL conversion, and parameter sets taken from key frames.

One adapter serves one stream. It knows the parameter sets in force, nothing else: the same frame
always gives the same buffers. Only video tracks are touched; payload bytes are never copied (see
`codecs.nal`).

Taking parameter sets from key frames differs from AWS's packager on purpose. AWS stores all that
precedes the IDR picture (SEI too) as Annex-B, though its frames then have lengths, so that a player
finds no valid configuration; here they become a proper avcC or hvcC record, or nothing. And AWS
never looks again where private data was given: an encoder that changes its picture size goes on
under the old record. Here key frames are looked into as long as it is plain what they are made of:
units that are converted, or units with the lengths that an avcC or hvcC record announces (ISO/IEC
14496-15: parameter sets in band are the sample entries avc3 and hev1). Key frames only, so that it
costs the other frames nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvsproducer.codecs import h264, h265
from kvsproducer.codecs.nal import (
    START_CODE,
    Buffer,
    VideoCodec,
    annexb_to_avcc,
    avcc_to_annexb,
    is_annexb,
    iterate_avcc,
    nal_type,
    parameter_sets,
    split_annexb,
)
from kvsproducer.mkv.codec_private import video_codec
from kvsproducer.mkv.tracks import NalAdaptation, TrackInfo, TrackType
from kvsproducer.mkv.validation import check_adaptation
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["FrameAdapter"]

_RECORD_VERSION = 1  # the first byte of avcC and hvcC
_BUILDERS = {VideoCodec.H264: h264.build_avcc, VideoCodec.H265: h265.build_hvcc}


@dataclass(slots=True)
class _Track:
    """A track whose key frames are looked into, with the parameter sets in force.

    `length_size`: the bytes of a NAL length in its blocks. `annexb`: its blocks and its private
    data are byte streams (conversion to Annex-B, with private data to match).
    """

    codec: VideoCodec
    sets: list[bytes]
    length_size: int = 4
    annexb: bool = False

    def record(self, units: Sequence[Buffer]) -> bytes:
        """The private data with these sets; raises what the codec's builder raises."""
        data = _BUILDERS[self.codec](units, length_size=self.length_size)
        if not self.annexb:
            return data
        return b"".join(START_CODE + unit for unit in parameter_sets(units, self.codec))


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
        self.convert = annexb_to_avcc if flags & NalAdaptation.ANNEXB_NALS else avcc_to_annexb
        self._looked_into: dict[int, _Track] = {}
        for track in video:
            found = _look_into(track, video_codec(track, content_type), flags)
            if found is not None:
                self._looked_into[track.track_id] = found

    def adapt(self, track_id: int, data: bytes) -> tuple[list[Buffer], int]:
        """The buffers that carry the frame, and their total number of bytes.

        Raises MKV_INVALID_FRAME_DATA (no data, or nothing but start codes),
        MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA, MKV_INVALID_AVCC_NALU_IN_FRAME_DATA.
        """
        if not data:
            raise kvs_error(StatusCode.MKV_INVALID_FRAME_DATA, "the frame has no data")
        if track_id in self.converted:
            buffers, size = self.convert(data)
            if not size:
                raise kvs_error(StatusCode.MKV_INVALID_FRAME_DATA, "the frame has no NAL unit")
            return buffers, size
        return [data], len(data)

    def codec_private_data(self, track_id: int, buffers: Sequence[Buffer]) -> bytes | None:
        """The new private data, when a key frame (as `adapt` made it) changes the sets.

        An avcC or hvcC record; Annex-B where the track has that in and out. None when the frame has
        no parameter set that is not in force already, the track is not H.264 or H.265 or of unknown
        form, or no record can be made of the sets. Sets of a kind that the frame lacks stay. The
        caller passes new data to
        `MkvGenerator.set_codec_private_data(track_id, record, adapted=True)` before packing the
        frame, and begins a new stream with it.
        """
        track = self._looked_into.get(track_id)
        if track is None:
            return None
        units = buffers[1::2]
        if track_id not in self.converted:
            try:
                units = list(iterate_avcc(bytes(buffers[0]), track.length_size))
            except KvsError:
                return None
        codec, known = track.codec, track.sets
        found = parameter_sets(units, codec)
        if all(unit in known for unit in found):
            return None
        kinds = {nal_type(unit, codec) for unit in found}
        kept = [unit for unit in known if nal_type(unit, codec) not in kinds]
        try:
            record = track.record([*kept, *units])
        except KvsError:
            return None
        track.sets = kept + found
        return record


def _look_into(track: TrackInfo, codec: VideoCodec | None, flags: NalAdaptation) -> _Track | None:
    """What to compare a track's key frames with; None when they are not to be looked into.

    Data that can't be read is left alone, and so are frames that are not converted unless a record
    tells that they have lengths, and of how many bytes. Without a record, frames that can be read
    with lengths of 4 bytes are.
    """
    data = track.codec_private_data
    if codec is None or not (data or flags & NalAdaptation.AVCC_NALS == 0):
        return None
    if not data:
        return _Track(codec, [])
    annexb = is_annexb(data)
    converted = bool(flags & NalAdaptation.ANNEXB_CPD_NALS)
    try:
        sets, length_size = _read(data, codec, annexb=annexb)
    except KvsError:
        return None
    if flags & NalAdaptation.ANNEXB_NALS:
        return _Track(codec, sets)
    if flags & NalAdaptation.AVCC_NALS:
        return _Track(codec, sets, length_size, annexb=annexb and not converted)
    has_lengths = converted or data[0] == _RECORD_VERSION
    return _Track(codec, sets, length_size) if has_lengths else None


def _read(data: bytes, codec: VideoCodec, *, annexb: bool) -> tuple[list[bytes], int]:
    """The parameter sets in codec private data, and the bytes of a NAL length in the frames.

    Raises what the parser of its form raises.
    """
    if not data:
        return [], 4
    if annexb:
        return parameter_sets(split_annexb(data), codec), 4
    if codec is VideoCodec.H264:
        avc = h264.parse_avcc(data)
        return [*avc.sps, *avc.pps], avc.length_size
    hevc = h265.parse_hvcc(data)
    return parameter_sets([unit for _, unit in hevc.units], codec), hevc.length_size
