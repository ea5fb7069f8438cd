"""Every status of the MKVGen library, provoked through a public name.

One table: status -> what provokes it. What AWS's producer swallows or never raises comes from the
strictest public entry, `MkvGenerator(strict=True)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer.codecs import annexb_to_avcc, avcc_to_annexb
from kvsproducer.mkv import (
    FrameFlags,
    MkvGenerator,
    NalAdaptation,
    TrackInfo,
    TrackType,
    tag_part,
    tags,
)
from kvsproducer.status import KvsError, StatusCode
from kvsproducer.status.catalogue import entries

CODE = b"\0\0\0\1"
KEY, SECOND = FrameFlags.KEY, 10_000_000
CPD_FLAG = NalAdaptation.ANNEXB_CPD_NALS
H264_SPS = bytes.fromhex("6742c00ada11e840000003004000000c83c489a8")
H264_PPS = bytes.fromhex("68ce0fc8")
H265_VPS = bytes.fromhex("40010c01ffff01600000030090000003000003001eba0240")
H265_SPS = bytes.fromhex(
    "42010101600000030090000003000003001ea030810596e92930b9a02000000300200000030321"
)


def bits(text: str) -> bytes:
    """Bits, with spaces between fields, padded to bytes."""
    text = text.replace(" ", "")
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8)


def h264_sps(crop: str) -> bytes:
    """16x16, baseline; `crop` is left, right, top and bottom as Exp-Golomb codes."""
    return b"\x67\x42\x00\x1e" + bits(f"1 1 011 1 0 1 1 1 1 1 {crop} 0 1") + b"\xff" * 4


def h265_sps(*, sub_layers: int = 1, reserved: str = "0" * 14, chroma: str = "010") -> bytes:
    """A Main SPS without a window."""
    head = f"0000 {sub_layers - 1:03b} 1" + f"{0x01600000:032b}" + "0" * 64
    if sub_layers > 1:
        head += "0 0" + reserved
    return b"\x42\x01" + bits(f"{head} 1 {chroma} 00001000000 00001000000 0 1 1 1") + b"\xff" * 4


def hvcc(kind: int = 33, count: int = 1, size: int | None = None, unit: bytes = H265_SPS) -> bytes:
    """A record of one array."""
    length = len(unit) if size is None else size
    array = bytes([kind]) + count.to_bytes(2) + length.to_bytes(2) + unit
    return b"\x01" + bytes(20) + b"\x03\x01" + array


def generator(cpd: Any = b"", content_type: str = "video/h264", **options: Any) -> MkvGenerator:
    """A strict generator of one track; `track` overrides fields of the track."""
    audio = content_type.startswith("audio")
    codec_id = "V_MS/VFW/FOURCC" if content_type == "video/x-matroska" else "V"
    fields = {
        "track_id": 1,
        "track_type": TrackType.AUDIO if audio else TrackType.VIDEO,
        "codec_id": codec_id,
        "codec_private_data": cpd,
        **options.pop("track", {}),
    }
    options = {"content_type": content_type, "strict": True, **options}
    return MkvGenerator([TrackInfo(**fields)], **options)


def packed(*frames: tuple[int, int, int], size: int = 1, track: int = 1, duration: int = 1) -> None:
    """Frames of (flags, pts, dts) one after the other."""
    subject = generator()
    for flags, pts, dts in frames:
        subject.pack(track, flags, pts, dts, duration, size)


def block_after_the_end() -> None:
    subject = generator()
    subject.pack(1, KEY, 0, 0, 1, 1)
    subject.end_fragment()
    subject.pack(1, 0, 1, 1, 1, 1)


def h264(cpd: bytes, **options: Any) -> None:
    generator(cpd, **options)


def h265(cpd: bytes, **options: Any) -> None:
    generator(cpd, "video/h265", **options)


S = StatusCode
PROVOKED: dict[StatusCode, Callable[[], object]] = {
    S.MKV_INVALID_FRAME_DATA: lambda: packed((KEY, 0, 0), size=0),
    S.MKV_INVALID_FRAME_TIMESTAMP: lambda: packed((KEY, SECOND, SECOND), (0, 0, SECOND)),
    S.MKV_INVALID_CLUSTER_DURATION: lambda: generator(
        key_frame_fragmentation=False, fragment_duration=SECOND - 1
    ),
    S.MKV_INVALID_CONTENT_TYPE_LENGTH: lambda: generator(content_type="v" * 129),
    S.MKV_NUMBER_TOO_BIG: lambda: packed((KEY, 0, 0), size=1 << 56),
    S.MKV_INVALID_CODEC_ID_LENGTH: lambda: generator(track={"codec_id": "V" * 33}),
    S.MKV_INVALID_TRACK_NAME_LENGTH: lambda: generator(track={"track_name": "n" * 33}),
    S.MKV_INVALID_CODEC_PRIVATE_LENGTH: lambda: generator(bytes((1 << 20) + 1)),
    S.MKV_CODEC_PRIVATE_NULL: lambda: generator(None),
    S.MKV_INVALID_TIMECODE_SCALE: lambda: generator(timecode_scale=SECOND + 1),
    S.MKV_MAX_FRAME_TIMECODE: lambda: packed((KEY, 1 << 63, 0)),
    S.MKV_LARGE_FRAME_TIMECODE: lambda: packed((KEY, 0, 0), (0, 33 * SECOND, 33 * SECOND)),
    S.MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA: lambda: annexb_to_avcc(CODE + b"\x65\0\0\0\0\xff"),
    S.MKV_INVALID_AVCC_NALU_IN_FRAME_DATA: lambda: avcc_to_annexb(b"\0\0\0\x02\x65"),
    S.MKV_BOTH_ANNEXB_AND_AVCC_SPECIFIED: lambda: generator(
        adaptation=NalAdaptation.ANNEXB_NALS | NalAdaptation.AVCC_NALS
    ),
    S.MKV_INVALID_ANNEXB_NALU_IN_CPD: lambda: h264(
        CODE + H264_SPS + b"\x55" * 65536 + CODE + H264_PPS, adaptation=CPD_FLAG
    ),
    S.MKV_PTS_DTS_ARE_NOT_SAME: lambda: packed((KEY, SECOND, 0)),
    S.MKV_INVALID_H264_H265_CPD: lambda: h264(b"\x67\x42\x00\x1e"),
    S.MKV_INVALID_H264_H265_SPS_WIDTH: lambda: h264(h264_sps("0001010 1 1 1")),
    S.MKV_INVALID_H264_H265_SPS_HEIGHT: lambda: h264(h264_sps("1 1 0001010 1")),
    S.MKV_INVALID_H264_H265_SPS_NALU: lambda: h264(b"\x68" * 12),
    S.MKV_INVALID_BIH_CPD: lambda: generator(bytes(39), "video/x-matroska"),
    S.MKV_INVALID_HEVC_NALU_COUNT: lambda: h265(hvcc(count=2)),
    S.MKV_INVALID_HEVC_FORMAT: lambda: h265(hvcc()[:20]),
    S.MKV_HEVC_SPS_NALU_MISSING: lambda: h265(hvcc(kind=34)),
    S.MKV_INVALID_HEVC_SPS_NALU_SIZE: lambda: h265(hvcc(size=500)),
    S.MKV_INVALID_HEVC_SPS_CHROMA_FORMAT_IDC: lambda: h265(h265_sps(chroma="00101")),
    S.MKV_INVALID_HEVC_SPS_RESERVED: lambda: h265(h265_sps(sub_layers=2, reserved="1" * 14)),
    S.MKV_MIN_ANNEX_B_CPD_SIZE: lambda: h264(CODE + b"\x67\x42", adaptation=CPD_FLAG),
    S.MKV_ANNEXB_CPD_MISSING_NALUS: lambda: h265(CODE + H265_SPS, adaptation=CPD_FLAG),
    S.MKV_INVALID_ANNEXB_CPD_NALUS: lambda: h265(H265_VPS + H265_SPS, adaptation=CPD_FLAG),
    S.MKV_INVALID_TAG_NAME_LENGTH: lambda: tags([("", "value")]),
    S.MKV_INVALID_TAG_VALUE_LENGTH: lambda: tags([("name", "v" * 257)]),
    S.MKV_INVALID_GENERATOR_STATE_TAGS: block_after_the_end,
    S.MKV_INVALID_AAC_CPD_SAMPLING_FREQUENCY_INDEX: lambda: generator(b"\x16\x90", "audio/aac"),
    S.MKV_INVALID_AAC_CPD_CHANNEL_CONFIG: lambda: generator(b"\x11\xc0", "audio/aac"),
    S.MKV_INVALID_AAC_CPD: lambda: generator(b"\x12", "audio/aac"),
    S.MKV_TRACK_INFO_NOT_FOUND: lambda: packed((KEY, 0, 0), track=99),
    S.MKV_INVALID_SEGMENT_UUID: lambda: generator(segment_uuid=bytes(16)),
    S.MKV_INVALID_TRACK_UID: lambda: generator(track={"track_id": 0}),
    # Not in the Error Code Reference, only in the headers of AWS's SDKs.
    S.MKV_INVALID_CLIENT_ID_LENGTH: lambda: generator(client_id="c" * 65),
    S.MKV_INVALID_AMS_ACM_CPD: lambda: generator(bytes(18), "audio/alaw"),
    S.MKV_MISSING_SPS_FROM_H264_CPD: lambda: h264(CODE + H264_PPS + bytes(8), adaptation=CPD_FLAG),
    S.MKV_MISSING_PPS_FROM_H264_CPD: lambda: h264(CODE + H264_SPS, adaptation=CPD_FLAG),
    S.MKV_INVALID_PARENT_TYPE: lambda: tag_part("attachment", "name", "value"),
}


@pytest.mark.parametrize("status", PROVOKED, ids=lambda status: status.name)
def test_each_status_is_raised(status: StatusCode) -> None:
    with pytest.raises(KvsError) as caught:
        PROVOKED[status]()
    assert caught.value.status is status
    assert caught.value.detail


def test_the_table_is_complete() -> None:
    """All 40 codes of the reference's MKVGen section, and the five others of that library."""
    library = [entry for entry in entries() if entry.section == "MKVGen"]
    assert {entry.status for entry in library} == set(PROVOKED)
    assert len([entry for entry in library if entry.printed is not None]) == 40


