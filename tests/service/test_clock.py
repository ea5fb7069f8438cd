"""The system's clock in ticks."""

from __future__ import annotations

import time

from kvsproducer.service.clock import now


def test_now_is_the_system_s_time_in_ticks_of_100_ns() -> None:
    """The value is between two readings of the system's clock."""
    before = time.time_ns()
    ticks = now()
    assert before // 100 <= ticks <= time.time_ns() // 100
