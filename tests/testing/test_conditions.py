"""Worlds are drawn from seeds: calm and stormy ones, every hazard alone and with others."""

from __future__ import annotations

import random

from kvsproducer.client import StreamingType
from kvsproducer.testing.conditions import Conditions, Plan


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
