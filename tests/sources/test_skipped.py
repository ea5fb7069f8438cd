"""Skipped frames: stretches, counts, and the error at the end."""

from __future__ import annotations

from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.sources.media import Kind, MediaPacket
from kvsproducer.sources.skipped import Reason, SkipLog
from kvsproducer.status import StatusCode


def skip(left_out: SkipLog, numbers: range, reason: Reason, kind: Kind = Kind.VIDEO) -> None:
    for number in numbers:
        packet = MediaPacket(kind, b"x", 0, 0, 0, False, number)
        left_out.add(packet, number * TICKS_PER_SECOND // 25, reason)


def test_consecutive_frames_are_one_stretch() -> None:
    """A frame that was put, another track or another reason begins a new stretch."""
    left_out = SkipLog()
    skip(left_out, range(10, 20), Reason.DAMAGED)
    skip(left_out, range(3), Reason.DAMAGED, Kind.AUDIO)
    skip(left_out, range(20, 25), Reason.NO_KEY_FRAME)
    skip(left_out, range(30, 31), Reason.NO_KEY_FRAME)
    assert [(s.track, s.first, s.frames) for s in left_out.skips] == [
        (Kind.VIDEO, 10, 10),
        (Kind.AUDIO, 0, 3),
        (Kind.VIDEO, 20, 5),
        (Kind.VIDEO, 30, 1),
    ]
    assert str(left_out.skips[0]).startswith("10 pictures from 0.400 s on (damaged")
    assert str(left_out.skips[3]).startswith("1 picture from 1.200 s on (no key frame came")


def test_error_has_the_first_reason_and_three_stretches() -> None:
    """Pictures before the first key frame are not lost ones. Many stretches are counted."""
    left_out = SkipLog()
    skip(left_out, range(5), Reason.BEFORE_KEY)
    assert left_out.error("a.ts", 95, "") is None
    for first in range(10, 1010, 5):
        skip(left_out, range(first, first + 2), Reason.DAMAGED)
    error = left_out.error("a.ts", 95, "")
    assert error is not None
    assert error.status is StatusCode.MKV_INVALID_FRAME_DATA
    assert "a.ts: 400 of 495 frames cannot be put: 2 pictures from 0.400 s on" in error.detail
    assert "; and more. The rest is put." in error.detail
    assert len(left_out.skips) == 100
