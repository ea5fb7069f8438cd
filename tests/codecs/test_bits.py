"""Tests of the bit reader and of emulation prevention."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsproducer.codecs import BitReader, unescape
from kvsproducer.status import InvalidMedia, StatusCode


def test_fields_are_read_with_the_most_significant_bit_first() -> None:
    bits = BitReader(b"\xa5\x0f\xff\x00\xff\x80")
    assert [bits.read(1), bits.read(3), bits.read(0), bits.flag()] == [1, 2, 0, False]
    bits.skip(3)
    assert bits.read(32) == 0x0FFF00FF
    assert bits.read(8) == 0x80


@given(st.lists(st.integers(0, 2**32 - 2), min_size=1, max_size=20))
def test_exp_golomb_codes_round_trip(build: Any, values: list[int]) -> None:
    bits = BitReader(build.pack(map(build.ue, values)))
    assert [bits.ue() for _ in values] == values


@given(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=20))
def test_signed_exp_golomb_codes_round_trip(build: Any, values: list[int]) -> None:
    bits = BitReader(build.pack(map(build.se, values)))
    assert [bits.se() for _ in values] == values


def test_reading_past_the_end_raises_and_consumes_nothing() -> None:
    bits = BitReader(b"\xff")
    bits.skip(4)
    for past_the_end in (lambda: bits.read(5), lambda: bits.skip(5)):
        with pytest.raises(InvalidMedia) as caught:
            past_the_end()
        assert caught.value.status is StatusCode.BIT_READER_OUT_OF_RANGE
        assert bits.position == 4


@pytest.mark.parametrize("count", [-1, 33])
def test_fields_wider_than_32_bits_are_refused(count: int) -> None:
    with pytest.raises(InvalidMedia) as caught:
        BitReader(bytes(8)).read(count)
    assert caught.value.status is StatusCode.BIT_READER_INVALID_SIZE


def test_codes_longer_than_32_bits_are_refused() -> None:
    with pytest.raises(InvalidMedia) as caught:
        BitReader(bytes(4) + b"\xff" * 8).ue()
    assert caught.value.status is StatusCode.BIT_READER_INVALID_SIZE


@given(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 255]), max_size=40))
def test_unescape_reverses_escape(build: Any, payload: list[int]) -> None:
    assert unescape(build.escape(bytes(payload))) == bytes(payload)


def test_a_unit_without_emulation_prevention_is_returned_unchanged() -> None:
    unit = b"\x67\0\0\x01"
    assert unescape(unit) is unit
