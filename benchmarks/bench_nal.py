"""What it costs to turn an Annex-B frame into AVCC, beside a bare `bytes.find` over its units.

The calibration is the loop of `reference/peer_figures.md`: finding every start code of the same
frame with `bytes.find`, which builds nothing and checks nothing.
"""

from __future__ import annotations

import random
import re
import timeit
from collections.abc import Callable

from benchmarks.report import Figure
from kvsproducer.codecs import START_CODE, annexb_to_avcc, avcc_to_annexb

SIZES = (200, 1_000, 10_000, 100_000, 1_000_000)  # bytes of a frame
SHORTEST_RUN_S = 0.02
RUNS = 9


def find_start_codes(data: bytes) -> int:
    """The calibration: how many start codes there are."""
    count, found = 0, data.find(b"\0\0\1")
    while found >= 0:
        count, found = count + 1, data.find(b"\0\0\1", found + 3)
    return count


def payload(size: int) -> bytes:
    """Random bytes with emulation prevention, as an entropy coder leaves them."""
    raw = random.Random(1).randbytes(size)
    return (
        re.sub(rb"\0\0([\0-\x03])", lambda found: b"\0\0\x03" + found[1], raw)[: size - 1] + b"\x80"
    )


def microseconds(call: Callable[[bytes], object], data: bytes) -> float:
    """The fastest of some runs, per call."""
    timer = timeit.Timer(lambda: call(data))
    count = 1
    while timer.timeit(count) < SHORTEST_RUN_S:
        count *= 2
    return min(timer.repeat(RUNS, count)) / count * 1e6


def run() -> list[Figure]:
    """Frames of one and of two units (access unit delimiter first), both ways."""
    figures = []
    for size in SIZES:
        one = START_CODE + b"\x41" + payload(size - 5)
        two = START_CODE + b"\x09\x10" + START_CODE + b"\x41" + payload(size - 11)
        avcc = b"".join(annexb_to_avcc(two)[0])
        calibration = microseconds(find_start_codes, one)
        target = "< 1.3 x" if size >= 10_000 else "about 1.5 us"
        for what, call, data in (
            ("one unit to AVCC", annexb_to_avcc, one),
            ("two units to AVCC", annexb_to_avcc, two),
            ("two units to Annex-B", avcc_to_annexb, avcc),
        ):
            taken = microseconds(call, data)
            figures.append(
                Figure("NAL units", f"{size:,} B, {what}", taken, "us", target, calibration)
            )
    return figures
