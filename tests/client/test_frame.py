"""How frames are made: their data, times and flags."""

from __future__ import annotations

import array
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from kvsproducer.client import Frame
from kvsproducer.client.frame import FrameFlags
from kvsproducer.status import InvalidFrame, KvsError, StatusCode


class Packet:
    """The attributes of an av.Packet that a frame reads."""

    def __init__(self, pts: int | None, dts: int | None) -> None:
        self.pts, self.dts, self.duration = pts, dts, 512
        self.time_base = Fraction(1, 12800)
        self.is_keyframe = True

    def __bytes__(self) -> bytes:
        return b"coded"


def test_a_mutable_buffer_is_copied_and_bytes_are_not() -> None:
    """The caller may reuse its buffer after the frame was made."""
    buffer, data = bytearray(b"abc"), b"abc"
    frame = Frame(buffer, 5)
    buffer[0] = 0
    assert frame.data == b"abc"
    assert frame.dts == 5
    assert Frame(data, 5).data is data
    assert Frame(memoryview(data), 5, key_frame=True).key_frame


def test_the_times_of_a_packet_become_ticks() -> None:
    """If one of pts and dts is missing, the other is used; without both it is refused."""
    frame = Frame.from_packet(Packet(1024, None), offset=7)
    assert (frame.pts, frame.dts, frame.duration) == (800_007, 800_007, 400_000)
    assert (frame.data, frame.key_frame) == (b"coded", True)
    with pytest.raises(KvsError) as caught:
        Frame.from_packet(Packet(None, None))
    assert caught.value.status is StatusCode.INVALID_ARG


def test_repr_shows_times_and_no_data() -> None:
    """So a log line stays short."""
    shown = repr(Frame(b"secret", 5, duration=3, key_frame=True))
    assert shown == "Frame(6 bytes, pts=5, dts=5, duration=3, flags=1, track_id=1)"


def test_a_lead_is_a_duration_in_any_form() -> None:
    """It may be ticks, a timedelta or ISO 8601 text; the default is 0."""
    forms = (800_000, timedelta(milliseconds=80), "PT0.08S")
    assert [Frame(b"", 5, lead=lead).lead for lead in forms] == [800_000] * 3
    assert Frame(b"", 5).lead == 0


def test_times_may_be_ticks_or_datetimes() -> None:
    """The duration may be a timedelta."""
    shown, decoded = datetime(1970, 1, 1, 0, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)
    frame = Frame(b"", shown, dts=decoded, duration=timedelta(milliseconds=40))
    assert (frame.pts, frame.dts, frame.duration) == (600_000_000, 0, 400_000)
    assert Frame(b"", shown).dts == 600_000_000


