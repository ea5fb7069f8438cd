"""The simulated shell gives a dead connection up, as the real one does."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.conditions import Conditions
from tests.simulation.world import World


def test_a_silent_connection_is_given_up_and_all_is_sent_again() -> None:
    """Nothing is told when a link goes silent: only the time-out finds out."""
    world = World(28)  # a calm one
    assert world.plan.calm
    world.plan = replace(world.plan, calm=False, conditions=Conditions(silences=1.0))
    world.run()
    assert world.service.faults["silence"]
    assert world.upload_count > len(world.writers)
