"""Tests of the event classes."""

from typing import get_args

from kvsproducer.mkv import events as ev


def test_every_event_has_its_raw_bytes() -> None:
    """A reader can thus pass on any input unchanged."""
    kinds = get_args(ev.Event)
    assert len(kinds) == 10
    assert all("raw" in kind.__slots__ for kind in kinds)


def test_events_compare_by_content() -> None:
    one, other = (ev.Block(b"x", 1, 0, True, False, False, [memoryview(b"x")]) for _ in range(2))
    assert one == other
    assert ev.ClusterEnd() == ev.ClusterEnd()
    assert ev.Skipped(b"\xec\x80", 0xEC) != ev.Skipped(b"\xec\x80", 0xEC, last=False)
