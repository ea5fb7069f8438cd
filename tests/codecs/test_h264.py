"""Tests of H.264 parameter sets and avcC records."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.h264_fields import Bits, coded, sps_unit

from kvsproducer.codecs import h264, split_annexb
from kvsproducer.status import InvalidMedia, KvsError, StatusCode

S = StatusCode
PPS = bytes.fromhex("68ce0fc8")
# from x264: 320x240 baseline, and a 1920x1080 high profile with cropping
BASELINE = bytes.fromhex("6742c00dda0507e840000003004000000ca3c50aa8")
CROPPED = bytes.fromhex("6742c028da01e0089f961000000300100000030328f1832a")


def status_of(call: Any, *args: Any) -> StatusCode:
    with pytest.raises(InvalidMedia) as caught:
        call(*args)
    return caught.value.status


def size(sps: h264.Sps) -> tuple[int, int]:
    return sps.width, sps.height


def test_an_encoder_sps_gives_profile_level_and_cropped_size() -> None:
    sps = h264.parse_sps(CROPPED)
    assert size(sps) == (1920, 1080)
    assert (sps.coded_width, sps.coded_height) == (1920, 1088)
    assert (sps.profile_idc, sps.constraint_flags, sps.level_idc) == (66, 0xC0, 40)
    assert not sps.interlaced


SPS_CASES: list[tuple[dict[str, Any], tuple[int, int]]] = [
    ({}, (320, 240)),
    ({"crop": (0, 3, 0, 5)}, (314, 230)),
    ({"frames_only": 0, "size_mbs": (120, 34), "crop": (0, 0, 0, 2)}, (1920, 1080)),
    ({"profile": 100, "chroma": 0, "crop": (1, 2, 3, 4)}, (317, 233)),
    ({"profile": 110, "depths": (10, 10)}, (320, 240)),
    ({"profile": 122, "chroma": 2, "depths": (10, 9), "crop": (1, 1, 1, 1)}, (316, 238)),
    ({"profile": 244, "chroma": 3, "depths": (14, 14), "crop": (1, 1, 1, 1)}, (318, 238)),
    ({"profile": 244, "chroma": 3, "separate_planes": 1, "crop": (1, 0, 1, 0)}, (319, 239)),
    ({"profile": 100, "chroma": 4, "crop": (1, 0, 1, 0)}, (319, 239)),
]


@pytest.mark.parametrize(("options", "wanted"), SPS_CASES)
def test_every_layout_of_an_sps(
    build: Any, options: dict[str, Any], wanted: tuple[int, int]
) -> None:
    sps = h264.parse_sps(build.h264_sps(**options))
    assert size(sps) == wanted
    assert sps.interlaced == (options.get("frames_only") == 0)
    assert (sps.bit_depth_luma, sps.bit_depth_chroma) == options.get("depths", (8, 8))


def test_picture_order_count_types(build: Any) -> None:
    cycle = build.ue(1) + "0" + build.se(-3) + build.se(4) + build.ue(3) + build.se(1) * 3
    for order in (build.ue(0) + build.ue(4), cycle, build.ue(2)):
        assert size(h264.parse_sps(build.h264_sps(order=order))) == (320, 240)


@pytest.mark.parametrize(("chroma", "lists"), [(1, 8), (3, 12)])
def test_scaling_lists_are_skipped(build: Any, chroma: int, lists: int) -> None:
    """Lists have signed deltas, end early at a zero scale, or are absent; 4:4:4 has 12 of them."""
    scaling: list[list[int] | None] = []
    for index in range(lists):
        count = 16 if index < 6 else 64
        ends_early = [-3, 2, -7]  # 8 -> 5 -> 7 -> 0: the rest repeats
        scaling.append([None, ends_early, [1, -1] * (count // 2)][index % 3])
    sps = build.h264_sps(profile=244, chroma=chroma, scaling=scaling)
    assert size(h264.parse_sps(sps)) == (320, 240)


def test_emulation_prevention_is_removed_before_parsing(build: Any) -> None:
    unit = build.h264_sps(order=build.ue(0) + build.ue(2**30))
    assert b"\0\0\3" in unit
    assert size(h264.parse_sps(unit)) == (320, 240)


REFUSED = [
    ("another unit", PPS, S.MKV_INVALID_H264_H265_SPS_NALU),
    ("forbidden bit", b"\xe7" + BASELINE[1:], S.MKV_INVALID_H264_H265_SPS_NALU),
    ("not a reference", b"\x07" + BASELINE[1:], S.MKV_INVALID_H264_H265_SPS_NALU),
    ("nothing", b"", S.MKV_INVALID_H264_H265_SPS_NALU),
    ("cut", BASELINE[:6], S.BIT_READER_OUT_OF_RANGE),
    ("endless code", BASELINE[:4] + bytes(9), S.BIT_READER_INVALID_SIZE),
]


@pytest.mark.parametrize(("what", "unit", "status"), REFUSED)
def test_bad_sps_units_have_their_status(what: str, unit: bytes, status: StatusCode) -> None:
    assert status_of(h264.parse_sps, unit) is status


def test_sizes_that_do_not_fit_are_refused(build: Any) -> None:
    wide = build.h264_sps(size_mbs=(4096, 1))
    assert status_of(h264.parse_sps, wide) is S.MKV_INVALID_H264_H265_SPS_WIDTH
    tall = build.h264_sps(size_mbs=(1, 4096))
    assert status_of(h264.parse_sps, tall) is S.MKV_INVALID_H264_H265_SPS_HEIGHT
    negative = build.h264_sps(crop=(0, 161, 0, 0))
    assert status_of(h264.parse_sps, negative) is S.MKV_INVALID_H264_H265_SPS_WIDTH


def test_codec_private_data_of_any_form(build: Any) -> None:
    forms = [
        build.annexb(BASELINE, PPS),
        build.annexb(b"\x09\x10", PPS, BASELINE),
        b"\0" + build.annexb(BASELINE, PPS),
        h264.build_avcc([BASELINE, PPS]),
        h264.build_avcc([BASELINE, PPS])[:24],
        BASELINE,
    ]
    for cpd in forms:
        assert size(h264.parse_cpd(cpd)) == (320, 240)


CPDS_REFUSED = [
    ("too short", "0142c00dffe100", S.MKV_INVALID_H264_H265_CPD),
    ("avcC with an SPS longer than itself", "0142c00dffe1ffff67", S.MKV_INVALID_H264_H265_CPD),
    ("avcC with an empty SPS", "0142c00dffe1000067", S.MKV_INVALID_H264_H265_CPD),
    ("avcC without SPS", "0142c00dffe0000067", S.MKV_INVALID_H264_H265_SPS_NALU),
    ("Annex-B without SPS", "00000001 68ce0fc8", S.MKV_INVALID_ANNEXB_CPD_NALUS),
    (
        "Annex-B with too many zeros",
        "000001 65 00000000 02",
        S.MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA,
    ),
    ("anything", "a2b1cc28a0fc18c9", S.MKV_INVALID_H264_H265_SPS_NALU),
]


@pytest.mark.parametrize(("what", "cpd", "status"), CPDS_REFUSED)
def test_bad_codec_private_data_has_its_status(what: str, cpd: str, status: StatusCode) -> None:
    assert status_of(h264.parse_cpd, bytes.fromhex(cpd)) is status


def test_an_avcc_record_is_built_and_parsed_back(build: Any) -> None:
    record = h264.cpd_to_avcc(build.annexb(b"\x09\x10", PPS, BASELINE, BASELINE, PPS))
    assert record.hex() == "0142c00dffe10015" + BASELINE.hex() + "010004" + PPS.hex()
    assert h264.parse_avcc(record) == h264.AvcConfig(66, 0xC0, 13, 4, (BASELINE,), (PPS,))


def test_all_different_parameter_sets_go_into_the_record(build: Any) -> None:
    other_sps, other_pps = build.h264_sps(), b"\x68\x53\x80\x12"
    config = h264.parse_avcc(h264.build_avcc([BASELINE, other_sps, PPS, other_pps]))
    assert config.sps == (BASELINE, other_sps)
    assert config.pps == (PPS, other_pps)


def test_high_profiles_end_with_chroma_format_and_bit_depths(build: Any) -> None:
    sps = build.h264_sps(profile=122, chroma=2, depths=(10, 9))
    extension = b"\x6d\1\2\x80"
    record = h264.build_avcc([sps, PPS, extension])
    assert record.endswith(PPS + bytes.fromhex("fefaf9 01 0004") + extension)
    assert h264.build_avcc([sps, PPS]).endswith(PPS + bytes.fromhex("fefaf900"))


def test_records_of_other_length_sizes_and_set_counts_are_parsed() -> None:
    record = bytes.fromhex("0142c00d fd e2 0004 6742c00d 0003 674201 00")
    config = h264.parse_avcc(record)
    assert config.length_size == 2
    assert config.sps == (b"\x67\x42\xc0\x0d", b"\x67\x42\1")
    assert config.pps == ()


def test_bad_records_are_refused() -> None:
    record = h264.build_avcc([BASELINE, PPS])
    for bad in (b"", b"\2" + record[1:], record[:7], record[:20], record[:29], record[:31]):
        assert status_of(h264.parse_avcc, bad) is S.MKV_INVALID_H264_H265_CPD


def test_units_that_cannot_make_a_record_have_their_status(build: Any) -> None:
    cases = [
        (build.annexb(BASELINE)[:10], S.MKV_MIN_ANNEX_B_CPD_SIZE),
        (build.annexb(PPS, PPS), S.MKV_MISSING_SPS_FROM_H264_CPD),
        (b"no start code at all", S.MKV_MISSING_SPS_FROM_H264_CPD),
        (build.annexb(BASELINE), S.MKV_MISSING_PPS_FROM_H264_CPD),
        (build.annexb(BASELINE + bytes([7]) * 70_000, PPS), S.MKV_INVALID_ANNEXB_NALU_IN_CPD),
        (
            build.annexb(*(BASELINE + bytes([n]) for n in range(1, 33)), PPS),
            S.MKV_INVALID_ANNEXB_NALU_IN_CPD,
        ),
        (build.annexb(b"\x67\x64\0\x0d", PPS), S.BIT_READER_OUT_OF_RANGE),
    ]
    for cpd, status in cases:
        assert status_of(h264.cpd_to_avcc, cpd) is status


@given(
    st.binary(max_size=80),
    st.sampled_from([b"", b"\0\0\0\1\x67", b"\1\x64\0\x0d\xff\xe1", b"\x67"]),
)
def test_any_bytes_give_a_result_or_a_status(data: bytes, head: bytes) -> None:
    for parse in (h264.parse_cpd, h264.parse_sps, h264.parse_avcc, h264.cpd_to_avcc):
        with suppress(InvalidMedia):
            parse(head + data)


@given(st.integers(0, 30 * 8 - 1))
def test_an_sps_with_any_bit_flipped_gives_a_result_or_a_status(index: int) -> None:
    unit = bytearray(CROPPED.ljust(30, b"\x55"))
    unit[index // 8] ^= 1 << index % 8
    with suppress(InvalidMedia):
        assert h264.parse_sps(bytes(unit)).width >= 0


def _restricted(depth: int) -> Callable[[Bits], object]:
    """Make a VUI with all optional parts, which limits the reordering to `depth` frames."""

    def vui(bits: Bits) -> None:
        bits.u(1, 1).u(8, 255).u(32, 0x40003)  # sample aspect ratio, written out
        bits.u(1, 1).u(1, 0)  # overscan
        bits.u(1, 1).u(4, 0).u(1, 1).u(24, 0x10101)  # video signal type
        bits.u(1, 1).ue(0, 0)  # chroma location
        bits.u(1, 1).u(32, 1).u(32, 50).u(1, 1)  # timing
        for _ in range(2):  # HRD parameters of the NAL units and of the slices
            bits.u(1, 1).ue(1).u(8, 0).ue(5, 6).u(1, 0).ue(7, 8).u(1, 0).u(20, 0)
        bits.u(2, 0).u(1, 1).u(1, 1).ue(0, 0, 16, 16, depth, 4)

    return vui


REORDERING = [
    (sps_unit(), True),
    (sps_unit(profile=66), False),
    (sps_unit(poc_type=2), False),
    (sps_unit(_restricted(0)), False),
    (sps_unit(_restricted(2)), True),
    (sps_unit(lambda bits: bits.u(1, 1).u(8, 1).u(2, 0).u(5, 0).u(1, 0)), True),
    (sps_unit(lambda bits: bits.u(2, 0).u(1, 1).u(4, 0).u(1, 0).u(6, 0)), True),
    (sps_unit(_restricted(0))[:-9], True),
]


@pytest.mark.parametrize(("unit", "reorders"), REORDERING)
def test_may_reorder(unit: bytes, reorders: bool) -> None:
    """Baseline, POC type 2 and a limit of 0 exclude B-frames; a VUI that is cut off does not."""
    assert h264.may_reorder(unit[4:]) == reorders


def test_slices_distinguish_fields() -> None:
    """Two fields of a picture have the same frame_num and opposite parity."""
    sps = h264.parse_sps(sps_unit()[4:])
    assert (sps.interlaced, sps.frame_num_bits, sps.poc_type, sps.sps_id) == (True, 4, 0, 0)
    found = []
    for access_unit in coded("IPP"):
        for unit in split_annexb(access_unit.data):
            if unit[0] & 31 == 8:
                assert h264.parse_pps_ids(unit) == (0, 0)
            found.append(h264.parse_slice(unit, {0: sps}))
            assert h264.parse_slice(unit, {1: sps}) is None
    slices = [found for found in found if found is not None]
    assert [(s.frame_num, s.bottom) for s in slices] == [
        (n, bottom) for n in range(3) for bottom in (False, True)
    ]
    assert [s.idr for s in slices] == [True] + [False] * 5
    assert all(s.field for s in slices)


def test_a_slice_of_separate_planes_has_their_id() -> None:
    """colour_plane_id comes before frame_num; slices of a progressive stream are not fields."""
    sps = replace(h264.parse_sps(sps_unit()[4:]), separate_planes=True, interlaced=False)
    unit = Bits().ue(0, 5, 0).u(2, 2).u(4, 9).unit(0x41)[4:]
    assert h264.parse_slice(unit, {0: sps}) == h264.Slice(False, 9, False, False)
    with pytest.raises(KvsError):
        h264.parse_slice(b"\x41\x80", {0: sps})
