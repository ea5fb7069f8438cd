"""Tests of parsing and converting codec private data by content type."""

from __future__ import annotations

from typing import Any

import pytest

from kvsproducer.codecs.nal import VideoCodec
from kvsproducer.mkv import TrackInfo, TrackType
from kvsproducer.mkv.codec_private import complete_track, video_codec
from kvsproducer.status import KvsError, StatusCode

H264_ANNEXB = bytes.fromhex("000000016742c00ada189a1000000300100000030328f1226a0000000168ce039c80")
AVCC = bytes.fromhex("0142c00affe100156742c00ada189a1000000300100000030328f1226a01000568ce039c80")
H265_ANNEXB = bytes.fromhex(
    "0000000140010c01ffff01600000030090000003000003001eba024000000001420101016000"
    "00030090000003000003001ea030810596e92930b9a02000000300200000030321000000014401c073c189"
)
ALAW = bytes.fromhex("06000100401f0000401f0000010008000000")
BITMAP = bytes.fromhex("280000004000000030000000010018004d4a5047002400000000000000000000") + bytes(
    8
)
AAC = bytes.fromhex("1210")


def video(data: bytes, codec_id: str = "V_MPEG4/ISO/AVC", **more: Any) -> TrackInfo:
    return TrackInfo(1, TrackType.VIDEO, codec_id, codec_private_data=data, **more)


def audio(data: bytes, codec_id: str = "A_AAC", **more: Any) -> TrackInfo:
    return TrackInfo(1, TrackType.AUDIO, codec_id, codec_private_data=data, **more)


def complete(track: TrackInfo, content_type: str, **how: bool) -> TrackInfo:
    return complete_track(track, content_type, **{"convert": False, "strict": False, **how})


@pytest.mark.parametrize(
    ("data", "codec_id", "content_type", "size"),
    [
        (H264_ANNEXB, "V_MPEG4/ISO/AVC", "video/h264", (96, 64)),
        (AVCC, "V_MPEG4/ISO/AVC", "video/h264,audio/aac", (96, 64)),
        (H265_ANNEXB, "V_MPEGH/ISO/HEVC", "video/h265", (96, 64)),
        (BITMAP, "V_MS/VFW/FOURCC", "video/x-matroska", (64, 48)),
        (BITMAP, "V_MJPEG", "video/x-matroska", (0, 0)),
        (AVCC, "V_MPEG4/ISO/AVC", "video/unknown", (0, 0)),
        (AVCC, "V_MPEG4/ISO/AVC", "", (0, 0)),
        # DEFECTS 18: AWS knows none of these
        (AVCC, "V_MPEG4/ISO/AVC", " Video/H264 ", (96, 64)),
        (AVCC, "V_MPEG4/ISO/AVC", "video/avc", (96, 64)),
        (H265_ANNEXB, "V_MPEGH/ISO/HEVC", "VIDEO/HEVC", (96, 64)),
        # two video codecs in one stream: the codec id decides
        (H265_ANNEXB, "V_MPEGH/ISO/HEVC", "video/h264,video/h265", (96, 64)),
        (AVCC, "V_MPEG4/ISO/AVC", "video/h265,video/h264", (96, 64)),
    ],
)
def test_sizes(data: bytes, codec_id: str, content_type: str, size: tuple[int, int]) -> None:
    """Width and height come from the data, which is not changed."""
    track = complete(video(data, codec_id), content_type)
    assert (track.width, track.height) == size
    assert track.codec_private_data == data


