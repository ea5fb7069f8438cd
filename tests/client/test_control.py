"""The stream's and the client's state machines: calls, retries, failures, and what they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.client.states import (
    AFTER_LOSS,
    CLIENT_STATES,
    STREAM_STATES,
    ClientState,
    StateMachine,
    StreamState,
    result_status,
)
from kvsproducer.limits import MAX_BACKOFF
from kvsproducer.status import KvsError, StatusCode

SECOND = 10_000_000
Desks = Callable[..., Any]
_S = StatusCode


def names(desk: Any) -> list[str]:
    return [type(call).__name__ for call in desk.calls]


def test_the_way_to_an_upload(desk: Desks) -> None:
    """Each call once, in order; the upload is opened with the first frame."""
    d = desk(tags=(("a", "b"),))
    d.settle()
    d.put(0)
    assert names(d) == [
        "GetSecurityToken",
        "CreateDevice",
        "DescribeStream",
        "TagStream",
        "GetStreamingEndpoint",
        "GetStreamingToken",
        "PutStream",
    ]
    put = d.calls[-1]
    assert (put.endpoint, put.absolute_timecodes, put.acks) == ("https://data", True, True)
    assert [state.new for state in d.told(ev.StreamStateChanged)][-1] is StreamState.STREAMING


def test_a_missing_stream_is_created(desk: Desks) -> None:
    """Without a second describe; with the description's retention."""
    d = desk(retention=3 * 3600 * SECOND)
    d.answers[kvs.DescribeStream] = [(404, None)]
    d.settle()
    assert names(d)[2:5] == ["DescribeStream", "CreateStream", "GetStreamingEndpoint"]
    assert d.calls[3].retention == 3 * 3600 * SECOND
    assert d.calls[3].not_before == d.now


def test_frames_put_before_the_stream_is_ready_are_held(desk: Desks) -> None:
    """And sent once it is."""
    d = desk()
    d.stream.put_frame(kvs.Frame(b"early", d.now, key_frame=True), d.now)
    assert d.stream.account().held == 1
    d.settle()
    assert b"early" in d.read()[0]


@pytest.mark.parametrize(
    ("call", "answers", "status"),
    [
        (kvs.DescribeStream, [(599, None)] * 6, _S.DESCRIBE_STREAM_CALL_FAILED),
        (kvs.DescribeStream, [(403, None)] * 6, _S.DESCRIBE_STREAM_CALL_FAILED),
        (kvs.DescribeStream, [(406, None)], _S.SERVICE_CALL_INVALID_ARG_ERROR),
        (kvs.DescribeStream, [(10000, None)], _S.SERVICE_CALL_CLIENT_LIMIT_ERROR),
        (kvs.DescribeStream, [(10400, None)], _S.SERVICE_CALL_RESOURCE_DELETED_ERROR),
        (kvs.DescribeStream, [(200, None)], _S.INVALID_DESCRIBE_STREAM_RESPONSE),
        (
            kvs.DescribeStream,
            [(200, kvs.StreamDescription("a", kvs.StreamStatus.DELETING))],
            _S.STREAM_IS_BEING_DELETED_ERROR,
        ),
        (
            kvs.DescribeStream,
            [(200, kvs.StreamDescription("a", kvs.StreamStatus.CREATING))] * 6,
            _S.DESCRIBE_STREAM_CALL_FAILED,
        ),
        (kvs.GetStreamingEndpoint, [(500, None)] * 6, _S.GET_STREAMING_ENDPOINT_CALL_FAILED),
        (kvs.GetStreamingEndpoint, [(404, None)], _S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR),
        (kvs.GetStreamingEndpoint, [(200, "e" * 10_001)], _S.INVALID_URI_LEN),
        (kvs.GetStreamingToken, [(10006, None)] * 6, _S.GET_STREAMING_TOKEN_CALL_FAILED),
        (kvs.GetStreamingToken, [(401, None)], _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR),
        (
            kvs.GetStreamingToken,
            [(200, kvs.AuthInfo(length=10_001))],
            _S.INVALID_AUTH_LEN,
        ),
        (kvs.GetStreamingToken, [(200, kvs.AuthInfo(expiration=0))], _S.INVALID_TOKEN_EXPIRATION),
        (kvs.GetSecurityToken, [(200, kvs.AuthInfo(expiration=0))] * 6, _S.CLIENT_AUTH_CALL_FAILED),
        (kvs.CreateDevice, [(404, None)] * 6, _S.CREATE_CLIENT_CALL_FAILED),
        (kvs.CreateDevice, [(200, None)], _S.INVALID_CREATE_DEVICE_RESPONSE),
        (kvs.GetSecurityToken, [(200, None)], _S.CLIENT_PROVISION_CALL_FAILED),
    ],
)
def test_what_trying_again_does_not_cure_is_fatal(
    desk: Desks, call: type[kvs.Call], answers: list[tuple[int, object]], status: StatusCode
) -> None:
    """The stream says so, refuses frames with that status, and stops without hanging."""
    d = desk()
    d.answers[call] = answers
    d.stream.put_frame(kvs.Frame(b"early", d.now, key_frame=True), d.now)
    d.settle()
    assert d.stream.state is StreamState.FAILED
    report = d.told(ev.StreamErrorReported)[-1]
    assert (report.status, report.fatal) == (status, True)
    with pytest.raises(KvsError) as caught:
        d.put(1)
    assert caught.value.status is status
    d.stream.stop(d.now)
    d.settle()
    assert d.stream.closed
    assert d.told(ev.StreamClosed)
    assert d.stream.account().held == 1


