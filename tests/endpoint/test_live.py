"""The signal that readers of a stream wait for."""

from __future__ import annotations

import asyncio

from kvsproducer.endpoint.fragment_rate import FragmentRate
from kvsproducer.endpoint.live import LiveStream, Signal


def test_a_signal_wakes_everyone_who_waits() -> None:
    async def run() -> None:
        signal = Signal()
        waiting = [asyncio.create_task(signal.wait(10)) for _ in range(3)]
        await asyncio.sleep(0)
        signal.set()
        await asyncio.wait_for(asyncio.gather(*waiting), 1)

    asyncio.run(run())


def test_a_signal_between_the_look_and_the_wait_is_not_missed() -> None:
    async def run() -> None:
        signal = Signal()
        seen = signal.next()
        signal.set()
        await asyncio.wait_for(signal.wait(10, seen), 1)

    asyncio.run(run())


def test_a_signal_that_has_passed_wakes_nobody_later() -> None:
    async def run() -> bool:
        signal = Signal()
        signal.set()
        event = signal.next()
        await signal.wait(0.01)
        return event.is_set()

    assert asyncio.run(run()) is False


def test_uploads_of_a_stream_share_its_numbers() -> None:
    async def run() -> None:
        live = LiveStream("arn", f"{9:047d}", FragmentRate(5, 0))
        assert live.numbers.next(0) < live.numbers.next(0)

    asyncio.run(run())
