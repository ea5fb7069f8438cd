"""How a stream ends: by `stop`, `free` or a failure, and which calls are allowed after that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.limits import MAX_USELESS_ACK_BYTES
from kvsproducer.status import KvsError, StatusCode

SECOND = 10_000_000
MS = 10_000
Desks = Callable[..., Any]


def refused(action: Callable[[], object]) -> StatusCode:
    with pytest.raises(KvsError) as caught:
        action()
    return caught.value.status


def test_stopping_or_freeing_twice_changes_nothing(desk: Desks) -> None:
    """The end is reported once; a freed stream cannot be used again."""
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
    assert len(d.reported(ev.StreamEnded)) == len(d.reported(ev.StreamShutdown)) == 1
    assert d.stream.account() == (1, 1, 0, 0, 0)
    assert refused(lambda: d.stream.reset(d.now)) is StatusCode.STREAM_SHUTTING_DOWN
    assert refused(lambda: d.stream.reset_connection(d.now)) is StatusCode.STREAM_SHUTTING_DOWN


def test_a_freed_stream_holds_nothing(desk: Desks) -> None:
    """Sent frames are unconfirmed, and a late ack changes nothing."""
    d = desk()
    for index in range(5):
        d.put(index)
    d.read()
    for index in range(5, 12):
        d.put(index)
    d.stream.stop(d.now)
    d.stream.free(d.now)
    d.settle()
    dropped = (12, 0, 12, 0, 0)
    assert d.stream.account() == dropped
    assert d.stream.drops == {"unconfirmed": 5, "closed before it was stored": 7}
    assert sum(event.count for event in d.reported(ev.FrameDropped)) == 12
    d.ack("PERSISTED", 0)
    assert d.stream.account() == dropped
    assert not d.reported(ev.FragmentStored)


def test_a_missing_last_ack_is_reported_once(desk: Desks) -> None:
    """The timer reports it after `stop_stream_timeout`, but not after the ack has come."""
    seconds = 9
    info = kvs.ClientInfo(stop_stream_timeout=seconds)
    d = desk(kvs.DeviceInfo(client_info=info))
    d.put(0)
    d.read()
    d.stream.stop(d.now)
    d.read()
    for second in range(3 * seconds):
        d.stream.handle_timer(d.now)
        d.settle()
        assert bool(d.reported(ev.StreamErrorReported)) is (second >= seconds)
        d.now += SECOND
    reported = d.reported(ev.StreamErrorReported)
    assert [(event.status, event.fatal) for event in reported] == [
        (StatusCode.PERSISTED_ACK_TIMEOUT, False)
    ]
    d.ack("PERSISTED", 0)
    d.stream.handle_timer(d.now)
    assert d.read()[1] is kvs.ReadStatus.END_OF_STREAM
    assert d.stream.account().persisted == 1


def test_reset_connection_does_not_revive_a_failed_stream(desk: Desks) -> None:
    """Only `reset` does."""
    d = desk()
    d.answers[kvs.DescribeStream] = [(406, None)]
    d.settle()
    failure = d.stream.failure
    d.stream.reset_connection(d.now)
    d.settle()
    assert d.stream.failure is failure
    assert d.stream.state is kvs.StreamState.FAILED
    assert len([call for call in d.calls if isinstance(call, kvs.DescribeStream)]) == 1


def test_uploads_that_end_at_once_with_success_cause_growing_pauses(desk: Desks) -> None:
    """This happens behind a captive portal. Each failed upload is reported."""
    d = desk()
    d.put(0)
    waits = []
    for _ in range(8):
        upload = d.upload
        d.read()
        d.stream.receive_ack(upload, b"<html>log in</html>", d.now)
        assert d.stream.upload_ended(upload, 200, d.now, detail="ended") == 10006
        d.settle()
        waits.append(max(call.not_before for call in d.calls[-3:]) - d.now)
        d.now += waits[-1]
    assert 100 * MS <= waits[0] <= 200 * MS
    assert waits[-1] >= 10 * SECOND
    failures = d.reported(ev.StreamErrorReported)
    assert [event.upload for event in failures[:6]] == [0, 1, 2, 3, 4, 5]
    assert failures[0].detail == "ended; it acknowledged nothing"
    assert d.stream.account().held == 1


def test_an_upload_that_had_media_stored_is_replaced_at_once(desk: Desks) -> None:
    """Its duration does not matter."""
    d = desk()
    for index in range(6):
        d.put(index)
    d.read()
    d.ack("PERSISTED", 0)
    assert d.stream.upload_ended(d.upload, 200, d.now) == 200
    d.settle()
    assert d.upload == 1
    assert {call.not_before for call in d.calls[-3:]} == {d.now}
    assert not d.reported(ev.StreamErrorReported)


def test_a_response_without_useful_acks_is_bounded(desk: Desks) -> None:
    """The bytes since the last ack that changed something are counted."""
    d = desk()
    d.put(0)
    d.read()
    junk = b'{"EventType":"BUFFERING","FragmentTimecode":1}' * 100
    for _ in range(MAX_USELESS_ACK_BYTES // len(junk)):
        useful, _ = d.stream.receive_ack(0, junk, d.now)
        assert useful
    d.ack("BUFFERING", 0)
    useful, _ = d.stream.receive_ack(0, junk, d.now)
    assert useful
    for _ in range(MAX_USELESS_ACK_BYTES // len(junk)):
        d.ack("BUFFERING", 0)  # the second one changes nothing
        useful, _ = d.stream.receive_ack(0, junk, d.now)
    assert not useful
    useful, _ = d.stream.receive_ack(77, junk, d.now)
    assert useful


def test_receive_ack_returns_whether_more_acks_are_expected(desk: Desks) -> None:
    """They are expected while frames are held."""
    d = desk()
    d.put(0)
    d.read()
    assert d.ack("BUFFERING", 0) == (True, True)
    d.stream.stop(d.now)
    d.read()
    assert d.ack("PERSISTED", 0) == (True, False)


def test_drops_are_counted_by_reason(desk: Desks) -> None:
    """The reason has the name of the service's error; freeing the stream drops the rest."""
    d = desk()
    for index in range(11):
        d.put(index)
    d.read()
    assert d.stream.drops == {}
    d.ack("ERROR", 0, error=4005)
    name = d.reported(ev.StreamErrorReported)[-1].status.name
    assert d.stream.drops == {f"refused: {name}": 5}
    d.stream.free(d.now)
    assert d.stream.drops == {f"refused: {name}": 5, ev.DropReason.CLOSED.value: 6}
    assert d.stream.account().dropped == 11
