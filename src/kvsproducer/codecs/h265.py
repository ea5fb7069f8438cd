"""H.265: sequence parameter sets and the hvcC configuration record.

Standards: ISO/IEC 23008-2 sections 7.3.2.2.1 (SPS), 7.3.3 (profile, tier and level), table 6-1
(chroma), 7.4.3.2.1 (conformance window); ISO/IEC 14496-15 section 8.3.3.1
(HEVCDecoderConfigurationRecord).

Codec private data (CPD) has one of three forms, which `parse_cpd` detects: Annex-B, hvcC, or a
single SPS. Length fields are checked against the actual size of the data. An SPS is parsed up to
the bit depths; video and picture parameter sets are not parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from kvsproducer.limits import MIN_H264_H265_CPD_BYTES, MIN_H265_ANNEXB_CPD_BYTES
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["HevcConfig", "Sps", "build_hvcc", "cpd_to_hvcc", "parse_cpd", "parse_hvcc", "parse_sps"]

_S = StatusCode
_CODEC = VideoCodec.H265

_VPS, _SPS, _PPS = 32, 33, 34
_HVCC_HEADER_SIZE = 23  # bytes, up to and with numOfArrays
_GENERAL_SIZE = 12  # bytes of general profile, compatibility, constraints and level
_MAX_SPS_SIZE = 8192  # bytes looked at; the fields read here end far before
_MAX_PIXELS = 0xFFFF  # the width and height elements have two bytes
_MAX_SET_SIZE = 0xFFFF  # bytes; a record's lengths and counts have 16 bits
_MAX_SUB_LAYERS = 7

# chroma_format_idc -> (SubWidthC, SubHeightC); table 6-1.
_SUBSAMPLING = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}


@dataclass(frozen=True, slots=True)
class Sps:
    """The content of a sequence parameter set: sizes in luma samples, depths in bits.

    `general` has 12 bytes, which hvcC repeats: general profile space, tier and profile (1 byte),
    compatibility flags (4), constraint flags (6) and level (1).
    """

    general: bytes
    sub_layers: int
    temporal_id_nesting: bool
    width: int
    height: int
    coded_width: int
    coded_height: int
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int

    @property
    def profile_idc(self) -> int:
        """general_profile_idc: 1 Main, 2 Main 10, 4 range extensions ..."""
        return self.general[0] & 0x1F

    @property
    def level_idc(self) -> int:
        """general_level_idc: 30 times the level."""
        return self.general[11]


@dataclass(frozen=True, slots=True)
class HevcConfig:
    """The content of an hvcC record.

    `general` is as in `Sps`. `length_size` is the size in bytes of the length before each NAL unit
    of a frame. `units` are pairs of NAL unit type and parameter set.
    """

    general: bytes
    length_size: int
    units: tuple[tuple[int, bytes], ...]


def parse_cpd(cpd: bytes, *, strict: bool = False) -> Sps:
    """Parse the first SPS in codec private data, which is Annex-B, hvcC or a single SPS.

    Raises MKV_INVALID_H264_H265_CPD (less than 8 bytes), MKV_INVALID_ANNEXB_CPD_NALUS (Annex-B
    without SPS), MKV_INVALID_HEVC_FORMAT, MKV_HEVC_SPS_NALU_MISSING, MKV_INVALID_HEVC_NALU_COUNT
    and MKV_INVALID_HEVC_SPS_NALU_SIZE (hvcC), and what `parse_sps` and `split_annexb` raise.
    """
    if len(cpd) < MIN_H264_H265_CPD_BYTES:
        detail = (
            f"{len(cpd)} bytes of codec private data, at least {MIN_H264_H265_CPD_BYTES} needed"
        )
        raise kvs_error(_S.MKV_INVALID_H264_H265_CPD, detail)
    if is_annexb(cpd):
        for unit in cpd_units(cpd):
            if nal_type(unit, _CODEC) == _SPS:
                return parse_sps(bytes(unit), strict=strict)
        raise kvs_error(_S.MKV_INVALID_ANNEXB_CPD_NALUS, "no SPS in the Annex-B CPD")
    if _is_sps(cpd):
        return parse_sps(cpd, strict=strict)
    for kind, body in _hvcc_units(cpd):
        if kind == _SPS:
            return parse_sps(body, strict=strict)
    raise kvs_error(_S.MKV_HEVC_SPS_NALU_MISSING, "no SPS in the hvcC record")


def parse_sps(unit: bytes, *, strict: bool = False) -> Sps:
    """Parse one SPS unit, which includes its two header bytes, up to the bit depths.

    Raises MKV_INVALID_H264_H265_SPS_NALU if the unit is not an SPS, ..._SPS_WIDTH or
    ..._SPS_HEIGHT if the size after cropping is negative or above 65,535 samples,
    MKV_INVALID_HEVC_SPS_CHROMA_FORMAT_IDC if a cropping window has an unknown chroma format, and
    BIT_READER_OUT_OF_RANGE if the unit is cut off. `strict` also refuses an unknown chroma format
    without a window, and reserved bits that are set (MKV_INVALID_HEVC_SPS_RESERVED), which
    decoders ignore.
    """
    if not _is_sps(unit):
        head = f"header 0x{unit[:2].hex()}" if unit else "no bytes"
        raise kvs_error(_S.MKV_INVALID_H264_H265_SPS_NALU, f"not an H.265 SPS: {head}")
    payload = unescape(unit[2:_MAX_SPS_SIZE])
    bits = BitReader(payload)
    bits.skip(4)  # sps_video_parameter_set_id
    sub_layers = bits.read(3) + 1
    nesting = bits.flag()
    bits.skip(8 * _GENERAL_SIZE)
    _skip_sub_layers(bits, sub_layers, strict=strict)
    bits.ue()  # sps_seq_parameter_set_id
    chroma = bits.ue()
    separate_planes = chroma == 3 and bits.flag()
    coded_width, coded_height = bits.ue(), bits.ue()
    has_window = bits.flag()
    left, right, top, bottom = (
        (bits.ue(), bits.ue(), bits.ue(), bits.ue()) if has_window else (0, 0, 0, 0)
    )
    depth_luma, depth_chroma = 8 + bits.ue(), 8 + bits.ue()
    if chroma not in _SUBSAMPLING and (has_window or strict):
        raise kvs_error(_S.MKV_INVALID_HEVC_SPS_CHROMA_FORMAT_IDC, f"chroma_format_idc {chroma}")
    unit_x, unit_y = _SUBSAMPLING.get(0 if separate_planes else chroma, (1, 1))
    width = coded_width - unit_x * (left + right)
    height = coded_height - unit_y * (top + bottom)
    return Sps(
        payload[1 : 1 + _GENERAL_SIZE],
        sub_layers,
        nesting,
        _checked(width, _S.MKV_INVALID_H264_H265_SPS_WIDTH, "width"),
        _checked(height, _S.MKV_INVALID_H264_H265_SPS_HEIGHT, "height"),
        coded_width,
        coded_height,
        chroma,
        depth_luma,
        depth_chroma,
    )


def parse_hvcc(record: bytes) -> HevcConfig:
    """Parse an hvcC record.

    Raises MKV_INVALID_HEVC_FORMAT if it is cut off, MKV_INVALID_HEVC_NALU_COUNT if an array for
    SPS is empty or its count does not fit the data, and MKV_INVALID_HEVC_SPS_NALU_SIZE if an SPS
    is cut off.
    """
    units = tuple(_hvcc_units(record))
    return HevcConfig(record[1:13], (record[21] & 3) + 1, units)


def cpd_to_hvcc(cpd: bytes) -> bytes:
    """Turn Annex-B codec private data into an hvcC record with 4-byte NAL lengths.

    Units with 4-byte lengths are accepted too. Raises MKV_MIN_ANNEX_B_CPD_SIZE (less than 15
    bytes), MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA (invalid start codes),
    MKV_INVALID_ANNEXB_CPD_NALUS (neither start codes nor lengths), MKV_ANNEXB_CPD_MISSING_NALUS
    (only one unit, or no SPS), and what `build_hvcc` raises.
    """
    if len(cpd) < MIN_H265_ANNEXB_CPD_BYTES:
        detail = f"{len(cpd)} bytes of Annex-B CPD, at least {MIN_H265_ANNEXB_CPD_BYTES} needed"
        raise kvs_error(_S.MKV_MIN_ANNEX_B_CPD_SIZE, detail)
    units = cpd_units(cpd)
    if not units:
        raise kvs_error(_S.MKV_INVALID_ANNEXB_CPD_NALUS, "no start code in front of the CPD")
    if len(units) == 1:
        raise kvs_error(_S.MKV_ANNEXB_CPD_MISSING_NALUS, "only one NAL unit in the CPD")
    return build_hvcc(units)


def build_hvcc(units: Sequence[Buffer], *, length_size: int = 4) -> bytes:
    """Make an hvcC record from the parameter sets in `units` (of a CPD or of a key frame).

    The record has one array each for VPS, SPS and PPS, in this order, with each distinct set once.
    Units of other types are left out. A type that does not occur gets no array; because it may
    follow inside frames, the arrays are not marked as complete. `length_size` is the size in bytes
    of NAL lengths in the frames: 1, 2 or 4. Raises MKV_ANNEXB_CPD_MISSING_NALUS without an SPS,
    MKV_INVALID_ANNEXB_NALU_IN_CPD if a set has more than 65,535 bytes, and what `parse_sps`
    raises.
    """
    arrays: dict[int, list[Buffer]] = {_VPS: [], _SPS: [], _PPS: []}
    for unit in units:
        arrays.get(nal_type(unit, _CODEC), []).append(unit)
    if not arrays[_SPS]:
        raise kvs_error(_S.MKV_ANNEXB_CPD_MISSING_NALUS, "no H.265 SPS in the codec private data")
    sets = [(kind, distinct(found)) for kind, found in arrays.items() if found]
    sps = parse_sps(sets[1 if arrays[_VPS] else 0][1][0])
    if sps.chroma_format_idc not in _SUBSAMPLING:
        detail = f"chroma_format_idc {sps.chroma_format_idc}"
        raise kvs_error(_S.MKV_INVALID_HEVC_SPS_CHROMA_FORMAT_IDC, detail)
    record = bytearray(b"\x01" + sps.general)
    record += b"\xf0\0"  # min_spatial_segmentation_idc: unknown
    record.append(0xFC)  # parallelismType: unknown
    record.append(0xFC | sps.chroma_format_idc)
    record.append(0xF8 | sps.bit_depth_luma - 8 & 7)
    record.append(0xF8 | sps.bit_depth_chroma - 8 & 7)
    record += b"\0\0"  # avgFrameRate: unspecified
    # constantFrameRate 0, numTemporalLayers, temporalIdNested, lengthSizeMinusOne
    record.append(sps.sub_layers << 3 | sps.temporal_id_nesting << 2 | length_size - 1)
    record.append(len(sets))
    for kind, found in sets:
        record += _pack_array(kind, found)
    return bytes(record)


def _is_sps(unit: Buffer) -> bool:
    """Return True if the NAL unit type is 33 (SPS) and the forbidden bit is 0."""
    return len(unit) > 1 and unit[0] >> 1 == _SPS


def _skip_sub_layers(bits: BitReader, sub_layers: int, *, strict: bool) -> None:
    """Skip the profiles and levels of all sub-layers below the highest (7.3.3)."""
    if sub_layers == 1:
        return
    flags = [(bits.flag(), bits.flag()) for _ in range(sub_layers - 1)]
    reserved = bits.read(2 * (_MAX_SUB_LAYERS + 2 - sub_layers))
    if reserved and strict:
        raise kvs_error(_S.MKV_INVALID_HEVC_SPS_RESERVED, f"reserved bits 0x{reserved:x} in SPS")
    for has_profile, has_level in flags:
        bits.skip(88 * has_profile + 8 * has_level)


def _hvcc_units(record: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the (type, unit) pairs of an hvcC record.

    Errors are raised lazily: the units of the arrays before a damaged array are yielded first.
    """
    if len(record) <= _HVCC_HEADER_SIZE:
        detail = f"hvcC of {len(record)} bytes ends in its header"
        raise kvs_error(_S.MKV_INVALID_HEVC_FORMAT, detail)
    position = _HVCC_HEADER_SIZE
    for _ in range(record[_HVCC_HEADER_SIZE - 1]):
        if position + 3 > len(record):
            return  # the record is cut off between two arrays: use those before
        kind = record[position] & 0x3F
        count = int.from_bytes(record[position + 1 : position + 3])
        position += 3
        units, position = _array_units(record, position, count, kind)
        for unit in units:
            yield kind, unit


