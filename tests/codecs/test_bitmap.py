"""Tests of parsing BITMAPINFOHEADER."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsproducer.codecs import BitmapInfo, parse_bitmap_info
from kvsproducer.status import InvalidMedia, StatusCode


def header(width: int, height: int) -> bytes:
    return struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 24, b"MJPG", 0, 0, 0, 0, 0)


@pytest.mark.parametrize("height", [240, -240])
def test_size_and_fourcc_for_both_orders_of_rows(height: int) -> None:
    assert parse_bitmap_info(header(320, height)) == BitmapInfo(320, 240, b"MJPG")
    assert parse_bitmap_info(header(320, height) + b"more").width == 320


@pytest.mark.parametrize(
    "bad", [b"", header(320, 240)[:39], header(-1, 1), header(65536, 1), header(1, -65536)]
)
def test_bad_headers_have_their_status(bad: bytes) -> None:
    with pytest.raises(InvalidMedia) as caught:
        parse_bitmap_info(bad)
    assert caught.value.status is StatusCode.MKV_INVALID_BIH_CPD


@given(st.binary(min_size=38, max_size=44))
def test_any_bytes_give_a_result_or_the_status(data: bytes) -> None:
    with suppress(InvalidMedia):
        assert 0 <= parse_bitmap_info(data).height <= 65535