def test_what_only_a_strict_generator_refuses() -> None:
    """Swallowed or never raised by AWS's producer: the same without `strict` goes on."""
    for cpd, content_type in (
        (b"\x67\x42\x00\x1e", "video/h264"),
        (hvcc()[:20], "video/h265"),
        (h265_sps(sub_layers=2, reserved="1" * 14), "video/h265"),
        (bytes(39), "video/x-matroska"),
        (b"\x12", "audio/aac"),
        (bytes(18), "audio/alaw"),
    ):
        assert generator(cpd, content_type, strict=False).header()
    assert generator(strict=False).pack(1, KEY, SECOND, 0, 1, 1).header


def test_a_fragment_that_was_ended() -> None:
    """It takes no block and no second end; a key frame or a new stream goes on."""
    subject = generator()
    for action in (subject.end_fragment, block_after_the_end):
        with pytest.raises(KvsError) as caught:
            action()
        assert caught.value.status is S.MKV_INVALID_GENERATOR_STATE_TAGS
    subject.pack(1, KEY, 0, 0, 1, 1)
    assert b"AWS_KINESISVIDEO_END_OF_FRAGMENT" in subject.end_fragment()
    with pytest.raises(KvsError):
        subject.end_fragment()
    subject.pack(1, KEY, 1, 1, 1, 1)
    subject.pack(1, 0, 2, 2, 1, 1)
    subject.end_fragment()
    subject.reset()
    with pytest.raises(KvsError):
        subject.end_fragment()
    assert subject.pack(1, 0, 0, 0, 1, 1).prefix_length
