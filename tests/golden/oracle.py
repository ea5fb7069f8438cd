"""A second, slow parser of NAL units and parameter sets, written from the standards alone.

The golden modules compare our output with it where the C producer's output is wrong. It shares no
method with the package: it goes byte by byte where the package uses a compiled pattern, and reads
a string of bits where the package uses a bit reader. Statuses are numbers; an input that must be
refused raises `Refused` with its status.
"""

from __future__ import annotations

BAD_START_CODE = 0x3200000D
SET_DOES_NOT_FIT = 0x32000010
BAD_WIDTH, BAD_HEIGHT = 0x32000013, 0x32000014
BAD_SPS, BAD_CHROMA = 0x32000015, 0x3200001B
TOO_SHORT, MISSING_UNITS, NOT_UNITS = 0x3200001D, 0x3200001E, 0x3200001F
NO_SPS, NO_PPS = 0x3200002B, 0x3200002C
OUT_OF_BITS, CODE_TOO_LONG = 0x41000001, 0x41000002

CHROMA_PROFILES = {100, 110, 122, 144, 244, 44, 83, 86, 118, 128, 134, 135, 138, 139}


class Refused(Exception):
    """An input must be refused with this status."""


def annexb_units(data: bytes) -> list[bytes]:
    """Return the units of a byte stream (14496-10 Annex B) without the zeros around start codes.

    A unit has at least a header byte: a start code without data behind it is ignored.
    """
    units: list[bytearray] = []
    zeros = 0
    for byte in data:
        if byte == 0:
            zeros += 1
        elif byte == 1 and zeros >= 2:
            units.append(bytearray())
            zeros = 0
        elif zeros > 3 or not units:
            raise Refused(BAD_START_CODE)
        else:
            units[-1] += bytes(zeros) + bytes([byte])
            zeros = 0
    if data and not units:
        raise Refused(BAD_START_CODE)
    return [bytes(unit) for unit in units if unit]


def begins_with_start_code(data: bytes) -> bool:
    rest = data.lstrip(b"\0")
    return len(data) - len(rest) >= 2 and rest[:1] == b"\x01"


def prefixed_units(data: bytes) -> list[bytes] | None:
    """Return the units behind 4-byte lengths; None if the lengths do not fit the data."""
    units = []
    while data:
        size = int.from_bytes(data[:4])
        if len(data) < 4 + size:
            return None
        units.append(data[4 : 4 + size])
        data = data[4 + size :]
    return units


def cpd_units(data: bytes) -> list[bytes]:
    """Return the units of codec private data in Annex-B or length-prefixed form, or []."""
    if begins_with_start_code(data):
        return annexb_units(data)
    zeros = 0
    for byte in data:
        if byte and zeros > 3:
            raise Refused(BAD_START_CODE)
        zeros = 0 if byte else zeros + 1
    return prefixed_units(data) or []


def without_emulation(unit: bytes) -> bytes:
    out = bytearray()
    zeros = 0
    for byte in unit:
        if zeros >= 2 and byte == 3:
            zeros = 0
            continue
        zeros = 0 if byte else zeros + 1
        out.append(byte)
    return bytes(out)


class Bits:
    """A string of 0 and 1 that is consumed from the left."""

    def __init__(self, data: bytes) -> None:
        self.text = "".join(f"{byte:08b}" for byte in data)

    def u(self, count: int) -> int:
        if count > len(self.text):
            raise Refused(OUT_OF_BITS)
        taken, self.text = self.text[:count], self.text[count:]
        return int(taken or "0", 2)

    def ue(self) -> int:
        zeros = len(self.text) - len(self.text.lstrip("0"))
        if zeros > 31:
            raise Refused(CODE_TOO_LONG)
        self.u(zeros)
        return self.u(zeros + 1) - 1

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 * (1 if code % 2 else -1)


def _window(bits: Bits) -> tuple[int, int] | None:
    """Return the sums of the horizontal and vertical cropping offsets; None without cropping."""
    if not bits.u(1):
        return None
    left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
    return left + right, top + bottom


def _size(width: int, height: int) -> tuple[int, int]:
    if not 0 <= width < 65536:
        raise Refused(BAD_WIDTH)
    if not 0 <= height < 65536:
        raise Refused(BAD_HEIGHT)
    return width, height


def _h264_chroma(bits: Bits) -> tuple[int, int, int, int]:
    """Return chroma_format_idc, separate_colour_plane_flag and both bit depths minus 8."""
    chroma = bits.ue()
    return chroma, bits.u(1) if chroma == 3 else 0, bits.ue(), bits.ue()


def h264_size(unit: bytes) -> tuple[int, int]:
    """Return width and height of an H.264 SPS, after cropping."""
    if not unit or unit[0] & 0x9F != 7 or not unit[0] & 0x60:
        raise Refused(BAD_SPS)
    bits = Bits(without_emulation(unit)[1:])
    profile = bits.u(8)
    bits.u(16)
    bits.ue()
    chroma, planes = 1, 0
    if profile in CHROMA_PROFILES:
        chroma, planes, _, _ = _h264_chroma(bits)
        bits.u(1)
        if bits.u(1):
            for number in range(12 if chroma == 3 else 8):
                if bits.u(1):
                    _scaling_list(bits, 16 if number < 6 else 64)
    bits.ue()
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in range(bits.ue()):
            bits.se()
    bits.ue()
    bits.u(1)
    across, down = bits.ue() + 1, bits.ue() + 1
    fields = 1 if bits.u(1) else 2
    if fields == 2:
        bits.u(1)
    bits.u(1)
    cut_x, cut_y = _window(bits) or (0, 0)
    bits.u(1)
    sub_x = 2 if chroma in (1, 2) and not planes else 1
    sub_y = 2 if chroma == 1 and not planes else 1
    return _size(16 * across - sub_x * cut_x, fields * (16 * down - sub_y * cut_y))