@pytest.mark.parametrize(
    ("data", "codec_id", "content_type", "figures"),
    [
        (AAC, "A_AAC", "audio/aac", (44_100.0, 2, 0)),
        (ALAW, "A_MS/ACM", "audio/alaw", (8000.0, 1, 8)),
        (b"\x07" + ALAW[1:], "A_MS/ACM", "video/h264,audio/mulaw", (8000.0, 1, 8)),
        (ALAW, "A_MS/ACM", "audio/aac,audio/alaw", (8000.0, 1, 8)),
        (AAC, "A_AAC", "video/h264", (0.0, 0, 0)),
    ],
)
def test_audio_values(
    data: bytes, codec_id: str, content_type: str, figures: tuple[float, int, int]
) -> None:
    track = complete(audio(data, codec_id), content_type)
    assert (track.sampling_frequency, track.channels, track.bit_depth) == figures


def test_annexb_is_converted_on_request() -> None:
    """H.264 becomes avcC, H.265 hvcC; data of other content types stays (AWS sets it to zeros)."""
    assert complete(video(H264_ANNEXB), "video/h264", convert=True).codec_private_data == AVCC
    hvcc = complete(video(H265_ANNEXB), "video/h265", convert=True)
    assert hvcc.codec_private_data[:2] == b"\x01\x01"
    assert (hvcc.width, hvcc.height) == (96, 64)
    verbatim = complete(video(H264_ANNEXB), "video/unknown", convert=True)
    assert verbatim.codec_private_data == H264_ANNEXB
    bitmap = complete(video(BITMAP, "V_MS/VFW/FOURCC"), "video/x-matroska", convert=True)
    assert bitmap.codec_private_data == BITMAP


def test_conversion_of_invalid_data_raises() -> None:
    with pytest.raises(KvsError) as caught:
        complete(video(AVCC), "video/h264", convert=True)
    assert caught.value.status is StatusCode.MKV_MISSING_SPS_FROM_H264_CPD


UNREADABLE = [
    (video(b"\0\0\0\1\x67", width=64, height=48), "video/h264", "MKV_INVALID_H264_H265_CPD"),
    (video(b"\xff" * 8), "video/h264", "MKV_INVALID_H264_H265_SPS_NALU"),
    (video(b"\1" * 4, "V_MPEGH/ISO/HEVC"), "video/h265", "MKV_INVALID_H264_H265_CPD"),
    (video(bytes(10), "V_MS/VFW/FOURCC"), "video/x-matroska", "MKV_INVALID_BIH_CPD"),
    (audio(b"\x12", sampling_frequency=44_100.0, channels=2), "audio/aac", "MKV_INVALID_AAC_CPD"),
    (audio(b"\x12\x78"), "audio/aac", "MKV_INVALID_AAC_CPD_CHANNEL_CONFIG"),
    (audio(ALAW[:4], "A_MS/ACM"), "audio/alaw", "MKV_INVALID_AMS_ACM_CPD"),
]


@pytest.mark.parametrize(("track", "content_type", "status"), UNREADABLE)
def test_invalid_data_is_kept_without_values(
    track: TrackInfo, content_type: str, status: str
) -> None:
    """As in AWS's producer, the caller's values are dropped too; `strict` raises instead."""
    lenient = complete(track, content_type)
    assert lenient.codec_private_data == track.codec_private_data
    assert (lenient.width, lenient.height, lenient.sampling_frequency) == (0, 0, 0.0)
    assert (lenient.channels, lenient.bit_depth) == (0, 0)
    with pytest.raises(KvsError) as caught:
        complete(track, content_type, strict=True)
    assert caught.value.status is StatusCode[status]


def test_without_data_the_callers_values_stay() -> None:
    track = video(b"", width=640, height=480)
    assert complete(track, "video/h264", convert=True) == track
    unknown = TrackInfo(1, TrackType.UNKNOWN, "X", codec_private_data=H264_ANNEXB)
    assert complete(unknown, "video/h264", convert=True) == unknown


def test_video_codec() -> None:
    assert video_codec(video(b""), "video/h264") is VideoCodec.H264
    assert video_codec(video(b""), "video/hevc") is VideoCodec.H265
    assert video_codec(video(b"", "V_MS/VFW/FOURCC"), "video/x-matroska") is None
    assert video_codec(audio(b""), "video/h264") is None