def test_a_missing_stream_that_may_not_be_created(desk: Desks) -> None:
    """Is fatal, where AWS's client polls for ever (DEFECTS 7)."""
    d = desk(allow_stream_creation=False)
    d.answers[kvs.DescribeStream] = [(404, None)]
    d.settle()
    assert d.stream.failure.status is _S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR
    d.stream.reset(d.now)
    d.settle()
    assert d.stream.ready


def test_failed_tags_are_reported_and_forgotten(desk: Desks) -> None:
    """The stream is worth more than they."""
    d = desk(tags=(("a", "b"),))
    d.answers[kvs.TagStream] = [(500, None)] * 6
    d.settle()
    report = d.told(ev.StreamErrorReported)[0]
    assert (report.status, report.fatal) == (_S.TAG_STREAM_CALL_FAILED, False)
    assert d.stream.ready


def test_a_stream_that_was_ready_outlives_an_outage(desk: Desks) -> None:
    """Running out of retries is reported, and trying goes on; no frame is lost."""
    d = desk()
    d.put(0)
    d.read()
    d.answers[kvs.DescribeStream] = [(10006, None)] * 20
    d.stream.upload_ended(0, 10006, d.now)
    d.settle()
    exhausted = [e for e in d.told(ev.StreamErrorReported) if not e.fatal]
    assert {e.status for e in exhausted} == {
        _S.SERVICE_CALL_UNKNOWN_ERROR,  # the upload's own end
        _S.DESCRIBE_STREAM_CALL_FAILED,
    }
    waits = [c.not_before - d.now for c in d.calls if isinstance(c, kvs.DescribeStream)][1:]
    assert max(waits) < 2 * MAX_BACKOFF
    assert d.read()[0].count(b"data") == 1
    assert d.stream.account().held == 1


@pytest.mark.parametrize(
    ("result", "following"),
    [(503, "DescribeStream"), (403, "GetStreamingToken"), (599, "GetStreamingEndpoint")],
)
def test_a_refused_put_stream_is_tried_again(desk: Desks, result: int, following: str) -> None:
    """By the state that its result calls for; the refused upload leaves no trace."""
    d = desk()
    d.settle()
    d.answers[kvs.PutStream] = [(result, None)]
    d.put(0)
    calls = names(d)
    assert calls[calls.index("PutStream") + 1] == following
    assert calls.count("PutStream") == 2
    assert b"data" in d.read()[0]


def test_late_answers_are_ignored(desk: Desks) -> None:
    """An answer to a call that was superseded changes nothing."""
    d = desk()
    d.settle()
    describe = next(call for call in d.calls if isinstance(call, kvs.DescribeStream))
    d.client.call_result(describe, 404, d.now)
    d.settle()
    assert d.stream.state is StreamState.READY


def test_expired_client_credentials_are_refreshed_on_the_way(desk: Desks) -> None:
    """Before the next stream call, which waits for them."""
    d = desk()
    d.answers[kvs.GetSecurityToken] = [(200, kvs.AuthInfo(expiration=d.now + 60 * SECOND))]
    d.put(0)
    d.read()
    d.now += 61 * SECOND
    d.stream.upload_ended(0, 200, d.now)
    d.settle()
    assert names(d)[-4:] == [
        "GetSecurityToken",
        "GetStreamingEndpoint",
        "GetStreamingToken",
        "PutStream",
    ]


def test_a_certificate_is_exchanged_for_a_token(desk: Desks) -> None:
    """When there is no security token."""
    d = desk()
    d.answers[kvs.GetSecurityToken] = [(200, None)]
    d.answers[kvs.GetDeviceCertificate] = [(200, kvs.AuthInfo(type=kvs.AuthType.CERTIFICATE))]
    d.answers[kvs.DeviceCertToToken] = [(599, None), (200, kvs.AuthInfo())]
    d.settle()
    assert names(d)[:4] == [
        "GetSecurityToken",
        "GetDeviceCertificate",
        "DeviceCertToToken",
        "DeviceCertToToken",
    ]
    assert d.stream.ready


def test_names_and_counts_of_streams(desk: Desks) -> None:
    """A name once, not more than declared; a freed stream counts no more."""
    d = desk(kvs.DeviceInfo(stream_count=2))
    info = kvs.StreamInfo.video("h264", name="door")
    cases = ((_S.DUPLICATE_STREAM_NAME, "door"), (None, "two"), (_S.MAX_STREAM_COUNT, "3"))
    for expected, name in cases:
        if expected is None:
            d.client.open_stream(info.named(name), d.now)
            continue
        with pytest.raises(KvsError) as caught:
            d.client.open_stream(info.named(name), d.now)
        assert caught.value.status is expected
    d.stream.free(d.now)
    assert len(d.client.open_stream(info.named(""), d.now).name) == 16


def test_the_tables_are_whole() -> None:
    """Every state has a rule; illegal steps and too many repetitions have their statuses."""
    assert set(STREAM_STATES) == set(StreamState)
    assert set(CLIENT_STATES) == set(ClientState)
    assert set(AFTER_LOSS.values()) <= set(StreamState)
    machine = StateMachine("stream", STREAM_STATES, StreamState.NEW)
    with pytest.raises(KvsError) as caught:
        machine.step(StreamState.STREAMING)
    assert caught.value.status is _S.INVALID_STREAM_STATE
    for _ in range(6):
        machine.step(StreamState.DESCRIBE)
    with pytest.raises(KvsError) as caught:
        machine.step(StreamState.DESCRIBE)
    assert caught.value.status is _S.DESCRIBE_STREAM_CALL_FAILED
    assert result_status(4006) is _S.ACK_ERR_INVALID_MKV_DATA
    assert result_status(12345) is _S.SERVICE_CALL_UNKOWN_ERROR
