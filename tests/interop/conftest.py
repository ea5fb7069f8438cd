"""Helpers of the interop tests: media from ffmpeg's encoders (through PyAV)."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any, NamedTuple

import av


class Sample(NamedTuple):
    """A frame from an encoder; times are in ms after START_MS."""

    track_id: int
    pts: int
    dts: int
    key: bool
    data: bytes


def encode_video(codec: str, count: int = 25, **options: str) -> tuple[list[Sample], bytes]:
    """Encode a moving pattern of 96x64 at 25 fps as Annex-B; return it and the extradata."""
    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = 96, 64, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = {"preset": "ultrafast", **options}
    packets: list[Any] = []
    for index in range(count):
        frame = av.VideoFrame(96, 64, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes((7 * index + at) % 256 for at in range(plane.buffer_size)))
        frame.pts, frame.time_base = index, Fraction(1, 25)
        packets += context.encode(frame)
    packets += context.encode(None)
    first = min(packet.dts for packet in packets)
    samples = [
        Sample(1, 40 * (p.pts - first), 40 * (p.dts - first), p.is_keyframe, bytes(p))
        for p in packets
    ]
    return samples, bytes(context.extradata or b"")


def encode_aac(track_id: int, count: int = 20) -> tuple[list[Sample], bytes]:
    """Encode a tone as raw AAC at 48 kHz stereo; return it and its AudioSpecificConfig."""
    context: Any = av.CodecContext.create("aac", "w")
    context.sample_rate, context.layout, context.format = 48_000, "stereo", "fltp"
    tone = struct.pack("1024f", *(math.sin(at / 8) / 2 for at in range(1024)))
    packets: list[Any] = []
    for index in range(count):
        frame = av.AudioFrame("fltp", "stereo", 1024)
        for plane in frame.planes:
            plane.update(tone.ljust(plane.buffer_size, b"\0"))
        frame.sample_rate, frame.pts = 48_000, index * 1024
        packets += context.encode(frame)
    packets += context.encode(None)
    times = [1000 * max(0, packet.pts) // 48_000 for packet in packets]
    samples = [
        Sample(track_id, at, at, False, bytes(packet))
        for at, packet in zip(times, packets, strict=True)
    ]
    return samples, bytes(context.extradata)
