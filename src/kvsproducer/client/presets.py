"""Tracks and content types of the common codecs, as the C producer's creators set them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from kvsproducer import limits
from kvsproducer.codecs.audio import PcmFormat, pcm_config
from kvsproducer.mkv.tracks import TrackInfo, TrackType
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["AUDIO_CODECS", "VIDEO_CODECS", "audio_track", "complete_sound", "video_track"]

VIDEO_CODECS: Final = {
    # codec -> (Matroska codec id, content type)
    "h264": ("V_MPEG4/ISO/AVC", "video/h264"),
    "h265": ("V_MPEGH/ISO/HEVC", "video/h265"),
}
AUDIO_CODECS: Final = {
    "aac": ("A_AAC", "audio/aac"),
    "alaw": ("A_MS/ACM", "audio/alaw"),
    "mulaw": ("A_MS/ACM", "audio/mulaw"),
}
_G711_RATE_HZ: Final = 8000  # default sample rate: RFC 3551, tables 4 and 5
_VIDEO_TRACK_NAME: Final = "kvs_video_track"
_AUDIO_TRACK_NAME: Final = "kvs_audio_track"


def _entry(codec: str, table: dict[str, tuple[str, str]], what: str) -> tuple[str, str]:
    entry = table.get(codec.lower())
    if entry is None:
        known = ", ".join(table)
        raise kvs_error(StatusCode.INVALID_ARG, f"{what} codec {codec!r}; known are {known}")
    return entry


def video_track(codec: str) -> tuple[TrackInfo, str]:
    """Return the track and content type of a video codec; raise INVALID_ARG if unknown."""
    codec_id, media = _entry(codec, VIDEO_CODECS, "video")
    return TrackInfo(limits.VIDEO_TRACK_ID, TrackType.VIDEO, codec_id, _VIDEO_TRACK_NAME), media


def audio_track(codec: str, track_id: int) -> tuple[TrackInfo, str]:
    """Return the track and content type of an audio codec; raise INVALID_ARG if unknown."""
    codec_id, media = _entry(codec, AUDIO_CODECS, "audio")
    return TrackInfo(track_id, TrackType.AUDIO, codec_id, _AUDIO_TRACK_NAME), media


def complete_sound(track: TrackInfo, content_type: str) -> TrackInfo:
    """Return a G.711 track with the codec private data (WAVEFORMATEX) that players need.

    A track that has codec private data, or another codec, is returned unchanged. Rate and channels
    are the track's, or else 8000 Hz and 1. Raises INVALID_ARG for values that G.711 cannot have.
    """
    laws = {"audio/alaw": PcmFormat.ALAW, "audio/mulaw": PcmFormat.MULAW}
    tokens = (token.strip().lower() for token in content_type.split(","))
    law = next((laws[token] for token in tokens if token in laws), None)
    if track.codec_id != "A_MS/ACM" or track.codec_private_data or law is None:
        return track
    rate = int(track.sampling_frequency) or _G711_RATE_HZ
    return replace(track, codec_private_data=pcm_config(law, rate, track.channels or 1))
