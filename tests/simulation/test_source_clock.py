"""The clock of a simulated source is wrong as often as it is told to be."""

from __future__ import annotations

import random

from tests.simulation.source_clock import Silences, SourceClock

from kvsproducer.client import Frame

STEP = 400_000


def test_a_clock_that_is_right_changes_nothing() -> None:
    """The frame is the same object."""
    frame = Frame(b"x", 5 * STEP)
    clock = SourceClock(random.Random(1), 0.0, 0.0, interval=STEP)
    assert clock.stamp(frame).frame is frame
    assert not clock.wrong


def test_single_times_are_wrong_and_the_clock_is_set() -> None:
    """A jump stays, an outlier does not; both are at least 2 s, and some frames apart."""
    for jumps, outliers, fault in ((0.3, 0.0, "time jump"), (0.0, 0.3, "outlier")):
        clock = SourceClock(random.Random(1), jumps, outliers, interval=STEP)
        before, last, found = 0, 0, 0
        for number in range(500):
            stamped = clock.stamp(Frame(b"x", number * STEP + 3, dts=number * STEP))
            offset = stamped.frame.dts - number * STEP
            assert stamped.frame.pts - stamped.frame.dts == 3
            if stamped.fault:
                assert stamped.fault == fault
                assert abs(offset - before) > 20_000_000
                assert not found or number - last > 24
                last, found = number, found + 1
            else:
                assert offset == before
            assert stamped.moved == (offset if outliers else 0)
            before = 0 if outliers else offset
        assert found > 5
        clock.set_right()
        assert clock.stamp(Frame(b"x", 0)).frame.pts == before


def test_a_track_is_silent_for_a_while() -> None:
    """One of two, from a frame on; a source with one track has none to miss."""
    silences = Silences(random.Random(1), 1.0, (1, 2))
    assert silences.begin(STEP)
    track, ticks = silences.lasted(STEP + 5)
    assert (track in (1, 2), ticks) == (True, 5)
    assert silences.silent(Frame(b"x", STEP, track_id=track))
    assert not silences.silent(Frame(b"x", STEP, track_id=3 - track))
    assert not silences.begin(STEP + 1)
    silences.end()
    assert not silences.silent(Frame(b"x", STEP, track_id=track))
    assert silences.lasted(STEP) == (0, 0)
    assert not Silences(random.Random(1), 1.0, (1,)).begin(STEP)
