"""NAL units: conversion between Annex-B byte streams and length-prefixed (AVCC) samples.

Standards: ISO/IEC 14496-10 Annex B and ISO/IEC 23008-2 Annex B (byte stream format), 14496-15
section 4.3.3 (length-prefixed samples). Unit types: 14496-10 table 7-1, 23008-2 table 7-1.

Invariants:
- Payloads are never copied. Results contain memoryviews of the caller's bytes, and small `bytes`
  objects with the 4-byte lengths or start codes between them.
- A byte stream is searched once with one compiled pattern, in linear time for any input. (In
  CPython 3.11 that takes half the time of a loop over `bytes.find`.)
- Zero bytes before a start code and at the end are trailing_zero_8bits and belong to no unit, as
  Annex B defines. (The C producer adds zero bytes at the end to the last unit, and refuses more
  than three before a start code.)
- A start code without data makes no unit. A unit of length 0 would make decoders stop reading the
  frame, and the picture would be lost.

Only the header byte of a unit is read. `bits.unescape` removes emulation prevention bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final, TypeAlias

from kvsproducer.limits import MAX_UNITS
from kvsproducer.status import InvalidFrame, InvalidMedia, KvsError, StatusCode, kvs_error

__all__ = [
    "Buffer",
    "PARAMETER_SETS",
    "START_CODE",
    "VideoCodec",
    "annexb_to_avcc",
    "avcc_to_annexb",
    "cpd_units",
    "distinct",
    "is_annexb",
    "is_key_frame",
    "iterate_annexb",
    "iterate_avcc",
    "nal_type",
    "nal_types",
    "parameter_sets",
    "split_annexb",
    "split_avcc",
]

Buffer: TypeAlias = bytes | memoryview

START_CODE = b"\0\0\0\1"

_pack_length = struct.Struct(">I").pack

# Matches one of two things. First: a start code with all zeros before it, and the start codes of
# empty units after it. Second: more than three zeros before another byte, which is not valid. Both
# alternatives consume all zeros at once (possessive quantifiers), so that the time stays linear.
# The two leading zeros are a literal prefix, for which the matcher has a fast search.
_next_mark = re.compile(rb"\0\0(?:\0*+\x01(?:\0\0\0*+\x01)*+|\0\0++[^\x01])").search
_leading_start_code = re.compile(rb"\0\0++\x01").match
_find_not_zero = re.compile(rb"[^\0]").search
_find_long_run = re.compile(rb"\0\0\0\0++[^\0]").search


class VideoCodec(StrEnum):
    """The video codecs whose NAL units this module can parse."""

    H264 = "h264"
    H265 = "h265"


# Parameter sets in the order in which configuration records list them.
PARAMETER_SETS: Final = {
    VideoCodec.H264: {7: "SPS", 8: "PPS"},
    VideoCodec.H265: {32: "VPS", 33: "SPS", 34: "PPS"},
}
# NAL unit types of pictures at which decoding can start: IDR; IRAP (that is BLA, IDR and CRA).
_KEY_PICTURES = {VideoCodec.H264: frozenset((5,)), VideoCodec.H265: frozenset(range(16, 22))}


def annexb_to_avcc(data: bytes) -> tuple[list[Buffer], int]:
    """Convert an Annex-B frame to AVCC: replace each start code by a 4-byte length.

    Returns a list of buffers (length, unit, length, unit ...) and their total size in bytes. Empty
    units are left out; for empty `data` the list is empty. Raises
    MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA if `data` does not begin with a start code (zeros before
    it are allowed) or has more than three zeros inside a unit, and MKV_INVALID_FRAME_DATA if it has
    more than 100,000 units.
    """
    if not data:
        return [], 0
    # `rstrip` makes a copy, but only if an encoder padded the frame with zeros.
    end = len(data) if data[-1] else len(data.rstrip(b"\0"))
    begin = 4 if data[:4] == START_CODE else _first_unit(data, end)
    view = memoryview(data)
    mark = _next_mark(data, begin, end)
    if mark is None:  # a single unit, as in most frames that are not key frames
        size = end - begin
        return ([_pack_length(size), view[begin:end]], size + 4) if size > 0 else ([], 0)
    buffers: list[Buffer] = []
    total = 0
    while mark is not None:
        stop, following = mark.span()
        if data[following - 1] != 1:
            raise _too_many_zeros(stop)
        size = stop - begin
        if size > 0:
            buffers.append(_pack_length(size))
            buffers.append(view[begin:stop])
            total += size + 4
            if len(buffers) > 2 * MAX_UNITS:
                raise _too_many_units()
        begin = following
        mark = _next_mark(data, begin, end)
    size = end - begin
    if size > 0:
        buffers.append(_pack_length(size))
        buffers.append(view[begin:end])
        total += size + 4
    return buffers, total


def split_annexb(data: bytes) -> list[memoryview]:
    """Return the units of an Annex-B stream without start codes.

    Raises what `annexb_to_avcc` raises.
    """
    buffers, _ = annexb_to_avcc(data)
    return [memoryview(unit) for unit in buffers[1::2]]


def iterate_annexb(data: bytes) -> Iterator[memoryview]:
    """Yield, for each unit of an Annex-B frame, the data from its beginning to the frame's end.

    The end of a unit is searched only when the caller requests the next unit. So reading the first
    units takes little time, even in a large frame. Empty units are left out. Data that is not
    Annex-B raises MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA, but only when the iteration reaches the
    fault.
    """
    view = memoryview(data)
    end = len(data) if not data or data[-1] else len(data.rstrip(b"\0"))
    begin = 4 if data[:4] == START_CODE else _first_unit(data, end)
    while begin < end:
        if data[begin] or data.find(b"\0\0", begin, begin + 2) < 0:
            yield view[begin:end]
        mark = _next_mark(data, begin, end)
        if mark is None:
            return
        if data[mark.end() - 1] != 1:
            raise _too_many_zeros(mark.end())
        begin = mark.end()


def iterate_avcc(data: bytes, length_size: int = 4) -> Iterator[memoryview]:
    """Yield the units of a length-prefixed frame; empty units are left out.

    An invalid length raises the error of `split_avcc`, but only when the iteration reaches it.
    """
    view, end, begin = memoryview(data), len(data), 0
    while begin < end:
        body = begin + length_size
        size = int.from_bytes(data[begin:body])
        if body + size > end:
            raise _bad_length(begin, body, size, end)
        begin = body + size
        if size:
            yield view[body:begin]
        else:  # skip zeros at once: a raw black picture would look like a million empty units
            mark = _find_not_zero(data, begin)
            zeros = (end if mark is None else mark.start()) - begin
            begin += zeros // length_size * length_size


def avcc_to_annexb(data: bytes) -> tuple[list[Buffer], int]:
    """Convert an AVCC frame to Annex-B: replace each 4-byte length by a start code.

    Returns a list of buffers (start code, unit, start code, unit ...) and their total size in
    bytes, which is that of `data`. Raises MKV_INVALID_AVCC_NALU_IN_FRAME_DATA if a length is cut
    off or reaches past the end, or if `data` is empty.
    """
    buffers: list[Buffer] = []
    for unit in split_avcc(data):
        buffers.append(START_CODE)
        buffers.append(unit)
    return buffers, len(data)


def split_avcc(data: bytes, length_size: int = 4) -> list[memoryview]:
    """Return the units of a length-prefixed sample, without their lengths.

    `length_size` is 1, 2 or 4 bytes: lengthSizeMinusOne of the configuration record plus one.
    Raises MKV_INVALID_AVCC_NALU_IN_FRAME_DATA with the offset of the invalid length, and
    MKV_INVALID_FRAME_DATA for more than 100,000 units.
    """
    view = memoryview(data)
    end = len(data)
    units = []
    begin = 0
    for _ in range(MAX_UNITS):
        body = begin + length_size
        size = int.from_bytes(data[begin:body])
        if body + size > end:
            raise _bad_length(begin, body, size, end)
        begin = body + size
        units.append(view[body:begin])
        if begin == end:
            return units
    raise _too_many_units()


def is_annexb(data: bytes) -> bool:
    """Return True if `data` begins with a start code, after any number of zeros."""
    # Without `rstrip`, the pattern would try a match at each zero of the padding.
    mark = _next_mark(data, 0, len(data.rstrip(b"\0")))
    return mark is not None and mark.start() == 0 and data[mark.end() - 1] == 1


def cpd_units(cpd: bytes) -> list[memoryview]:
    """Return the units of codec private data that is Annex-B or has 4-byte lengths.

    The list is empty if the data has neither form. Raises InvalidMedia with the statuses of
    `annexb_to_avcc`. Data without a start code at its beginning is also refused if it has more than
    three zeros in a row.
    """
    try:
        if is_annexb(cpd):
            return split_annexb(cpd)
        run = _find_long_run(cpd, 0, len(cpd.rstrip(b"\0")))
        if run is not None:
            raise _too_many_zeros(run.start())
    except InvalidFrame as error:
        raise InvalidMedia(error.status, error.detail, offset=error.offset) from None
    try:
        return split_avcc(cpd)
    except InvalidFrame:
        return []


def distinct(units: Iterable[Buffer]) -> list[bytes]:
    """Return the units in order and without duplicates, which are common in codec private data."""
    return list(dict.fromkeys(map(bytes, units)))


def nal_type(unit: Buffer, codec: VideoCodec) -> int:
    """Return the type in the header of a unit, or -1 for an empty unit."""
    if not unit:
        return -1
    return unit[0] & 0x1F if codec is VideoCodec.H264 else unit[0] >> 1 & 0x3F


def nal_types(units: Iterable[Buffer], codec: VideoCodec) -> list[int]:
    """Return the types of units, in order."""
    return [nal_type(unit, codec) for unit in units]


def is_key_frame(units: Iterable[Buffer], codec: VideoCodec) -> bool:
    """Return True if decoding can start at this frame: an H.264 IDR or an H.265 IRAP picture."""
    return not _KEY_PICTURES[codec].isdisjoint(nal_types(units, codec))


def parameter_sets(units: Iterable[Buffer], codec: VideoCodec) -> list[bytes]:
    """Return the parameter sets (VPS, SPS, PPS) in `units`, in order and without duplicates."""
    kinds = PARAMETER_SETS[codec]
    return distinct(unit for unit in units if nal_type(unit, codec) in kinds)


def _first_unit(data: bytes, end: int) -> int:
    """Return the offset of a frame's first unit; the frame does not begin with 00 00 00 01.

    Raises MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA if the frame is not Annex-B.
    """
    mark = _next_mark(data, 0, end)
    if mark is None or data[mark.end() - 1] != 1:
        detail = "no start code in the frame: it is not Annex-B"
        raise kvs_error(_S.MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA, detail, offset=0)
    if mark.start():
        detail = f"{mark.start()} bytes before the first start code"
        raise kvs_error(_S.MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA, detail, offset=0)
    return mark.end()


def _bad_length(begin: int, body: int, size: int, end: int) -> KvsError:
    """Make the error for a NAL length at `begin` that is cut off or reaches past the end."""
    left = f"NAL length {size} with {end - body} bytes left in the frame"
    if body > end:
        left = f"{end - begin} bytes where a {body - begin}-byte NAL length should be"
    return kvs_error(_S.MKV_INVALID_AVCC_NALU_IN_FRAME_DATA, left, offset=begin)


def _too_many_units() -> KvsError:
    detail = f"the frame has over {MAX_UNITS:,} NAL units, more than any picture"
    return kvs_error(_S.MKV_INVALID_FRAME_DATA, detail)


def _too_many_zeros(offset: int) -> KvsError:
    detail = "more than three zero bytes that are not followed by a start code"
    return kvs_error(_S.MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA, detail, offset=offset)


_S = StatusCode
