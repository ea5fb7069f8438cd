"""How a stream ends: by `stop`, by `free`, by failing; what may follow, and what is told once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.status import KvsError, StatusCode

SECOND = 10_000_000
Desks = Callable[..., Any]


def refused(action: Callable[[], object]) -> StatusCode:
    with pytest.raises(KvsError) as caught:
        action()
    return caught.value.status


def test_stopping_and_freeing_again_changes_nothing(desk: Desks) -> None:
    """The end is told once; a stream that is freed is not used again."""
    d = desk()
    d.put(0)
    d.read()
    assert not d.stream.stopped
    for _ in range(2):
        d.stream.stop(d.now)
        assert d.stream.stopped
    d.read()
    d.ack("PERSISTED", 0)
    d.read()
    assert d.stream.closed
    for _ in range(2):
        d.stream.free(d.now)
    d.settle()
    assert len(d.told(ev.StreamClosed)) == len(d.told(ev.StreamShutdown)) == 1
    assert d.stream.account() == (1, 1, 0, 0, 0)
    assert refused(lambda: d.stream.reset(d.now)) is StatusCode.STREAM_SHUTTING_DOWN
    assert refused(lambda: d.stream.reset_connection(d.now)) is StatusCode.STREAM_SHUTTING_DOWN


def test_a_last_ack_that_does_not_come_is_told_once(desk: Desks) -> None:
    """By the timer, after the device's time for stopping; not once it has come."""
    seconds = 9
    info = kvs.ClientInfo(stop_stream_timeout=seconds * SECOND)
    d = desk(kvs.DeviceInfo(client_info=info))
    d.put(0)
    d.read()
    d.stream.stop(d.now)
    d.read()
    for second in range(3 * seconds):
        d.stream.handle_timer(d.now)
        d.settle()
        assert bool(d.told(ev.StreamErrorReported)) is (second >= seconds)
        d.now += SECOND
    told = d.told(ev.StreamErrorReported)
    assert [(event.status, event.fatal) for event in told] == [
        (StatusCode.PERSISTED_ACK_TIMEOUT, False)
    ]
    d.ack("PERSISTED", 0)
    d.stream.handle_timer(d.now)
    assert d.read()[1] is kvs.ReadStatus.END_OF_STREAM
    assert d.stream.account().persisted == 1


def test_a_reset_connection_does_not_revive_a_stream_that_failed(desk: Desks) -> None:
    """Only resetting the stream does."""
    d = desk()
    d.answers[kvs.DescribeStream] = [(406, None)]
    d.settle()
    failure = d.stream.failure
    d.stream.reset_connection(d.now)
    d.settle()
    assert d.stream.failure is failure
    assert d.stream.state is kvs.StreamState.FAILED
    assert len([call for call in d.calls if isinstance(call, kvs.DescribeStream)]) == 1
