"""Tests of NAL conversion, and of parameter sets taken from key frames."""

from __future__ import annotations

import pytest

from kvsproducer.codecs import h264, h265
from kvsproducer.mkv import NalAdaptation, TrackInfo, TrackType
from kvsproducer.mkv.adaptation import FrameAdapter
from kvsproducer.status import KvsError, StatusCode

SPS = bytes.fromhex("6742c00ada189a1000000300100000030328f1226a")
PPS = bytes.fromhex("68ce039c80")
AVCC = bytes.fromhex("0142c00affe10015") + SPS + bytes.fromhex("010005") + PPS
CODE = b"\0\0\0\1"
IDR = b"\x65\x88\x84"
KEY_FRAME = CODE + b"\x06\x05" + CODE + SPS + CODE + PPS + CODE + IDR
ANNEXB, TO_ANNEXB = NalAdaptation.ANNEXB_NALS, NalAdaptation.AVCC_NALS

VIDEO = TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC")
AUDIO = TrackInfo(2, TrackType.AUDIO, "A_AAC")
OTHER = TrackInfo(3, TrackType.UNKNOWN, "X")


def adapter(flags: NalAdaptation, *tracks: TrackInfo) -> FrameAdapter:
    return FrameAdapter(tracks or (VIDEO, AUDIO, OTHER), flags, content_type="video/h264,audio/aac")


def test_video_frames_get_lengths() -> None:
    buffers, size = adapter(ANNEXB).adapt(1, KEY_FRAME)
    joined = b"".join(buffers)
    assert joined == b"".join(len(unit).to_bytes(4) + unit for unit in (b"\x06\x05", SPS, PPS, IDR))
    assert size == len(joined)


def test_video_frames_get_start_codes() -> None:
    buffers, size = adapter(TO_ANNEXB).adapt(1, b"\0\0\0\3" + IDR)
    assert (b"".join(buffers), size) == (CODE + IDR, 7)


@pytest.mark.parametrize(
    ("flags", "track"),
    [(NalAdaptation.NONE, 1), (NalAdaptation.ANNEXB_CPD_NALS, 1), (ANNEXB, 2), (ANNEXB, 3)],
)
def test_other_frames_are_returned_without_a_copy(flags: NalAdaptation, track: int) -> None:
    """Frames are not converted without a frame flag, and on audio and unknown tracks."""
    data = b"\0\0\0\0\0\0\1\x65"
    buffers, size = adapter(flags).adapt(track, data)
    assert size == 8
    assert buffers[0] is data


@pytest.mark.parametrize(
    ("flags", "data", "status"),
    [
        (ANNEXB, b"", StatusCode.MKV_INVALID_FRAME_DATA),
        (NalAdaptation.NONE, b"", StatusCode.MKV_INVALID_FRAME_DATA),
        (ANNEXB, b"\x65\x88", StatusCode.MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA),
        (TO_ANNEXB, b"\0\0\0\xff\x65", StatusCode.MKV_INVALID_AVCC_NALU_IN_FRAME_DATA),
    ],
)
def test_bad_frames(flags: NalAdaptation, data: bytes, status: StatusCode) -> None:
    with pytest.raises(KvsError) as caught:
        adapter(flags).adapt(1, data)
    assert caught.value.status is status


def test_conversion_in_both_directions_is_refused() -> None:
    with pytest.raises(KvsError) as caught:
        adapter(ANNEXB | TO_ANNEXB)
    assert caught.value.status is StatusCode.MKV_BOTH_ANNEXB_AND_AVCC_SPECIFIED


def record(subject: FrameAdapter, frame: bytes, track: int = 1) -> bytes | None:
    buffers, _ = subject.adapt(track, frame)
    return subject.codec_private_data(track, buffers)


def test_a_key_frame_gives_its_configuration_record() -> None:
    """AWS stores the raw Annex-B with the SEI instead (DEFECTS 16)."""
    assert record(adapter(ANNEXB), KEY_FRAME) == AVCC


