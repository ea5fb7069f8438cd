"""The simulated clock."""

from __future__ import annotations

from tests.simulation.clock import SimulatedClock


def test_things_happen_in_order_and_a_device_clock_may_be_set() -> None:
    """Equal times in the order of asking; stepping the device's clock moves nothing."""
    clock, seen = SimulatedClock(100), []
    for name in "abc":
        clock.later(5 if name != "c" else 1, lambda name=name: seen.append((name, clock.now)))
    clock.step(-50)
    while (action := clock.advance(110)) is not None:
        action()
    assert seen == [("c", 101), ("a", 105), ("b", 105)]
    assert (clock.now, clock.wall, clock.next_due) == (110, 60, None)
