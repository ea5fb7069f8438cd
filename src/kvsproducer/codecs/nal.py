"""NAL units: Annex-B byte streams and length-prefixed (AVCC) samples, and the way between them.

Standards: ISO/IEC 14496-10 Annex B and ISO/IEC 23008-2 Annex B (byte stream format), 14496-15
section 4.3.3 (length-prefixed samples). Unit types: 14496-10 table 7-1, 23008-2 table 7-1.

Invariants:
- a payload is never copied: results hold memoryviews over the caller's bytes, between small
  `bytes` objects with the 4-byte lengths or start codes;
- a byte stream is read once, by one compiled pattern (in CPython 3.11 that takes half the time
  of a loop over `bytes.find`), and in linear time for any input;
- every zero byte before a start code, and at the end, is trailing_zero_8bits and belongs to no
  unit, as Annex B says (the C producer keeps those at the end inside the last unit, and refuses
  more than three before a start code);
- a start code with nothing behind it makes no unit: a length of 0 would end a decoder's reading
  of the frame, and the picture would be lost.

It does not look into units beyond their header byte, and does not remove emulation prevention:
`bits.unescape` does.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final, TypeAlias

from kvsproducer.limits import MAX_UNITS
from kvsproducer.status import KvsError, MkvError, StatusCode, kvs_error

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

# A start code with every zero before it, and those behind it of empty units; or a run of more than
# three zeros that leads to another byte, which no byte stream may contain. Both alternatives
# consume their run whole, so that zeros are not looked at again for each of them; the two leading
# zeros are a literal prefix, which the matcher searches for quickly.
_next_mark = re.compile(rb"\0\0(?:\0*+\x01(?:\0\0\0*+\x01)*+|\0\0++[^\x01])").search
_leading_start_code = re.compile(rb"\0\0++\x01").match
_find_not_zero = re.compile(rb"[^\0]").search
_find_long_run = re.compile(rb"\0\0\0\0++[^\0]").search


class VideoCodec(StrEnum):
    """The video codecs whose units are understood."""

    H264 = "h264"
    H265 = "h265"


# Parameter sets in the order in which configuration records list them.
PARAMETER_SETS: Final = {
    VideoCodec.H264: {7: "SPS", 8: "PPS"},
    VideoCodec.H265: {32: "VPS", 33: "SPS", 34: "PPS"},
}
# Pictures where decoding can start: IDR; IRAP, that is BLA, IDR and CRA.
_KEY_PICTURES = {VideoCodec.H264: frozenset((5,)), VideoCodec.H265: frozenset(range(16, 22))}


def annexb_to_avcc(data: bytes) -> tuple[list[Buffer], int]:
    """Give each unit of an Annex-B frame a 4-byte length instead of its start code.

    Returns the buffers (length, unit, length, unit ...) and their total number of bytes. Empty
    units are left out, and no data gives no buffers. Raises MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA
    when `data` does not begin with a start code (zeros may come before it) or has more than three
    zeros inside a unit, and MKV_INVALID_FRAME_DATA when it has over 100,000 units.
    """
    if not data:
        return [], 0
    # `rstrip` copies, for its length only, and only where an encoder pads frames with zeros.
    end = len(data) if data[-1] else len(data.rstrip(b"\0"))
    begin = 4 if data[:4] == START_CODE else _first_unit(data, end)
    view = memoryview(data)
    mark = _next_mark(data, begin, end)
    if mark is None:  # nearly every frame that is not a key frame
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
    """The units of an Annex-B byte stream, without start codes; errors as `annexb_to_avcc`."""
    buffers, _ = annexb_to_avcc(data)
    return [memoryview(unit) for unit in buffers[1::2]]


def iterate_annexb(data: bytes) -> Iterator[memoryview]:
    """Yield what begins with each unit of an Annex-B frame, up to the frame's end.

    A unit's own end is only looked for when the next one is asked for: who stops early has not read
    the frame. Empty units are left out; errors as `annexb_to_avcc`.
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
    """Yield the units of a length-prefixed frame as they are read, empty ones left out.

    Errors as `split_avcc`, when they are met.
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
        else:  # a black picture that was not encoded has a million lengths that are 0
            mark = _find_not_zero(data, begin)
            zeros = (end if mark is None else mark.start()) - begin
            begin += zeros // length_size * length_size


def avcc_to_annexb(data: bytes) -> tuple[list[Buffer], int]:
    """Give each unit of a length-prefixed frame a 4-byte start code instead of its length.

    Returns the buffers (start code, unit, start code, unit ...) and their total number of bytes,
    which is that of `data`. Raises MKV_INVALID_AVCC_NALU_IN_FRAME_DATA when a length is cut or
    points past the end; no data is an error too.
    """
    buffers: list[Buffer] = []
    for unit in split_avcc(data):
        buffers.append(START_CODE)
        buffers.append(unit)
    return buffers, len(data)


def split_avcc(data: bytes, length_size: int = 4) -> list[memoryview]:
    """The units of a length-prefixed sample, without their lengths.

    `length_size` is 1, 2 or 4 bytes (the configuration record's lengthSizeMinusOne plus one).
    Raises MKV_INVALID_AVCC_NALU_IN_FRAME_DATA, with the offset of the bad length, and
    MKV_INVALID_FRAME_DATA for over 100,000 units.
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
    """Whether `data` begins with a start code, with any number of zeros before it."""
    # Zeros at the end are left out of every search: they lead to nothing, and the pattern would
    # try each of them anew.
    mark = _next_mark(data, 0, len(data.rstrip(b"\0")))
    return mark is not None and mark.start() == 0 and data[mark.end() - 1] == 1


def cpd_units(cpd: bytes) -> list[memoryview]:
    """The units of codec private data in Annex-B, or else with 4-byte lengths.

    Neither gives no units. Raises MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA as `annexb_to_avcc`;
    without a start code in front, for any run of more than three zeros before another byte.
    """
    if is_annexb(cpd):
        return split_annexb(cpd)
    run = _find_long_run(cpd, 0, len(cpd.rstrip(b"\0")))
    if run is not None:
        raise _too_many_zeros(run.start())
    try:
        return split_avcc(cpd)
    except MkvError:
        return []


def distinct(units: Iterable[Buffer]) -> list[bytes]:
    """The different units among `units`, each one once, in order; repeats are common in CPDs."""
    return list(dict.fromkeys(map(bytes, units)))


def nal_type(unit: Buffer, codec: VideoCodec) -> int:
    """The type of a unit from its header; -1 for an empty one."""
    if not unit:
        return -1
    return unit[0] & 0x1F if codec is VideoCodec.H264 else unit[0] >> 1 & 0x3F


def nal_types(units: Iterable[Buffer], codec: VideoCodec) -> list[int]:
    """The types of units, in order."""
    return [nal_type(unit, codec) for unit in units]


def is_key_frame(units: Iterable[Buffer], codec: VideoCodec) -> bool:
    """Whether decoding can start here: an H.264 IDR picture, or an H.265 IRAP picture."""
    return not _KEY_PICTURES[codec].isdisjoint(nal_types(units, codec))


def parameter_sets(units: Iterable[Buffer], codec: VideoCodec) -> list[bytes]:
    """The parameter sets (VPS, SPS, PPS) among units, in their order there, each one once."""
    kinds = PARAMETER_SETS[codec]
    return distinct(unit for unit in units if nal_type(unit, codec) in kinds)


def _first_unit(data: bytes, end: int) -> int:
    """Where the first unit begins, when the frame does not simply begin with 00 00 00 01."""
    mark = _next_mark(data, 0, end)
    if mark is None or data[mark.end() - 1] != 1:
        detail = "no start code in the frame: it is not Annex-B"
        raise kvs_error(_S.MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA, detail, offset=0)
    if mark.start():
        detail = f"{mark.start()} bytes before the first start code"
        raise kvs_error(_S.MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA, detail, offset=0)
    return mark.end()


def _bad_length(begin: int, body: int, size: int, end: int) -> KvsError:
    """The error of a unit's length at `begin` that is cut, or points past the end."""
    left = f"NAL length {size} with {end - body} bytes left in the frame"
    if body > end:
        left = f"{end - begin} bytes where a {body - begin}-byte NAL length should be"
    return kvs_error(_S.MKV_INVALID_AVCC_NALU_IN_FRAME_DATA, left, offset=begin)


def _too_many_units() -> KvsError:
    detail = f"the frame has over {MAX_UNITS:,} NAL units, more than any picture"
    return kvs_error(_S.MKV_INVALID_FRAME_DATA, detail)


def _too_many_zeros(offset: int) -> MkvError:
    detail = "more than three zero bytes that lead to no start code"
    error = kvs_error(_S.MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA, detail, offset=offset)
    assert isinstance(error, MkvError)
    return error


_S = StatusCode
