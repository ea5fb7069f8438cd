"""Decoding of EBML in memory: element headers, children of a master element, typed payloads.

RFC 8794 sections 4 to 7. Invalid data raises InvalidMedia with the absolute offset of the element
and the status ACK_ERR_INVALID_MKV_DATA, which the service reports for such data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from kvsproducer.limits import MAX_MASTER_ELEMENTS
from kvsproducer.mkv import elements as el
from kvsproducer.mkv.ebml import NUMBER_WIDTHS, UNKNOWN_SIZES
from kvsproducer.status import InvalidMedia, StatusCode

__all__ = [
    "MAX_HEADER_BYTES",
    "UNKNOWN",
    "Walk",
    "invalid_mkv",
    "read_float",
    "read_header",
    "read_number",
    "read_text",
    "read_uint",
]

MAX_ID_BYTES: Final = 4  # the EBMLMaxIDLength of Matroska
MAX_HEADER_BYTES: Final = MAX_ID_BYTES + 8
UNKNOWN: Final = -1
_FLOATS: Final = {4: struct.Struct(">f"), 8: struct.Struct(">d")}
_MAX_INTEGER_BYTES: Final = 8


def invalid_mkv(detail: str, offset: int) -> InvalidMedia:
    """Make the error for data that is not valid Matroska."""
    return InvalidMedia(StatusCode.ACK_ERR_INVALID_MKV_DATA, detail, offset=offset)


def read_header(data: bytes | memoryview, offset: int) -> tuple[int, int, int] | None:
    """Return (id, payload size or UNKNOWN, header length) of the element at the start of `data`.

    Returns None if the header is not complete. `offset` is the position of `data` in the input, for
    errors.
    """
    if not data:
        return None
    id_width = NUMBER_WIDTHS[data[0]]
    if not 1 <= id_width <= MAX_ID_BYTES:
        raise invalid_mkv(f"byte 0x{data[0]:02X} does not begin an element id", offset)
    if len(data) <= id_width:
        return None
    size_width = NUMBER_WIDTHS[data[id_width]]
    if not size_width:
        raise invalid_mkv("an element size of more than 8 bytes", offset)
    length = id_width + size_width
    if len(data) < length:
        return None
    size = int.from_bytes(data[id_width:length], "big") ^ (1 << (7 * size_width))
    if size == UNKNOWN_SIZES[size_width]:
        size = UNKNOWN
    return int.from_bytes(data[:id_width], "big"), size, length


def read_number(data: memoryview, offset: int) -> tuple[int, int]:
    """Return (value, width in bytes) of the EBML number at the start of `data`."""
    width = NUMBER_WIDTHS[data[0]] if data else 0
    if not width or len(data) < width:
        raise invalid_mkv("an EBML number is cut off", offset)
    return int.from_bytes(data[:width], "big") ^ (1 << (7 * width)), width


class Walk:
    """Iterates over the elements of a master element, and limits their number.

    One object is used for a master and all masters inside it. More than `MAX_MASTER_ELEMENTS`
    elements raise an error: an empty element takes only two bytes, so parsing 50 MB of them would
    take a minute.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_MASTER_ELEMENTS

    def children(self, data: memoryview, offset: int) -> Iterator[tuple[int, memoryview, int]]:
        """Yield (id, payload, offset of the payload) for each element in a master's payload."""
        position = 0
        while position < len(data):
            start = offset + position
            self._left -= 1
            if self._left < 0:
                raise invalid_mkv(f"more than {MAX_MASTER_ELEMENTS} elements in a master", start)
            header = read_header(data[position : position + MAX_HEADER_BYTES], start)
            if header is None:
                raise invalid_mkv("an element's header reaches past its parent's end", start)
            element_id, size, length = header
            end = position + length + size
            if size == UNKNOWN or end > len(data):
                raise invalid_mkv(
                    f"{el.element_name(element_id)} of {'unknown' if size < 0 else size} bytes "
                    "does not fit its parent",
                    start,
                )
            yield element_id, data[position + length : end], start + length
            position = end


def read_uint(payload: memoryview, offset: int) -> int:
    """Decode an unsigned integer of 0 to 8 bytes."""
    if len(payload) > _MAX_INTEGER_BYTES:
        raise invalid_mkv(f"an integer of {len(payload)} bytes", offset)
    return int.from_bytes(payload, "big")


def read_float(payload: memoryview, offset: int) -> float:
    """Decode a float of 0, 4 or 8 bytes."""
    if not payload:
        return 0.0
    layout = _FLOATS.get(len(payload))
    if layout is None:
        raise invalid_mkv(f"a float of {len(payload)} bytes", offset)
    value: float = layout.unpack(payload)[0]
    return value


def read_text(payload: memoryview) -> str:
    """Decode a string up to its first zero byte; invalid UTF-8 is replaced."""
    return bytes(payload).partition(b"\0")[0].decode("utf-8", "replace")
