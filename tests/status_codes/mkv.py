"""Provocations for the statuses of the MKVGen library, through public names.

AWS's producer ignores some of these errors. For them the tests use `MkvGenerator(strict=True)`.
"""

from __future__ import annotations

from typing import Any

from tests.status_codes.place import Table

from kvsproducer import StatusCode
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
    """Convert bits, with spaces between fields, to padded bytes."""
    text = text.replace(" ", "")
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8)


def h264_sps(crop: str) -> bytes:
    """Make a 16x16 baseline SPS; `crop` is left, right, top and bottom as Exp-Golomb codes."""
    return b"\x67\x42\x00\x1e" + bits(f"1 1 011 1 0 1 1 1 1 1 {crop} 0 1") + b"\xff" * 4


def h265_sps(*, sub_layers: int = 1, reserved: str = "0" * 14, chroma: str = "010") -> bytes:
    """Make a Main SPS without a cropping window."""
    head = f"0000 {sub_layers - 1:03b} 1" + f"{0x01600000:032b}" + "0" * 64
    if sub_layers > 1:
        head += "0 0" + reserved
    return b"\x42\x01" + bits(f"{head} 1 {chroma} 00001000000 00001000000 0 1 1 1") + b"\xff" * 4


def hvcc(kind: int = 33, count: int = 1, size: int | None = None, unit: bytes = H265_SPS) -> bytes:
    """Make an hvcC record with one array."""
    length = len(unit) if size is None else size
    array = bytes([kind]) + count.to_bytes(2) + length.to_bytes(2) + unit
    return b"\x01" + bytes(20) + b"\x03\x01" + array


def generator(cpd: Any = b"", content_type: str = "video/h264", **options: Any) -> MkvGenerator:
    """Make a strict generator with one track; `track` overrides fields of the track."""
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
    """Pack frames of (flags, pts, dts) one after the other."""
    subject = generator()
    for flags, pts, dts in frames:
        subject.pack(track, flags, pts, dts, duration, size)


def block_after_fragment_end() -> None:
    subject = generator()
    subject.pack(1, KEY, 0, 0, 1, 1)
    subject.end_fragment()
    subject.pack(1, 0, 1, 1, 1, 1)


def h264(cpd: bytes, **options: Any) -> None:
    generator(cpd, **options)


def h265(cpd: bytes, **options: Any) -> None:
    generator(cpd, "video/h265", **options)


