"""A program's own clock, random numbers and log: normal use, failures, hangs, re-entry."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.compat.conftest import NOBODY, PATIENT, SECOND, Frames, provider_of

import kvsproducer as kvs
from kvsproducer.compat.chains import Chains
from kvsproducer.compat.platform import LogPrint, clock_of, dice_of
from kvsproducer.producer.engine import Engine
from kvsproducer.service.service import Service


def test_clock_and_dice(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """The wall-clock time and all random names come from the given functions."""
    offset, events = 3600 * SECOND, []
    rolled: list[int] = []

    def roll(below: int) -> int:
        rolled.append(below)
        return below - 1

    platform = kvs.PlatformCallbacks(
        get_current_time=lambda: kvs.now() + offset, get_random_number=roll
    )
    producer = kvs.Producer(
        endpoint_url=NOBODY, callbacks=provider_of(platform=platform), on_event=events.append
    )
    stream = producer.open_stream("", replace(info, frame_timecodes=False))
    assert stream.name == "Z" * 16
    offset += 3600 * SECOND
    stream.put_frame(kvs.Frame(b"x" * 10, 0, key_frame=True))
    assert stream.metrics().uptime < 60 * SECOND, "it goes by the monotonic clock"
    producer.close(timeout=0)
    assert 36 in rolled
    [dropped] = [event for event in events if isinstance(event, kvs.FrameDropped)]
    assert 7190 * SECOND < dropped.first - kvs.now() <= 7200 * SECOND


def test_log_print(info: kvs.StreamInfo, caplog: pytest.LogCaptureFixture) -> None:
    """Lines at or above the client's log level arrive while the producer is open."""
    lines: list[logging.LogRecord] = []
    platform = kvs.PlatformCallbacks(log_print=lines.append)
    loud = kvs.DeviceInfo(client_info=kvs.ClientInfo(log_level=3))
    with kvs.Producer(
        endpoint_url=NOBODY, device_info=loud, callbacks=provider_of(platform=platform)
    ) as producer:
        producer.open_stream("door", info).close(0)
    assert any("StreamShutdown" in line.getMessage() for line in lines)
    assert min(line.levelno for line in lines) == logging.INFO
    count = len(lines)
    logging.getLogger("kvsproducer").warning("after it")
    assert len(lines) == count


def fails(*_: object) -> int:
    raise ZeroDivisionError("a bug")


def test_failing_clock_is_replaced_and_reported_once() -> None:
    """The system's clock is used instead. A clock that returns a float is accepted."""
    faults: list[str] = []
    clock = clock_of(kvs.PlatformCallbacks(get_current_time=fails), faults.append)
    assert abs(clock() - kvs.now()) < PATIENT * SECOND
    clock()
    assert faults == ["PlatformCallbacks.get_current_time failed: ZeroDivisionError: a bug"]
    exact = clock_of(kvs.PlatformCallbacks(get_current_time=lambda: 17e15), faults.append)  # type: ignore[arg-type, return-value]
    assert (exact(), type(exact())) == (17_000_000_000_000_000, int)


@pytest.mark.parametrize("roll", [fails, lambda n: n, lambda _: -1])
def test_failing_random_numbers_are_replaced_and_reported_once(roll: Callable[[int], int]) -> None:
    """A number out of range is also a failure."""
    faults: list[str] = []
    dice = dice_of(kvs.PlatformCallbacks(get_random_number=roll), faults.append)
    assert all(0 <= dice(6) < 6 for _ in range(20))
    assert len(faults) == 1
    assert "get_random_number" in faults[0]


def test_producer_continues_with_the_system_clock(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """The clock once failed a service call or all timers, depending on where it was called."""
    platform = kvs.PlatformCallbacks(get_current_time=fails, get_random_number=fails)
    provider, seen = provider_of(platform=platform), []
    with kvs.Producer(
        endpoint_url=endpoint_url, callbacks=provider, on_event=seen.append
    ) as producer:
        with producer.open_stream("door", info) as stream:
            for frame in frames(10):
                stream.put_frame(frame)
    observed = [e.detail for e in seen if isinstance(e, kvs.ClientErrorReported)]
    assert sorted(text.split()[0] for text in observed) == [
        "PlatformCallbacks.get_current_time",
        "PlatformCallbacks.get_random_number",
    ]


class EagerLoop(asyncio.SelectorEventLoop):
    """An event loop that runs a callback of another thread immediately."""

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        callback(*args)


def test_clock_that_fails_while_a_producer_is_created() -> None:
    """The loop could use the engine before its core existed."""
    provider = provider_of(platform=kvs.PlatformCallbacks(get_current_time=fails))
    loop = EagerLoop()
    engine = Engine(kvs.DeviceInfo(), Service(endpoint_url=NOBODY), loop, Chains(provider, level=4))
    observed = engine.next_event()
    assert isinstance(observed, kvs.ClientErrorReported)
    assert "get_current_time" in observed.detail
    assert not engine.poked  # now it may be poked
    loop.close()


def test_hanging_log_function_delays_no_frame(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first line never returns, and every frame is stored."""
    monkeypatch.setattr("kvsproducer.compat.platform._CLOSING_LIMIT_S", 0.1)
    release, entered = threading.Event(), threading.Event()

    def hang(_: logging.LogRecord) -> None:
        entered.set()
        release.wait(PATIENT)

    provider = provider_of(platform=kvs.PlatformCallbacks(log_print=hang))
    loud = kvs.DeviceInfo(client_info=kvs.ClientInfo(log_level=1))
    try:
        with kvs.Producer(
            endpoint_url=endpoint_url, callbacks=provider, device_info=loud
        ) as producer:
            with producer.open_stream("door", info) as stream:
                for frame in frames(10):
                    stream.put_frame(frame)
            assert entered.is_set()
    finally:
        release.set()


def test_log_function_may_call_the_producer_and_log() -> None:
    """Lines that it logs are not passed to it, and an exception does not end it."""
    lines: list[str] = []
    logger = logging.getLogger("kvsproducer")

    def print_line(record: logging.LogRecord) -> None:
        lines.append(record.getMessage())
        logger.warning("from within")
        raise LookupError(3)

    raising = logging.raiseExceptions
    logging.raiseExceptions = False
    handler = LogPrint(print_line, logging.INFO)
    logger.addHandler(handler)
    try:
        logger.warning("one")
        logger.warning("two")
    finally:
        logger.removeHandler(handler)
        handler.close()
        logging.raiseExceptions = raising
    assert lines == ["one", "two"]