def test_a_frame_without_parameter_sets_gives_no_record() -> None:
    assert record(adapter(ANNEXB), CODE + b"\x06\x05" + CODE + IDR) is None


@pytest.mark.parametrize(
    "subject",
    [
        adapter(NalAdaptation.NONE),
        FrameAdapter([VIDEO], ANNEXB, content_type="video/unknown"),
        adapter(ANNEXB, TrackInfo(1, TrackType.VIDEO, "V", codec_private_data=b"?" * 20)),
    ],
)
def test_key_frames_that_are_not_parsed(subject: FrameAdapter) -> None:
    """Their format or codec is not known, or the private data is invalid."""
    assert record(subject, KEY_FRAME) is None


@pytest.mark.parametrize("given", [AVCC, CODE + SPS + CODE + PPS, CODE + PPS + CODE + SPS])
def test_current_sets_give_no_record(given: bytes) -> None:
    """This holds for each format of the private data that contains the sets."""
    track = TrackInfo(1, TrackType.VIDEO, "V", codec_private_data=given)
    assert record(adapter(ANNEXB, track), KEY_FRAME) is None


def test_a_change_gives_one_record() -> None:
    """A new SPS and PPS replace both; a new PPS alone keeps the SPS; the old pair comes back."""
    subject = adapter(ANNEXB, TrackInfo(1, TrackType.VIDEO, "V", codec_private_data=AVCC))
    sps, pps = SPS[:-1] + b"\x6b", PPS[:-1] + b"\x81"
    changed = b"".join(CODE + unit for unit in (sps, pps, IDR))
    assert record(subject, changed) == h264.build_avcc([sps, pps])
    assert record(subject, changed) is None
    assert record(subject, CODE + PPS + CODE + IDR) == h264.build_avcc([sps, PPS])
    assert record(subject, KEY_FRAME) == AVCC


def lengths(*units: bytes, size: int = 4) -> bytes:
    return b"".join(len(unit).to_bytes(size) + unit for unit in units)


OTHER_SPS = SPS[:-1] + b"\x6b"


@pytest.mark.parametrize("size", [1, 2, 4])
def test_in_band_sets_in_frames_with_lengths(size: int) -> None:
    """avc3: frames are not converted, and have the length size that the given record declares."""
    given = h264.build_avcc([SPS, PPS], length_size=size)
    subject = adapter(
        NalAdaptation.NONE, TrackInfo(1, TrackType.VIDEO, "V", codec_private_data=given)
    )
    assert record(subject, lengths(SPS, PPS, IDR, size=size)) is None
    changed = lengths(b"\x06\x05", OTHER_SPS, IDR, size=size)
    found = record(subject, changed)
    assert found == h264.build_avcc([OTHER_SPS, PPS], length_size=size)
    assert h264.parse_avcc(found).length_size == size
    assert record(subject, changed) is None


def test_converted_annexb_private_data_declares_lengths() -> None:
    given = TrackInfo(1, TrackType.VIDEO, "V", codec_private_data=CODE + SPS + CODE + PPS)
    subject = adapter(NalAdaptation.ANNEXB_CPD_NALS, given)
    assert record(subject, lengths(SPS, PPS, IDR)) is None
    assert record(subject, lengths(OTHER_SPS, IDR)) == h264.build_avcc([OTHER_SPS, PPS])


@pytest.mark.parametrize("frame", [KEY_FRAME, IDR, lengths(SPS, IDR)[:-1], b"\0\0\0\0"])
def test_a_key_frame_without_the_declared_lengths_gives_no_record(frame: bytes) -> None:
    given = TrackInfo(1, TrackType.VIDEO, "V", codec_private_data=AVCC)
    assert record(adapter(NalAdaptation.NONE, given), frame) is None


