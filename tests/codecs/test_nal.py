"""Tests of the conversion between Annex-B and AVCC without copying."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsproducer.codecs import (
    START_CODE,
    VideoCodec,
    annexb_to_avcc,
    avcc_to_annexb,
    is_annexb,
    is_key_frame,
    nal_type,
    nal_types,
    parameter_sets,
    split_annexb,
    split_avcc,
)
from kvsproducer.codecs.nal import cpd_units, iterate_annexb, iterate_avcc
from kvsproducer.limits import MAX_UNITS
from kvsproducer.status import InvalidFrame, KvsError, StatusCode

H264, H265 = VideoCodec.H264, VideoCodec.H265
BAD_ANNEXB = StatusCode.MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA
BAD_AVCC = StatusCode.MKV_INVALID_AVCC_NALU_IN_FRAME_DATA

ANNEXB_CASES = [
    # (what, byte stream, units)
    ("4-byte start code", "00000001 65aa", ["65aa"]),
    ("3-byte start code", "000001 65aa", ["65aa"]),
    ("both kinds", "00000001 09 000001 65aa 00000001 41", ["09", "65aa", "41"]),
    ("leading zeros", "0000000000 000001 65", ["65"]),
    ("trailing zeros", "000001 65 000000000000", ["65"]),
    ("zeros between units", "000001 65 0000000000 000001 41", ["65", "41"]),
    ("one trailing zero before a 4-byte start code", "00000001 65 00 00000001 41", ["65", "41"]),
    ("empty unit", "000001 000001 65", ["65"]),
    ("empty units between", "000001 65 000001 00000001 0000000001 41", ["65", "41"]),
    ("start code alone", "000001", []),
    ("start codes alone", "000001 00000001 00", []),
    ("start code at the end", "000001 65 00000001", ["65"]),
    ("three zeros inside", "000001 65 000000 02", ["6500000002"]),
    ("emulation prevention stays", "000001 65 000003 01", ["6500000301"]),
    ("01 after one zero", "000001 65 0001", ["650001"]),
]


@pytest.mark.parametrize(("what", "stream", "units"), ANNEXB_CASES)
def test_annexb_is_converted_to_lengths_and_units(what: str, stream: str, units: list[str]) -> None:
    data = bytes.fromhex(stream)
    wanted = [bytes.fromhex(unit) for unit in units]
    buffers, total = annexb_to_avcc(data)
    assert b"".join(buffers) == b"".join(len(u).to_bytes(4) + u for u in wanted)
    assert total == sum(map(len, buffers))
    assert split_annexb(data) == wanted


def test_no_data_gives_no_units() -> None:
    assert annexb_to_avcc(b"") == ([], 0)
    assert split_annexb(b"") == []


BAD_STREAMS = [
    ("no start code", "65aabbcc"),
    ("zeros only", "00000000"),
    ("one byte", "01"),
    ("bytes before the first start code", "65 000001 41"),
    ("bytes and zeros before it", "65 00000001 41"),
    ("too many zeros first", "00000000 65 000001 41"),
    ("too many zeros in a unit", "000001 65 00000000 02"),
    ("too many zeros in a later unit", "000001 65 00000001 41 0000000000 ff"),
]


@pytest.mark.parametrize(("what", "stream"), BAD_STREAMS)
def test_invalid_byte_streams_are_refused(what: str, stream: str) -> None:
    with pytest.raises(InvalidFrame) as caught:
        annexb_to_avcc(bytes.fromhex(stream))
    assert caught.value.status is BAD_ANNEXB
    assert caught.value.offset is not None


def test_the_payload_is_not_copied() -> None:
    data = START_CODE + b"\x65" + random.Random(1).randbytes(5000).replace(b"\0", b"\1")
    for buffers in (annexb_to_avcc(data)[0], avcc_to_annexb(b"\0\0\x13\x89" + data[4:])[0]):
        assert isinstance(buffers[1], memoryview)
    assert annexb_to_avcc(data)[0][1].obj is data  # type: ignore[union-attr]


units_strategy = st.lists(
    st.binary(min_size=1, max_size=60).map(
        lambda unit: re.sub(rb"\0(?=\0)|\0\Z", b"\x07", unit)  # what no encoder would write
    ),
    min_size=1,
    max_size=8,
)


@given(units_strategy, st.data())
def test_units_are_found_in_any_byte_stream_that_contains_them(
    units: list[bytes], data: st.DataObject
) -> None:
    zeros = st.integers(0, 6).map(bytes)
    stream = b"".join(data.draw(zeros) + b"\0\0\1" + unit for unit in units) + data.draw(zeros)
    buffers, total = annexb_to_avcc(stream)
    avcc = b"".join(buffers)
    assert split_annexb(stream) == split_avcc(avcc) == units
    assert total == len(avcc)
    back, size = avcc_to_annexb(avcc)
    assert b"".join(back) == b"".join(START_CODE + unit for unit in units)
    assert size == len(avcc)


@given(st.lists(st.sampled_from([0, 0, 0, 1, 1, 2, 3, 0x65]), max_size=60).map(bytes))
def test_any_bytes_give_units_or_a_status(data: bytes) -> None:
    for convert in (annexb_to_avcc, avcc_to_annexb):
        with suppress(InvalidFrame):
            buffers, total = convert(data)
            assert sum(map(len, buffers)) == total
    try:
        units = split_annexb(data)
        assert all(units)
        assert is_annexb(data) or not units
    except InvalidFrame:
        assert not is_annexb(data) or b"\0\0\0\0" in data


def test_long_runs_of_zeros_take_linear_time() -> None:
    """A megabyte of zeros, before, inside or after a unit, is searched only a few times."""
    zeros = bytes(1_000_000)
    assert split_annexb(zeros + b"\1\x65" + zeros) == [b"\x65"]
    for bad in (zeros, zeros + b"\2", b"\0\0\1\x65" + zeros + b"\2"):
        with pytest.raises(InvalidFrame):
            split_annexb(bad)


BAD_AVCC_FRAMES = [
    "",
    "00",
    "000000",
    "0000000265",
    "0000000165 000000",
    "80000000 65",
    "00000005 65aa",
]


@pytest.mark.parametrize("frame", BAD_AVCC_FRAMES)
def test_lengths_that_are_cut_or_too_long_are_refused(frame: str) -> None:
    with pytest.raises(InvalidFrame) as caught:
        avcc_to_annexb(bytes.fromhex(frame))
    assert caught.value.status is BAD_AVCC


@pytest.mark.parametrize(("size", "data"), [(1, "01650241aa"), (2, "000165000241aa")])
def test_lengths_of_one_and_two_bytes_are_read(size: int, data: str) -> None:
    assert split_avcc(bytes.fromhex(data), size) == [b"\x65", b"\x41\xaa"]


def test_types_key_frames_and_parameter_sets() -> None:
    h264 = [b"\x09\x10", b"\x67sps", b"\x68pps", b"\x67sps", b"\x65", b""]
    assert nal_types(h264, H264) == [9, 7, 8, 7, 5, -1]
    assert is_key_frame(h264, H264)
    assert not is_key_frame(h264[:-2], H264)
    assert parameter_sets(h264, H264) == [b"\x67sps", b"\x68pps"]
    h265 = [b"\x40\1", b"\x42\1", b"\x44\1", b"\x2a\1"]
    assert [nal_type(unit, H265) for unit in h265] == [32, 33, 34, 21]
    assert is_key_frame(h265, H265)
    assert parameter_sets(h265, H265) == h265[:3]
    assert not is_key_frame([b"\x02\1"], H265)


def test_units_of_codec_private_data() -> None:
    assert cpd_units(bytes.fromhex("000001 67 000001 68")) == [b"\x67", b"\x68"]
    assert cpd_units(bytes.fromhex("00000001 67 00000001 68")) == [b"\x67", b"\x68"]
    assert cpd_units(bytes.fromhex("00000002 6701 00000001 68")) == [b"\x67\1", b"\x68"]
    assert cpd_units(b"neither") == []
    with pytest.raises(KvsError) as caught:
        cpd_units(bytes.fromhex("00000000 67"))
    assert caught.value.status is BAD_ANNEXB


@pytest.mark.parametrize(("what", "stream", "units"), ANNEXB_CASES)
def test_units_can_be_read_one_by_one(what: str, stream: str, units: list[str]) -> None:
    """Each view reaches to the end of the frame, because the end of a unit is searched later."""
    data = bytes.fromhex(stream)
    found = [bytes(unit) for unit in iterate_annexb(data)]
    assert len(found) == len(units)
    for each, unit in zip(found, map(bytes.fromhex, units), strict=True):
        assert each.startswith(unit)
        assert data.rstrip(b"\0").endswith(each)
    prefixed = b"".join(len(u).to_bytes(4) + u for u in [b"", *map(bytes.fromhex, units)])
    assert list(iterate_avcc(prefixed)) == list(map(bytes.fromhex, units))


def test_reading_one_by_one_raises_the_same_errors() -> None:
    """The error is raised where the iteration reaches it, not before."""
    units = iterate_annexb(b"\0\0\1\x65\0\0\0\0\2")
    assert next(units)[0] == 0x65
    for bad in (units, iterate_annexb(b"\x65"), iterate_annexb(b"\0\0\1\0\0\0\0\2")):
        with pytest.raises(KvsError) as caught:
            list(bad)
        assert caught.value.status is BAD_ANNEXB
    assert list(iterate_annexb(bytes(3) + b"\1" + bytes(100_000))) == []
    lengths = iterate_avcc(b"\0\1\x41\0\2\x41", 2)
    assert bytes(next(lengths)) == b"\x41"
    with pytest.raises(KvsError) as caught:
        list(lengths)
    assert caught.value.status is BAD_AVCC


@pytest.mark.parametrize("length_size", [1, 2, 4])
@pytest.mark.parametrize("zeros", [*range(10), 90_003])
def test_lengths_of_zero_are_skipped(zeros: int, length_size: int) -> None:
    """Any number of them gives the same units and errors as reading one by one."""
    data = bytes(zeros) + (2).to_bytes(length_size) + b"\x09\xf0" + bytes(length_size)
    try:
        expected = [unit for unit in split_avcc(data, length_size) if unit]
    except KvsError as error:
        with pytest.raises(KvsError, match=re.escape(error.detail)):
            list(iterate_avcc(data, length_size))
    else:
        assert list(iterate_avcc(data, length_size)) == expected


@pytest.mark.parametrize("split", [annexb_to_avcc, split_annexb, split_avcc])
def test_a_frame_of_more_units_than_any_picture_is_refused(
    split: Callable[[bytes], object],
) -> None:
    """Nine million units of one byte each took a minute and 4 GB before."""
    unit = b"\0\0\0\1\x41"  # a start code or a length
    split(unit * MAX_UNITS)
    with pytest.raises(KvsError, match="over 100,000 NAL units") as caught:
        split(unit * 2 * MAX_UNITS)
    assert caught.value.status is StatusCode.MKV_INVALID_FRAME_DATA
