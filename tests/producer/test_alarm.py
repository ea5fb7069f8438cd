"""The alarm rings once for each time that it is set to."""

from __future__ import annotations

import asyncio

from kvsproducer.duration import TICKS_PER_HOUR, TICKS_PER_SECOND
from kvsproducer.producer.engine import Alarm

NOW = 17_000_000_000_000_000


def test_setting_the_same_time_again_changes_nothing() -> None:
    """The time is set often and rarely changes."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        alarm = Alarm(loop, lambda: None)
        alarm.set(NOW + TICKS_PER_SECOND, NOW)
        rings_at = alarm.rings_at
        assert rings_at is not None
        alarm.set(NOW + TICKS_PER_SECOND, NOW - TICKS_PER_HOUR)
        assert alarm.rings_at == rings_at
        alarm.set(NOW + 60 * TICKS_PER_SECOND, NOW)
        assert alarm.rings_at is not None
        assert alarm.rings_at > rings_at + 50
        alarm.set(None, NOW)
        assert alarm.rings_at is None

    asyncio.run(work())


def test_alarm_rings_once_for_each_time_that_it_is_set() -> None:
    """A time in the past rings at once; after ringing the same time can be set again."""

    async def work() -> None:
        rung = asyncio.Queue[int]()
        alarm = Alarm(asyncio.get_running_loop(), lambda: rung.put_nowait(1))
        for _ in range(2):
            alarm.set(NOW, NOW + TICKS_PER_HOUR)
            alarm.set(NOW, NOW + TICKS_PER_HOUR)
            await asyncio.wait_for(rung.get(), 60)
            assert alarm.rings_at is None
            assert rung.empty()

    asyncio.run(work())
