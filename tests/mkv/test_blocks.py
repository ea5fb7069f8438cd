"""Tests of SimpleBlock, BlockGroup and lacing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsproducer.mkv import elements as el
from kvsproducer.mkv import events as ev
from kvsproducer.mkv.blocks import (
    read_block_group,
    read_simple_block,
    read_usual_block,
    simple_block_at,
)
from kvsproducer.mkv.ebml import element, encode_number, encode_size
from kvsproducer.status import InvalidMedia


def simple(payload: bytes, flags: int = 0, head: bytes = b"\x81\0\0") -> ev.Block:
    raw = element(el.SIMPLE_BLOCK, head + bytes([flags]) + payload)
    return read_simple_block(raw, raw.index(head), 0)


def contents(block: ev.Block) -> list[bytes]:
    return [bytes(frame) for frame in block.frames]


def test_flags_and_time() -> None:
    block = simple(b"data", 0x89, head=b"\x40\x80\xff\xfe")
    assert (block.track_number, block.relative_timecode) == (128, -2)
    assert (block.key_frame, block.invisible, block.discardable) == (True, True, True)
    assert contents(block) == [b"data"]
    plain = simple(b"", 0)
    assert (plain.key_frame, plain.invisible, plain.discardable) == (False, False, False)
    assert contents(plain) == [b""]


def test_frames_are_views_over_the_raw_bytes() -> None:
    block = simple(b"data")
    assert block.frames[0].obj is block.raw


@pytest.mark.parametrize("data", [b"", b"\x81", b"\x81\0\0", b"\x40", b"\x00\0\0\0"])
def test_a_block_that_is_too_short(data: bytes) -> None:
    with pytest.raises(InvalidMedia):
        read_simple_block(data, 0, 0)


# --- BlockGroup -------------------------------------------------------------------------------


def group(*parts: bytes) -> ev.Block:
    raw = element(el.BLOCK_GROUP, b"".join(parts))
    return read_block_group(raw, 2, 0)


BLOCK = element(el.BLOCK, b"\x82\x00\x05\x89frame")


def test_a_group_without_reference_is_a_key_frame() -> None:
    """A Block has no key and no discardable flag: those bits are reserved."""
    block = group(BLOCK, element(el.BLOCK_DURATION, b"\x28"), element(el.VOID, b""))
    assert (block.track_number, block.relative_timecode, block.duration) == (2, 5, 40)
    assert (block.key_frame, block.invisible, block.discardable) == (True, True, False)
    assert contents(block) == [b"frame"]


def test_a_group_with_a_reference_is_not_a_key_frame() -> None:
    block = group(element(el.REFERENCE_BLOCK, b"\xd8"), BLOCK)
    assert not block.key_frame
    assert block.duration is None


@pytest.mark.parametrize("parts", [[], [element(el.BLOCK_DURATION, b"\1")], [BLOCK, BLOCK]])
def test_a_group_has_one_block(parts: list[bytes]) -> None:
    with pytest.raises(InvalidMedia):
        group(*parts)


# --- lacing -----------------------------------------------------------------------------------


def xiph(frames: list[bytes]) -> bytes:
    sizes = b"".join(
        b"\xff" * (len(frame) // 255) + bytes([len(frame) % 255]) for frame in frames[:-1]
    )
    return bytes([len(frames) - 1]) + sizes + b"".join(frames)


def ebml(frames: list[bytes]) -> bytes:
    sizes = b""
    for before, frame in zip([None, *frames], frames[:-1], strict=False):
        if before is None:
            sizes += encode_number(len(frame))
        else:
            sizes += encode_size(len(frame) - len(before) + (1 << 13) - 1, 2)
    return bytes([len(frames) - 1]) + sizes + b"".join(frames)


frame_lists = st.lists(st.binary(max_size=600), min_size=1, max_size=9)


@given(frame_lists)
def test_xiph_lacing(frames: list[bytes]) -> None:
    assert contents(simple(xiph(frames), 0x02)) == frames


@given(frame_lists)
def test_ebml_lacing(frames: list[bytes]) -> None:
    assert contents(simple(ebml(frames), 0x06)) == frames


@given(st.integers(1, 256), st.integers(0, 20))
def test_fixed_lacing(count: int, size: int) -> None:
    frames = [bytes([index % 256]) * size for index in range(count)]
    assert contents(simple(bytes([count - 1]) + b"".join(frames), 0x04)) == frames


@pytest.mark.parametrize(
    ("flags", "payload"),
    [
        (0x02, ""),
        (0x04, "01010203"),  # three bytes do not make two frames
        (0x02, "01ff"),  # a size that does not end
        (0x02, "010501"),  # a frame longer than the block
        (0x06, "01"),
        (0x06, "018501"),
        (0x06, "0281800102"),  # a size below zero: 1 - 63
    ],
)
def test_bad_lacing(flags: int, payload: str) -> None:
    with pytest.raises(InvalidMedia):
        simple(bytes.fromhex(payload), flags)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("a3 84 81 0000 80", (6, 2)),
        ("a3 86 81 0000 80 1122 ff", (8, 2)),
        ("a3 10000004 81 0000 80", (9, 5)),
        ("a3 0100000000000004 81 0000 80", (13, 9)),
        ("a3 84 81 0000", (0, 0)),  # not all of it is here
        ("a3 85 81 0000 80", (0, 0)),
        ("a3 83 81 0000 80", (0, 0)),  # too short
        ("a3 84 4001 00 80", (0, 0)),  # a track number of two bytes
        ("a3 84 81 0000 82", (0, 0)),  # laced
        ("a3 ff 81 0000 80" + "00" * 200, (0, 0)),  # of unknown size
        ("a3 7fff 81 0000 80" + "00" * 20_000, (0, 0)),
        ("a3 00 81 0000 80 00", (0, 0)),  # no size
        ("a0 84 81 0000 80", (0, 0)),  # a BlockGroup
        ("", (0, 0)),
    ],
)
def test_only_a_usual_block_takes_the_fast_path(data: str, found: tuple[int, int]) -> None:
    raw = bytes.fromhex(data)
    assert simple_block_at(raw, 0) == found
    assert simple_block_at(b"before" + raw, 6) == found
    length, start = found
    if length:
        usual, general = (
            read_usual_block(raw[:length], start),
            read_simple_block(raw[:length], start, 0),
        )
        assert usual == general