def _array_units(record: bytes, position: int, count: int, kind: int) -> tuple[list[bytes], int]:
    """Return the units of one hvcC array, and their end position."""
    # More than one SPS is valid but rare. If the data is too short for such a count, the count is
    # probably wrong, and the error says so.
    bad_count = kind == _SPS and count != 1
    if bad_count and not count:
        raise kvs_error(_S.MKV_INVALID_HEVC_NALU_COUNT, "an SPS array without SPS", offset=position)
    units: list[bytes] = []
    for _ in range(count):
        begin = position + 2
        size = int.from_bytes(record[position:begin])
        if begin + size > len(record):
            cut_sps = kind == _SPS and begin <= len(record)
            status = _S.MKV_INVALID_HEVC_SPS_NALU_SIZE if cut_sps else _S.MKV_INVALID_HEVC_FORMAT
            status = _S.MKV_INVALID_HEVC_NALU_COUNT if bad_count else status
            detail = f"unit {len(units)} of {count}, of {size} bytes, reaches past the record"
            raise kvs_error(status, detail, offset=position)
        position = begin + size
        units.append(record[begin:position])
    return units, position


def _pack_array(kind: int, units: Sequence[bytes]) -> bytes:
    """Return an array: its type, not marked as complete, then the length and bytes of each unit."""
    longest = max(map(len, units))
    if longest > _MAX_SET_SIZE or len(units) > _MAX_SET_SIZE:
        detail = f"{len(units)} parameter sets, the longest of {longest} bytes, do not fit hvcC"
        raise kvs_error(_S.MKV_INVALID_ANNEXB_NALU_IN_CPD, detail)
    return (
        bytes((kind,))
        + len(units).to_bytes(2)
        + b"".join(part for unit in units for part in (len(unit).to_bytes(2), unit))
    )


def _checked(value: int, status: StatusCode, what: str) -> int:
    if not 0 <= value <= _MAX_PIXELS:
        raise kvs_error(status, f"the SPS gives a {what} of {value} after cropping")
    return value
