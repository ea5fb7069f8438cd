"""Parser for BITMAPINFOHEADER, the codec private data of V_MS/VFW/FOURCC tracks (M-JPEG ...).

Standard: the little-endian 40-byte structure of the Windows SDK, and the Matroska codec mappings.
Only the picture size and the FourCC are parsed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from kvsproducer.limits import BITMAP_INFO_HEADER_BYTES
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["BitmapInfo", "parse_bitmap_info"]

_HEADER = struct.Struct("<IiiHH4s20x")
_MAX_PIXELS = 0xFFFF  # the width and height elements have two bytes


@dataclass(frozen=True, slots=True)
class BitmapInfo:
    """The content of a BITMAPINFOHEADER: size in pixels, and FourCC."""

    width: int
    height: int
    fourcc: bytes


def parse_bitmap_info(cpd: bytes) -> BitmapInfo:
    """Parse a BITMAPINFOHEADER; the sign of the height (the order of rows) is ignored.

    Raises MKV_INVALID_BIH_CPD if it has less than 40 bytes, or a size is above 65,535 pixels.
    """
    if len(cpd) < BITMAP_INFO_HEADER_BYTES:
        detail = f"{len(cpd)} bytes of BITMAPINFOHEADER, {BITMAP_INFO_HEADER_BYTES} needed"
        raise kvs_error(StatusCode.MKV_INVALID_BIH_CPD, detail)
    _, width, height, _, _, fourcc = _HEADER.unpack_from(cpd)
    if not 0 <= width <= _MAX_PIXELS or abs(height) > _MAX_PIXELS:
        raise kvs_error(StatusCode.MKV_INVALID_BIH_CPD, f"a bitmap of {width} x {height}")
    return BitmapInfo(width, abs(height), fourcc)
