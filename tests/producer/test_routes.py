"""The pause between two attempts ends early when the network comes back, and only then."""

from __future__ import annotations

import asyncio
import time

import pytest

from kvsproducer.service.network import has_route, pause


def paused(seconds: float, *routes: bool) -> tuple[bool, int]:
    """Return whether a pause ended early, and the number of checks; the last answer repeats."""
    looked = 0

    def routed() -> bool:
        nonlocal looked
        looked += 1
        return routes[min(looked, len(routes)) - 1]

    began = time.monotonic()
    asyncio.run(pause(seconds, routed=routed))
    return time.monotonic() - began < seconds, looked


def test_pause_with_a_route_has_its_full_length() -> None:
    """The delay spares the service; the route is checked once."""
    assert paused(0.05, True) == (False, 1)


def test_pause_without_a_route_has_its_full_length() -> None:
    """It ends after its full length if no route appears."""
    assert paused(0.05, False) == (False, 2)


def test_pause_ends_when_a_route_appears() -> None:
    """Within a second and a half."""
    assert paused(60, False, False, True) == (True, 3)


def test_checking_the_route_sends_nothing_and_is_fast() -> None:
    """It only reads the kernel's routing table."""
    began = time.process_time()
    assert len({has_route() for _ in range(200)}) == 1
    assert time.process_time() - began < 5


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_no_pause(seconds: float) -> None:
    """A pause of 0 or less returns at once."""
    assert paused(seconds, False)[1] == 1
