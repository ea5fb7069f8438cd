"""The time to split and pack an Annex-B frame, compared with a plain `bytes.find` over it.

The calibration is the loop of `reference/peer_figures.md`: finding every start code of the same
frame with `bytes.find`, which builds nothing and checks nothing.
"""

from __future__ import annotations

import random
import re
import time
import timeit
from collections.abc import Callable

from benchmarks.report import Figure
from kvsproducer.codecs import START_CODE, annexb_to_avcc, avcc_to_annexb
from kvsproducer.mkv import FrameFlags, MkvGenerator, NalAdaptation, TrackInfo, TrackType
from kvsproducer.mkv.adaptation import FrameAdapter

SIZES = (200, 1_000, 10_000, 100_000, 1_000_000)  # bytes of a frame
TICK = 400_000
RATIO, RATIO_FROM_BYTES = 1.5, 10_000
SHORTEST_RUN_S = 0.02
RUNS = 9


def find_start_codes(data: bytes) -> int:
    """The calibration: count the start codes."""
    count, found = 0, data.find(b"\0\0\1")
    while found >= 0:
        count, found = count + 1, data.find(b"\0\0\1", found + 3)
    return count


def payload(size: int) -> bytes:
    """Return random bytes with emulation prevention, as from an entropy coder."""
    raw = random.Random(1).randbytes(size)
    return (
        re.sub(rb"\0\0([\0-\x03])", lambda found: b"\0\0\x03" + found[1], raw)[: size - 1] + b"\x80"
    )


def microseconds(call: Callable[[bytes], object], data: bytes) -> float:
    """Return the CPU time per call in the fastest of several runs."""
    timer = timeit.Timer(lambda: call(data), timer=time.thread_time)
    count = 1
    while timer.timeit(count) < SHORTEST_RUN_S:
        count *= 2
    return min(timer.repeat(RUNS, count)) / count * 1e6


def packager() -> Callable[[bytes], object]:
    """Return a function that splits one frame and packs it in the open cluster of a stream."""
    tracks = [TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC")]
    flags = NalAdaptation.ANNEXB_NALS
    generator = MkvGenerator(tracks, content_type="video/h264", adaptation=flags)
    adapter = FrameAdapter(tracks, flags, content_type="video/h264")
    generator.pack(1, FrameFlags.KEY, 0, 0, TICK, 1)

    def package(data: bytes) -> object:
        _, size = adapter.adapt(1, data)
        return generator.pack(1, 0, TICK, TICK, TICK, size)

    return package


def run() -> list[Figure]:
    """Return the figures for frames of one unit, and of two (an access unit delimiter first)."""
    figures = []
    package = packager()
    for size in SIZES:
        one = START_CODE + b"\x41" + payload(size - 5)
        two = START_CODE + b"\x09\x10" + START_CODE + b"\x41" + payload(size - 11)
        avcc = b"".join(annexb_to_avcc(two)[0])
        calibration = microseconds(find_start_codes, one)
        target = f"< {RATIO} x" if size >= RATIO_FROM_BYTES else "about 1.5 us, packaged 3 us"
        for what, call, data in (
            ("split, one unit", annexb_to_avcc, one),
            ("split, two units", annexb_to_avcc, two),
            ("to Annex-B, two units", avcc_to_annexb, avcc),
            ("split and packaged, one unit", package, one),
            ("split and packaged, two units", package, two),
        ):
            taken = microseconds(call, data)
            figures.append(Figure("nal", f"{size:,} B, {what}", taken, "us", target, calibration))
    return figures
