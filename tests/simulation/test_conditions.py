"""Worlds are drawn from seeds: calm and stormy ones, every hazard alone and with others."""

from __future__ import annotations

import random

from tests.simulation.conditions import LONG_STORM, Conditions, Plan

from kvsproducer.client import StreamingType


def test_a_seed_gives_one_plan_and_many_seeds_give_every_hazard() -> None:
    """And every streaming type, one to three streams, with and without storage to spare."""
    plans = [Plan.drawn(random.Random(seed)) for seed in range(200)]
    assert plans[7] == Plan.drawn(random.Random(7))
    hazards = {name for plan in plans for name in plan.conditions.names}
    assert hazards == set(Conditions.__dataclass_fields__)
    modes = {info.streaming_type for plan in plans for info in plan.streams}
    assert modes == set(StreamingType)
    assert {len(plan.streams) for plan in plans} == {1, 2, 3}
    for plan in plans:
        assert not plan.calm or not plan.conditions.names
        for info in plan.streams:
            info.validate()


def test_the_worlds_differ_in_what_they_are_about() -> None:
    """Byte streams, three tracks, other timecode scales, relative times, hours, metadata."""
    plans = [Plan.drawn(random.Random(seed)) for seed in range(400)]
    infos = [info for plan in plans for info in plan.streams]
    assert {len(info.tracks) for info in infos} == {1, 2, 3}
    assert len({info.timecode_scale for info in infos}) == 3
    assert {info.absolute_fragment_times for info in infos} == {False, True}
    assert len({info.nal_adaptation for info in infos}) == 2
    for chosen in (
        [plan.storm >= LONG_STORM for plan in plans],
        [bool(plan.described) for plan in plans],
        [plan.intermittent for plan in plans],
        [plan.calm for plan in plans],
    ):
        assert 5 <= sum(chosen) < len(plans)
