"""The pause between two attempts ends early when the network comes back, and only then."""

from __future__ import annotations

import asyncio
import time

import pytest

from kvsproducer.service.network import has_route, pause


def paused(seconds: float, *routes: bool) -> tuple[bool, int]:
    """Whether a pause was cut short, and how often was looked; the last answer goes on."""
    looked = 0

    def routed() -> bool:
        nonlocal looked
        looked += 1
        return routes[min(looked, len(routes)) - 1]

    began = time.monotonic()
    asyncio.run(pause(seconds, routed=routed))
    return time.monotonic() - began < seconds, looked


def test_with_a_route_it_is_as_long_as_it_was_said() -> None:
    """A service in trouble is spared; nobody looks again."""
    assert paused(0.05, True) == (False, 1)


def test_without_one_too() -> None:
    """As long as there is none."""
    assert paused(0.05, False) == (False, 2)


def test_it_ends_when_there_is_one() -> None:
    """Within a second and a half."""
    assert paused(60, False, False, True) == (True, 3)


def test_looking_sends_nothing_and_is_quick() -> None:
    """A table of the kernel's: thousands of looks take no time that would count."""
    began = time.process_time()
    assert len({has_route() for _ in range(200)}) == 1
    assert time.process_time() - began < 5


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_no_pause(seconds: float) -> None:
    """It is over before it begins."""
    assert paused(seconds, False)[1] == 1
