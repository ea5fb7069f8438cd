"""Preparation of frames for blocks: NAL conversion, and parameter sets taken from key frames.

One adapter serves one stream. Its only state is the current parameter sets of each video track, so
the same frame always gives the same buffers. Audio tracks are passed through, and payload bytes are
never copied (see `codecs.nal`).

If a key frame contains parameter sets that differ from the current ones, the adapter makes new
codec private data from them. This differs from AWS's packager in two ways:

- AWS stores everything before the IDR picture (also SEI) as Annex-B private data. The frames have
  lengths, so players find no valid configuration for them. This adapter makes an avcC or hvcC
  record from the parameter sets. If that is not possible, the private data stays as it was.
- AWS ignores the parameter sets in key frames if the caller gave private data. If the encoder then
  changes its picture size, the stream continues with the old record. This adapter parses key frames
  whenever it knows the format of their units. It knows the format if it converts the frames, or if
  an avcC or hvcC record declares the size of their NAL lengths (ISO/IEC 14496-15: in-band parameter
  sets, avc3 and hev1).

Only key frames are parsed, so other frames cost nothing.
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
    """A video track whose key frames are parsed; `sets` are its current parameter sets.

    `length_size` is the size in bytes of NAL lengths in its blocks. `annexb` is True if its blocks
    and its private data are Annex-B byte streams.
    """

    codec: VideoCodec
    sets: list[bytes]
    length_size: int = 4
    annexb: bool = False

    def record(self, units: Sequence[Buffer]) -> bytes:
        """Make private data from the parameter sets in `units`.

        Raises what `build_avcc` or `build_hvcc` raises.
        """
        data = _BUILDERS[self.codec](units, length_size=self.length_size)
        if not self.annexb:
            return data
        return b"".join(START_CODE + unit for unit in parameter_sets(units, self.codec))


class FrameAdapter:
    """Converts the frames of a stream's tracks; `flags` (see `NalAdaptation`) say how.

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
        """Return the converted frame as a list of buffers, and their total size in bytes.

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
        """Return new private data if a key frame changes the parameter sets, else None.

        `buffers` are those that `adapt` returned for the frame. The result is an avcC or hvcC
        record, or Annex-B if the track's blocks are Annex-B too. If the frame has no SPS, or no
        PPS, the current one is kept in the record. The result is None if the frame has no new set,
        or if no record can be made. It is also None if the track is not H.264 or H.265, or if the
        format of its units is not known. The caller passes new data to
        `MkvGenerator.set_codec_private_data(track_id, record, adapted=True)` before it packs the
        frame, and begins a new stream with that frame.
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
    """Return the state for parsing a track's key frames, or None if they are not parsed.

    Key frames are not parsed in these cases:

    - The track is not H.264 or H.265, or its private data is invalid.
    - There is no private data, and frames are converted to Annex-B.
    - There is private data, frames are not converted, and no avcC or hvcC record is given or made.
      The size of the NAL lengths is then unknown.

    For other tracks without private data, 4-byte lengths are assumed.
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
    """Return the parameter sets in codec private data, and the size in bytes of NAL lengths.

    Raises what `split_annexb`, `parse_avcc` or `parse_hvcc` raises.
    """
    if annexb:
        return parameter_sets(split_annexb(data), codec), 4
    if codec is VideoCodec.H264:
        avc = h264.parse_avcc(data)
        return [*avc.sps, *avc.pps], avc.length_size
    hevc = h265.parse_hvcc(data)
    return parameter_sets([unit for _, unit in hevc.units], codec), hevc.length_size
