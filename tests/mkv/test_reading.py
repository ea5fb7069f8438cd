"""Tests of element headers and typed payloads, valid and invalid."""

from __future__ import annotations

import pytest

from kvsproducer.limits import MAX_MASTER_ELEMENTS
from kvsproducer.mkv.reading import (
    UNKNOWN,
    Walk,
    read_float,
    read_header,
    read_number,
    read_text,
    read_uint,
)
from kvsproducer.status import InvalidMedia, StatusCode


@pytest.mark.parametrize("cut", range(12))
def test_an_incomplete_header_gives_none(cut: int) -> None:
    header = bytes.fromhex("1a45dfa3 01000000000000ff")
    assert read_header(header[:cut], 0) is None
    assert read_header(header + b"payload", 0) == (0x1A45DFA3, 255, 12)


@pytest.mark.parametrize("data", ["00", "08", "07ff", "0f"])
def test_invalid_element_ids(data: str) -> None:
    """An id has at most four bytes."""
    with pytest.raises(InvalidMedia) as caught:
        read_header(bytes.fromhex(data), 17)
    assert caught.value.status is StatusCode.ACK_ERR_INVALID_MKV_DATA
    assert caught.value.offset == 17


def test_a_size_of_nine_bytes_is_refused() -> None:
    with pytest.raises(InvalidMedia, match="more than 8 bytes"):
        read_header(b"\xec\x00", 0)


def test_unknown_size_at_one_and_eight_bytes() -> None:
    assert read_header(bytes.fromhex("18538067ff"), 0) == (0x18538067, UNKNOWN, 5)
    assert read_header(bytes.fromhex("1853806701ffffffffffffff"), 0) == (0x18538067, UNKNOWN, 12)


def test_numbers_in_blocks() -> None:
    assert read_number(memoryview(b"\x81"), 0) == (1, 1)
    assert read_number(memoryview(b"\x40\x7f..."), 0) == (127, 2)
    for cut in (b"", b"\x40", b"\x00\xff"):
        with pytest.raises(InvalidMedia):
            read_number(memoryview(cut), 0)


def test_children_have_offsets() -> None:
    found = list(Walk().children(memoryview(bytes.fromhex("ec820000 bf8101")), 100))
    assert [(i, bytes(p), o) for i, p, o in found] == [(0xEC, b"\0\0", 102), (0xBF, b"\1", 106)]


@pytest.mark.parametrize("data", ["ec", "ec8200", "ecff"])
def test_children_that_do_not_fit(data: str) -> None:
    """A header is cut off, a payload is too long, or a size is unknown."""
    with pytest.raises(InvalidMedia):
        list(Walk().children(memoryview(bytes.fromhex(data)), 0))


def test_walk_counts_the_elements_at_all_depths() -> None:
    """The maximum is accepted; one more element is refused at any depth."""
    walk, empty = Walk(), memoryview(bytes.fromhex("ec80"))
    for _ in range(MAX_MASTER_ELEMENTS):
        assert len(list(walk.children(empty, 0))) == 1
    with pytest.raises(InvalidMedia, match="elements in a master") as caught:
        list(walk.children(empty, 7))
    assert caught.value.offset == 7


def test_payloads() -> None:
    assert read_uint(memoryview(b""), 0) == 0
    assert read_uint(memoryview(b"\xff" * 8), 0) == 2**64 - 1
    assert read_float(memoryview(b""), 0) == 0.0
    assert read_float(memoryview(bytes.fromhex("3f800000")), 0) == 1.0
    assert read_float(memoryview(bytes.fromhex("40e5888000000000")), 0) == 44_100.0
    assert read_text(memoryview(b"a\xc3\xbc\0\0x")) == "aü"
    assert read_text(memoryview(b"\xff")) == "\N{REPLACEMENT CHARACTER}"
    with pytest.raises(InvalidMedia):
        read_uint(memoryview(bytes(9)), 0)
    with pytest.raises(InvalidMedia):
        read_float(memoryview(bytes(10)), 0)
