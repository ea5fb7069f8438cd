"""Tests of the checks for playable frames; tests/client has whole streams of real media."""

from __future__ import annotations

import pytest

from kvsproducer.codecs import h264
from kvsproducer.mkv import NalAdaptation, TrackInfo, TrackType
from kvsproducer.mkv.playable import Format, Looked, format_of
from kvsproducer.status import KvsError, StatusCode

CODE = b"\0\0\0\1"
SPS = bytes.fromhex("6742c00ada189a1000000300100000030328f1226b")
PPS = bytes.fromhex("68ce039c80")
IDR, SLICE, INTRA = b"\x65\x88\x84\x21", b"\x41\x9a\x22\x11", b"\x41\x88\x84\x21"
LATER = b"\x65\x41\x84\x21"
RECOVERY, USER_DATA = b"\x06\x06\x01\xc4\x80", b"\x06\x05\x10" + b"\x11" * 16 + b"\x80"
KEY = CODE + SPS + CODE + PPS + CODE + IDR
RECORD = h264.build_avcc([SPS, PPS])
ANNEXB = NalAdaptation.ANNEXB_NALS | NalAdaptation.ANNEXB_CPD_NALS


def made(
    flags: NalAdaptation = ANNEXB, data: bytes = b"", codec: str = "V_MPEG4/ISO/AVC"
) -> Format:
    track = TrackInfo(1, TrackType.VIDEO, codec, codec_private_data=data)
    found = format_of(track, "video/h264,video/h265", flags)
    assert found is not None
    return found


def look(subject: Format, data: bytes, *, key: bool = False, close: bool = False) -> Looked | None:
    looked = subject.look(data, key=key, close=close)
    subject.done()
    return looked


@pytest.mark.parametrize(
    ("kind", "codec", "data"),
    [
        (TrackType.VIDEO, "V_X", b""),
        (TrackType.VIDEO, "V_MS/VFW/FOURCC", b""),
        (TrackType.VIDEO, "V_MPEG4/ISO/AVC", b"own"),
        (TrackType.VIDEO, "V_MPEG4/ISO/AVC", CODE + SPS),
        (TrackType.AUDIO, "A_OPUS", b""),
        (TrackType.UNKNOWN, "S_TEXT", b""),
    ],
)
def test_tracks_of_unknown_format_have_no_checks(kind: TrackType, codec: str, data: bytes) -> None:
    """These are other codecs, and private data that does not show the frames' format."""
    track = TrackInfo(1, kind, codec, codec_private_data=data)
    assert format_of(track, "video/h264", NalAdaptation.NONE) is None


@pytest.mark.parametrize(
    ("data", "plain"),
    [
        (CODE + SLICE, True),
        (CODE[1:] + SLICE, True),
        (CODE + b"\x09\xf0" + CODE + SLICE, True),
        (CODE + b"\x01\x9a\x22", True),
        (CODE + b"\x41\x41\x22", False),
        (CODE + b"\x06\x05" + CODE + SLICE, False),
        (CODE + SPS, False),
        (b"\0\0\0\4" + SLICE, False),
        (b"", False),
    ],
)
def test_most_frames_match_the_plain_pattern(data: bytes, plain: bool) -> None:
    match = made().is_plain
    assert match is not None
    assert (match(data) is not None) is plain


