"""The signal for the readers of a stream."""

from __future__ import annotations

import asyncio

from kvsproducer.endpoint.fragment_rate import FragmentRate
from kvsproducer.endpoint.live import LiveStream, Signal


def test_signal_wakes_all_waiters() -> None:
    async def run() -> None:
        signal = Signal()
        waiting = [asyncio.create_task(signal.wait(10)) for _ in range(3)]
        await asyncio.sleep(0)
        signal.set()
        await asyncio.wait_for(asyncio.gather(*waiting), 1)

    asyncio.run(run())


def test_signal_between_check_and_wait_is_not_missed() -> None:
    async def run() -> None:
        signal = Signal()
        seen = signal.next()
        signal.set()
        await asyncio.wait_for(signal.wait(10, seen), 1)

    asyncio.run(run())


def test_earlier_signal_wakes_no_later_waiter() -> None:
    async def run() -> bool:
        signal = Signal()
        signal.set()
        event = signal.next()
        await signal.wait(0.01)
        return event.is_set()

    assert asyncio.run(run()) is False


def test_uploads_of_a_stream_share_fragment_numbers() -> None:
    async def run() -> None:
        live = LiveStream("arn", f"{9:047d}", FragmentRate(5, 0))
        assert live.numbers.next(0) < live.numbers.next(0)

    asyncio.run(run())
