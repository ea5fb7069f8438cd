"""What the core asks for: calls with their limits, and answers in their versioned form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.status import KvsError, StatusCode

Desks = Callable[..., Any]


def test_credentials_never_show() -> None:
    """Not in the repr of the credentials, nor in that of a call that carries them."""
    auth = kvs.AuthInfo(data="hush", expiration=5)
    call = kvs.GetStreamingToken(1, "door", 0, 5, 5, auth)
    assert "hush" not in repr(auth) + repr(call)
    assert "expiration=5" in repr(call)


def test_a_stream_description_is_read_from_data() -> None:
    """The status by name in any case, by number or as it is; version 0 knows less."""
    data: dict[str, object] = {"stream_arn": "arn", "retention": 5, "kms_key_id": "key"}
    for status in ("deleting", "DELETING", 3, kvs.StreamStatus.DELETING):
        described = kvs.StreamDescription.from_dict({**data, "status": status})
        assert described.status is kvs.StreamStatus.DELETING
        assert (described.stream_arn, described.retention) == ("arn", 5)
    old = kvs.StreamDescription.from_dict({"version": 0, "stream_arn": "arn"})
    assert (old.status, old.retention) == (kvs.StreamStatus.ACTIVE, None)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"version": 2, "stream_arn": ""}, StatusCode.INVALID_STREAM_DESCRIPTION_VERSION),
        ({"version": 0, "stream_arn": "", "retention": 1}, StatusCode.INVALID_ARG),
        ({"stream_arn": "", "status": "asleep"}, StatusCode.INVALID_ARG),
        ({"stream_arn": "", "status": 4}, StatusCode.INVALID_ARG),
        ({"stream_arn": "", "colour": "red"}, StatusCode.INVALID_ARG),
        ({}, StatusCode.INVALID_ARG),
    ],
)
def test_bad_descriptions_have_their_status(data: dict[str, object], status: StatusCode) -> None:
    """Versions, members and values that are not known, and a missing ARN."""
    with pytest.raises(KvsError) as caught:
        kvs.StreamDescription.from_dict(data)
    assert caught.value.status is status


def test_calls_are_numbered_and_carry_what_the_client_was_told(desk: Desks) -> None:
    """One number per call; the client's time-outs, but an upload has no limit."""
    d = desk(
        kvs.DeviceInfo(
            client_info=kvs.ClientInfo(
                service_call_completion_timeout=70_000_000,
                service_call_connection_timeout=60_000_000,
            )
        )
    )
    d.put(0)
    assert [call.call_id for call in d.calls] == list(range(1, len(d.calls) + 1))
    *others, put = d.calls
    assert isinstance(put, kvs.PutStream)
    assert {(call.timeout, call.connection_timeout) for call in others} == {
        (70_000_000, 60_000_000)
    }
    assert put.timeout > 10**18
    assert put.acks
    assert (put.upload, put.endpoint, put.start_timestamp) == (0, "https://data", d.now)
    assert {call.stream for call in others} == {None, "door"}
