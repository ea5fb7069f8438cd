"""H.264: sequence parameter sets and the avcC configuration record.

Standards: ISO/IEC 14496-10 section 7.3.2.1.1 (SPS), table 6-1 (chroma), equations 7-19 to 7-22
(cropping), annex E.1.1 (VUI), 7.3.3 (slice header); ISO/IEC 14496-15 section 5.3.3.1
(AVCDecoderConfigurationRecord).

Codec private data (CPD) has one of three forms: Annex-B, avcC, or a single SPS. `parse_cpd`
detects the form as AWS's producer does. Length fields are checked against the actual size of the
data. The VUI is parsed only for the reordering of pictures, and slice headers only to distinguish
the two fields of a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kvsproducer.codecs.bits import BitReader, unescape
from kvsproducer.codecs.nal import (
    Buffer,
    VideoCodec,
    cpd_units,
    distinct,
    is_annexb,
    nal_type,
)
from kvsproducer.limits import MIN_H264_ANNEXB_CPD_BYTES, MIN_H264_H265_CPD_BYTES
from kvsproducer.status import InvalidMedia, StatusCode, kvs_error

__all__ = [
    "AvcConfig",
    "Slice",
    "Sps",
    "build_avcc",
    "cpd_to_avcc",
    "may_reorder",
    "parse_avcc",
    "parse_cpd",
    "parse_pps_ids",
    "parse_slice",
    "parse_sps",
]

_S = StatusCode
_CODEC = VideoCodec.H264

_SPS, _PPS, _SPS_EXTENSION = 7, 8, 13
_IDR = 5
_SLICES = frozenset((1, 2, _IDR))  # 2: the first partition of a slice, with its header
_SLICE_HEAD = 32  # bytes looked at; the fields read here take at most 20, with emulation prevention
_BASELINE = 66
_POC_IN_DECODE_ORDER = 2
_EXTENDED_SAR = 255
_MAX_CPB_COUNT = 32
_MAX_SPS_SIZE = 8192  # bytes looked at; scaling lists and a POC cycle at their longest take 4 KB
_MAX_PIXELS = 0xFFFF  # the width and height elements have two bytes
_MAX_SET_SIZE = 0xFFFF  # bytes; a record's set lengths have 16 bits
_MAX_SPS_COUNT = 31  # a five-bit count
_MAX_PPS_COUNT = 255

# Profiles whose SPS carries chroma format, bit depths and scaling lists (7.3.2.1.1; 144 is the
# withdrawn High 4:4:4). Their avcC repeats chroma format and bit depths at its end.
_CHROMA_PROFILES = frozenset((100, 110, 122, 144, 244, 44, 83, 86, 118, 128, 134, 135, 138, 139))
# ChromaArrayType -> (SubWidthC, SubHeightC) for cropping; table 6-1 and equations 7-19 to 7-22.
_CROP_UNIT = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}


@dataclass(frozen=True, slots=True)
class Sps:
    """The content of a sequence parameter set: sizes in luma samples, depths in bits."""

    profile_idc: int
    constraint_flags: int
    level_idc: int
    width: int
    height: int
    coded_width: int
    coded_height: int
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int
    interlaced: bool
    sps_id: int = 0
    frame_num_bits: int = 4
    poc_type: int = 0
    separate_planes: bool = False


@dataclass(frozen=True, slots=True)
class Slice:
    """The picture that a slice belongs to: whole frame, top field, or bottom field (`bottom`)."""

    idr: bool
    frame_num: int
    field: bool
    bottom: bool


@dataclass(frozen=True, slots=True)
class AvcConfig:
    """The content of an avcC record.

    `sps` and `pps` are parameter sets without start codes; `length_size` is the size in bytes of
    the length before each NAL unit of a frame.
    """

    profile_idc: int
    constraint_flags: int
    level_idc: int
    length_size: int
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]


def parse_cpd(cpd: bytes) -> Sps:
    """Parse the first SPS in codec private data, which is Annex-B, avcC or a single SPS.

    Raises MKV_INVALID_H264_H265_CPD if the data is too short or ends inside the SPS,
    MKV_INVALID_ANNEXB_CPD_NALUS if Annex-B data has no SPS, and what `parse_sps` and
    `split_annexb` raise.
    """
    if len(cpd) < MIN_H264_H265_CPD_BYTES:
        detail = (
            f"{len(cpd)} bytes of codec private data, at least {MIN_H264_H265_CPD_BYTES} needed"
        )
        raise kvs_error(_S.MKV_INVALID_H264_H265_CPD, detail)
    if is_annexb(cpd):
        for unit in cpd_units(cpd):
            if _is_sps(unit):
                return parse_sps(bytes(unit))
        raise kvs_error(_S.MKV_INVALID_ANNEXB_CPD_NALUS, "no SPS in the Annex-B CPD")
    if _is_avcc(cpd):
        size = int.from_bytes(cpd[6:8])
        if not 0 < size <= len(cpd):
            detail = f"avcC with an SPS of {size} bytes, {len(cpd)} bytes in all"
            raise kvs_error(_S.MKV_INVALID_H264_H265_CPD, detail)
        # If the record ends inside its SPS, the part before may still contain the picture size.
        return parse_sps(cpd[8 : 8 + size])
    return parse_sps(cpd)


def parse_sps(unit: bytes) -> Sps:
    """Parse one SPS unit, which includes its header byte, up to the cropping rectangle.

    Raises MKV_INVALID_H264_H265_SPS_NALU if the unit is not an SPS, ..._SPS_WIDTH or
    ..._SPS_HEIGHT if the size after cropping is negative or above 65,535 samples, and
    BIT_READER_OUT_OF_RANGE if the unit is cut off.
    """
    if not _is_sps(unit):
        head = f"header 0x{unit[0]:02x}" if unit else "no bytes"
        raise kvs_error(_S.MKV_INVALID_H264_H265_SPS_NALU, f"not an H.264 SPS: {head}")
    return _read_sps(BitReader(unescape(unit[:_MAX_SPS_SIZE])))


def _read_sps(bits: BitReader) -> Sps:
    """Read an SPS up to and including vui_parameters_present_flag.

    Raises what `parse_sps` raises.
    """
    bits.skip(8)
    profile, constraints, level = bits.read(8), bits.read(8), bits.read(8)
    sps_id = bits.ue()
    chroma, depth_luma, depth_chroma, separate_planes = 1, 8, 8, False
    if profile in _CHROMA_PROFILES:
        chroma, separate_planes, depth_luma, depth_chroma = _read_chroma(bits)
        bits.skip(1)  # qpprime_y_zero_transform_bypass_flag
        if bits.flag():
            _skip_scaling_lists(bits, 12 if chroma == 3 else 8)
    frame_num_bits = bits.ue() + 4
    poc_type = _read_picture_order(bits)
    bits.ue()  # max_num_ref_frames
    bits.skip(1)  # gaps_in_frame_num_value_allowed_flag
    width, height = 16 * (bits.ue() + 1), 16 * (bits.ue() + 1)
    frames_only = bits.flag()
    if not frames_only:
        height *= 2  # the SPS counts the rows of a field
        bits.skip(1)  # mb_adaptive_frame_field_flag
    bits.skip(1)  # direct_8x8_inference_flag
    left, right, top, bottom = (
        (bits.ue(), bits.ue(), bits.ue(), bits.ue()) if bits.flag() else (0, 0, 0, 0)
    )
    bits.skip(1)  # vui_parameters_present_flag; raises if the SPS is cut off before it
    unit_x, unit_y = _CROP_UNIT.get(0 if separate_planes else chroma, (1, 1))
    unit_y *= 1 if frames_only else 2
    return Sps(
        profile,
        constraints,
        level,
        _checked(width - unit_x * (left + right), _S.MKV_INVALID_H264_H265_SPS_WIDTH, "width"),
        _checked(height - unit_y * (top + bottom), _S.MKV_INVALID_H264_H265_SPS_HEIGHT, "height"),
        width,
        height,
        chroma,
        depth_luma,
        depth_chroma,
        not frames_only,
        sps_id,
        frame_num_bits,
        poc_type,
        separate_planes,
    )


def may_reorder(unit: bytes) -> bool:
    """Return True if the display order of pictures may differ from their decoding order.

    It cannot differ with the Baseline profile, with pic_order_cnt_type 2, or if the VUI limits the
    reordering to 0 frames. A VUI that is cut off counts as no limit. Raises what
    `parse_sps` raises.
    """
    bits = BitReader(unescape(unit[:_MAX_SPS_SIZE]))
    sps = _read_sps(bits)
    if sps.profile_idc == _BASELINE or sps.poc_type == _POC_IN_DECODE_ORDER:
        return False
    bits.position -= 1
    try:
        return not bits.flag() or _read_max_reordering(bits) != 0
    except InvalidMedia:
        return True


def _read_max_reordering(bits: BitReader) -> int | None:
    """Read the VUI and return max_num_reorder_frames, or None if it is not given."""
    if bits.flag() and bits.read(8) == _EXTENDED_SAR:
        bits.skip(32)
    if bits.flag():  # overscan_info
        bits.skip(1)
    if bits.flag():  # video_signal_type
        bits.skip(4)
        bits.skip(24 if bits.flag() else 0)
    if bits.flag():  # chroma_loc_info
        bits.ue()
        bits.ue()
    if bits.flag():  # timing_info
        bits.skip(65)
    has_hrd = False
    for _ in range(2):  # HRD parameters for all NAL units, then for the slices alone
        if bits.flag():
            has_hrd = True
            _skip_hrd(bits)
    bits.skip(2 if has_hrd else 1)  # low_delay_hrd_flag, pic_struct_present_flag
    if not bits.flag():
        return None
    bits.skip(1)
    for _ in range(4):
        bits.ue()
    return bits.ue()


def _skip_hrd(bits: BitReader) -> None:
    count = bits.ue() + 1
    bits.skip(8)
    for _ in range(min(count, _MAX_CPB_COUNT)):
        bits.ue()
        bits.ue()
        bits.skip(1)
    bits.skip(20)


def parse_pps_ids(unit: Buffer) -> tuple[int, int]:
    """Return the id of a PPS and the id of its SPS.

    Raises BIT_READER_OUT_OF_RANGE if the PPS is cut off.
    """
    bits = BitReader(unescape(bytes(unit[:_SLICE_HEAD])))
    bits.skip(8)
    return bits.ue(), bits.ue()


def parse_slice(unit: Buffer, sets: Mapping[int, Sps]) -> Slice | None:
    """Parse the header of a slice unit; `sets` has the SPS for each PPS id.

    Returns None if the unit is not a slice, or if its PPS is not in `sets`. Raises
    BIT_READER_OUT_OF_RANGE if the unit is cut off.
    """
    kind = nal_type(unit, _CODEC)
    if kind not in _SLICES:
        return None
    bits = BitReader(unescape(bytes(unit[:_SLICE_HEAD])))
    bits.skip(8)
    bits.ue()  # first_mb_in_slice
    bits.ue()  # slice_type
    sps = sets.get(bits.ue())
    if sps is None:
        return None
    if sps.separate_planes:
        bits.skip(2)
    frame_num = bits.read(sps.frame_num_bits)
    field = sps.interlaced and bits.flag()
    return Slice(kind == _IDR, frame_num, field, field and bits.flag())


def parse_avcc(record: bytes) -> AvcConfig:
    """Parse an avcC record; raises MKV_INVALID_H264_H265_CPD if it is invalid or cut off."""
    if not _is_avcc(record):
        raise kvs_error(_S.MKV_INVALID_H264_H265_CPD, "not an avcC record")
    sps, position = _read_sets(record, 6, record[5] & 0x1F)
    if position == len(record):
        raise kvs_error(_S.MKV_INVALID_H264_H265_CPD, "avcC cut before its PPS", offset=position)
    pps, _ = _read_sets(record, position + 1, record[position])
    return AvcConfig(record[1], record[2], record[3], (record[4] & 3) + 1, tuple(sps), tuple(pps))


def cpd_to_avcc(cpd: bytes) -> bytes:
    """Turn Annex-B codec private data into an avcC record with 4-byte NAL lengths.

    Units with 4-byte lengths are accepted too. The record has each distinct SPS and PPS once, in
    their order, and no units of other types. Raises MKV_MIN_ANNEX_B_CPD_SIZE (less than 11 bytes),
    MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA (invalid start codes), MKV_MISSING_SPS_FROM_H264_CPD,
    MKV_MISSING_PPS_FROM_H264_CPD, and what `build_avcc` raises.
    """
    if len(cpd) < MIN_H264_ANNEXB_CPD_BYTES:
        detail = f"{len(cpd)} bytes of Annex-B CPD, at least {MIN_H264_ANNEXB_CPD_BYTES} needed"
        raise kvs_error(_S.MKV_MIN_ANNEX_B_CPD_SIZE, detail)
    return build_avcc(cpd_units(cpd))


def build_avcc(units: Sequence[Buffer], *, length_size: int = 4) -> bytes:
    """Make an avcC record from the parameter sets in `units` (of a CPD or of a key frame).

    `length_size` is the size in bytes of NAL lengths in the frames: 1, 2 or 4. Raises
    MKV_MISSING_SPS_FROM_H264_CPD, MKV_MISSING_PPS_FROM_H264_CPD, and MKV_INVALID_ANNEXB_NALU_IN_CPD
    if a set has more than 65,535 bytes or there are too many sets.
    """
    kinds: dict[int, list[Buffer]] = {_SPS: [], _PPS: [], _SPS_EXTENSION: []}
    for unit in units:
        kinds.get(nal_type(unit, _CODEC), []).append(unit)
    sps, pps, extensions = (distinct(kinds[kind]) for kind in (_SPS, _PPS, _SPS_EXTENSION))
    if not sps:
        raise kvs_error(_S.MKV_MISSING_SPS_FROM_H264_CPD, "no H.264 SPS in the codec private data")
    if not pps:
        raise kvs_error(_S.MKV_MISSING_PPS_FROM_H264_CPD, "no H.264 PPS in the codec private data")
    # Profile, constraint flags and level; zeros if the SPS is too short to have them.
    head = sps[0][1:4].ljust(3, b"\0")
    record = b"\x01" + head + bytes((0xFC | length_size - 1,))
    record += _pack_sets(0xE0, sps, _MAX_SPS_COUNT) + _pack_sets(0, pps, _MAX_PPS_COUNT)
    if head[0] not in _CHROMA_PROFILES:
        return record
    bits = BitReader(unescape(sps[0][:_MAX_SPS_SIZE]))
    bits.skip(32)
    bits.ue()  # seq_parameter_set_id
    chroma, _, luma, colour = _read_chroma(bits)
    record += bytes((0xFC | chroma & 3, 0xF8 | luma - 8 & 7, 0xF8 | colour - 8 & 7))
    return record + _pack_sets(0, extensions, _MAX_PPS_COUNT)


def _is_sps(unit: Buffer) -> bool:
    """Return True for type 7 with a clear forbidden bit and a nal_ref_idc above 0."""
    return len(unit) > 0 and unit[0] & 0x9F == _SPS and unit[0] & 0x60 != 0


def _is_avcc(cpd: bytes) -> bool:
    """Return True for version 1 with all reserved bits set and at least one SPS."""
    if len(cpd) < 7 or cpd[0] != 1:
        return False
    return cpd[4] >= 0xFC and cpd[5] > 0xE0


def _read_sets(record: bytes, position: int, count: int) -> tuple[list[bytes], int]:
    """Read `count` parameter sets with 16-bit lengths; return the sets and their end position."""
    sets = []
    for _ in range(count):
        begin = position + 2
        size = int.from_bytes(record[position:begin])
        if size == 0 or begin + size > len(record):
            detail = f"avcC with a parameter set of {size} bytes, {len(record)} bytes in all"
            raise kvs_error(_S.MKV_INVALID_H264_H265_CPD, detail, offset=position)
        position = begin + size
        sets.append(record[begin:position])
    return sets, position


def _pack_sets(reserved: int, sets: Sequence[bytes], limit: int) -> bytes:
    """Return the count with its reserved bits, followed by each set after its 16-bit length."""
    longest = max(map(len, sets), default=0)
    if len(sets) > limit or longest > _MAX_SET_SIZE:
        detail = f"{len(sets)} parameter sets, the longest of {longest} bytes, do not fit avcC"
        raise kvs_error(_S.MKV_INVALID_ANNEXB_NALU_IN_CPD, detail)
    return bytes((reserved | len(sets),)) + b"".join(
        part for unit in sets for part in (len(unit).to_bytes(2), unit)
    )


def _read_chroma(bits: BitReader) -> tuple[int, bool, int, int]:
    """Read chroma_format_idc, separate_colour_plane_flag, and the bit depths of luma and chroma."""
    chroma = bits.ue()
    separate_planes = chroma == 3 and bits.flag()
    return chroma, separate_planes, 8 + bits.ue(), 8 + bits.ue()


def _skip_scaling_lists(bits: BitReader, count: int) -> None:
    """Skip the scaling lists (7.3.2.1.1.1): six of 16 coefficients, the others of 64."""
    for index in range(count):
        if not bits.flag():
            continue
        last, following = 8, 8
        for _ in range(16 if index < 6 else 64):
            if following:
                following = (last + bits.se()) % 256
                last = following or last


def _read_picture_order(bits: BitReader) -> int:
    """Read the fields of the picture order count; return pic_order_cnt_type."""
    kind = bits.ue()
    if kind == 0:
        bits.ue()
    elif kind == 1:
        bits.skip(1)
        bits.se()
        bits.se()
        for _ in range(bits.ue()):
            bits.se()
    return kind


def _checked(value: int, status: StatusCode, what: str) -> int:
    if not 0 <= value <= _MAX_PIXELS:
        raise kvs_error(status, f"the SPS gives a {what} of {value} after cropping")
    return value
