"""The calls that the core requests, with their limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvsproducer import client as kvs

Desks = Callable[..., Any]


def test_credentials_are_not_part_of_a_repr() -> None:
    """Neither the credentials nor a call that contains them shows the secret."""
    auth = kvs.AuthInfo(data="hush", expiration=5)
    call = kvs.GetStreamingToken(1, "door", 0, 5, 5, auth)
    assert "hush" not in repr(auth) + repr(call)
    assert "expiration=5" in repr(call)


def test_calls_have_numbers_and_the_time_outs_of_the_client(desk: Desks) -> None:
    """Each call has its own number; an upload has no time limit."""
    d = desk(
        kvs.DeviceInfo(
            client_info=kvs.ClientInfo(
                service_call_completion_timeout=7.0,
                service_call_connection_timeout=6.0,
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
