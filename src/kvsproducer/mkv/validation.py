"""Checks of streams, tracks and frames against the limits of the generator.

The limits and the order of the checks are those of AWS's packager (`limits.py` has the sources).
Text is measured in bytes of UTF-8, too. Functions named `check_...` raise. `frame_error` only
makes the exception: `MkvGenerator.pack` tests the limits itself, because it runs for every frame.
"""

from __future__ import annotations

from typing import Final

from kvsproducer.limits import (
    MAX_CLUSTER_DURATION,
    MAX_CODEC_ID_LEN,
    MAX_CODEC_PRIVATE_BYTES,
    MAX_CONTENT_TYPE_LEN,
    MAX_MKV_CLIENT_ID_LEN,
    MAX_TIMECODE_SCALE,
    MAX_TIMESTAMP,
    MAX_TRACK_NAME_LEN,
    MIN_CLUSTER_DURATION,
    MIN_TIMECODE_SCALE,
    MIN_TRACK_ID,
    SEGMENT_UUID_BYTES,
)
from kvsproducer.mkv.ebml import utf8
from kvsproducer.mkv.tracks import NalAdaptation, TrackInfo
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = [
    "check_adaptation",
    "check_codec_private_data",
    "check_segment_uuid",
    "check_stream",
    "check_track",
    "frame_error",
    "track_not_found",
]

_MAX_TRACK_NUMBER: Final = 126  # the largest EBML number of one byte, as blocks carry it
_MAX_TRACK_UID: Final = (1 << 64) - 1


def _check_length(status: StatusCode, what: str, text: str, limit: int) -> None:
    length = len(utf8(text))
    if length > limit:
        raise kvs_error(status, f"the {what} takes {length} bytes, allowed are {limit}")


def check_stream(
    content_type: str,
    client_id: str,
    timecode_scale: int,
    key_frame_fragmentation: bool,
    fragment_duration: int,
) -> None:
    """Check the settings of a stream; `timecode_scale` and `fragment_duration` are in ticks."""
    _check_length(
        StatusCode.MKV_INVALID_CONTENT_TYPE_LENGTH,
        "content type",
        content_type,
        MAX_CONTENT_TYPE_LEN,
    )
    _check_length(
        StatusCode.MKV_INVALID_CLIENT_ID_LENGTH, "client id", client_id, MAX_MKV_CLIENT_ID_LEN
    )
    if not MIN_TIMECODE_SCALE <= timecode_scale <= MAX_TIMECODE_SCALE:
        raise kvs_error(
            StatusCode.MKV_INVALID_TIMECODE_SCALE,
            f"the timecode scale is {timecode_scale} ticks of 100 ns, "
            f"allowed are {MIN_TIMECODE_SCALE} to {MAX_TIMECODE_SCALE}",
        )
    if not (
        key_frame_fragmentation or MIN_CLUSTER_DURATION <= fragment_duration <= MAX_CLUSTER_DURATION
    ):
        raise kvs_error(
            StatusCode.MKV_INVALID_CLUSTER_DURATION,
            f"the fragment duration is {fragment_duration} ticks of 100 ns; without key-frame "
            f"fragmentation it is {MIN_CLUSTER_DURATION} to {MAX_CLUSTER_DURATION}",
        )


def check_adaptation(adaptation: NalAdaptation) -> None:
    """Check that frame conversion is requested in one direction at most."""
    both = NalAdaptation.ANNEXB_NALS | NalAdaptation.AVCC_NALS
    if adaptation & both == both:
        raise kvs_error(
            StatusCode.MKV_BOTH_ANNEXB_AND_AVCC_SPECIFIED,
            "adaptation flags ANNEXB_NALS and AVCC_NALS exclude each other",
        )


def check_segment_uuid(uuid: bytes) -> None:
    """Check that a segment UUID has 16 bytes and that they are not all zero."""
    if len(uuid) != SEGMENT_UUID_BYTES or not any(uuid):
        raise kvs_error(
            StatusCode.MKV_INVALID_SEGMENT_UUID,
            f"a segment UUID is {SEGMENT_UUID_BYTES} bytes, not all zero; got {uuid.hex()!r}",
        )


def check_codec_private_data(track_id: int, data: bytes | None) -> None:
    """Check that private data is not None and has at most 1 MiB.

    Incomplete configurations may have None.
    """
    if data is None:
        raise kvs_error(
            StatusCode.MKV_CODEC_PRIVATE_NULL,
            f"the codec private data of track {track_id} is None; use b'' for none",
        )
    if len(data) > MAX_CODEC_PRIVATE_BYTES:
        raise kvs_error(
            StatusCode.MKV_INVALID_CODEC_PRIVATE_LENGTH,
            f"the codec private data of track {track_id} takes {len(data)} bytes, "
            f"allowed are {MAX_CODEC_PRIVATE_BYTES}",
        )


def check_track(number: int, track: TrackInfo) -> None:
    """Check one track; `number` is its position in the list, from 1."""
    if number > _MAX_TRACK_NUMBER:
        raise kvs_error(
            StatusCode.MAX_TRACK_COUNT_EXCEEDED, f"more than {_MAX_TRACK_NUMBER} tracks"
        )
    if not MIN_TRACK_ID <= track.track_id <= _MAX_TRACK_UID:
        raise kvs_error(
            StatusCode.MKV_INVALID_TRACK_UID,
            f"the id of track {number} in the list is {track.track_id}, not 1 to 2**64 - 1",
        )
    _check_length(
        StatusCode.MKV_INVALID_CODEC_ID_LENGTH,
        f"codec id of track {track.track_id}",
        track.codec_id,
        MAX_CODEC_ID_LEN,
    )
    _check_length(
        StatusCode.MKV_INVALID_TRACK_NAME_LENGTH,
        f"name of track {track.track_id}",
        track.track_name,
        MAX_TRACK_NAME_LEN,
    )
    check_codec_private_data(track.track_id, track.codec_private_data)
    for name in ("width", "height", "sampling_frequency", "channels", "bit_depth"):
        value = getattr(track, name)
        if not 0 <= value <= MAX_TIMESTAMP:
            raise kvs_error(StatusCode.INVALID_ARG, f"track {track.track_id}: {name} is {value}")


def track_not_found(track_id: int) -> KvsError:
    """Make the error for a frame of an undeclared track."""
    return kvs_error(StatusCode.MKV_TRACK_INFO_NOT_FOUND, f"the stream has no track {track_id}")


def frame_error(pts: int, dts: int, duration: int, size: int) -> KvsError:
    """Make the error for a frame that has no payload, a time out of range, or too many bytes."""
    if size <= 0:
        return kvs_error(StatusCode.MKV_INVALID_FRAME_DATA, "the frame has no data")
    for name, value in (("pts", pts), ("dts", dts), ("duration", duration)):
        if not 0 <= value <= MAX_TIMESTAMP:
            return kvs_error(
                StatusCode.MKV_MAX_FRAME_TIMECODE,
                f"{name} is {value} ticks of 100 ns, allowed are 0 to {MAX_TIMESTAMP}",
            )
    return kvs_error(
        StatusCode.MKV_NUMBER_TOO_BIG, f"a frame of {size} bytes does not fit into a block"
    )