def _scaling_list(bits: Bits, count: int) -> None:
    last = upcoming = 8
    for _ in range(count):
        if upcoming:
            upcoming = (last + bits.se()) % 256
        if upcoming:
            last = upcoming


def _h265_fields(unit: bytes) -> tuple[Bits, int, int, bytes]:
    """Return bits from sps_seq_parameter_set_id on, max sub-layers, nesting flag, general bytes."""
    if len(unit) < 2 or unit[0] >> 1 != 33:
        raise Refused(BAD_SPS)
    payload = without_emulation(unit[2:])
    bits = Bits(payload)
    bits.u(4)
    layers, nesting = bits.u(3) + 1, bits.u(1)
    bits.u(96)
    if layers > 1:
        present = [(bits.u(1), bits.u(1)) for _ in range(layers - 1)]
        for _ in range(layers - 1, 8):
            bits.u(2)
        for profile, level in present:
            bits.u(88 * profile + 8 * level)
    bits.ue()
    return bits, layers, nesting, payload[1:13]


def h265_size(unit: bytes) -> tuple[int, int]:
    """Return width and height of an H.265 SPS, after the conformance window."""
    bits, _, _, _ = _h265_fields(unit)
    return _h265_picture(bits)[0]


def _h265_picture(bits: Bits) -> tuple[tuple[int, int], int, int, int]:
    chroma = bits.ue()
    planes = bits.u(1) if chroma == 3 else 0
    width, height = bits.ue(), bits.ue()
    window = _window(bits)
    luma, colour = bits.ue(), bits.ue()
    if chroma > 3 and window:
        raise Refused(BAD_CHROMA)
    cut_x, cut_y = window or (0, 0)
    sub_x = 2 if chroma in (1, 2) and not planes else 1
    sub_y = 2 if chroma == 1 and not planes else 1
    return _size(width - sub_x * cut_x, height - sub_y * cut_y), chroma, luma, colour


def _sized(units: list[bytes]) -> bytes:
    return b"".join(len(unit).to_bytes(2) + unit for unit in units)


def _of(units: list[bytes], kinds: tuple[int, ...], mask: int, shift: int) -> list[list[bytes]]:
    """Return the different units of each type."""
    found = []
    for kind in kinds:
        some = [unit for unit in units if unit and unit[0] >> shift & mask == kind]
        found.append(sorted(set(some), key=some.index))
    return found


def h264_record(cpd: bytes) -> bytes:
    """Return the avcC record for Annex-B codec private data."""
    if len(cpd) < 11:
        raise Refused(TOO_SHORT)
    sps, pps, extensions = _of(cpd_units(cpd), (7, 8, 13), 31, 0)
    if not sps or not pps:
        raise Refused(NO_PPS if sps else NO_SPS)
    if len(sps) > 31 or len(pps) > 255:
        raise Refused(SET_DOES_NOT_FIT)
    head = (sps[0][1:4] + bytes(3))[:3]
    record = b"\x01" + head + bytes([0xFF, 0xE0 + len(sps)]) + _sized(sps)
    record += bytes([len(pps)]) + _sized(pps)
    if head[0] in CHROMA_PROFILES:
        bits = Bits(without_emulation(sps[0])[4:])
        bits.ue()
        chroma, _, luma, colour = _h264_chroma(bits)
        record += bytes([0xFC + chroma % 4, 0xF8 + luma % 8, 0xF8 + colour % 8, len(extensions)])
        record += _sized(extensions)
    return record


def h265_record(cpd: bytes) -> bytes:
    """Return the hvcC record for Annex-B codec private data."""
    if len(cpd) < 15:
        raise Refused(TOO_SHORT)
    units = cpd_units(cpd)
    if not units:
        raise Refused(NOT_UNITS)
    vps, sps, pps = _of(units, (32, 33, 34), 63, 1)
    if len(units) < 2 or not sps:
        raise Refused(MISSING_UNITS)
    bits, layers, nesting, general = _h265_fields(sps[0])
    _, chroma, luma, colour = _h265_picture(bits)
    if chroma > 3:
        raise Refused(BAD_CHROMA)
    record = b"\x01" + general + bytes([0xF0, 0, 0xFC, 0xFC + chroma, 0xF8 + luma % 8])
    record += bytes([0xF8 + colour % 8, 0, 0, layers * 8 + nesting * 4 + 3])
    arrays = [(kind, found) for kind, found in ((32, vps), (33, sps), (34, pps)) if found]
    record += bytes([len(arrays)])
    for kind, found in arrays:
        record += bytes([kind]) + len(found).to_bytes(2) + _sized(found)
    return record
