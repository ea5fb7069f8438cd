"""Acks name fragments in milliseconds, whatever the stream's timecode scale."""

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
    """Five frames a second, the first of them a key frame."""
    start = d.now + shift + index * SECOND // 5
    d.stream.put_frame(kvs.Frame(b"data", start, duration=0, key_frame=index % 5 == 0), d.now)
    d.settle()


def sent(desk: Desks, scale: int, *, absolute: bool = True, shift: int = 0) -> Any:
    """Fragments that begin every second and `shift` ticks; everything is sent."""
    d = desk(timecode_scale=scale, absolute_fragment_times=absolute)
    for index in range(15):
        put(d, index, shift)
    d.read()
    return d


def persisted(d: Any, timecode: int) -> int:
    """How many frames are settled by a PERSISTED of that timecode."""
    d.stream.receive_parsed_ack(d.upload, FragmentAck(AckType.PERSISTED, timecode), d.now)
    return int(d.stream.account().persisted)


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("scale", [500, 1000, MS, 10 * MS, SECOND // 5])
def test_milliseconds_name_a_fragment_at_any_scale(desk: Desks, scale: int, absolute: bool) -> None:
    """Relative ones count from the session's first frame."""
    d = sent(desk, scale, absolute=absolute)
    start = d.now // MS if absolute else 0
    assert persisted(d, start) == 5
    assert persisted(d, start + 1000) == 10
    assert persisted(d, start + 2000) == 15


def test_milliseconds_are_cut(desk: Desks) -> None:
    """A fragment that starts at 1.7 ms has the timecode 1."""
    d = sent(desk, 1000, shift=7000)
    assert persisted(d, d.now // MS + 1000) == 10
    assert persisted(d, d.now // MS + 1001) == 10, "and not of the next millisecond"


@pytest.mark.parametrize(("scale", "absolute"), [(1000, True), (1000, False), (10 * MS, True)])
def test_units_are_understood_where_milliseconds_cannot_be_meant(
    desk: Desks, scale: int, absolute: bool
) -> None:
    """As AWS's client takes them; whoever counts so goes on doing so."""
    d = sent(desk, scale, absolute=absolute)
    start = d.now // scale if absolute else 0
    assert persisted(d, start + SECOND // scale) == 10
    second_ms = (d.now // MS if absolute else 0) + 2000
    assert persisted(d, second_ms) == 10
    assert persisted(d, start + 2 * SECOND // scale) == 15


def test_a_late_ack_is_not_credited_to_the_fragment_that_units_would_name(desk: Desks) -> None:
    """In a relative stream of 2-ms units 1000 may be 1 s, which has left, but never 2 s."""
    d = sent(desk, 2 * MS, absolute=False)
    assert persisted(d, 1000) == 10
    assert persisted(d, 1000) == 10
    d = sent(desk, 2 * MS)
    assert persisted(d, d.now // MS + 1000) == 10
    assert persisted(d, d.now // (2 * MS) + SECOND // MS) == 10, "milliseconds it is"


def test_a_time_within_a_fragment_is_found_in_units_too(desk: Desks) -> None:
    """The whole fragment is meant."""
    d = sent(desk, 1000)
    assert persisted(d, (d.now + SECOND * 12 // 10) // 1000) == 10


@pytest.mark.parametrize("kind", ["video", "cut"])
def test_what_has_left_the_view_is_settled_by_its_millisecond(desk: Desks, kind: str) -> None:
    """The doubt is over with the ack, though the fragment's start is finer than its timecode."""
    shift = 7000 if kind == "cut" else 0
    d = desk(timecode_scale=1000, buffer_duration=2, frame_rate=30)
    for index in range(15):
        put(d, index, shift)
        d.read()
    before = d.stream.account()
    assert before.persisted == 0
    assert before.held == 15
    assert persisted(d, d.now // MS) >= 4
