"""Parsing of blocks: SimpleBlock, BlockGroup, and laced frames (RFC 9559 section 10).

The frames of a block are views of its raw bytes. The functions raise only InvalidMedia.
"""

from __future__ import annotations

import struct
from typing import Final

from kvsproducer.mkv import elements as el
from kvsproducer.mkv.ebml import NUMBER_WIDTHS, UNKNOWN_SIZES
from kvsproducer.mkv.events import Block
from kvsproducer.mkv.reading import Walk, invalid_mkv, read_number, read_uint

__all__ = ["read_block_group", "read_simple_block", "read_usual_block", "simple_block_at"]

_SHORTEST: Final = 6  # bytes of an empty SimpleBlock: id, size, track, timecode, flags
_ONE_BYTE_TRACK: Final = 0x80  # marker bit of an EBML number of one byte
_TIMECODE: Final = struct.Struct(">h").unpack_from
_KEY: Final = 0x80
_INVISIBLE: Final = 0x08
_DISCARDABLE: Final = 0x01
_LACING: Final = 0x06
_XIPH: Final = 0x02
_FIXED: Final = 0x04


def read_simple_block(raw: bytes, start: int, offset: int) -> Block:
    """Parse the SimpleBlock `raw`, whose payload begins at `start`."""
    return _read_block(raw, memoryview(raw)[start:], offset + start, key_frame=None)


def simple_block_at(data: bytes, position: int) -> tuple[int, int]:
    """Return (length of the element, offset of its payload in it) for a usual SimpleBlock.

    A usual SimpleBlock is complete, and has no lacing and a track number of one byte. Most elements
    of a stream are like this, so this is the fast path. For any other element at `position`, it
    returns (0, 0), and the caller uses the general parser.
    """
    if len(data) - position < _SHORTEST or data[position] != el.SIMPLE_BLOCK:
        return 0, 0
    width = NUMBER_WIDTHS[data[position + 1]]
    start = position + 1 + width
    size = int.from_bytes(data[position + 1 : start], "big") ^ (1 << (7 * width))
    if not 4 <= size <= len(data) - start or size == UNKNOWN_SIZES[width]:
        return 0, 0
    if data[start] < _ONE_BYTE_TRACK or data[start + 3] & _LACING:
        return 0, 0
    return 1 + width + size, 1 + width


def read_usual_block(raw: bytes, start: int) -> Block:
    """Parse a SimpleBlock that `simple_block_at` found; its payload begins at `start`."""
    flags = raw[start + 3]
    return Block(
        raw,
        raw[start] ^ _ONE_BYTE_TRACK,
        _TIMECODE(raw, start + 1)[0],
        flags & _KEY != 0,
        flags & _INVISIBLE != 0,
        flags & _DISCARDABLE != 0,
        [memoryview(raw)[start + 4 :]],
    )


def read_block_group(raw: bytes, start: int, offset: int) -> Block:
    """Parse a BlockGroup, which must have exactly one Block.

    If it has no ReferenceBlock, the block is a key frame.
    """
    body: tuple[memoryview, int] | None = None
    duration: int | None = None
    key_frame = True
    for element_id, payload, at in Walk().children(memoryview(raw)[start:], offset + start):
        if element_id == el.BLOCK:
            if body is not None:
                raise invalid_mkv("a BlockGroup with two Blocks", at)
            body = (payload, at)
        elif element_id == el.BLOCK_DURATION:
            duration = read_uint(payload, at)
        elif element_id == el.REFERENCE_BLOCK:
            key_frame = False
    if body is None:
        raise invalid_mkv("a BlockGroup without Block", offset)
    block = _read_block(raw, *body, key_frame=key_frame)
    block.duration = duration
    return block


def _read_block(raw: bytes, data: memoryview, offset: int, *, key_frame: bool | None) -> Block:
    """Parse a Block or SimpleBlock.

    `key_frame` is None for a SimpleBlock, whose flags say whether it is a key frame.
    """
    number, width = read_number(data, offset)
    if len(data) < width + 3:
        raise invalid_mkv(f"a block of {len(data)} bytes", offset)
    timecode = int.from_bytes(data[width : width + 2], "big", signed=True)
    flags = data[width + 2]
    payload = data[width + 3 :]
    if flags & _LACING:
        frames = _unlace(flags & _LACING, payload, offset + width + 3)
    else:
        frames = [payload]
    return Block(
        raw,
        number,
        timecode,
        bool(flags & _KEY) if key_frame is None else key_frame,
        bool(flags & _INVISIBLE),
        bool(flags & _DISCARDABLE) and key_frame is None,
        frames,
    )


def _unlace(kind: int, data: memoryview, offset: int) -> list[memoryview]:
    """Return the frames of a laced block; `data` begins with the number of frames minus one."""
    if not data:
        raise invalid_mkv("a laced block without a frame count", offset)
    count = data[0] + 1
    data = data[1:]
    if kind == _FIXED:
        if len(data) % count:
            raise invalid_mkv(f"{len(data)} bytes do not split into {count} equal frames", offset)
        sizes = [len(data) // count] * count
    elif kind == _XIPH:
        sizes, data = _xiph_sizes(count, data, offset)
    else:
        sizes, data = _ebml_sizes(count, data, offset)
    frames = []
    position = 0
    for size in sizes:
        frames.append(data[position : position + size])
        position += size
    return frames


def _xiph_sizes(count: int, data: memoryview, offset: int) -> tuple[list[int], memoryview]:
    """Read the Xiph sizes of laced frames; the last frame has the remaining bytes.

    A size is the sum of its bytes: any number of 255, then a smaller one.
    """
    sizes: list[int] = []
    size = position = 0
    while len(sizes) < count - 1:
        if position == len(data):
            raise invalid_mkv("the Xiph lacing is cut off", offset)
        size += data[position]
        if data[position] < 255:
            sizes.append(size)
            size = 0
        position += 1
    return _with_last(sizes, data[position:], offset)


def _ebml_sizes(count: int, data: memoryview, offset: int) -> tuple[list[int], memoryview]:
    """Read the EBML sizes of laced frames; the last frame has the remaining bytes.

    The first size is a number; each further one is the signed difference to the size before.
    """
    sizes: list[int] = []
    while len(sizes) < count - 1:
        value, width = read_number(data, offset)
        data = data[width:]
        if sizes:
            # Differences are stored with an offset of half the range (RFC 9559 section 10.3.2).
            value += sizes[-1] - ((1 << (7 * width - 1)) - 1)
        if value < 0:
            raise invalid_mkv(f"EBML lacing gives a frame of {value} bytes", offset)
        sizes.append(value)
    return _with_last(sizes, data, offset)


def _with_last(sizes: list[int], data: memoryview, offset: int) -> tuple[list[int], memoryview]:
    last = len(data) - sum(sizes)
    if last < 0:
        raise invalid_mkv("laced frames are longer than their block", offset)
    return [*sizes, last], data
