"""EBML numbers and elements: RFC 8794 sections 4 (variable-size integers), 5 (ids) and 6 (sizes).

A number of width w (1 to 8 bytes) holds 7 w bits after a leading run of w - 1 zero bits and a one.
All value bits set means "unknown size", so the largest value of a width is 2**(7 w) - 2.
Encoding raises `MkvError` MKV_NUMBER_TOO_BIG; reading from a stream is the parser's work.
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
"""The largest number that EBML can hold: 2**56 - 2 (RFC 8794 section 6.2)."""

UNKNOWN_SIZES: tuple[int, ...] = (-1, *((1 << (7 * width)) - 1 for width in range(1, 9)))
"""The value that means "unknown" at each width; index 0 is unused."""

NUMBER_WIDTHS: tuple[int, ...] = (0, *(9 - first.bit_length() for first in range(1, 256)))
"""Width in bytes of a number by its first byte; 0 for the first byte 0, which EBML forbids."""


def encode_size(number: int, width: int) -> bytes:
    """`number` in exactly `width` bytes. Raises MKV_NUMBER_TOO_BIG when it does not fit."""
    if not 0 <= number < UNKNOWN_SIZES[width]:
        raise kvs_error(
            StatusCode.MKV_NUMBER_TOO_BIG, f"{number} does not fit an EBML number of {width} bytes"
        )
    return (number | 1 << (7 * width)).to_bytes(width, "big")


def encode_number(number: int) -> bytes:
    """`number` in the fewest bytes. Raises MKV_NUMBER_TOO_BIG beyond 2**56 - 2."""
    for width in range(1, 8):
        if number < UNKNOWN_SIZES[width]:
            return encode_size(number, width)
    return encode_size(number, 8)


def encode_uint(value: int, minimum_width: int = 1) -> bytes:
    """An unsigned integer element's payload: big-endian, at least `minimum_width` bytes."""
    return value.to_bytes(max(minimum_width, (value.bit_length() + 7) // 8), "big")


def id_bytes(element_id: int) -> bytes:
    """An element id as written; the length marker is part of the id."""
    return element_id.to_bytes((element_id.bit_length() + 7) // 8, "big")


def element(element_id: int, payload: bytes, *, size_width: int = 0) -> bytes:
    """A whole element: id, size in the fewest bytes or in `size_width`, payload."""
    size = len(payload)
    encoded = encode_size(size, size_width) if size_width else encode_number(size)
    return id_bytes(element_id) + encoded + payload


def utf8(text: str) -> bytes:
    """A string element's payload. A lone surrogate (undecodable bytes that Python let in) becomes
    "?", so that a name read from a file system can't stop a stream."""
    return text.encode("utf-8", "replace")
