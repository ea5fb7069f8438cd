"""The stream header: EBML header, Segment, Info and Tracks, with the byte layout of AWS's producer.

RFC 8794 section 11.2 and RFC 9559 sections 5.1.2 and 5.1.4. The Segment has unknown size; Info has
a 2-byte size, Tracks, TrackEntry, Video and Audio 4-byte sizes, TrackUID and TimestampScale 8-byte
values, all others the shortest. No SeekHead, no Cues, no CRC-32.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Sequence
from typing import Final

from kvsproducer.mkv import elements as el
from kvsproducer.mkv.ebml import element, encode_uint, id_bytes, utf8
from kvsproducer.mkv.tracks import TrackInfo, TrackType

__all__ = ["EBML_HEADER", "segment_info", "stream_header", "tracks_element"]

EBML_HEADER: Final = element(
    el.EBML,
    element(el.EBML_VERSION, b"\x01")
    + element(el.EBML_READ_VERSION, b"\x01")
    + element(el.EBML_MAX_ID_LENGTH, b"\x04")
    + element(el.EBML_MAX_SIZE_LENGTH, b"\x08")
    + element(el.DOC_TYPE, b"matroska")
    + element(el.DOC_TYPE_VERSION, b"\x02")
    + element(el.DOC_TYPE_READ_VERSION, b"\x02"),
)
_SEGMENT_OF_UNKNOWN_SIZE: Final = id_bytes(el.SEGMENT) + b"\xff"
_NS_PER_TICK: Final = 100


def segment_info(
    *, segment_uuid: bytes, timecode_scale: int, title: str, application: str
) -> bytes:
    """Make the Info element; `timecode_scale` is in ticks.

    `application` is written to both MuxingApp and WritingApp.
    """
    return element(
        el.INFO,
        element(el.SEGMENT_UID, segment_uuid)
        + element(el.TIMECODE_SCALE, encode_uint(timecode_scale * _NS_PER_TICK, 8))
        + element(el.TITLE, utf8(title))
        + element(el.MUXING_APP, utf8(application))
        + element(el.WRITING_APP, utf8(application)),
        size_width=2,
    )


def _video(track: TrackInfo) -> bytes:
    if not (track.width and track.height):
        return b""
    return element(
        el.VIDEO,
        element(el.PIXEL_WIDTH, encode_uint(track.width, 2))
        + element(el.PIXEL_HEIGHT, encode_uint(track.height, 2)),
        size_width=4,
    )


def _audio(track: TrackInfo) -> bytes:
    if not track.sampling_frequency:
        return b""
    fields = element(el.SAMPLING_FREQUENCY, struct.pack(">d", track.sampling_frequency))
    fields += element(el.CHANNELS, encode_uint(track.channels))
    if track.bit_depth:
        fields += element(el.BIT_DEPTH, encode_uint(track.bit_depth))
    return element(el.AUDIO, fields, size_width=4)


def _track_entry(number: int, track: TrackInfo) -> bytes:
    fields = (
        element(el.TRACK_NUMBER, encode_uint(number))
        + element(el.TRACK_UID, encode_uint(track.track_id, 8))
        + element(el.TRACK_TYPE, encode_uint(track.track_type))
    )
    if track.track_name:
        fields += element(el.TRACK_NAME, utf8(track.track_name))
    if track.codec_id:
        fields += element(el.CODEC_ID, utf8(track.codec_id))
    if track.track_type is TrackType.VIDEO:
        fields += _video(track)
    elif track.track_type is TrackType.AUDIO:
        fields += _audio(track)
    if track.codec_private_data:
        fields += element(el.CODEC_PRIVATE, track.codec_private_data)
    return element(el.TRACK_ENTRY, fields, size_width=4)


def tracks_element(tracks: Sequence[TrackInfo], declared: Container[int] | None = None) -> bytes:
    """Make the Tracks element; the number of a track is its position in the list, from 1.

    `declared` limits it to the tracks with these ids.
    """
    entries = (
        _track_entry(number, track)
        for number, track in enumerate(tracks, 1)
        if declared is None or track.track_id in declared
    )
    return element(el.TRACKS, b"".join(entries), size_width=4)


def stream_header(
    info: bytes, tracks: Sequence[TrackInfo], declared: Container[int] | None = None
) -> bytes:
    """Return all bytes before the first Tags or Cluster; `info` is the Info element."""
    return EBML_HEADER + _SEGMENT_OF_UNKNOWN_SIZE + info + tracks_element(tracks, declared)
