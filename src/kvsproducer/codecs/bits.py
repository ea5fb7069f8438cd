"""Bit reader for parameter sets: fixed-width fields and Exp-Golomb codes.

Standard: ISO/IEC 14496-10 sections 7.3.1 (emulation prevention) and 9.1 (ue(v), se(v)).
If a field is longer than the remaining data, the method raises and does not move its position.
"""

from __future__ import annotations

from kvsproducer.limits import MAX_BIT_READER_BITS
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["BitReader", "unescape"]


def unescape(unit: bytes) -> bytes:
    """Return a NAL unit without its emulation prevention bytes: 00 00 03 becomes 00 00."""
    if b"\0\0\x03" not in unit:
        return unit
    out = bytearray()
    begin = 0
    # The search continues after the 03, so that 00 00 03 00 00 03 counts as two.
    while (found := unit.find(b"\0\0\x03", begin)) >= 0:
        out += unit[begin : found + 2]
        begin = found + 3
    out += unit[begin:]
    return bytes(out)


class BitReader:
    """Reads the bits of `data` one after the other, the most significant bit of a byte first.

    All methods raise BIT_READER_OUT_OF_RANGE if the data ends too early, and
    BIT_READER_INVALID_SIZE if a field has more than 32 bits.
    """

    __slots__ = ("_data", "_end", "position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._end = len(data) * 8
        self.position = 0

    def read(self, count: int) -> int:
        """Read the next `count` bits (0 to 32) as an unsigned number."""
        if not 0 <= count <= MAX_BIT_READER_BITS:
            raise kvs_error(
                StatusCode.BIT_READER_INVALID_SIZE,
                f"{count} bits requested, at most {MAX_BIT_READER_BITS} are possible",
            )
        end = self.position + count
        if end > self._end:
            raise self._out_of_range(count)
        last = (end + 7) >> 3
        word = int.from_bytes(self._data[self.position >> 3 : last])
        self.position = end
        return word >> ((last << 3) - end) & ((1 << count) - 1)

    def flag(self) -> bool:
        """Read the next bit."""
        return self.read(1) == 1

    def skip(self, count: int) -> None:
        """Skip any number of bits."""
        if self.position + count > self._end:
            raise self._out_of_range(count)
        self.position += count

    def ue(self) -> int:
        """Read an unsigned Exp-Golomb code."""
        start = self.position
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > MAX_BIT_READER_BITS - 1:
                self.position = start
                raise kvs_error(
                    StatusCode.BIT_READER_INVALID_SIZE,
                    "an Exp-Golomb code of more than 32 bits",
                    offset=start >> 3,
                )
        return (1 << zeros) - 1 + self.read(zeros)

    def se(self) -> int:
        """Read a signed Exp-Golomb code: 0, 1, -1, 2, -2 ..."""
        code = self.ue()
        return (code + 1) >> 1 if code & 1 else -(code >> 1)

    def _out_of_range(self, count: int) -> Exception:
        left = self._end - self.position
        return kvs_error(
            StatusCode.BIT_READER_OUT_OF_RANGE,
            f"{count} bits requested, {left} left",
            offset=self.position >> 3,
        )
