"""Tests of EBML numbers at every width boundary, and of elements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsproducer.mkv.ebml import (
    MAX_NUMBER,
    NUMBER_WIDTHS,
    UNKNOWN_SIZES,
    element,
    encode_number,
    encode_size,
    encode_uint,
    id_bytes,
    utf8,
)
from kvsproducer.mkv.reading import UNKNOWN, read_header
from kvsproducer.status import InvalidFrame, StatusCode


@pytest.mark.parametrize("width", range(1, 9))
def test_a_width_holds_all_but_its_all_ones_pattern(width: int) -> None:
    """2**(7w) - 2 fits into w bytes; 2**(7w) - 1 (unknown size) needs the next width."""
    largest = (1 << (7 * width)) - 2
    encoded = encode_number(largest)
    assert len(encoded) == width
    assert NUMBER_WIDTHS[encoded[0]] == width
    if width < 8:
        assert len(encode_number(largest + 1)) == width + 1
    else:
        assert largest == MAX_NUMBER
        with pytest.raises(InvalidFrame) as caught:
            encode_number(largest + 1)
        assert caught.value.status is StatusCode.MKV_NUMBER_TOO_BIG


@pytest.mark.parametrize(
    ("number", "encoded"),
    [(0, "80"), (126, "fe"), (127, "407f"), (256, "4100"), (16382, "7ffe"), (16383, "203fff")],
)
def test_numbers_are_encoded_as_in_the_standard(number: int, encoded: str) -> None:
    assert encode_number(number).hex() == encoded


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(InvalidFrame) as caught:
        encode_number(-1)
    assert caught.value.status is StatusCode.MKV_NUMBER_TOO_BIG


@given(st.integers(0, MAX_NUMBER))
def test_a_number_reads_back(number: int) -> None:
    """The number is read as the size of an element whose id has one byte."""
    header = b"\xec" + encode_number(number)
    assert read_header(header, 0) == (0xEC, number, len(header))


@given(st.integers(1, 8), st.data())
def test_a_number_reads_back_at_any_width(width: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, UNKNOWN_SIZES[width] - 1))
    assert read_header(b"\xec" + encode_size(number, width), 0) == (0xEC, number, width + 1)


@pytest.mark.parametrize("width", range(1, 9))
def test_all_ones_is_the_unknown_size(width: int) -> None:
    pattern = ((1 << (7 * width + 1)) - 1).to_bytes(width)
    assert read_header(b"\x18\x53\x80\x67" + pattern, 0) == (0x18538067, UNKNOWN, width + 4)


def test_element_and_parts() -> None:
    """Ids keep their marker, sizes can have a fixed width, and integers and text are encoded."""
    assert element(0x4282, b"ab").hex() == "4282826162"
    assert element(0xE7, b"\x01", size_width=8).hex() == "e7010000000000000101"
    assert id_bytes(0x1A45DFA3).hex() == "1a45dfa3"
    assert encode_uint(0) == b"\0"
    assert encode_uint(256, 1) == b"\x01\x00"
    assert encode_uint(96, 2) == b"\x00\x60"
    assert utf8("ü\udc80") == b"\xc3\xbc?"
