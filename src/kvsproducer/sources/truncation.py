"""Was a file cut off? MP4 / MOV, Matroska and MPEG-TS say it in their own bytes.

Implements as much as that takes of ISO/IEC 14496-12 section 4.2 (boxes), RFC 8794 / RFC 9559 (EBML
element, Segment size) and ISO/IEC 13818-1 section 2.4.3.2 (188-byte packets). FFmpeg plays what
is left of such a file and ends as if all were well; a producer must not.

It reads headers only, and judges nothing else about a file. Raw H.264 / H.265 has no length
anywhere: a cut there cannot be told from an end.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO, Final

__all__ = ["Cut", "find_cut"]

_EBML: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = b"\x18\x53\x80\x67"
_TS_PACKET: Final = 188
_MAX_BOXES: Final = 100_000  # ours: top-level boxes of a fragmented MP4


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a file breaks off: `offset` its length in bytes, `missing` bytes still to come (0 if
    unknown), `playable` False when its index was in the part that is gone."""

    offset: int
    missing: int
    playable: bool
    reason: str


def find_cut(path: str) -> Cut | None:
    """How the file at `path` is cut off, None if it is whole or of a kind that cannot tell.

    Raises OSError when it cannot be read.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(4 * _TS_PACKET + 1)
        if head[4:8] in (b"ftyp", b"wide", b"moov", b"mdat", b"free", b"skip"):
            return _mp4_cut(file, size)
        if head[:4] == _EBML:
            return _matroska_cut(head, size)
        if len(head) > _TS_PACKET and all(head[i] == 0x47 for i in range(0, len(head), _TS_PACKET)):
            rest = size % _TS_PACKET
            if rest:
                return Cut(size, _TS_PACKET - rest, True, "the last TS packet is incomplete")
    return None


def _mp4_cut(file: BinaryIO, size: int) -> Cut | None:
    offset, seen = 0, set()
    for _ in range(_MAX_BOXES):
        if offset >= size:
            break
        file.seek(offset)
        header = file.read(16)
        if len(header) < 8:
            return Cut(size, 8 - len(header), b"moov" in seen, "a box header is incomplete")
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = size - offset
        if length < 8:
            break  # not a box: FFmpeg will say what it thinks of it
        if offset + length > size:
            playable = b"moov" in seen
            name = kind.decode("latin-1")
            return Cut(size, offset + length - size, playable, f"the {name!r} box is incomplete")
        seen.add(kind)
        offset += length
    if b"moov" not in seen:
        return Cut(size, 0, False, "the index ('moov' box) is missing")
    return None


def _matroska_cut(head: bytes, size: int) -> Cut | None:
    """The EBML header is followed by the Segment; a known size says where it should end."""
    header_length, header_at = _vint(head, 4)
    if header_length is None:
        return None
    at = header_at + header_length
    if head[at : at + 4] != _SEGMENT:
        return None
    length, payload_at = _vint(head, at + 4)
    if length is None or payload_at + length <= size:
        return None
    return Cut(size, payload_at + length - size, True, "the Segment is incomplete")


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """An EBML size at `at`: (value, where its payload starts); None if unknown or cut."""
    first = data[at] if at < len(data) else 0
    width = 9 - first.bit_length()
    if not first or at + width > len(data):
        return None, at
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), at + width
