"""Times of live sources, for any drift of their clock, wall-clock change, or stall."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources.arrival import ArrivalClock, ArrivalRate
from kvsproducer.sources.media import Kind, MediaPacket

S, MS = TICKS_PER_SECOND, TICKS_PER_MS
EPOCH = 1_700_000_000 * S


class World:
    """A monotonic clock at 1000 s, and a wall clock that can be set."""

    def __init__(self) -> None:
        self.now = 1000 * S
        self.offset = EPOCH

    def monotonic(self) -> int:
        return self.now

    def wall(self) -> int:
        return self.now + self.offset


def packet(number: int, media: int, arrived: int, gop: int = 25) -> MediaPacket:
    return MediaPacket(
        Kind.VIDEO, b"x", media, media, 40 * MS, number % gop == 0, number, arrived=arrived
    )


def play(
    world: World, clock: ArrivalClock, first: int, count: int, *, media: int = 40 * MS
) -> Iterator[int]:
    """Feed frames of 25 fps that arrive every 40 ms. Yield the lateness of each one's time.

    `media` is the distance between frames on the camera's own clock.
    """
    for number in range(first, first + count):
        one = packet(number, 55 * S + number * media, world.now)
        time = 55 * S + number * media + clock.shift(one, 0)
        yield world.wall() - time
        assert clock.wait(time) <= 0 or media > 40 * MS
        world.now += 40 * MS


def test_first_frame_is_at_its_arrival() -> None:
    """It is not at the time when FFmpeg has probed the stream."""
    world = World()
    clock = ArrivalClock(world.wall, world.monotonic)
    one = packet(0, 77 * S, world.now)
    arrived = world.wall()
    world.now += 5 * S
    assert 77 * S + clock.shift(one, 0) == arrived
    assert clock.wait(arrived) < 0


def test_source_at_its_own_pace_keeps_its_times() -> None:
    """Nothing is moved in an hour without drift."""
    world = World()
    clock = ArrivalClock(world.wall, world.monotonic)
    assert set(play(world, clock, 0, 90_000)) == {0}
    assert clock.anchors == 0


@pytest.mark.parametrize("stall_s", [1, 3, 10, 300])
def test_stall_without_a_gap_in_media_time(stall_s: int) -> None:
    """The source continues with old times. They are right from the second complete fragment on."""
    world = World()
    clock = ArrivalClock(world.wall, world.monotonic)
    list(play(world, clock, 0, 110))
    world.now += stall_s * S
    late = list(play(world, clock, 110, 200))
    assert clock.anchors == (1 if stall_s > 2 else 0)
    assert late[:15] == [stall_s * S] * 15
    assert set(late[65:]) == {0 if stall_s > 2 else stall_s * S}


def test_stall_after_which_the_source_catches_up() -> None:
    """The network stalls for 5 s and then delivers everything, so the times were right."""
    world = World()
    clock = ArrivalClock(world.wall, world.monotonic)
    list(play(world, clock, 0, 110))
    for number in range(110, 235):  # five seconds at once
        clock.shift(packet(number, 55 * S + number * 40 * MS, world.now + 5 * S), 0)
    world.now += 5 * S
    assert set(play(world, clock, 235, 200)) == {0}
    assert clock.anchors == 0


@pytest.mark.parametrize("ppm", [-1000, -200, 200, 900])
def test_camera_with_a_drifting_clock(ppm: int) -> None:
    """Over five hours the times stay within 2 s of the wall clock, and are never far ahead."""
    world = World()
    clock = ArrivalClock(world.wall, world.monotonic)
    media = 40 * MS * (1_000_000 + ppm) // 1_000_000
    late = list(play(world, clock, 0, 5 * 90_000, media=media))
    assert max(late) <= 2.1 * S
    assert min(late) >= -60 * MS


@pytest.mark.parametrize("step_s", [-3600, -5, 5, 3600])
def test_wall_clock_is_set(step_s: int) -> None:
    """The times follow from the next fragment on. No frame waits for the old time."""
    world = World()
    clock = ArrivalClock(world.wall, world.monotonic)
    list(play(world, clock, 0, 110))
    world.offset += step_s * S
    late = list(play(world, clock, 110, 100))
    assert late[:15] == [step_s * S] * 15
    assert set(late[15:]) == {0}


def test_arrival_counts_after_a_jump_of_media_time() -> None:
    """A camera restarts after a minute. Media time continues, but a minute is missing."""
    world = World()
    clock = ArrivalClock(world.wall, world.monotonic)
    list(play(world, clock, 0, 100))
    world.now += 60 * S
    one = packet(100, 55 * S + 100 * 40 * MS, world.now)
    assert one.pts is not None
    assert one.pts + clock.shift(one, 1) == world.wall()


def test_recording_through_a_pipe_waits_for_its_time() -> None:
    """Ten seconds that arrive at once keep their own distances."""
    world = World()
    clock = ArrivalClock(world.wall, world.monotonic)
    began, waits, times = world.now, [], []
    for number in range(250):
        one = packet(number, number * 40 * MS, began)
        times.append(number * 40 * MS + clock.shift(one, 0))
        waits.append(max(0, clock.wait(times[-1])))
        world.now += waits[-1]
    assert max(waits) == 40 * MS
    assert times[-1] - times[0] == 249 * 40 * MS


@pytest.mark.parametrize("fps", [5, 15, 24, 25, 30, 60, 90])
def test_raw_video_counts_at_its_arrival_rate(fps: int) -> None:
    """The stream gives 25 fps, or no rate. The camera makes more or fewer."""
    rate = ArrivalRate(400_000)
    late, steps, last = [], [], None
    for number in range(20 * fps):
        arrived = 1000 * S + number * S // fps
        one = MediaPacket(Kind.VIDEO, b"x", None, None, 0, False, number)
        rate.set_times(one, arrived)
        assert one.pts is not None
        late.append(arrived - one.pts)
        steps.append(1 if last is None else one.pts - last)
        last = one.pts
    assert min(steps) > 0
    settled = late[10 * fps :]
    assert max(map(abs, settled)) <= 100 * MS
    assert max(steps[10 * fps :]) <= 1.2 * S / fps


def test_raw_video_that_arrives_at_once_keeps_its_own_rate() -> None:
    """`cat clip.h264 | kvs put -` is a recording, with the rate of its parameter sets."""
    rate = ArrivalRate(400_000)
    times = []
    for number in range(250):
        one = MediaPacket(Kind.VIDEO, b"x", None, None, 0, False, number)
        rate.set_times(one, 1000 * S + number)
        times.append(one.pts)
    assert times == [1000 * S + number * 400_000 for number in range(250)]


def test_raw_video_after_a_stall() -> None:
    """The stall is not a frame rate. Later pictures are at their arrival times again."""
    rate = ArrivalRate(400_000)
    late = []
    for number in range(500):
        arrived = number * 400_000 + (10 * S if number >= 200 else 0)
        one = MediaPacket(Kind.VIDEO, b"x", None, None, 0, False, number)
        rate.set_times(one, arrived)
        assert one.pts is not None
        late.append(arrived - one.pts)
    assert max(map(abs, late[230:])) <= 100 * MS
