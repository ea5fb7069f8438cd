"""Convert a container's track to a KVS track: codec id, codec private data, frame conversion.

H.264 and H.265 come in two forms. In MP4, MOV and MKV, units have lengths, and there is an avcC or
hvcC record (ISO/IEC 14496-15). In TS and raw files (Annex-B), units and parameter sets follow start
codes; the client converts this to the first form. AAC is raw with an AudioSpecificConfig, or has an
ADTS header on every frame (TS), which this module removes. G.711 needs a WAVEFORMATEX. Other codecs
are refused with an error that names the codec.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from kvsproducer import limits
from kvsproducer.client.presets import audio_track, video_track
from kvsproducer.codecs import h264, h265
from kvsproducer.codecs.audio import PcmFormat, adts_config, pcm_config, strip_adts
from kvsproducer.codecs.nal import (
    VideoCodec,
    cpd_units,
    is_key_frame,
    nal_type,
    parameter_sets,
    split_annexb,
    split_avcc,
)
from kvsproducer.mkv.tracks import NalAdaptation, TrackInfo
from kvsproducer.sources.fitting import MATROSKA, codec_name
from kvsproducer.sources.media import Kind, MediaTrack
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["ENCODERS", "PutTrack", "SizeWatch", "put_track", "with_parameter_sets"]

# FFmpeg options that encode with a key frame every 2 s at 25 fps, by codec (FFmpeg's name).
ENCODERS: Final = {
    "h264": "-c:v libx264 -force_key_frames 'expr:gte(t,n_forced*2)'",
    "hevc": "-c:v libx265 -x265-params keyint=50:open-gop=0",
}

_VIDEO: Final = {"h264": ("h264", VideoCodec.H264), "hevc": ("h265", VideoCodec.H265)}
_AUDIO: Final = {"aac": "aac", "pcm_alaw": "alaw", "pcm_mulaw": "mulaw"}
_PCM: Final = {"alaw": PcmFormat.ALAW, "mulaw": PcmFormat.MULAW}
_OTHER_AUDIO: Final = (
    "Convert it (ffmpeg -i IN -c:v copy -c:a aac OUT.mp4) or leave it out (--tracks video)"
)
_KINDS: Final = {
    VideoCodec.H264: 2,
    VideoCodec.H265: 3,
}  # number of kinds of parameter sets that a decoder needs
_START_CODE: Final = b"\x00\x00\x00\x01"


@dataclass(frozen=True, slots=True)
class PutTrack:
    """A track in the form in which it is put.

    `info` is the track's description for the stream, and `media` its content type. `adaptation` has
    flags for the conversions that its frames need. `adts`: each frame has an ADTS header, which is
    removed. `length_size`: size in bytes of the length before each NAL unit, 0 for Annex-B.
    """

    info: TrackInfo
    media: str
    adaptation: NalAdaptation = NalAdaptation.NONE
    adts: bool = False
    length_size: int = 0

    def payload(self, data: bytes) -> bytes | None:
        """Return the bytes to put in a frame for a packet, or None if the packet is damaged."""
        if self.adts:
            try:
                return bytes(strip_adts(data))
            except KvsError:
                return None
        if self.length_size and not _has_whole_units(data, self.length_size):
            return None
        return data


def _has_whole_units(data: bytes, size: int) -> bool:
    """Return whether `data` consists of complete NAL units.

    Each unit follows its length, a number of `size` bytes.
    """
    at, end, longest = 0, len(data), 0
    while at < end:
        length = int.from_bytes(data[at : at + size])
        if length > longest:
            longest = length
        at += size + length
    return at == end and longest > 0


def put_track(
    track: MediaTrack, first: bytes, *, alone: bool, name: str, any_codec: bool = False
) -> PutTrack:
    """Return the description of how to put `track`. `first` is the track's first packet.

    `alone`: it is the only track. `any_codec` accepts codecs that KVS stores but does not play, if
    Matroska has a name for them. For any other codec, raises FORMAT_ERROR with the codec's name and
    advice. Also raises FORMAT_ERROR for Annex-B without parameter sets, which could be stored but
    not played.
    """
    if any_codec and track.codec in MATROSKA:
        return _other(track, alone)
    if track.kind is Kind.VIDEO:
        return _video(track, first, name)
    return _audio(track, first, alone, name)


def _as_it_is(track: MediaTrack) -> str:
    """Return a hint about `--any-codec` for an error message, or "" if it would not help."""
    return " (--any-codec stores it as it is)" if track.codec in MATROSKA else ""


def _other(track: MediaTrack, alone: bool) -> PutTrack:
    """Return the `PutTrack` of a track whose codec KVS does not play."""
    codec_id, media = MATROSKA[track.codec]
    if track.kind is Kind.VIDEO:
        info = replace(video_track("h264")[0], width=track.width, height=track.height)
    else:
        number = limits.AUDIO_ONLY_TRACK_ID if alone else limits.AUDIO_TRACK_ID
        info = audio_track("aac", number)[0]
        rate = float(track.sample_rate)
        info = replace(info, sampling_frequency=rate, channels=track.channels)
    return PutTrack(replace(info, codec_id=codec_id, codec_private_data=track.extradata), media)


def _video(track: MediaTrack, first: bytes, name: str) -> PutTrack:
    if track.codec not in _VIDEO:
        raise kvs_error(
            StatusCode.FORMAT_ERROR,
            f"{name}: the video codec is {codec_name(track.codec)}; KVS plays H.264 and H.265"
            f"{_as_it_is(track)}. Convert it: ffmpeg -i IN -c:v libx264 -g 50 -c:a aac OUT.mp4",
        )
    codec, nal_codec = _VIDEO[track.codec]
    info, media = video_track(codec)
    cpd, adaptation = track.extradata, NalAdaptation.NONE
    length_size = _length_size(cpd, nal_codec)
    if not cpd or cpd[0] != 1:  # configurationVersion of avcC and hvcC
        adaptation = NalAdaptation.ANNEXB_NALS | NalAdaptation.ANNEXB_CPD_NALS
        units = split_annexb(first)
        # The stream's own sets come first: FFmpeg's may be those of a later picture.
        sets = parameter_sets(units, nal_codec)
        if len({nal_type(unit, nal_codec) for unit in sets}) < _KINDS[nal_codec]:
            sets = parameter_sets(cpd_units(cpd), nal_codec)
        cpd = b"".join(_START_CODE + unit for unit in sets)
        if not sets and is_key_frame(units, nal_codec) and not parameter_sets(units, nal_codec):
            raise kvs_error(
                StatusCode.FORMAT_ERROR,
                f"{name} has no parameter sets (SPS, PPS) before its first key frame, so no player"
                " can decode it. Let the encoder repeat them (x264: repeat-headers=1), or"
                " put the MP4 or MKV that it was extracted from",
            )
    width, height = _size(cpd, nal_codec) or (track.width, track.height)
    info = replace(info, codec_private_data=cpd, width=width, height=height)
    return PutTrack(info, media, adaptation, length_size=length_size)


def _size(cpd: bytes, codec: VideoCodec) -> tuple[int, int] | None:
    """Return the picture size from codec private data, or None if the data cannot be parsed."""
    parse = h264.parse_cpd if codec is VideoCodec.H264 else h265.parse_cpd
    try:
        found = parse(cpd)
    except KvsError:
        return None
    return found.width, found.height


def _length_size(cpd: bytes, codec: VideoCodec) -> int:
    """Return the size in bytes of NAL unit lengths, by an avcC or hvcC record; else 0."""
    at = 4 if codec is VideoCodec.H264 else 21  # lengthSizeMinusOne, in the two lowest bits
    return (cpd[at] & 3) + 1 if cpd[:1] == b"\x01" and len(cpd) > at else 0


def _audio(track: MediaTrack, first: bytes, alone: bool, name: str) -> PutTrack:
    if track.codec not in _AUDIO:
        raise kvs_error(
            StatusCode.FORMAT_ERROR,
            f"{name}: the audio codec is {codec_name(track.codec)}; KVS plays AAC and G.711"
            f"{_as_it_is(track)}. "
            + ("Convert it: ffmpeg -i IN -c:a aac OUT.mp4" if alone else _OTHER_AUDIO),
        )
    codec = _AUDIO[track.codec]
    info, media = audio_track(codec, limits.AUDIO_ONLY_TRACK_ID if alone else limits.AUDIO_TRACK_ID)
    cpd, adts = track.extradata, False
    if codec != "aac":
        cpd = pcm_config(_PCM[codec], track.sample_rate, track.channels)
    elif first[:1] == b"\xff" and first[1] & 0xF6 == 0xF0:  # ADTS: 12 ones, layer 00
        adts, cpd = True, adts_config(first)
    elif not cpd:
        raise kvs_error(
            StatusCode.MKV_INVALID_AAC_CPD,
            f"{name}: the AAC track has neither an AudioSpecificConfig nor ADTS headers",
        )
    info = replace(
        info,
        codec_private_data=cpd,
        sampling_frequency=float(track.sample_rate),
        channels=track.channels,
    )
    return PutTrack(info, media, adts=adts)


def with_parameter_sets(data: bytes, record: bytes, extradata: bytes, codec: str) -> bytes | None:
    """Return a key frame with the parameter sets of a new avcC or hvcC record in front.

    An MP4 may have several descriptions of a track. A frame uses the latest one before it, so the
    new sets are put into the frame, where the core finds them. `extradata` is the track's first
    record. Returns None if the new record has another length size, or cannot be parsed.
    """
    nal_codec = _VIDEO[codec][1]
    size = _length_size(extradata, nal_codec)
    try:
        if nal_codec is VideoCodec.H264:
            avc = h264.parse_avcc(record)
            found, new_size = [*avc.sps, *avc.pps], avc.length_size
        else:
            hevc = h265.parse_hvcc(record)
            found, new_size = [unit for _, unit in hevc.units], hevc.length_size
    except KvsError:
        return None
    if size != new_size:
        return None
    sets = parameter_sets(found, nal_codec)
    return b"".join(len(unit).to_bytes(size) + unit for unit in sets) + data


class SizeWatch:
    """Detect changes of the picture size; `find_change` is called with each key frame."""

    def __init__(self, codec: str, put: PutTrack) -> None:
        self._codec = _VIDEO[codec][1]
        self._length_size = put.length_size
        self._sps = b""
        self._size = _size(put.info.codec_private_data, self._codec)

    def find_change(self, data: bytes) -> str | None:
        """Return the old and the new size as text, or None without a change or if it is unknown."""
        try:
            units = split_avcc(data, self._length_size) if self._length_size else split_annexb(data)
            kind = 7 if self._codec is VideoCodec.H264 else 33
            sps = next((bytes(u) for u in units if nal_type(u, self._codec) == kind), self._sps)
            if sps == self._sps:
                return None
            self._sps = sps
            parse = h264.parse_sps if self._codec is VideoCodec.H264 else h265.parse_sps
            found = parse(sps)
        except KvsError:
            return None
        before, self._size = self._size, (found.width, found.height)
        if before is None or before == self._size:
            return None
        return f"{before[0]}x{before[1]} to {found.width}x{found.height}"
