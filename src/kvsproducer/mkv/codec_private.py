"""Codec private data of tracks: conversion, and parsing for picture size or audio format.

The stream's content type determines the codec of a track, as in AWS's packager. The content type is
a list of media types, separated by commas. Each type has a row in the table below and applies to
all tracks of its kind (video or audio). If two types of one kind are listed, the track's codec id
decides. If the table does not contain the type, the data is not changed.

Unlike AWS's packager, this one also accepts upper case, blanks, and the names video/avc and
video/hevc. (AWS leaves such tracks without a size. If it should convert their data, it overwrites
the data with zeros.) The byte formats themselves are in `codecs`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from kvsproducer.codecs import audio, bitmap, h264, h265
from kvsproducer.codecs.nal import VideoCodec
from kvsproducer.mkv.tracks import TrackInfo, TrackType
from kvsproducer.status import KvsError

__all__ = ["complete_track", "video_codec"]


@dataclass(frozen=True, slots=True)
class _Format:
    """The functions for one codec's private data.

    `read` returns the track with the values from its private data. `convert` makes an avcC or hvcC
    record from Annex-B. `check` raises for faults that `read` ignores. `codec_id` decides between
    two formats of the same kind.
    """

    track_type: TrackType
    codec_id: str
    read: Callable[[TrackInfo, bytes], TrackInfo]
    convert: Callable[[bytes], bytes] | None = None
    codec: VideoCodec | None = None
    check: Callable[[bytes], object] | None = None


def _read_h264(track: TrackInfo, data: bytes) -> TrackInfo:
    sps = h264.parse_cpd(data)
    return replace(track, width=sps.width, height=sps.height)


def _read_h265(track: TrackInfo, data: bytes) -> TrackInfo:
    sps = h265.parse_cpd(data)
    return replace(track, width=sps.width, height=sps.height)


def _read_bitmap(track: TrackInfo, data: bytes) -> TrackInfo:
    header = bitmap.parse_bitmap_info(data)
    return replace(track, width=header.width, height=header.height)


def _read_aac(track: TrackInfo, data: bytes) -> TrackInfo:
    config = audio.parse_aac_config(data)
    return replace(
        track,
        sampling_frequency=float(config.sampling_frequency),
        channels=config.channels,
        bit_depth=0,
    )


def _read_pcm(track: TrackInfo, data: bytes) -> TrackInfo:
    config = audio.parse_pcm_config(data)
    return replace(
        track,
        sampling_frequency=float(config.sampling_frequency),
        channels=config.channels,
        bit_depth=config.bits,
    )


_BITMAP_CODEC_ID: Final = "V_MS/VFW/FOURCC"
_H264: Final = _Format(
    TrackType.VIDEO, "V_MPEG4/ISO/AVC", _read_h264, h264.cpd_to_avcc, VideoCodec.H264
)
_H265: Final = _Format(
    TrackType.VIDEO,
    "V_MPEGH/ISO/HEVC",
    _read_h265,
    h265.cpd_to_hvcc,
    VideoCodec.H265,
    partial(h265.parse_cpd, strict=True),
)
_BITMAP: Final = _Format(TrackType.VIDEO, _BITMAP_CODEC_ID, _read_bitmap)
_AAC: Final = _Format(TrackType.AUDIO, "A_AAC", _read_aac)
_PCM: Final = _Format(TrackType.AUDIO, "A_MS/ACM", _read_pcm)

_FORMATS: Final[dict[str, _Format]] = {
    "video/h264": _H264,
    "video/avc": _H264,
    "video/h265": _H265,
    "video/hevc": _H265,
    "video/x-matroska": _BITMAP,
    "audio/aac": _AAC,
    "audio/alaw": _PCM,
    "audio/mulaw": _PCM,
}


def _format_of(track: TrackInfo, content_type: str) -> _Format | None:
    """Return the format of a track's private data, or None if the data stays unchanged."""
    tokens = (token.strip().lower() for token in content_type.split(","))
    found = [_FORMATS[token] for token in tokens if token in _FORMATS]
    fitting = [row for row in found if row.track_type is track.track_type]
    by_codec = [row for row in fitting if row.codec_id == track.codec_id]
    chosen = next(iter(by_codec or fitting), None)
    # "video/x-matroska" may be any codec: the data is a bitmap header only with this codec id.
    return None if chosen is _BITMAP and not by_codec else chosen


def video_codec(track: TrackInfo, content_type: str) -> VideoCodec | None:
    """Return the video codec of a track, or None if it is neither H.264 nor H.265."""
    chosen = _format_of(track, content_type)
    return None if chosen is None else chosen.codec


def complete_track(
    track: TrackInfo,
    content_type: str,
    *,
    convert: bool,
    strict: bool,
) -> TrackInfo:
    """Return the track for the media header, with converted private data and its values.

    With `convert`, H.264 and H.265 private data is converted from Annex-B to avcC or hvcC; this
    raises what `codecs.h264.cpd_to_avcc` and `codecs.h265.cpd_to_hvcc` raise. Width and height, or
    rate, channels and depth, are then read from the data. If the data is invalid, `strict` raises
    what the codec's parser raises; otherwise the values become 0 (unknown), as in AWS's packager.
    Empty data changes nothing.
    """
    data = track.codec_private_data
    chosen = _format_of(track, content_type)
    if not data or chosen is None:
        return track
    if convert and chosen.convert is not None:
        track = replace(track, codec_private_data=chosen.convert(data))
    try:
        if strict and chosen.check is not None:
            chosen.check(data)
        return chosen.read(track, data)
    except KvsError:
        if strict:
            raise
        return replace(track, width=0, height=0, sampling_frequency=0.0, channels=0, bit_depth=0)
