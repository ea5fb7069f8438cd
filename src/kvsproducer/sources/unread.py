"""Bytes of a Matroska or FLV file that FFmpeg passed over without an error.

When the size or the identifier of a Matroska element is damaged, FFmpeg looks for the next Cluster
and goes on, and it ends at an FLV file that was appended to another. What lies between is lost, and
only the positions of the packets show it. Between two packets there may be other elements (indexes,
attachments, blocks of tracks that are not used), so a large gap is walked through before it counts.

Facts: RFC 9559 section 5 (identifiers); Adobe Flash Video File Format 10.1, annex E (tags).
"""

from __future__ import annotations

from typing import BinaryIO, Final

__all__ = ["UnreadBytes"]

_SMALL: Final = 1_000  # ours: headers between two packets take less
_MAX_PARTS: Final = 10_000  # ours: elements or tags that are walked through in one gap
# In a Cluster and in its BlockGroups; Void, CRC-32.
_INSIDE: Final = frozenset(
    (0xA3, 0xA0, 0xE7, 0xA7, 0xAB, 0x9B, 0xFB, 0xFA, 0xA4, 0x75A1, 0x75A2, 0xEC, 0xBF)
)
_TOP: Final = frozenset(
    (0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0x1A45DFA3)
)
_OPENED: Final = frozenset((0x1F43B675, 0x18538067))  # Cluster and Segment: their children follow
_FLV_TAGS: Final = frozenset((8, 9, 18))  # sound, pictures, data


class UnreadBytes:
    """Compares where packets lie in the file at `path`, which is FLV if `flv`, else Matroska.

    Call `packet` for each packet of any track, in their order, and `end` after the last one.
    `places` says what was passed over, as text.
    """

    def __init__(self, path: str, *, flv: bool) -> None:
        self._path = path
        self._flv = flv
        self._position = self._end = 0  # where the last packet begins, and where all of them end
        self.places: list[str] = []

    def packet(self, position: int | None, size: int) -> None:
        """Take the position and the size of a packet in bytes."""
        if position is None or position < 0:
            return
        if position == self._position:  # frames that share a block
            self._end += size
        elif position > self._position:
            if position - self._end > _SMALL and self._end:
                self._look(position)
            self._position, self._end = position, position + size

    def end(self) -> None:
        """Look at what follows the last packet."""
        if not self._end:
            return
        with open(self._path, "rb") as file:
            size = file.seek(0, 2)
        if size - self._end > _SMALL:
            self._look(size)

    def _look(self, until: int) -> None:
        """Walk from the last packet to `until`."""
        with open(self._path, "rb") as file:
            if not self._flv:  # there it is where the content of its block begins
                at = _walk_elements(file, _end_of_block(file, self._position), until)
            else:  # where a packet lies in FLV is where its tag begins
                at = _walk_tags(file, self._position, until)
                file.seek(at)
                if at < until and file.read(4) == b"FLV\x01":
                    self.places.append(f"byte {at:,}, where another FLV file begins")
                    return
        if at < until:
            self.places.append(f"{until - at:,} bytes from byte {at:,} on")


def _end_of_block(file: BinaryIO, content: int) -> int:
    """Return where the (Simple)Block ends whose content begins at `content`, as its header says."""
    file.seek(max(content - 9, 0))
    header = file.read(min(content, 9))
    for width in range(1, 9):
        if header[-width - 1 : -width] in (b"\xa3", b"\xa1") and header[-width] >> 8 - width == 1:
            return content + int.from_bytes(header[-width:]) - (1 << 7 * width)
    return content


def _walk_elements(file: BinaryIO, at: int, end: int) -> int:
    """Return where the first thing is that is no Matroska element, or what is not before `end`."""
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
    """Return where the first thing is that is no FLV tag, or what is not before `end`."""
    for _ in range(_MAX_PARTS):
        if at >= end:
            return end
        file.seek(at)
        header = file.read(11)
        if len(header) < 11 or header[0] not in _FLV_TAGS or header[8:] != b"\0\0\0":
            return at
        at += 11 + int.from_bytes(header[1:4], "big") + 4  # its size comes once more
    return end
