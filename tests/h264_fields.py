"""Field-coded H.264, made bit by bit: x264 makes none. Tiny pictures (16 x 32), PCM and skipped.

`coded(...)` gives the access units (one a field, or one a frame) in decode order, as Annex-B.
`without_vui` takes the VUI out of an Annex-B stream's SPS, as many hardware encoders leave it out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from kvsproducer.codecs import BitReader, unescape

START = b"\0\0\0\1"


class Bits:
    """Writes bits one after the other."""

    def __init__(self) -> None:
        self._text = ""

    def u(self, count: int, value: int) -> Bits:
        self._text += f"{value:0{count}b}"
        return self

    def ue(self, *values: int) -> Bits:
        for value in values:
            code = f"{value + 1:b}"
            self._text += "0" * (len(code) - 1) + code
        return self

    def raw(self, data: bytes) -> Bits:
        """Append bytes at the next byte boundary."""
        self._text += "0" * (-len(self._text) % 8) + "".join(f"{byte:08b}" for byte in data)
        return self

    def unit(self, header: int) -> bytes:
        """Return a NAL unit with trailing bits and emulation prevention."""
        text = self._text + "1"
        text += "0" * (-len(text) % 8)
        body = int(text, 2).to_bytes(len(text) // 8)
        return START + bytes([header]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", body)


def sps_unit(
    vui: Callable[[Bits], object] | None = None, *, profile: int = 77, poc_type: int = 0
) -> bytes:
    """Make an SPS that allows fields; `vui` writes the bits after vui_parameters_present_flag."""
    sps = Bits().u(8, profile).u(8, 0).u(8, 30).ue(0, 0, poc_type)
    if poc_type == 0:
        sps.ue(4)
    sps.ue(2).u(1, 0).ue(0, 0)
    sps.u(1, 0).u(1, 0).u(1, 1).u(1, 0)  # fields, no MBAFF, direct_8x8_inference, no cropping
    sps.u(1, vui is not None)
    if vui is not None:
        vui(sps)
    return sps.unit(0x67)


def parameter_sets(*, time_scale: int = 0) -> bytes:
    """Make SPS and PPS; `time_scale` is the number of fields per second in the VUI."""

    def timing(bits: Bits) -> None:
        bits.u(4, 0).u(1, 1).u(32, 1).u(32, time_scale).u(1, 1).u(4, 0)

    pps = Bits().ue(0, 0).u(2, 0).ue(0, 0, 0).u(3, 0).ue(0, 0, 0).u(3, 0)
    return sps_unit(timing if time_scale else None) + pps.unit(0x68)


@dataclass(frozen=True, slots=True)
class Unit:
    """A field; `decoded` and `shown` are its picture's positions in decoding and display order."""

    data: bytes
    shown: int
    decoded: int
    bottom: bool
    key: bool


def _field(kind: str, frame_num: int, poc: int, *, bottom: bool, idr: bool) -> bytes:
    bits = Bits().ue(0, {"P": 5, "B": 6, "I": 7}[kind], 0).u(4, frame_num % 16)
    bits.u(1, 1).u(1, bottom)
    if idr:
        bits.ue(0)
    bits.u(8, poc % 256)
    if kind == "B":
        bits.u(1, 1)
    if kind != "I":
        bits.u(1, 0)
        bits.u(1 if kind == "P" else 2, 0)
    if kind != "B":
        bits.u(2, 0) if idr else bits.u(1, 0)
    bits.ue(0)
    if kind == "I":
        bits.ue(25).raw(bytes([60 + poc % 100]) * 256 + bytes([128]) * 128)
    else:
        bits.ue(1)
    reference = {"I": 0x60, "P": 0x40, "B": 0}[kind]
    return bits.unit(reference | (5 if idr else 1))


def coded(pictures: str, *, delimiters: bool = True, time_scale: int = 0) -> list[Unit]:
    """The fields of `pictures`, in decode order: `"IPBPB"`; each I begins a group with an IDR.

    A B is shown before the P in front of it.
    """
    units: list[Unit] = []
    frame_num = group = 0
    for place, kind in enumerate(pictures):
        if kind == "I":
            frame_num, group = 0, place
        elif pictures[place - 1] != "B":
            frame_num += 1
        follows = pictures[place + 1 : place + 2] == "B"
        shown = place + (1 if kind == "P" and follows else -1 if kind == "B" else 0)
        for bottom in (False, True):
            idr = kind == "I" and not bottom
            field = "P" if kind == "I" and bottom else kind
            data = b""
            if delimiters:
                data += START + b"\x09\xf0"
            if idr:
                data += parameter_sets(time_scale=time_scale)
            data += _field(field, frame_num, 2 * (shown - group) + bottom, bottom=bottom, idr=idr)
            units.append(Unit(data, shown, place, bottom, idr))
    return units


def without_vui(stream: bytes) -> bytes:
    """Return the Annex-B stream without the VUI in each H.264 SPS."""
    parts = re.split(b"\0\0\0?\1", stream)[1:]
    return b"".join(START + (_bare(part) if part[0] & 31 == 7 else part) for part in parts)


def _bare(sps: bytes) -> bytes:
    data = unescape(sps[1:])
    bits = BitReader(data)
    high = bits.read(8) in (100, 110, 122, 244)
    bits.skip(16)
    bits.ue()
    if high:
        for _ in range(3):  # chroma format (4:2:0), bit depths
            bits.ue()
        bits.skip(2)  # no scaling lists
    bits.ue()
    kind = bits.ue()
    assert kind in (0, 2)
    if kind == 0:
        bits.ue()
    bits.ue()
    bits.skip(1)
    bits.ue()
    bits.ue()
    if not bits.flag():
        bits.skip(1)
    bits.skip(1)
    if bits.flag():
        for _ in range(4):
            bits.ue()
    kept = f"{int.from_bytes(data):0{8 * len(data)}b}"[: bits.position]
    return Bits().u(len(kept), int(kept, 2)).u(1, 0).unit(sps[0])[len(START) :]
