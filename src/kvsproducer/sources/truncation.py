"""Detect truncated files: MP4 / MOV, Matroska, MPEG-TS, AVI and WAV, from their own bytes.

Implements the necessary parts of ISO/IEC 14496-12 section 4.2 (boxes), RFC 8794 / RFC 9559 (EBML
elements), ISO/IEC 13818-1 section 2.4.3.2 (packets of 188 bytes; 192 with the time code that
cameras add; 204 with a checksum) and RIFF chunks. FFmpeg reads a truncated file to its end without
an error, so the producer must check for missing bytes.

Only missing bytes show that a file was truncated. The frame counts in headers do not: edit lists,
skipped AVI chunks and rounding make them differ in intact files. Raw H.264 / H.265 has no lengths,
so a truncated file cannot be distinguished from a complete one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO, Final

__all__ = ["Cut", "find_cut"]

_EBML: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = b"\x18\x53\x80\x67"
_CLUSTER: Final = b"\x1f\x43\xb6\x75"
_TS_SYNC: Final = 0x47
_TS_PACKETS: Final = (
    (188, 0),
    (192, 4),
    (204, 0),
)  # bytes per packet, and bytes before its sync byte
_RIFF_UNKNOWN: Final = 0x7FFF_F000  # larger sizes mean "not known yet" in streamed WAV
_MAX_PARTS: Final = (
    100_000  # our limit: boxes or elements checked; a long fragmented MP4 has this many
)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a file is truncated.

    `offset`: the length of the file in bytes. `missing`: number of missing bytes, 0 if unknown.
    `playable`: False if the index of the file is missing.
    """

    offset: int
    missing: int
    playable: bool
    reason: str


def find_cut(path: str) -> Cut | None:
    """Return where the file at `path` is truncated, or None.

    None means that the file is complete, or that this cannot be found out. Raises OSError if the
    file cannot be read.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(4 * 204 + 5)
        if head[4:8] in (b"ftyp", b"wide", b"moov", b"mdat", b"free", b"skip"):
            return _mp4_cut(file, size)
        if head[:4] == _EBML:
            return _matroska_cut(file, head, size)
        if head[:4] in (b"RIFF", b"RF64"):
            return _riff_cut(file, size)
        return _ts_cut(file, head, size)


def _ts_cut(file: BinaryIO, head: bytes, size: int) -> Cut | None:
    for length, sync in _TS_PACKETS:
        marks = head[sync::length]
        if len(marks) < 2 or any(mark != _TS_SYNC for mark in marks):
            continue
        rest = size % length
        file.seek(size - rest + sync)
        if rest > sync and file.read(1)[0] == _TS_SYNC:  # otherwise other data was appended
            return Cut(size, length - rest, True, "the last TS packet is incomplete")
        break
    return None


def _mp4_cut(file: BinaryIO, size: int) -> Cut | None:
    offset, kind = 0, b""
    seen: set[bytes] = set()
    for _ in range(_MAX_PARTS):
        file.seek(offset)
        header = file.read(16)
        if not any(header[:8]):
            break  # the end, or padding
        if len(header) < 8:
            return Cut(size, 8 - len(header), b"moov" in seen, "a box header is incomplete")
        length, kind = _box(header, size - offset)
        if length < 8:
            break  # not a box: FFmpeg reports it if necessary
        missing = offset + length - size
        if missing > 0:
            name = kind.decode("latin-1")
            return Cut(size, missing, b"moov" in seen, f"the {name!r} box is incomplete")
        seen.add(kind)
        offset += length
    if b"moov" not in seen:
        # A still picture (HEIF, AVIF) has 'meta' in place of 'moov'.
        return None if b"meta" in seen else Cut(size, 0, False, "the index ('moov' box) is missing")
    if kind == b"moof":
        return Cut(size, 0, True, "the 'mdat' box of the last fragment is missing")
    return None


def _box(header: bytes, left: int) -> tuple[int, bytes]:
    """Return the length and the type of a box.

    `left` is the number of bytes to the end of the file.
    """
    length = int.from_bytes(header[:4], "big")
    if length == 1:
        length = int.from_bytes(header[8:16], "big")
    return length or left, header[4:8]


def _matroska_cut(file: BinaryIO, head: bytes, size: int) -> Cut | None:
    """Return where a Matroska file is truncated: its Segment has a size that says where it ends.

    The Segment of a live writer has an unknown size; it is checked element by element.
    """
    header_length, header_at = _vint(head, 4)
    if header_length is None:
        return None
    at = header_at + header_length
    if head[at : at + 4] != _SEGMENT:
        return None
    length, at = _vint(head, at + 4)
    if length is not None:
        missing = at + length - size
        return Cut(size, missing, True, "the Segment is incomplete") if missing > 0 else None
    return _elements_cut(file, at, size)


def _elements_cut(file: BinaryIO, at: int, size: int) -> Cut | None:
    for _ in range(_MAX_PARTS):
        file.seek(at)
        header = file.read(12)
        width = 9 - header[0].bit_length() if header else 9
        if width > 4:
            break  # not an element: the end, padding, or data that was appended
        length, body = _vint(header, width)
        if body == width:
            return Cut(size, 0, True, "the header of the last element is incomplete")
        if length is None:
            if header[:4] != _CLUSTER:
                break  # its end is unknown
            length = 0  # continue with the children of a Cluster of unknown size
        missing = at + body + length - size
        if missing > 0:
            return Cut(size, missing, True, "the last element is incomplete")
        at += body + length
    return None


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """Parse the size of an EBML element at `at`. Return the size and the offset of the payload.

    The size is None if the element declares it as unknown. If the size field itself is truncated or
    invalid, the result is None and `at`.
    """
    first = data[at] if at < len(data) else 0
    width = 9 - first.bit_length()
    if not first or at + width > len(data):
        return None, at
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), at + width


def _riff_cut(file: BinaryIO, size: int) -> Cut | None:
    """Return where an AVI or WAV file is truncated, if a chunk ends behind the end of the file.

    The size of the RIFF itself is not checked, because programs count it differently.
    """
    offset = 0
    for _ in range(_MAX_PARTS):
        file.seek(offset)
        header = file.read(12)
        if len(header) < 8:
            break
        kind, length = header[:4], int.from_bytes(header[4:8], "little")
        if kind in (b"RIFF", b"RF64"):  # long AVI files have several
            offset += 12
            continue
        if not kind.isascii() or length >= _RIFF_UNKNOWN:
            break
        if kind == b"LIST" and header[8:12] == b"movi" and not length:
            break  # the recorder was interrupted before it wrote the size
        missing = offset + 8 + length - size
        if missing > 0:
            if kind not in (b"LIST", b"data", b"idx1"):
                break  # tags and padding contain no media, and often have wrong sizes
            name = header[8:12] if kind == b"LIST" else kind
            return Cut(size, missing, True, f"the {name.decode()!r} chunk is incomplete")
        offset += 8 + length + length % 2
    return None
