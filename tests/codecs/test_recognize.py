"""Tests of the recognition of data that is not encoded video."""

from __future__ import annotations

import pytest

from kvsproducer.codecs.nal import VideoCodec
from kvsproducer.codecs.recognize import (
    is_adts,
    is_length_prefixed,
    is_loas,
    other_format,
    other_video_codec,
)

H264, H265 = VideoCodec.H264, VideoCodec.H265
MORE = bytes(range(1, 200))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\xff\xd8\xff\xdb" + MORE, "a JPEG image"),
        (b"\x89PNG\r\n\x1a\n" + MORE, "a PNG image"),
        (b"GIF89a" + MORE, "a GIF image"),
        (b"RIFF\1\0\0\0WEBPVP8 " + MORE, "a WebP image"),
        (b"RIFF\1\0\0\0WAVEfmt " + MORE, "a WAV file"),
        (b"II*\0" + MORE, "a TIFF image"),
        (b"BM" + (205).to_bytes(4, "little") + MORE, "a BMP image"),
        (b"\0\0\0\x20ftypisom" + MORE, "a piece of an MP4 file"),
        (b"\x1a\x45\xdf\xa3" + MORE, "a piece of a Matroska file"),
        (b"\x47" + bytes(187) + b"\x47" + bytes(187), "MPEG-TS"),
        (bytes(640 * 480 * 3), "640x480 with 24 bits"),
        (bytes(1280 * 720 * 3 // 2), "1280x720 with 12 bits"),
        (bytes(224 * 224 * 3), "224x224 with 24 bits"),
    ],
)
def test_formats_are_recognized_by_their_beginning_or_size(data: bytes, found: str) -> None:
    name = other_format(data)
    assert name is not None
    assert found in name


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0\1\x65\x88", b"BM" + MORE, b"after" * 100, bytes(100_000), b"\xff\xf1"]
)
def test_uncertain_data_is_not_recognized(data: bytes) -> None:
    assert other_format(data) is None


@pytest.mark.parametrize(
    ("units", "codec", "found"),
    [
        ([b"\x40\x01\x0c", b"\x26\x01\xaf"], H264, H265),
        ([b"\x28\x01\xaf"], H264, H265),
        ([b"\x67\x42\xc0\x1e", b"\x68\xce", b"\x65\x88"], H265, H264),
        ([b"\x65\x88\x84"], H265, H264),
        ([b"\x67\x42\xc0\x1e", b"\x65\x88"], H264, None),
        ([b"\x40\x01\x0c", b"\x26\x01\xaf"], H265, None),
        ([b"\x65aaaa"], H265, None),
        ([], H264, None),
    ],
)
def test_the_other_codec(units: list[bytes], codec: VideoCodec, found: VideoCodec | None) -> None:
    assert other_video_codec(units, codec) is found


@pytest.mark.parametrize(
    ("data", "codec", "found"),
    [
        (b"\0\0\0\2\x09\xf0\0\0\0\3\x65\x88\x84", H264, True),
        (b"\0\0\0\3\x26\x01\xaf", H265, True),
        (b"\0\0\0\2\x09\xf0", H264, False),  # no picture
        (b"\0\0\0\3\x65\x88", H264, False),  # cut
        (bytes(400), H264, False),
        (b"", H264, False),
    ],
)
def test_lengths_that_add_up(data: bytes, codec: VideoCodec, found: bool) -> None:
    assert is_length_prefixed(data, codec) is found


def test_headers_of_aac() -> None:
    header = bytes.fromhex("fff15040015ffc")
    assert is_adts(header + bytes(3))
    assert not is_adts(header)
    assert not is_adts(b"\xff\xf1")
    assert is_loas(b"\x56\xe0\x02ab")
    assert not is_loas(b"\x56\xe0\x02abc")
    assert not is_loas(b"\x56\xe0")