class Whole:
    """An integer type of another library, like NumPy's."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


@pytest.mark.parametrize(
    ("time_base", "value", "expected"),
    [
        (Fraction(1, 90_000), 90_000, 10_000_000),
        ((1, 90_000), 3003, 333_667),  # 333,666.67
        ((1, 90_000), 1, 111),
        ((1, 90_000), -1, -111),
        ((1001, 30_000), 30_000, 10_010_000_000),
        ((1, 10**9), 150, 2),  # rounded to the nearest, half up
        ((1, 10**9), 149, 1),
        ((1, 10**6), 2**62, 2**62 * 10),  # no overflow; the stream refuses it
        ((1, 1000), Whole(5), 50_000),
        ((Whole(1), Whole(1000)), 5, 50_000),
        (Fraction(5), 2, 100_000_000),  # a picture every five seconds
        (None, Whole(5), 5),
        (None, -5, -5),
    ],
)
def test_times_in_units_of_a_time_base(time_base: Any, value: Any, expected: int) -> None:
    """They are converted exactly, and rounded once."""
    frame = Frame(b"", value, dts=value, duration=value, lead=value, time_base=time_base)
    assert (frame.pts, frame.dts, frame.duration, frame.lead) == (expected,) * 4
    assert {type(time) for time in (frame.pts, frame.dts, frame.duration, frame.lead)} == {int}
    assert Frame(b"", value, time_base=time_base).dts == expected


def test_a_time_with_its_own_unit_is_not_scaled() -> None:
    """The time base does not apply to a datetime, a timedelta or text."""
    frame = Frame(
        b"",
        datetime(1970, 1, 1, 0, 1, tzinfo=UTC),
        duration=timedelta(milliseconds=40),
        lead="PT0.08S",
        time_base=(1, 1000),
    )
    assert (frame.pts, frame.duration, frame.lead) == (600_000_000, 400_000, 800_000)


@pytest.mark.parametrize("name", ["pts", "dts", "duration", "lead"])
@pytest.mark.parametrize("time_base", [None, (1, 1000)])
@pytest.mark.parametrize("value", [1.5, True, [1], b"1"])
def test_times_of_other_types_are_refused(name: str, time_base: Any, value: Any) -> None:
    """The error names the time; for a float it says how to convert it."""
    times: dict[str, Any] = {"pts": 0, name: value}
    with pytest.raises(KvsError, match=f"the frame's {name} is ") as caught:
        Frame(b"", **times, time_base=time_base)
    assert caught.value.status is StatusCode.INVALID_ARG
    assert ("kvsproducer.ticks(1.5)" in caught.value.detail) == (value == 1.5)


@pytest.mark.parametrize(
    "time_base",
    [
        *(90_000, 1, 0.001, True, "1/90000", Fraction(48_000)),
        *((90_000, 1), (1, 0), (0, 1), (-1, 5), (1, 2, 3), (0.001, 1), (1, None)),
    ],
)
def test_a_time_base_of_another_form_is_refused(time_base: Any) -> None:
    """A clock rate, an inverted time base and floats are refused; the error shows a valid one."""
    with pytest.raises(KvsError, match="time_base is ") as caught:
        Frame(b"", 5, time_base=time_base)
    assert caught.value.status is StatusCode.INVALID_ARG
    assert "(1, 90000)" in caught.value.detail


def test_a_packet_of_sound_gets_no_key_flag() -> None:
    """Demuxers flag each sound packet, and each would begin a fragment."""
    for kind, flagged in (("audio", False), ("video", True), ("data", True)):
        packet: Any = Packet(0, 0)
        packet.stream = SimpleNamespace(type=kind)
        assert Frame.from_packet(packet).key_frame is flagged


class Failing:
    """An object whose conversion to bytes fails."""

    def __bytes__(self) -> bytes:
        raise RuntimeError("no")


PIXELS = memoryview(bytes(4 * 6 * 3)).cast("B", (4, 6, 3))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("clip.mp4", "put_media"),
        (None, "put no frame when the encoder gave none"),
        (memoryview(bytes(9)).cast("B", (9, 1)), "data.tobytes"),
        (1.5, "of type float"),
        (10**9, "of type int"),
        (True, "of type bool"),
        ("text", "of type str"),
        (None, "of type NoneType"),
        ([1, 2], "of type list"),
        (object(), "of type object"),
        (PIXELS, "4x6x3 items of 1 bytes"),
        (array.array("H", [1, 2, 3]), "3 items of 2 bytes"),
        (Failing(), "RuntimeError"),
    ],
)
def test_data_that_is_not_bytes_is_refused(data: Any, said: str) -> None:
    """`bytes` would make a gigabyte from a number, and media from an array of pixels."""
    with pytest.raises(KvsError, match=said) as caught:
        Frame(data, 5)
    assert caught.value.status is StatusCode.INVALID_ARG


def test_data_may_be_any_buffer_of_bytes() -> None:
    """This includes slices with a step, and objects with `__bytes__` such as `av.Packet`."""
    for data in (bytearray(b"ace"), memoryview(b"abcdef")[::2], array.array("B", b"ace")):
        assert Frame(data, 5).data == b"ace"
    packet: Any = Packet(0, 0)
    assert Frame(packet, 5).data == b"coded"


@pytest.mark.parametrize("frame", [None, "x", b"bytes", 5, object()])
def test_an_object_that_is_not_a_frame_is_refused_by_its_type(
    desk: Callable[..., Any], frame: Any
) -> None:
    """The error names its type and the expected one; the stream continues."""
    for info in ({}, {"frame_order_mode": 3}, {"frame_timecodes": False}):
        d = desk(**info)
        with pytest.raises(KvsError) as caught:
            d.stream.put_frame(frame, d.now)
        assert caught.value.status is StatusCode.INVALID_ARG
        assert type(frame).__name__ in caught.value.detail
        assert "Frame(data, pts)" in caught.value.detail
        d.put(0)
        assert d.stream.account().accepted == 1
        assert d.stream.metrics(d.now).counters.put_frame_errors == 1


@pytest.mark.parametrize("member", ["data", "pts", "dts"])
def test_a_member_of_a_wrong_type_is_refused_by_its_name(
    desk: Callable[..., Any], member: str
) -> None:
    """It was assigned after the frame was made."""
    d = desk()
    d.put(0)
    frame = Frame(b"data", d.now + 10_000_000)
    setattr(frame, member, None)
    with pytest.raises(KvsError) as caught:
        d.stream.put_frame(frame, d.now)
    assert caught.value.status is StatusCode.INVALID_ARG
    assert f"the frame's {member} is of type NoneType" in caught.value.detail
    d.put(1)
    assert d.stream.account().accepted == 2


@pytest.mark.parametrize(
    ("store_kind", "member", "value"),
    [
        ("reference", "pts", 17e15 + 1e6),
        ("reference", "duration", "1"),
        ("arena", "pts", 17e15 + 1e6),
        ("arena", "data", "text"),
    ],
)
def test_refused_member_leaves_no_bytes_charged(
    desk: Callable[..., Any], member: str, value: object
) -> None:
    """The frame is a block of the open fragment, which takes the fast path."""
    d = desk()
    d.put(0)
    frame = Frame(b"data", d.now + 1_000_000)
    setattr(frame, member, value)
    with pytest.raises(KvsError) as caught:
        d.stream.put_frame(frame, d.now)
    assert caught.value.status is StatusCode.INVALID_ARG
    assert d.stream.charged_bytes == d.stream._core.buffer.store.used_bytes


@pytest.mark.parametrize("flags", ["x", None, 1.5])
def test_flags_must_be_a_number(flags: Any) -> None:
    """The error is a KvsError and not a TypeError."""
    with pytest.raises(KvsError) as caught:
        Frame(b"x", 0, flags=flags, key_frame=True)
    assert caught.value.status is StatusCode.INVALID_ARG


def test_naive_datetime_is_refused_with_the_name_of_the_argument() -> None:
    """Without a time zone it is not known which instant it means."""
    with pytest.raises(InvalidFrame, match=r"the frame's dts: .* has no time zone") as caught:
        Frame(b"x", 5, dts=datetime(2026, 1, 1))  # noqa: DTZ001
    assert caught.value.status is StatusCode.INVALID_ARG


def test_subclass_of_bytes_becomes_plain_bytes() -> None:
    """Its methods could return anything later."""

    class Bytes(bytes):
        pass

    frame = Frame(Bytes(b"abc"), 5)
    assert type(frame.data) is bytes
    assert frame.data == b"abc"


def test_members_may_be_of_subclasses_of_int(desk: Callable[..., Any]) -> None:
    """For example `FrameFlags`."""
    d = desk()
    d.stream.put_frame(Frame(b"data", d.now, flags=FrameFlags.KEY), d.now)
    assert d.stream.account().accepted == 1
