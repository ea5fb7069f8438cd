"""Tests of the generator's limits: each refusal has its status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer.limits import MAX_TIMESTAMP, TICKS_PER_SECOND
from kvsproducer.mkv import MkvGenerator, NalAdaptation, TrackInfo, TrackType
from kvsproducer.status import KvsError, StatusCode

Make = Callable[..., MkvGenerator]
S = StatusCode


def track(**fields: Any) -> list[TrackInfo]:
    values: dict[str, Any] = {"track_id": 1, "track_type": TrackType.VIDEO, "codec_id": "V_X"}
    return [TrackInfo(**{**values, **fields})]


REFUSED = {
    "content type of 129 bytes": ({"content_type": "x" * 129}, S.MKV_INVALID_CONTENT_TYPE_LENGTH),
    "client id of 65 bytes": ({"client_id": "é" * 33}, S.MKV_INVALID_CLIENT_ID_LENGTH),
    "scale 0": ({"timecode_scale": 0}, S.MKV_INVALID_TIMECODE_SCALE),
    "scale over 1 s": ({"timecode_scale": 10_000_001}, S.MKV_INVALID_TIMECODE_SCALE),
    "fragment under 1 s": (
        {"key_frame_fragmentation": False, "fragment_duration": TICKS_PER_SECOND - 1},
        S.MKV_INVALID_CLUSTER_DURATION,
    ),
    "fragment over 30 s": (
        {"key_frame_fragmentation": False, "fragment_duration": 30 * TICKS_PER_SECOND + 1},
        S.MKV_INVALID_CLUSTER_DURATION,
    ),
    "both adaptations": (
        {"adaptation": NalAdaptation.ANNEXB_NALS | NalAdaptation.AVCC_NALS},
        S.MKV_BOTH_ANNEXB_AND_AVCC_SPECIFIED,
    ),
    "UUID of zeros": ({"segment_uuid": bytes(16)}, S.MKV_INVALID_SEGMENT_UUID),
    "UUID of 15 bytes": ({"segment_uuid": b"\1" * 15}, S.MKV_INVALID_SEGMENT_UUID),
    "track id 0": ({"tracks": track(track_id=0)}, S.MKV_INVALID_TRACK_UID),
    "track id 2**64": ({"tracks": track(track_id=2**64)}, S.MKV_INVALID_TRACK_UID),
    "codec id of 33": ({"tracks": track(codec_id="c" * 33)}, S.MKV_INVALID_CODEC_ID_LENGTH),
    "name of 33": ({"tracks": track(track_name="n" * 33)}, S.MKV_INVALID_TRACK_NAME_LENGTH),
    "private data over 1 MiB": (
        {"tracks": track(codec_private_data=bytes(1024 * 1024 + 1))},
        S.MKV_INVALID_CODEC_PRIVATE_LENGTH,
    ),
    "private data None": ({"tracks": track(codec_private_data=None)}, S.MKV_CODEC_PRIVATE_NULL),
    "negative width": ({"tracks": track(width=-1)}, S.INVALID_ARG),
    "rate that is not a number": (
        {"tracks": track(sampling_frequency=float("nan"))},
        S.INVALID_ARG,
    ),
    "127 tracks": ({"tracks": track() * 127}, S.MAX_TRACK_COUNT_EXCEEDED),
    "application of 20 KB": ({"application": "a" * 20_000}, S.MKV_NUMBER_TOO_BIG),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_stream_is_refused(case: str, make_generator: Make) -> None:
    options, status = REFUSED[case]
    with pytest.raises(KvsError) as caught:
        make_generator(**options)
    assert caught.value.status is status


ACCEPTED = {
    "content type of 128 bytes": {"content_type": "x" * 128},
    "client id of 64 bytes": {"client_id": "é" * 32},
    "scale 100 ns": {"timecode_scale": 1},
    "scale 1 s": {"timecode_scale": TICKS_PER_SECOND},
    "any duration with key frames": {"fragment_duration": 0},
    "fragment of 1 s": {
        "key_frame_fragmentation": False,
        "fragment_duration": TICKS_PER_SECOND,
    },
    "codec id and name of 32": {"tracks": track(codec_id="c" * 32, track_name="n" * 32)},
    "private data of 1 MiB": {"tracks": track(codec_private_data=bytes(1024 * 1024))},
    "126 tracks": {"tracks": track() * 126},
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_the_limit_itself_is_accepted(case: str, make_generator: Make) -> None:
    assert make_generator(**ACCEPTED[case]).header()


FRAMES = {
    # (track, pts, dts, duration, size)
    "unknown track": ((99, 0, 0, 0, 1), S.MKV_TRACK_INFO_NOT_FOUND),
    "no data": ((1, 0, 0, 0, 0), S.MKV_INVALID_FRAME_DATA),
    "pts too large": ((1, MAX_TIMESTAMP + 1, 0, 0, 1), S.MKV_MAX_FRAME_TIMECODE),
    "negative pts": ((1, -1, 0, 0, 1), S.MKV_MAX_FRAME_TIMECODE),
    "dts too large": ((1, 0, MAX_TIMESTAMP + 1, 0, 1), S.MKV_MAX_FRAME_TIMECODE),
    "duration too large": ((1, 0, 0, MAX_TIMESTAMP + 1, 1), S.MKV_MAX_FRAME_TIMECODE),
    "size beyond EBML": ((1, 0, 0, 0, 1 << 56), S.MKV_NUMBER_TOO_BIG),
}


@pytest.mark.parametrize("case", FRAMES)
def test_a_frame_is_refused_and_nothing_changes(case: str, make_generator: Make) -> None:
    """The generator does not change, so the next valid frame still starts the stream."""
    (track_id, pts, dts, duration, size), status = FRAMES[case]
    generator = make_generator()
    with pytest.raises(KvsError) as caught:
        generator.pack(track_id, 1, pts, dts, duration, size)
    assert caught.value.status is status
    assert not generator.started


def test_largest_times_are_accepted(make_generator: Make) -> None:
    packed = make_generator().pack(1, 1, MAX_TIMESTAMP, MAX_TIMESTAMP, MAX_TIMESTAMP, 1)
    assert packed.timestamp == MAX_TIMESTAMP - MAX_TIMESTAMP % 10_000
