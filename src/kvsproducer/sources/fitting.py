"""Names of codecs: those that KVS plays, and how Matroska names some others.

The keys are FFmpeg's names of codecs (`hevc`), not of decoders (`libdav1d`). The service stores the
bytes of any codec, but its players, images and clips support H.264, H.265, AAC and G.711 only. The
option `any_codec` is for applications that read the media with their own players.
"""

from __future__ import annotations

from typing import Final

from kvsproducer.sources.media import Kind

__all__ = ["MATROSKA", "codec_name", "fits"]

_FITTING: Final = {
    Kind.VIDEO: frozenset(("h264", "hevc")),
    Kind.AUDIO: frozenset(("aac", "pcm_alaw", "pcm_mulaw")),
}
MATROSKA: Final = {
    # codec -> (Matroska codec id, content type); the codec private data is FFmpeg's extradata
    "av1": ("V_AV1", "video/av1"),
    "vp8": ("V_VP8", "video/vp8"),
    "vp9": ("V_VP9", "video/vp9"),
    "mpeg2video": ("V_MPEG2", "video/mpeg2"),
    "mpeg4": ("V_MPEG4/ISO/ASP", "video/mp4v-es"),
    "mjpeg": ("V_MJPEG", "video/jpeg"),
    "mp3": ("A_MPEG/L3", "audio/mpeg"),
    "mp2": ("A_MPEG/L2", "audio/mpeg"),
    "ac3": ("A_AC3", "audio/ac3"),
    "eac3": ("A_EAC3", "audio/eac3"),
    "opus": ("A_OPUS", "audio/opus"),
}
"""Matroska codec ids and content types of codecs that KVS does not play, for `any_codec`."""
_NAMES: Final = {
    "h264": "H.264",
    "hevc": "H.265",
    "av1": "AV1",
    "mpeg2video": "MPEG-2",
    "mpeg1video": "MPEG-1",
    "mpeg4": "MPEG-4 Part 2",
    "mjpeg": "Motion JPEG",
    "msmpeg4v3": "DivX 3",
    "theora": "Theora",
    "prores": "ProRes",
    "aac": "AAC",
    "aac_latm": "AAC in LATM",
    "pcm_alaw": "G.711 A-law",
    "pcm_mulaw": "G.711 mu-law",
    "ac3": "AC-3",
    "eac3": "E-AC-3",
    "opus": "Opus",
    "vorbis": "Vorbis",
    "mov_text": "MP4 text",
    "subrip": "SubRip",
    "hdmv_pgs_subtitle": "PGS",
    "unknown": "unknown to FFmpeg",
}


def codec_name(codec: str) -> str:
    """Return the common name of a codec: `AV1` for `av1`."""
    if codec.startswith("pcm_") and codec not in _NAMES:
        return "PCM"
    return _NAMES.get(codec, codec.upper())


def fits(kind: Kind, codec: str) -> bool:
    """Return whether KVS plays tracks of this codec."""
    return codec in _FITTING[kind]
