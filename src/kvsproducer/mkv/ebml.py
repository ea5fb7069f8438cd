"""Encoding of EBML numbers and elements: RFC 8794 sections 4 (integers), 5 (ids) and 6 (sizes).

An EBML number of w bytes (1 to 8) begins with w - 1 zero bits and a one bit; the other 7 w bits are
the value. All value bits set means "unknown size", so the largest value is 2**(7 w) - 2. Larger
numbers raise MKV_NUMBER_TOO_BIG. The modules `reading` and `parser` decode.
"""

from __future__ import annotations

from kvsproducer.status import StatusCode, kvs_error

__all__ = [
    "MAX_NUMBER",
    "NUMBER_WIDTHS",
    "UNKNOWN_SIZES",
    "element",
    "encode_number",
    "encode_size",
    "encode_uint",
    "id_bytes",
    "utf8",
]

MAX_NUMBER = (1 << 56) - 2
"""The largest EBML number: 2**56 - 2 (RFC 8794 section 6.2)."""

UNKNOWN_SIZES: tuple[int, ...] = (-1, *((1 << (7 * width)) - 1 for width in range(1, 9)))
"""The value that means "unknown" at each width; index 0 is unused."""

NUMBER_WIDTHS: tuple[int, ...] = (0, *(9 - first.bit_length() for first in range(1, 256)))
"""The width in bytes of a number, by its first byte; 0 for the invalid first byte 0."""


def encode_size(number: int, width: int) -> bytes:
    """Encode `number` in exactly `width` bytes; raises MKV_NUMBER_TOO_BIG if it does not fit."""
    if not 0 <= number < UNKNOWN_SIZES[width]:
        raise kvs_error(
            StatusCode.MKV_NUMBER_TOO_BIG, f"{number} does not fit an EBML number of {width} bytes"
        )
    return (number | 1 << (7 * width)).to_bytes(width, "big")


def encode_number(number: int) -> bytes:
    """Encode `number` in as few bytes as possible; raises MKV_NUMBER_TOO_BIG above 2**56 - 2."""
    for width in range(1, 8):
        if number < UNKNOWN_SIZES[width]:
            return encode_size(number, width)
    return encode_size(number, 8)


def encode_uint(value: int, minimum_width: int = 1) -> bytes:
    """Encode the payload of an unsigned integer element, in at least `minimum_width` bytes."""
    return value.to_bytes(max(minimum_width, (value.bit_length() + 7) // 8), "big")


def id_bytes(element_id: int) -> bytes:
    """Encode an element id; the length marker is part of the id."""
    return element_id.to_bytes((element_id.bit_length() + 7) // 8, "big")


def element(element_id: int, payload: bytes, *, size_width: int = 0) -> bytes:
    """Encode an element: id, size (in `size_width` bytes, or 0: as few as possible), payload."""
    size = len(payload)
    encoded = encode_size(size, size_width) if size_width else encode_number(size)
    return id_bytes(element_id) + encoded + payload


def utf8(text: str) -> bytes:
    """Encode the payload of a string element.

    A lone surrogate, as in file names that are not UTF-8, becomes "?" instead of raising an error.
    """
    return text.encode("utf-8", "replace")
