"""The timecode of an ack is in milliseconds, whatever the stream's timecode scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client.ack import FragmentAck
from kvsproducer.wire import AckType

SECOND = 10_000_000
MS = 10_000
Desks = Callable[..., Any]


def put(d: Any, index: int, shift: int) -> None:
    """Put a frame: five frames a second, the first of each second a key frame."""
    start = d.now + shift + index * SECOND // 5
    d.stream.put_frame(kvs.Frame(b"data", start, duration=0, key_frame=index % 5 == 0), d.now)
    d.settle()


def send_frames(desk: Desks, scale: int, *, absolute: bool = True, shift: int = 0) -> Any:
    """Send fragments that begin at each full second plus `shift` ticks."""
    d = desk(timecode_scale=scale, absolute_fragment_times=absolute)
    for index in range(15):
        put(d, index, shift)
    d.read()
    return d


def ack_persisted(d: Any, timecode: int) -> int:
    """Return how many frames are stored after a PERSISTED ack with that timecode."""
    d.stream.receive_parsed_ack(d.upload, FragmentAck(AckType.PERSISTED, timecode), d.now)
    return int(d.stream.account().persisted)


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("scale", [500, 1000, MS, 10 * MS, SECOND // 5])
def test_milliseconds_identify_a_fragment_at_any_scale(
    desk: Desks, scale: int, absolute: bool
) -> None:
    """Relative timecodes count from the session's first frame."""
    d = send_frames(desk, scale, absolute=absolute)
    start = d.now // MS if absolute else 0
    assert ack_persisted(d, start) == 5
    assert ack_persisted(d, start + 1000) == 10
    assert ack_persisted(d, start + 2000) == 15


def test_milliseconds_are_rounded_down(desk: Desks) -> None:
    """A fragment that starts at 1.7 ms has the timecode 1."""
    d = send_frames(desk, 1000, shift=7000)
    assert ack_persisted(d, d.now // MS + 1000) == 10
    assert ack_persisted(d, d.now // MS + 1001) == 10, "and not of the next millisecond"


@pytest.mark.parametrize(("scale", "absolute"), [(1000, True), (1000, False), (10 * MS, True)])
def test_timecode_units_are_accepted_if_milliseconds_match_no_fragment(
    desk: Desks, scale: int, absolute: bool
) -> None:
    """AWS's client reads timecodes so. After the first such ack, all are read in units."""
    d = send_frames(desk, scale, absolute=absolute)
    start = d.now // scale if absolute else 0
    assert ack_persisted(d, start + SECOND // scale) == 10
    second_ms = (d.now // MS if absolute else 0) + 2000
    assert ack_persisted(d, second_ms) == 10
    assert ack_persisted(d, start + 2 * SECOND // scale) == 15


def test_a_late_ack_is_not_credited_to_the_fragment_that_units_match(desk: Desks) -> None:
    """With relative times in 2-ms units, 1000 may mean 1 s (not held any more), but never 2 s."""
    d = send_frames(desk, 2 * MS, absolute=False)
    assert ack_persisted(d, 1000) == 10
    assert ack_persisted(d, 1000) == 10
    d = send_frames(desk, 2 * MS)
    assert ack_persisted(d, d.now // MS + 1000) == 10
    assert ack_persisted(d, d.now // (2 * MS) + SECOND // MS) == 10, "milliseconds it is"


def test_a_time_within_a_fragment_is_found_in_units_too(desk: Desks) -> None:
    """The ack settles the whole fragment."""
    d = send_frames(desk, 1000)
    assert ack_persisted(d, (d.now + SECOND * 12 // 10) // 1000) == 10


@pytest.mark.parametrize("kind", ["video", "cut"])
def test_a_fragment_outside_the_view_is_settled_by_its_millisecond(desk: Desks, kind: str) -> None:
    """Its exact start has a finer unit than the timecode of the ack."""
    shift = 7000 if kind == "cut" else 0
    d = desk(timecode_scale=1000, buffer_duration=2, frame_rate=30)
    for index in range(15):
        put(d, index, shift)
        d.read()
    before = d.stream.account()
    assert before.persisted == 0
    assert before.held == 15
    assert ack_persisted(d, d.now // MS) >= 4
