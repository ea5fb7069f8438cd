"""Frames at the door."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from kvsproducer.client import Frame
from kvsproducer.status import KvsError, StatusCode


class Packet:
    """As much of an av.Packet as a frame needs."""

    def __init__(self, pts: int | None, dts: int | None) -> None:
        self.pts, self.dts, self.duration = pts, dts, 512
        self.time_base = Fraction(1, 12800)
        self.is_keyframe = True

    def __bytes__(self) -> bytes:
        return b"coded"


def test_a_mutable_buffer_is_copied_once_and_bytes_never() -> None:
    """The caller may reuse its buffer after the frame was made."""
    buffer, data = bytearray(b"abc"), b"abc"
    frame = Frame(buffer, 5)
    buffer[0] = 0
    assert frame.data == b"abc"
    assert frame.dts == 5
    assert Frame(data, 5).data is data
    assert Frame(memoryview(data), 5, key_frame=True).key_frame


def test_a_packet_s_times_become_ticks() -> None:
    """A missing time is the other one; no time at all is refused."""
    frame = Frame.from_packet(Packet(1024, None), offset=7)
    assert (frame.pts, frame.dts, frame.duration) == (800_007, 800_007, 400_000)
    assert (frame.data, frame.key_frame) == (b"coded", True)
    with pytest.raises(KvsError) as caught:
        Frame.from_packet(Packet(None, None))
    assert caught.value.status is StatusCode.INVALID_ARG


def test_a_frame_shows_its_times_and_not_its_bytes() -> None:
    """A log line stays short."""
    shown = repr(Frame(b"secret", 5, duration=3, key_frame=True))
    assert shown == "Frame(6 bytes, pts=5, dts=5, duration=3, flags=1, track_id=1)"


def test_a_lead_is_a_duration_in_any_form() -> None:
    """Ticks, a timedelta, ISO 8601 text; none by default."""
    forms = (800_000, timedelta(milliseconds=80), "PT0.08S")
    assert [Frame(b"", 5, lead=lead).lead for lead in forms] == [800_000] * 3
    assert Frame(b"", 5).lead == 0


def test_times_are_instants_in_any_form() -> None:
    """Ticks or an aware datetime; the duration as a lead."""
    shown, decoded = datetime(1970, 1, 1, 0, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)
    frame = Frame(b"", shown, dts=decoded, duration=timedelta(milliseconds=40))
    assert (frame.pts, frame.dts, frame.duration) == (600_000_000, 0, 400_000)
    assert Frame(b"", shown).dts == 600_000_000