@pytest.mark.parametrize(
    "flags", [NalAdaptation.ANNEXB_NALS, NalAdaptation.AVCC_NALS, NalAdaptation.NONE]
)
@pytest.mark.parametrize("unit", [b"\x09\xf0", b"\x06\x05\x01"])
def test_the_number_of_parsed_units_is_limited(unit: bytes, flags: NalAdaptation) -> None:
    """A frame with thousands of units before its picture is refused."""
    subject = format_of(TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC"), "video/h264", flags)
    assert subject is not None
    code = len(unit).to_bytes(4) if flags is NalAdaptation.AVCC_NALS else CODE
    data = (code + unit) * 100_000 + CODE + SLICE
    if flags is NalAdaptation.NONE:  # nothing is known, and so it is passed on
        assert subject.look(data, key=True, close=False) == (data, True)
    else:
        with pytest.raises(KvsError, match="2048 NAL units and no slice of a picture"):
            subject.look(data, key=True, close=False)


def test_units_without_a_picture_are_held_for_the_next_one() -> None:
    """Meanwhile no frame is plain; `look` without `done` changes nothing."""
    subject = made()
    for unit in (SPS, PPS, USER_DATA):
        assert look(subject, CODE + unit) is None
    match = subject.is_plain
    assert match is not None
    assert match(CODE + IDR) is None
    joined = CODE + SPS + CODE + PPS + CODE + USER_DATA + CODE + IDR
    for _ in range(2):
        assert subject.look(CODE + IDR, key=True, close=False) == (joined, True)
    subject.done()
    assert look(subject, CODE + SLICE) == (CODE + SLICE, False)


def test_the_size_of_held_units_is_limited() -> None:
    subject = made()
    filler = CODE + b"\x0c" + b"\xff" * (1 << 19)
    assert look(subject, filler) is None
    with pytest.raises(KvsError, match="no slice of a picture"):
        for _ in range(3):
            look(subject, filler)


@pytest.mark.parametrize(
    ("units", "key"),
    [
        ([IDR], True),
        ([INTRA], True),
        ([RECOVERY, SLICE], True),
        ([USER_DATA, RECOVERY, SLICE], True),
        ([USER_DATA, SLICE], False),
        ([SLICE], False),
    ],
)
def test_the_key_flag_is_kept_where_decoding_can_start(units: list[bytes], key: bool) -> None:
    """An I slice or a recovery point keeps the flag; it is removed from other pictures."""
    data = CODE + SPS + CODE + PPS + b"".join(CODE + unit for unit in units)
    assert look(made(), data, key=True) == (data, key)


def test_without_sets_the_first_key_picture_is_refused() -> None:
    """Key frames are refused until one has all sets; later key frames need none."""
    subject = made()
    for units, status in (
        ([IDR], StatusCode.MKV_MISSING_SPS_FROM_H264_CPD),
        ([SPS, IDR], StatusCode.MKV_MISSING_PPS_FROM_H264_CPD),
    ):
        with pytest.raises(KvsError) as caught:
            look(subject, b"".join(CODE + unit for unit in units), key=True)
        assert caught.value.status is status
    assert not subject.ready
    assert look(subject, KEY, key=True) == (KEY, True)
    assert subject.ready
    assert look(subject, CODE + IDR, key=True) == (CODE + IDR, True)
    given = made(data=RECORD)
    assert look(given, CODE + IDR, key=True) == (CODE + IDR, True)


def test_slices_of_one_picture_are_recognized_by_their_time() -> None:
    """A picture whose first slice was lost is accepted, because decoders can conceal the loss."""
    subject = made()
    assert look(subject, CODE + LATER, close=True) is not None, "no picture was seen yet"
    look(subject, KEY, key=True)
    assert look(subject, CODE + LATER) is not None
    with pytest.raises(KvsError, match="whole access units"):
        look(subject, CODE + LATER, close=True)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_record_declares_the_size_of_lengths(size: int) -> None:
    data = h264.build_avcc([SPS, PPS], length_size=size)
    subject = made(NalAdaptation.NONE, data)
    frame = len(IDR).to_bytes(size) + IDR
    assert look(subject, frame, key=True) == (frame, True)
    own = b"own bytes of the caller"
    assert look(subject, own, key=True) == (own, True)
    with pytest.raises(KvsError, match="JPEG"):
        look(subject, b"\xff\xd8\xff" + own, key=True)


def test_conversion_to_start_codes_needs_private_data() -> None:
    """The packager makes no record from such frames."""
    subject = made(NalAdaptation.AVCC_NALS)
    frame = b"".join(len(unit).to_bytes(4) + unit for unit in (SPS, PPS, IDR))
    with pytest.raises(KvsError, match="avcC or hvcC"):
        look(subject, frame, key=True)
    assert look(made(NalAdaptation.AVCC_NALS, RECORD), frame, key=True) == (frame, True)


def test_audio_waits_for_its_configuration() -> None:
    """An ADTS header gives it at first and when it changes; then raw frames are accepted."""
    track = TrackInfo(2, TrackType.AUDIO, "A_AAC")
    subject = format_of(track, "audio/aac", NalAdaptation.NONE)
    assert subject is not None
    assert subject.waited_for
    assert not subject.ready
    header = bytes.fromhex("fff15080017ffc")  # LC, 44100 Hz, 2 channels, 11 bytes
    assert look(subject, header + b"\x21abc") == (b"\x21abc", False)
    assert (subject.record, subject.ready) == (bytes.fromhex("1210"), True)
    subject.record = None
    look(subject, header + b"\x21abd")
    assert subject.record is None
    assert look(subject, b"\x21abe") == (b"\x21abe", False)


@pytest.mark.parametrize(
    ("unit", "key"),
    [
        (b"\x41\x8b\x80", True),  # slice_type 10, which does not exist
        (b"\x41\x80\x00", True),  # the header ends within slice_type
        (b"\x41\x80\x00\x00\x00\x00\x80", True),  # slice_type of more than 32 bits
        (b"\x41\x9a\x80", False),  # slice_type 5, a predicted slice
    ],
)
def test_damaged_slice_header_does_not_decide_about_the_key_flag(unit: bytes, key: bool) -> None:
    """The caller's flag is kept if the picture type is unknown."""
    data = CODE + SPS + CODE + PPS + CODE + unit
    assert look(made(), data, key=True) == (data, key)


@pytest.mark.parametrize(
    ("sei", "key"),
    [
        (b"\x06\x05\xff\x2d" + b"\x11" * 300 + RECOVERY[1:], True),  # after 300 bytes
        (b"\x06\xff\x05\x01\x11" + RECOVERY[1:], True),  # after a message of type 260
        (b"\x06\x05\xff\x2d" + b"\x11" * 299 + RECOVERY[1:], False),  # the size is wrong
        (b"\x06\x05\xff\xff\xff", False),  # it ends within a size
        (b"\x06\x05" + b"\xff" * 1100, False),  # the size is longer than what is read
        (b"\x06\xff\xff\xff", False),  # it ends within a type
    ],
)
def test_recovery_point_after_other_messages(sei: bytes, key: bool) -> None:
    """Types and sizes from 255 on take several bytes."""
    data = CODE + SPS + CODE + PPS + CODE + sei + CODE + SLICE
    assert look(made(), data, key=True) == (data, key)


def test_adts_header_with_several_aac_frames_is_refused() -> None:
    """One block must hold one AAC frame."""
    subject = format_of(TrackInfo(2, TrackType.AUDIO, "A_AAC"), "audio/aac", NalAdaptation.NONE)
    assert subject is not None
    with pytest.raises(KvsError, match="has 2 AAC frames in it") as caught:
        look(subject, bytes.fromhex("fff15080017ffd") + b"\x21abc")
    assert caught.value.status is StatusCode.MKV_INVALID_AAC_CPD
