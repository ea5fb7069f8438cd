"""A producer whose wall clock is set while it streams to a local endpoint, blocking and asyncio.

Nothing is skipped or dropped, no fragment is cut short, and no connection is made but for a token
that has expired by the wall clock, or for timestamps of the stream's own that go back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.waiting import until

import kvsproducer as kvs
from kvsproducer import aio
from kvsproducer.endpoint import local_endpoint

SECOND = 10_000_000
DAY = 86_400 * SECOND
TICK = 400_000
GOP = 25
FRAMES = 100
STEPS = pytest.mark.parametrize("step", [60 * SECOND, DAY, -60 * SECOND, -DAY])


class Clock:
    """Both clocks, which the test advances together; it can also set the wall clock."""

    def __init__(self) -> None:
        self.passed = 0  # ticks beyond the real time
        self.step = 0  # of the wall clock, ticks

    def true(self) -> int:
        """The true time, which the camera and the service use."""
        return time.time_ns() // 100 + self.passed

    def wall(self) -> int:
        return self.true() + self.step

    def options(self, url: str, events: list[kvs.Event]) -> dict[str, Any]:
        """Return the arguments for a producer that uses these clocks."""
        callbacks = kvs.CallbacksProvider()
        callbacks.set_platform(kvs.PlatformCallbacks(get_current_time=self.wall))
        return {"endpoint_url": url, "callbacks": callbacks, "on_event": events.append}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made, monotonic_ns = Clock(), time.monotonic_ns
    monkeypatch.setattr(
        "kvsproducer.service.clock.monotonic_ns", lambda: monotonic_ns() + made.passed * 100
    )
    return made


class Film:
    """Frames 40 ms apart, in fragments of a second; the wall clock is set before the 41st."""

    def __init__(self, clock: Clock, step: int) -> None:
        self._clock = clock
        self._step = step

    def __iter__(self) -> Iterator[kvs.Frame]:
        clock = self._clock
        for index in range(FRAMES):
            clock.step = self._step if index >= 40 else 0
            data = bytes([255, index]) * 20
            yield kvs.Frame(data, clock.true(), duration=TICK, key_frame=index % GOP == 0)
            clock.passed += TICK


def put_blocking(film: Film, info: kvs.StreamInfo, options: dict[str, Any]) -> kvs.FrameAccount:
    with kvs.Producer(**options) as producer, producer.open_stream("door", info) as stream:
        for frame in film:
            stream.put_frame(frame)
        return stream.flush(timeout=30)


def put_in_asyncio(film: Film, info: kvs.StreamInfo, options: dict[str, Any]) -> kvs.FrameAccount:
    async def main() -> kvs.FrameAccount:
        async with aio.Producer(**options) as producer:
            async with producer.open_stream("door", info) as stream:
                for frame in film:
                    await stream.put_frame(frame)
                return await stream.flush(timeout=30)

    return asyncio.run(main())


def count(kind: type[kvs.Event], events: list[kvs.Event]) -> int:
    return sum(isinstance(event, kind) for event in events)


SURFACES = pytest.mark.parametrize("put", [put_blocking, put_in_asyncio])


@STEPS
@SURFACES
@pytest.mark.parametrize("service_too", [False, True])
def test_clock_step_while_a_camera_streams(
    clock: Clock, info: kvs.StreamInfo, put: Any, step: int, service_too: bool
) -> None:
    """Its times are correct, also if the clock of a local endpoint is set."""
    events: list[kvs.Event] = []
    now = clock.wall if service_too else clock.true
    with local_endpoint(now=now) as endpoint:
        account = put(Film(clock, step), info, clock.options(endpoint.url, events))
    assert account == (FRAMES, FRAMES, 0, 0, 0)
    assert count(kvs.UploadStarted, events) == 1
    assert count(kvs.FrameSkipped, events) == 0
    persisted = {
        event.ack.sequence_number
        for event in events
        if isinstance(event, kvs.FragmentAcked) and event.ack.ack_type is kvs.AckType.PERSISTED
    }
    assert len(persisted) == FRAMES // GOP


@STEPS
@SURFACES
def test_clock_step_in_a_stream_that_gives_the_times(
    clock: Clock, info: kvs.StreamInfo, put: Any, step: int
) -> None:
    """They follow the wall clock from the next fragment on; if it goes back, in a new upload."""
    events: list[kvs.Event] = []
    with local_endpoint(now=clock.wall) as endpoint:
        options = clock.options(endpoint.url, events)
        account = put(Film(clock, step), replace(info, frame_timecodes=False), options)
        assert account == (FRAMES, FRAMES, 0, 0, 0)
    [jump] = [event for event in events if isinstance(event, kvs.TimeJumped)]
    assert abs(jump.after - jump.before - step) < SECOND
    assert count(kvs.FrameSkipped, events) == 0
    assert count(kvs.UploadStarted, events) == (1 if step > 0 else 2)


@STEPS
def test_clock_step_with_a_token_that_expires(
    clock: Clock, info: kvs.StreamInfo, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that has expired by the wall clock is replaced before the next fragment."""
    monkeypatch.setattr("kvsproducer.limits.IDLE_CHECK_START_DELAY", SECOND // 10)
    monkeypatch.setattr("kvsproducer.limits.TOKEN_GRACE_PERIOD", 0)
    events: list[kvs.Event] = []
    device = kvs.DeviceInfo(client_info=kvs.ClientInfo(reserved_callback_period=0.1))

    def credentials() -> kvs.AwsCredentials:
        return kvs.AwsCredentials("AKIDEXAMPLE", "secret", "token", clock.true() + 3600 * SECOND)

    expires = step > 3600 * SECOND
    with local_endpoint(now=clock.true) as endpoint:
        options = clock.options(endpoint.url, events)
        with kvs.Producer(credentials=credentials, device_info=device, **options) as producer:
            with producer.open_stream("door", info) as stream:
                rotation = stream._core._control.rotation
                for index, frame in enumerate(Film(clock, step)):
                    stream.put_frame(frame)
                    if index == 25:
                        until(lambda: count(kvs.UploadStarted, events))
                    elif index == 60 and expires:  # until the timer has looked at the token
                        until(lambda: rotation.due <= producer._engine.now())
                    elif index == 70 and expires:
                        until(lambda: count(kvs.UploadStarted, events) == 2)
            account = stream.account()
    assert account == (FRAMES, FRAMES, 0, 0, 0)
    assert count(kvs.FrameSkipped, events) == 0
    assert count(kvs.UploadStarted, events) == (2 if expires else 1)
