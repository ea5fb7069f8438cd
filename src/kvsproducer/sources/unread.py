"""Find bytes of a Matroska or FLV file that FFmpeg skipped without an error.

If the size or the identifier of a Matroska element is damaged, FFmpeg continues at the next
Cluster. If a second FLV file was appended to the first one, FFmpeg stops there. In both cases bytes
are lost, and only the positions of the packets show it. There may be other elements between two
packets (indexes, attachments, blocks of other tracks), so a large gap is parsed before it counts.

Source: RFC 9559 section 5 (identifiers); Adobe Flash Video File Format 10.1, annex E (tags).
"""

from __future__ import annotations

from typing import BinaryIO, Final

__all__ = ["UnreadBytes"]

_SMALL: Final = 1_000  # our limit: headers between two packets need less
_MAX_PARTS: Final = 10_000  # our limit: elements or tags that are parsed in one gap
# Elements in a Cluster and in its BlockGroups; Void, CRC-32.
_INSIDE: Final = frozenset(
    (0xA3, 0xA0, 0xE7, 0xA7, 0xAB, 0x9B, 0xFB, 0xFA, 0xA4, 0x75A1, 0x75A2, 0xEC, 0xBF)
)
_TOP: Final = frozenset(
    (0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0x1A45DFA3)
)
_OPENED: Final = frozenset((0x1F43B675, 0x18538067))  # Cluster and Segment: their children follow
_FLV_TAGS: Final = frozenset((8, 9, 18))  # sound, pictures, data


class UnreadBytes:
    """Find the bytes between packets that FFmpeg skipped, from the packets' positions in a file.

    `path` is the file; it is FLV if `flv` is true, else Matroska. The caller calls `packet` for
    each packet of any track, in file order, and `end` after the last one. `places` has the skipped
    places as text.
    """

    def __init__(self, path: str, *, flv: bool) -> None:
        self._path = path
        self._flv = flv
        self._position = self._end = (
            0  # where the last packet begins, and the end of all packets so far
        )
        self.places: list[str] = []

    def packet(self, position: int | None, size: int) -> None:
        """Process a packet at `position` with `size` bytes."""
        if position is None or position < 0:
            return
        if position == self._position:  # frames that share a block
            self._end += size
        elif position > self._position:
            if position - self._end > _SMALL and self._end:
                self._parse_gap(position)
            self._position, self._end = position, position + size

    def end(self) -> None:
        """Check the bytes after the last packet."""
        if not self._end:
            return
        with open(self._path, "rb") as file:
            size = file.seek(0, 2)
        if size - self._end > _SMALL:
            self._parse_gap(size)

    def _parse_gap(self, until: int) -> None:
        """Parse the bytes from the last packet to `until`, and add a place if they were skipped."""
        with open(self._path, "rb") as file:
            if not self._flv:  # there it is the position of the block's content
                at = _walk_elements(file, _end_of_block(file, self._position), until)
            else:  # in FLV, a packet's position is that of its tag
                at = _walk_tags(file, self._position, until)
                file.seek(at)
                if at < until and file.read(4) == b"FLV\x01":
                    self.places.append(f"byte {at:,}, where another FLV file begins")
                    return
        if at < until:
            self.places.append(f"{until - at:,} bytes from byte {at:,} on")


def _end_of_block(file: BinaryIO, content: int) -> int:
    """Return the end of a Block or SimpleBlock, according to the header before its content.

    The content begins at `content`.
    """
    file.seek(max(content - 9, 0))
    header = file.read(min(content, 9))
    for width in range(1, 9):
        if header[-width - 1 : -width] in (b"\xa3", b"\xa1") and header[-width] >> 8 - width == 1:
            return content + int.from_bytes(header[-width:]) - (1 << 7 * width)
    return content


def _walk_elements(file: BinaryIO, at: int, end: int) -> int:
    """Return where the first bytes begin that are not a Matroska element; `end` or more if none."""
    for _ in range(_MAX_PARTS):
        if at >= end:
            return at
        file.seek(at)
        header = file.read(12)
        width = 9 - header[0].bit_length()
        name = int.from_bytes(header[:width], "big")
        length_width = 9 - header[width].bit_length() if len(header) > width else 9
        if width > 4 or length_width > 8 or name not in _INSIDE | _TOP | _OPENED:
            return at
        body = width + length_width
        length = int.from_bytes(header[width:body], "big") & ((1 << 7 * length_width) - 1)
        at += body if name in _OPENED else body + length
    return end


def _walk_tags(file: BinaryIO, at: int, end: int) -> int:
    """Return where the first bytes begin that are not an FLV tag; `end` or more if none."""
    for _ in range(_MAX_PARTS):
        if at >= end:
            return end
        file.seek(at)
        header = file.read(11)
        if len(header) < 11 or header[0] not in _FLV_TAGS or header[8:] != b"\0\0\0":
            return at
        at += 11 + int.from_bytes(header[1:4], "big") + 4  # its size is repeated
    return end
