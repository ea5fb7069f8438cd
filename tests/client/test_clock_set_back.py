"""A device's clock that is set back by an hour: what was to come in seconds comes in seconds.

A camera that booted with a wrong clock gets the right one from its network. `go_on` is the true
passing of time, as the shell's timer measures it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.status import StatusCode
from kvsproducer.view import END_OF_FRAGMENT

SECOND = 10_000_000
HOUR = 3600 * SECOND
Desks = Callable[..., Any]


def go_on(d: Any, seconds: int) -> None:
    """So much time passes, and the timer is heeded when it is due by a clock that is not set."""
    for _ in range(seconds):
        d.now += SECOND
        d.client.handle_timer(d.now)
        d.settle()


def test_an_idle_fragment_is_ended(desk: Desks) -> None:
    """Within the time that it may be idle and two periods of the timer."""
    d = desk(kvs.DeviceInfo())
    go_on(d, 4)
    d.now -= HOUR
    go_on(d, 4)
    d.put(0)
    go_on(d, 4)
    d.now -= HOUR
    go_on(d, 15)
    assert d.read()[0].count(b"END_OF_FRAGMENT") == 0
    go_on(d, 15)
    assert d.read()[0].count(b"END_OF_FRAGMENT") == 1


@pytest.mark.parametrize("step", [60 * SECOND, 2 * HOUR, -60 * SECOND, -2 * HOUR])
def test_a_clock_that_is_set_closes_no_fragment(desk: Desks, step: int) -> None:
    """Its source goes on meanwhile; the fragment of one that does not is closed in its time."""
    d = desk(kvs.DeviceInfo())

    def marks() -> int:
        items = d.stream._core.view.items.values()
        return sum(bool(item.flags & END_OF_FRAGMENT) for item in items)

    for index in range(50):
        if index == 23:
            d.now += step
            d.client.handle_timer(d.now)
        d.put(index, key=index == 0)
        d.now += SECOND // 5
        if d.now >= (d.client.next_timer() or 0) or index % 25 == 24:
            d.client.handle_timer(d.now)
    d.settle()
    assert d.stream.account() == (50, 0, 0, 0, 50)
    assert marks() == 0
    go_on(d, 15)
    d.now += step
    assert marks() == 0
    go_on(d, 20)
    assert marks() == 1


def test_the_token_is_replaced(desk: Desks) -> None:
    """Before the service takes it for expired, and not at once either."""
    d = desk()
    d.token_life = 60 * SECOND
    d.put(0)
    go_on(d, 10)
    d.now -= HOUR
    for tokens, seconds in ((1, 40), (2, 12)):
        go_on(d, seconds)
        d.put(5 * tokens)
        assert sum(isinstance(call, kvs.GetStreamingToken) for call in d.calls) == tokens


def test_a_last_ack_that_does_not_come_is_told_once(desk: Desks) -> None:
    """However often the clock is set back."""
    d = desk(kvs.DeviceInfo(client_info=kvs.ClientInfo(stop_stream_timeout=60 * SECOND)))
    d.put(0)
    d.read()
    d.stream.stop(d.now)
    d.read()
    for _ in range(4):
        go_on(d, 30)
        d.now -= HOUR
    told = [event.status for event in d.told(ev.StreamErrorReported)]
    assert told == [StatusCode.PERSISTED_ACK_TIMEOUT]


def test_the_transfer_rate_goes_on(desk: Desks) -> None:
    """It is measured over the time that has passed."""
    d = desk()
    d.put(0, data=bytes(1000))
    d.read()
    go_on(d, 6)
    d.now -= HOUR
    for index in range(20):
        go_on(d, 1)
        d.put(index + 1, data=bytes(100_000), key=True)
        d.read()
    metrics = d.stream.metrics(d.now)
    assert 20 * SECOND < metrics.uptime < 27 * SECOND
    assert 50_000 < metrics.current_transfer_rate < 200_000
    assert 0.5 < metrics.current_frame_rate < 2