_S = StatusCode
TABLE: Table = {
    _S.MKV_INVALID_FRAME_DATA: lambda _: packed((KEY, 0, 0), size=0),
    _S.MKV_INVALID_FRAME_TIMESTAMP: lambda _: packed((KEY, SECOND, SECOND), (0, 0, SECOND)),
    _S.MKV_INVALID_CLUSTER_DURATION: lambda _: generator(
        key_frame_fragmentation=False, fragment_duration=0.9
    ),
    _S.MKV_INVALID_CONTENT_TYPE_LENGTH: lambda _: generator(content_type="v" * 129),
    _S.MKV_NUMBER_TOO_BIG: lambda _: packed((KEY, 0, 0), size=1 << 56),
    _S.MKV_INVALID_CODEC_ID_LENGTH: lambda _: generator(track={"codec_id": "V" * 33}),
    _S.MKV_INVALID_TRACK_NAME_LENGTH: lambda _: generator(track={"track_name": "n" * 33}),
    _S.MKV_INVALID_CODEC_PRIVATE_LENGTH: lambda _: generator(bytes((1 << 20) + 1)),
    _S.MKV_CODEC_PRIVATE_NULL: lambda _: generator(None),
    _S.MKV_INVALID_TIMECODE_SCALE: lambda _: generator(timecode_scale=SECOND + 1),
    _S.MKV_MAX_FRAME_TIMECODE: lambda _: packed((KEY, 1 << 63, 0)),
    _S.MKV_LARGE_FRAME_TIMECODE: lambda _: packed((KEY, 0, 0), (0, 33 * SECOND, 33 * SECOND)),
    _S.MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA: lambda _: annexb_to_avcc(CODE + b"\x65\0\0\0\0\xff"),
    _S.MKV_INVALID_AVCC_NALU_IN_FRAME_DATA: lambda _: avcc_to_annexb(b"\0\0\0\x02\x65"),
    _S.MKV_BOTH_ANNEXB_AND_AVCC_SPECIFIED: lambda _: generator(
        adaptation=NalAdaptation.ANNEXB_NALS | NalAdaptation.AVCC_NALS
    ),
    _S.MKV_INVALID_ANNEXB_NALU_IN_CPD: lambda _: h264(
        CODE + H264_SPS + b"\x55" * 65536 + CODE + H264_PPS, adaptation=CPD_FLAG
    ),
    _S.MKV_PTS_DTS_ARE_NOT_SAME: lambda _: packed((KEY, SECOND, 0)),
    _S.MKV_INVALID_H264_H265_CPD: lambda _: h264(b"\x67\x42\x00\x1e"),
    _S.MKV_INVALID_H264_H265_SPS_WIDTH: lambda _: h264(h264_sps("0001010 1 1 1")),
    _S.MKV_INVALID_H264_H265_SPS_HEIGHT: lambda _: h264(h264_sps("1 1 0001010 1")),
    _S.MKV_INVALID_H264_H265_SPS_NALU: lambda _: h264(b"\x68" * 12),
    _S.MKV_INVALID_BIH_CPD: lambda _: generator(bytes(39), "video/x-matroska"),
    _S.MKV_INVALID_HEVC_NALU_COUNT: lambda _: h265(hvcc(count=2)),
    _S.MKV_INVALID_HEVC_FORMAT: lambda _: h265(hvcc()[:20]),
    _S.MKV_HEVC_SPS_NALU_MISSING: lambda _: h265(hvcc(kind=34)),
    _S.MKV_INVALID_HEVC_SPS_NALU_SIZE: lambda _: h265(hvcc(size=500)),
    _S.MKV_INVALID_HEVC_SPS_CHROMA_FORMAT_IDC: lambda _: h265(h265_sps(chroma="00101")),
    _S.MKV_INVALID_HEVC_SPS_RESERVED: lambda _: h265(h265_sps(sub_layers=2, reserved="1" * 14)),
    _S.MKV_MIN_ANNEX_B_CPD_SIZE: lambda _: h264(CODE + b"\x67\x42", adaptation=CPD_FLAG),
    _S.MKV_ANNEXB_CPD_MISSING_NALUS: lambda _: h265(CODE + H265_SPS, adaptation=CPD_FLAG),
    _S.MKV_INVALID_ANNEXB_CPD_NALUS: lambda _: h265(H265_VPS + H265_SPS, adaptation=CPD_FLAG),
    _S.MKV_INVALID_TAG_NAME_LENGTH: lambda _: tags([("", "value")]),
    _S.MKV_INVALID_TAG_VALUE_LENGTH: lambda _: tags([("name", "v" * 257)]),
    _S.MKV_INVALID_GENERATOR_STATE_TAGS: lambda _: block_after_fragment_end(),
    _S.MKV_INVALID_AAC_CPD_SAMPLING_FREQUENCY_INDEX: lambda _: generator(b"\x16\x90", "audio/aac"),
    _S.MKV_INVALID_AAC_CPD_CHANNEL_CONFIG: lambda _: generator(b"\x11\xc0", "audio/aac"),
    _S.MKV_INVALID_AAC_CPD: lambda _: generator(b"\x12", "audio/aac"),
    _S.MKV_TRACK_INFO_NOT_FOUND: lambda _: packed((KEY, 0, 0), track=99),
    _S.MKV_INVALID_SEGMENT_UUID: lambda _: generator(segment_uuid=bytes(16)),
    _S.MKV_INVALID_TRACK_UID: lambda _: generator(track={"track_id": 0}),
    # Not in the Error Code Reference, only in the headers of AWS's SDKs.
    _S.MKV_INVALID_CLIENT_ID_LENGTH: lambda _: generator(client_id="c" * 65),
    _S.MKV_INVALID_AMS_ACM_CPD: lambda _: generator(bytes(18), "audio/alaw"),
    _S.MKV_MISSING_SPS_FROM_H264_CPD: lambda _: h264(
        CODE + H264_PPS + bytes(8), adaptation=CPD_FLAG
    ),
    _S.MKV_MISSING_PPS_FROM_H264_CPD: lambda _: h264(CODE + H264_SPS, adaptation=CPD_FLAG),
    _S.MKV_INVALID_PARENT_TYPE: lambda _: tag_part("attachment", "name", "value"),
}
