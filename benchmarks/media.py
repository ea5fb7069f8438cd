"""Synthetic frames for the benchmarks, made from a seed and equal on every machine."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import perf_counter_ns

SIZES = (200, 1_000, 10_000, 100_000, 1_000_000)
START_CODE = b"\x00\x00\x01"
TRIAL_NS = 2_000_000_000  # all passes together
PASS_NS = 500_000  # at least; a short pass is less likely to be interrupted on a busy machine


def payload(size: int, seed: int = 1) -> bytes:
    """Return `size` random bytes without zeros, so that they contain no start code."""
    dice = random.Random(seed)
    return dice.randbytes(size).translate(bytes([1, *range(1, 256)]))


# Parameter sets of a baseline encoder at 640x480.
PARAMETER_SETS = (
    bytes.fromhex("6742c00ada189a1000000300100000030328f1226a"),
    bytes.fromhex("68ce039c80"),
)


def annexb_frame(size: int, *, key: bool = False) -> bytes:
    """Make an H.264 access unit of `size` bytes: delimiter, parameter sets of key frames, slice."""
    units = [b"\x09\xf0", *PARAMETER_SETS, b"\x65\x88"] if key else [b"\x09\xf0", b"\x41\x9a"]
    head = b"\0" + b"".join(START_CODE + unit for unit in units)
    return head + payload(size - len(head))


def calibration(frame: bytes) -> int:
    """Split an Annex-B frame with `bytes.find` only, as a calibration of the machine."""
    units = 0
    position = frame.find(START_CODE)
    while position >= 0:
        units += 1
        position = frame.find(START_CODE, position + 3)
    return units


def ns_per_call(work: Callable[[], object], calls: int = 50) -> float:
    """Return the time per call of the fastest of many short passes, which has the least noise."""
    best = float("inf")
    end = perf_counter_ns() + TRIAL_NS
    now = 0
    while now < end:
        start = perf_counter_ns()
        for _ in range(calls):
            work()
        now = perf_counter_ns()
        best = min(best, (now - start) / calls)
        if now - start < PASS_NS:
            calls *= 2
    return best
