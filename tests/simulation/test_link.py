"""The simulated link: in order, not too fast, and breaking where it should."""

from __future__ import annotations

import random

import pytest
from tests.simulation.clock import SimulatedClock
from tests.simulation.link import Direction, Link

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