@pytest.mark.parametrize(
    ("flags", "given", "expected"),
    [
        (TO_ANNEXB, CODE + SPS + CODE + PPS, CODE + PPS + CODE + OTHER_SPS),
        (TO_ANNEXB, AVCC, h264.build_avcc([OTHER_SPS, PPS])),
        (
            TO_ANNEXB | NalAdaptation.ANNEXB_CPD_NALS,
            CODE + SPS + CODE + PPS,
            h264.build_avcc([OTHER_SPS, PPS]),
        ),
    ],
)
def test_new_private_data_has_the_format_of_the_old(
    flags: NalAdaptation, given: bytes, expected: bytes
) -> None:
    """If frames are converted to Annex-B and the old private data is Annex-B, so is the new."""
    track = TrackInfo(1, TrackType.VIDEO, "V", codec_private_data=given)
    subject = adapter(flags, track)
    assert record(subject, lengths(SPS, PPS, IDR)) is None
    assert record(subject, lengths(OTHER_SPS, IDR)) == expected


def test_frames_of_unknown_format_are_not_parsed() -> None:
    """Frames are not converted, and the private data declares no lengths."""
    track = TrackInfo(1, TrackType.VIDEO, "V", codec_private_data=CODE + SPS + CODE + PPS)
    annexb = CODE + OTHER_SPS + CODE + PPS + CODE + IDR
    for frame in (lengths(OTHER_SPS, PPS, IDR), annexb):
        assert record(adapter(NalAdaptation.NONE, track), frame) is None
    assert record(adapter(NalAdaptation.NONE), annexb) is None


def test_frames_with_lengths_and_their_sets_need_no_private_data() -> None:
    """MP4 files with the sample entry avc3 have such frames; the record is made from the sets."""
    frame = lengths(SPS, PPS, IDR)
    assert record(adapter(NalAdaptation.NONE), frame) == h264.build_avcc([SPS, PPS])
    assert record(adapter(NalAdaptation.NONE), b"anything") is None


def test_sets_that_cannot_make_a_record_stay_in_the_frame() -> None:
    assert record(adapter(ANNEXB), CODE + SPS + CODE + IDR) is None
    assert record(adapter(ANNEXB), KEY_FRAME) == AVCC


def test_h265() -> None:
    sets = [
        bytes.fromhex("40010c01ffff01600000030090000003000003001eba0240"),
        bytes.fromhex(
            "42010101600000030090000003000003001ea030810596e92930b9a02000000300200000030321"
        ),
        bytes.fromhex("4401c073c189"),
    ]
    frame = b"".join(CODE + unit for unit in [*sets, b"\x26\x01\xaf"])
    subject = FrameAdapter(
        [TrackInfo(1, TrackType.VIDEO, "V_MPEGH/ISO/HEVC")], ANNEXB, content_type="video/h265"
    )
    found = record(subject, frame)
    assert found is not None
    assert all(unit in found for unit in sets)
    given = TrackInfo(1, TrackType.VIDEO, "V_MPEGH/ISO/HEVC", codec_private_data=found)
    assert record(FrameAdapter([given], ANNEXB, content_type="video/h265"), frame) is None
    unconverted = FrameAdapter([given], NalAdaptation.NONE, content_type="video/h265")
    assert record(unconverted, lengths(*sets, b"\x26\x01\xaf")) is None
    other = sets[2] + b"\x80"
    assert record(unconverted, lengths(other, b"\x26\x01")) == h265.build_hvcc([*sets[:2], other])


@pytest.mark.parametrize("data", [CODE, CODE * 2, b"\0\0\0\0\0\0\1"])
def test_frame_of_start_codes_alone_is_refused(data: bytes) -> None:
    """A block without a NAL unit cannot be decoded."""
    with pytest.raises(KvsError, match="no NAL unit") as caught:
        adapter(ANNEXB).adapt(1, data)
    assert caught.value.status is StatusCode.MKV_INVALID_FRAME_DATA
