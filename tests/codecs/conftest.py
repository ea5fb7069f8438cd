"""Builders that make parameter sets bit by bit from known values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def u(count: int, value: int) -> str:
    return f"{value:0{count}b}" if count else ""


def ue(value: int) -> str:
    code = f"{value + 1:b}"
    return "0" * (len(code) - 1) + code


def se(value: int) -> str:
    return ue(2 * value - 1 if value > 0 else -2 * value)


def escape(payload: bytes) -> bytes:
    """Insert emulation prevention bytes."""
    out, zeros = bytearray(), 0
    for byte in payload:
        if zeros == 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def pack(fields: Iterable[str], *, stop: bool = True) -> bytes:
    """Join the bits to bytes, with rbsp_trailing_bits."""
    text = "".join(fields) + ("1" if stop else "")
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8) if text else b""


def h264_sps(
    *,
    profile: int = 66,
    constraints: int = 0,
    level: int = 30,
    chroma: int = 1,
    separate_planes: int = 0,
    depths: tuple[int, int] = (8, 8),
    scaling: list[list[int] | None] | None = None,
    order: str | None = None,
    size_mbs: tuple[int, int] = (20, 15),
    frames_only: int = 1,
    crop: tuple[int, int, int, int] | None = None,
) -> bytes:
    """Make an H.264 SPS unit; `scaling` has the deltas of each list, or None for an absent list."""
    fields = [u(8, profile), u(8, constraints), u(8, level), ue(0)]
    if profile not in (66, 77, 88):
        fields += [ue(chroma)] + ([u(1, separate_planes)] if chroma == 3 else [])
        fields += [ue(depths[0] - 8), ue(depths[1] - 8), u(1, 0), u(1, scaling is not None)]
        for deltas in scaling or []:
            fields += [u(1, deltas is not None), *map(se, deltas or [])]
    fields += [ue(0), order if order is not None else ue(2), ue(1), u(1, 0)]
    fields += [ue(size_mbs[0] - 1), ue(size_mbs[1] - 1), u(1, frames_only)]
    fields += ([] if frames_only else [u(1, 0)]) + [u(1, 1)]
    fields += [u(1, crop is not None), *map(ue, crop or ())]
    return b"\x67" + escape(pack([*fields, u(1, 0)]))


def h265_sps(
    *,
    sub_layers: int = 1,
    general: bytes = bytes.fromhex("016000000090000000000 05d".replace(" ", "")),
    sub_layer_flags: list[tuple[int, int]] | None = None,
    reserved: int = 0,
    chroma: int = 1,
    separate_planes: int = 0,
    size: tuple[int, int] = (320, 240),
    window: tuple[int, int, int, int] | None = None,
    depths: tuple[int, int] = (8, 8),
) -> bytes:
    """Make an H.265 SPS unit; `general` is profile, compatibility, constraints and level."""
    fields = [u(4, 0), u(3, sub_layers - 1), u(1, 1), u(96, int.from_bytes(general))]
    if sub_layers > 1:
        flags = sub_layer_flags or [(0, 0)] * (sub_layers - 1)
        fields += [u(1, flag) for pair in flags for flag in pair]
        fields += [u(2 * (9 - sub_layers), reserved)]
        for has_profile, has_level in flags:
            fields += [u(88 * has_profile, 0), u(8 * has_level, 93 * has_level)]
    fields += [ue(0), ue(chroma)] + ([u(1, separate_planes)] if chroma == 3 else [])
    fields += [ue(size[0]), ue(size[1]), u(1, window is not None), *map(ue, window or ())]
    fields += [ue(depths[0] - 8), ue(depths[1] - 8)]
    return b"\x42\x01" + escape(pack(fields))


class Builders:
    """The builders above, for the fixture `build`."""

    u = staticmethod(u)
    ue = staticmethod(ue)
    se = staticmethod(se)
    escape = staticmethod(escape)
    pack = staticmethod(pack)
    h264_sps: Callable[..., bytes] = staticmethod(h264_sps)
    h265_sps: Callable[..., bytes] = staticmethod(h265_sps)

    @staticmethod
    def annexb(*units: bytes) -> bytes:
        return b"".join(b"\0\0\0\x01" + unit for unit in units)


@pytest.fixture(scope="session")
def build() -> Any:
    return Builders
