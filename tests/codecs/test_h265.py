"""Tests of H.265 parameter sets and hvcC records."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsproducer.codecs import h265
from kvsproducer.status import InvalidMedia, StatusCode

S = StatusCode
# from x265: 320x240, Main profile
VPS = bytes.fromhex("40010c01ffff01600000030090000003000003003cba0240")
SPS = bytes.fromhex(
    "42010101600000030090000003000003003ca00a080f165ba4a4c2e68080000003008000000c84"
)
PPS = bytes.fromhex("4401c073c189")
GENERAL = bytes.fromhex("01600000009000000000003c")


def status_of(call: Any, *args: Any, **options: Any) -> StatusCode:
    with pytest.raises(InvalidMedia) as caught:
        call(*args, **options)
    return caught.value.status


def size(sps: h265.Sps) -> tuple[int, int]:
    return sps.width, sps.height


def test_an_encoder_sps_gives_profile_level_and_size() -> None:
    sps = h265.parse_sps(SPS)
    assert size(sps) == (sps.coded_width, sps.coded_height) == (320, 240)
    assert sps.general == GENERAL
    assert (sps.profile_idc, sps.level_idc, sps.sub_layers) == (1, 60, 1)
    assert sps.temporal_id_nesting


SPS_CASES: list[tuple[dict[str, Any], tuple[int, int]]] = [
    ({}, (320, 240)),
    ({"window": (1, 2, 3, 4)}, (314, 226)),
    ({"chroma": 0, "window": (1, 2, 3, 4)}, (317, 233)),
    ({"chroma": 2, "window": (1, 2, 3, 4)}, (314, 233)),
    ({"chroma": 3, "window": (1, 2, 3, 4)}, (317, 233)),
    ({"chroma": 3, "separate_planes": 1, "window": (1, 0, 0, 0)}, (319, 240)),
    ({"depths": (12, 10)}, (320, 240)),
    ({"sub_layers": 3, "sub_layer_flags": [(1, 1), (0, 1)]}, (320, 240)),
    ({"sub_layers": 7, "sub_layer_flags": [(1, 0)] * 6, "window": (0, 0, 0, 1)}, (320, 238)),
    ({"general": b"\xff" * 12, "size": (1920, 1088), "window": (0, 0, 0, 4)}, (1920, 1080)),
    ({"chroma": 4}, (320, 240)),
    ({"sub_layers": 2, "reserved": 0x3FFF}, (320, 240)),
]


@pytest.mark.parametrize(("options", "wanted"), SPS_CASES)
def test_every_layout_of_an_sps(
    build: Any, options: dict[str, Any], wanted: tuple[int, int]
) -> None:
    sps = h265.parse_sps(build.h265_sps(**options))
    assert size(sps) == wanted
    assert sps.sub_layers == options.get("sub_layers", 1)
    assert (sps.bit_depth_luma, sps.bit_depth_chroma) == options.get("depths", (8, 8))


def test_bad_sps_units_have_their_status(build: Any) -> None:
    sps = build.h265_sps
    cases = [
        (PPS, S.MKV_INVALID_H264_H265_SPS_NALU),
        (b"", S.MKV_INVALID_H264_H265_SPS_NALU),
        (b"\xc2\1" + SPS[2:], S.MKV_INVALID_H264_H265_SPS_NALU),
        (SPS[:15], S.BIT_READER_OUT_OF_RANGE),
        (sps(size=(65536, 8)), S.MKV_INVALID_H264_H265_SPS_WIDTH),
        (sps(size=(8, 65536)), S.MKV_INVALID_H264_H265_SPS_HEIGHT),
        (sps(window=(100, 100, 0, 0)), S.MKV_INVALID_H264_H265_SPS_WIDTH),
        (sps(chroma=4, window=(1, 0, 0, 0)), S.MKV_INVALID_HEVC_SPS_CHROMA_FORMAT_IDC),
    ]
    for unit, status in cases:
        assert status_of(h265.parse_sps, unit) is status


def test_strict_parsing_refuses_what_decoders_ignore(build: Any) -> None:
    reserved = build.h265_sps(sub_layers=2, reserved=1)
    assert status_of(h265.parse_sps, reserved, strict=True) is S.MKV_INVALID_HEVC_SPS_RESERVED
    chroma = build.h265_sps(chroma=4)
    status = status_of(h265.parse_cpd, chroma, strict=True)
    assert status is S.MKV_INVALID_HEVC_SPS_CHROMA_FORMAT_IDC
    assert size(h265.parse_sps(SPS, strict=True)) == (320, 240)


def test_codec_private_data_of_any_form(build: Any) -> None:
    record = h265.build_hvcc([VPS, SPS, PPS])
    aud = b"\x46\1\x50"
    for cpd in (
        build.annexb(VPS, SPS, PPS),
        build.annexb(aud, PPS, SPS, VPS),
        b"\0\0" + build.annexb(SPS),
        record,
        record[: -len(PPS) - 5],
        SPS,
    ):
        assert size(h265.parse_cpd(cpd)) == (320, 240)


def hvcc(*arrays: str) -> bytes:
    """Make a record with a simple header and the arrays given in hex."""
    header = b"\1" + GENERAL + bytes.fromhex("f000fcfdf8f800000f")
    return header + bytes((len(arrays),)) + b"".join(map(bytes.fromhex, arrays))


CPDS_REFUSED = [
    ("too short", b"\1\1\x60\0\0\0\x90", S.MKV_INVALID_H264_H265_CPD),
    ("Annex-B without SPS", b"\0\0\0\1" + VPS, S.MKV_INVALID_ANNEXB_CPD_NALUS),
    ("ends in the header", hvcc(), S.MKV_INVALID_HEVC_FORMAT),
    ("anything", bytes.fromhex("e7df2a5dcb634871"), S.MKV_INVALID_HEVC_FORMAT),
    ("no SPS", hvcc("22 0001 0006" + PPS.hex()), S.MKV_HEVC_SPS_NALU_MISSING),
    ("ends between arrays", hvcc("22 0001 0006" + PPS.hex(), "21"), S.MKV_HEVC_SPS_NALU_MISSING),
    ("a PPS is cut", hvcc("22 0001 0007" + PPS.hex()), S.MKV_INVALID_HEVC_FORMAT),
    ("a length is cut", hvcc("21 0001 00"), S.MKV_INVALID_HEVC_FORMAT),
    ("the SPS is cut", hvcc("21 0001 ffff" + SPS.hex()), S.MKV_INVALID_HEVC_SPS_NALU_SIZE),
    ("an empty SPS array", hvcc("21 0000", "22 0000"), S.MKV_INVALID_HEVC_NALU_COUNT),
    ("more SPS than there are", hvcc("21 0002 0027" + SPS.hex()), S.MKV_INVALID_HEVC_NALU_COUNT),
]


@pytest.mark.parametrize(("what", "cpd", "status"), CPDS_REFUSED)
def test_bad_codec_private_data_has_its_status(what: str, cpd: bytes, status: StatusCode) -> None:
    assert status_of(h265.parse_cpd, cpd) is status


def test_two_sps_in_a_record_are_valid() -> None:
    two = hvcc("21 0002 0027" + SPS.hex() + "0027" + SPS.hex())
    assert size(h265.parse_cpd(two)) == (320, 240)


def test_an_hvcc_record_is_built_and_parsed_back(build: Any) -> None:
    """Profile and level come from the SPS; the arrays are sorted by unit type."""
    wanted = (
        "01" + GENERAL.hex() + "f000fcfdf8f800000f03"
        "2000010018" + VPS.hex() + "2100010027" + SPS.hex() + "2200010006" + PPS.hex()
    )
    sei = b"\x4e\1\5"
    for units in ((VPS, SPS, PPS), (PPS, sei, SPS, VPS), (SPS, VPS, PPS, PPS, VPS)):
        assert h265.cpd_to_hvcc(build.annexb(*units)).hex() == wanted
    config = h265.parse_hvcc(bytes.fromhex(wanted))
    assert config == h265.HevcConfig(GENERAL, 4, ((32, VPS), (33, SPS), (34, PPS)))


def test_sub_layers_and_formats_go_into_the_record(build: Any) -> None:
    sps = build.h265_sps(sub_layers=3, chroma=2, depths=(10, 9), general=b"\x04" * 12)
    record = h265.build_hvcc([sps, PPS])
    assert record[1:13] == b"\x04" * 12
    assert record[16:19].hex() == "fefaf9"
    assert (record[21], record[22]) == (0x1F, 2)


def test_all_different_parameter_sets_go_into_the_record() -> None:
    other = PPS + b"\x12"
    config = h265.parse_hvcc(h265.build_hvcc([VPS, SPS, PPS, other, PPS]))
    assert [unit for kind, unit in config.units if kind == 34] == [PPS, other]


def test_units_that_cannot_make_a_record_have_their_status(build: Any) -> None:
    cases = [
        (build.annexb(PPS)[:14], S.MKV_MIN_ANNEX_B_CPD_SIZE),
        (b"no start code at all", S.MKV_INVALID_ANNEXB_CPD_NALUS),
        (build.annexb(SPS), S.MKV_ANNEXB_CPD_MISSING_NALUS),
        (build.annexb(VPS, PPS), S.MKV_ANNEXB_CPD_MISSING_NALUS),
        (build.annexb(SPS + bytes([7]) * 70_000, PPS), S.MKV_INVALID_ANNEXB_NALU_IN_CPD),
        (build.annexb(build.h265_sps(chroma=4), PPS), S.MKV_INVALID_HEVC_SPS_CHROMA_FORMAT_IDC),
        (build.annexb(VPS, SPS[:12]), S.BIT_READER_OUT_OF_RANGE),
    ]
    for cpd, status in cases:
        assert status_of(h265.cpd_to_hvcc, cpd) is status


heads = st.sampled_from([b"", b"\0\0\0\1\x42\1", b"\x42\1", hvcc()[:22] + b"\3\x21\0\1"])


@given(st.binary(max_size=80), heads)
def test_any_bytes_give_a_result_or_a_status(data: bytes, head: bytes) -> None:
    for parse in (h265.parse_cpd, h265.parse_sps, h265.parse_hvcc, h265.cpd_to_hvcc):
        with suppress(InvalidMedia):
            parse(head + data)


@given(st.integers(0, len(SPS) * 8 - 1))
def test_an_sps_with_any_bit_flipped_gives_a_result_or_a_status(index: int) -> None:
    unit = bytearray(SPS)
    unit[index // 8] ^= 1 << index % 8
    with suppress(InvalidMedia):
        assert h265.parse_sps(bytes(unit)).width >= 0
