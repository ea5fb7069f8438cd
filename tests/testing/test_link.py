"""The simulated clock, link and cameras."""

from __future__ import annotations

import random

import pytest

from kvsproducer.testing.clock import SimulatedClock
from kvsproducer.testing.frames import AUDIO, VIDEO, Camera, Shot, frame_name
from kvsproducer.testing.link import Direction, Link

SECOND = 10_000_000


def run(clock: SimulatedClock, ticks: int) -> None:
    until = clock.now + ticks
    while (action := clock.advance(until)) is not None:
        action()


def make_link(seed: int) -> tuple[SimulatedClock, Link, bytearray, list[str]]:
    clock, dice, arrived, told = SimulatedClock(0), random.Random(seed), bytearray(), []
    up = Direction(clock, dice, latency=1000, bytes_per_s=1000, receive=arrived.extend)
    down = Direction(clock, dice, latency=1000, bytes_per_s=1000, receive=arrived.extend)
    link = Link(
        clock,
        dice,
        up,
        down,
        lost_up=lambda: told.append("up"),
        lost_down=lambda: told.append("down"),
    )
    return clock, link, arrived, told


def test_things_happen_in_order_and_a_device_clock_may_be_set() -> None:
    """Equal times in the order of asking; stepping the device's clock moves nothing."""
    clock, seen = SimulatedClock(100), []
    for name in "abc":
        clock.later(5 if name != "c" else 1, lambda name=name: seen.append((name, clock.now)))
    clock.step(-50)
    run(clock, 10)
    assert seen == [("c", 101), ("a", 105), ("b", 105)]
    assert (clock.now, clock.wall, clock.next_due) == (110, 60, None)


@pytest.mark.parametrize("seed", range(5))
def test_bytes_arrive_whole_in_order_and_not_faster_than_the_link(seed: int) -> None:
    """However they are split."""
    clock, link, arrived, _ = make_link(seed)
    data = random.Random(seed).randbytes(1500)
    link.up.send(data[:700])
    link.up.send(data[700:])
    run(clock, SECOND)
    assert bytes(arrived) == data[:700]
    run(clock, SECOND)
    assert bytes(arrived) == data


def test_a_link_breaks_at_a_byte_and_tells_both_ends() -> None:
    """What comes after the byte is lost."""
    clock, link, arrived, told = make_link(1)
    link.cut_at(10, upwards=True)
    link.up.send(b"0123456789abcdef")
    run(clock, 2 * SECOND)
    assert bytes(arrived) == b"0123456789"
    assert sorted(told) == ["down", "up"]


def test_a_silent_link_carries_nothing_and_tells_nobody() -> None:
    """Half-open."""
    clock, link, arrived, told = make_link(1)
    link.silence()
    link.up.send(b"anybody there?")
    run(clock, 10 * SECOND)
    assert not arrived
    assert not told


@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_camera_gives_decodable_groups(b_frames: int) -> None:
    """Decoding times grow, no picture is shown twice, and groups do not overlap."""
    shot = Shot(SECOND // 25, gop=8, b_frames=b_frames, bytes=50, audio_interval=0)
    camera = Camera(3, shot, 0, random.Random(1))
    frames = [camera.next_frame() for _ in range(100)]
    assert [frame.dts for frame in frames] == [SECOND // 25 * index for index in range(100)]
    assert all(frame.pts >= frame.dts for frame in frames)
    assert len({frame.pts for frame in frames}) == 100
    keys = [frame.pts for frame in frames if frame.key_frame]
    for key in keys:
        assert all(
            (frame.pts < key) == (frame.dts < key - b_frames * shot.interval) for frame in frames
        )
    assert [frame_name(frame.data) for frame in frames] == [(3, index) for index in range(100)]


def test_audio_goes_beside_the_pictures() -> None:
    """In decoding order over both tracks."""
    camera = Camera(0, Shot(SECOND // 25, 5, 0, 50, SECOND // 40), 0, random.Random(1))
    frames = [camera.next_frame() for _ in range(100)]
    assert {frame.track_id for frame in frames} == {VIDEO, AUDIO}
    assert [frame.dts for frame in frames] == sorted(frame.dts for frame in frames)
