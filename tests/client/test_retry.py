"""When retries are used up, the shell's policy decides what happens."""

from __future__ import annotations

from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.status import KvsError, StatusCode, kvs_error

NOW = 17_000_000_000_000_000
SECOND = 10_000_000
_S = StatusCode


class Stubborn:
    """A policy that always starts over, except for offline streams, and records its calls."""

    def __init__(self) -> None:
        self.asked: list[tuple[StatusCode, StatusCode, bool, int]] = []

    def start_over(
        self, failure: KvsError, cause: StatusCode, *, offline: bool, times: int
    ) -> KvsError | None:
        self.asked.append((failure.status, cause, offline, times))
        return None if offline else kvs_error(_S.CONTINUOUS_RETRY_RESET_FAILED, failure.detail)


class Shell:
    """A shell that answers each call with the current `results`, and advances the time."""

    def __init__(self, policy: kvs.RetryPolicy | None, **info: Any) -> None:
        self.now = NOW
        self.results: dict[type[kvs.Call], int] = {}
        self.calls: list[kvs.Call] = []
        self.client = kvs.Client(
            kvs.DeviceInfo(), now=NOW, dice=lambda sides: sides - 1, retry_policy=policy
        )
        self.streams = [self.open("door", **info)]

    def open(self, name: str, **info: Any) -> kvs.Stream:
        made = kvs.StreamInfo.video("h264", name=name, nal_adaptation=0, **info)
        return self.client.open_stream(made, self.now)

    def answer(self, count: int) -> None:
        """Answer at most `count` calls."""
        for _ in range(count):
            call = self.client.poll_effect()
            if call is None:
                return
            if not isinstance(call, kvs.Call):
                continue
            self.calls.append(call)
            self.now = max(self.now, call.not_before)
            result = self.results.get(type(call), 200)
            self.client.call_result(call, result, self.now, self._good(call), "no network")

    def _good(self, call: kvs.Call) -> object:
        return {
            kvs.GetSecurityToken: kvs.AuthInfo(expiration=self.now + 3600 * SECOND),
            kvs.GetStreamingToken: kvs.AuthInfo(expiration=self.now + 3600 * SECOND),
            kvs.CreateDevice: "device",
            kvs.DescribeStream: kvs.StreamDescription("arn"),
            kvs.GetStreamingEndpoint: "https://data",
        }.get(type(call))

    def reported(self, kind: type[kvs.Event]) -> list[Any]:
        found = []
        while (event := self.client.next_event()) is not None:
            if isinstance(event, kind):
                found.append(event)
        return found


@pytest.mark.parametrize("call", [kvs.DescribeStream, kvs.GetStreamingEndpoint])
def test_a_stream_that_starts_over_holds_its_frames(call: type[kvs.Call]) -> None:
    """It holds them until it streams; nothing is dropped."""
    policy = Stubborn()
    shell = Shell(policy)
    (stream,) = shell.streams
    shell.results[call] = 599
    for number in range(5):
        stream.put_frame(kvs.Frame(b"x", NOW + number * SECOND, key_frame=True), shell.now)
    shell.answer(60)
    assert stream.failure is None
    assert stream.account() == kvs.FrameAccount(5, 0, 0, 0, 5)
    errors = shell.reported(kvs.StreamErrorReported)
    assert len(errors) >= 5
    assert {(error.status, error.fatal) for error in errors} == {
        (_S.CONTINUOUS_RETRY_RESET_FAILED, False)
    }
    assert [times for *_, times in policy.asked] == list(range(len(errors)))
    assert {cause for _, cause, *_ in policy.asked} == {_S.SERVICE_CALL_TIMEOUT_ERROR}
    shell.results.clear()
    shell.answer(20)
    assert stream.state is kvs.StreamState.STREAMING
    assert stream.account().held == 5


def test_the_policy_is_not_asked_about_a_stream_that_was_ready() -> None:
    """An outage never ends a stream that has worked."""
    policy = Stubborn()
    shell = Shell(policy)
    (stream,) = shell.streams
    stream.put_frame(kvs.Frame(b"x", NOW, key_frame=True), shell.now)
    shell.answer(20)
    shell.results = {kvs.GetStreamingEndpoint: 599, kvs.DescribeStream: 599}
    stream.reset_connection(shell.now)
    shell.answer(40)
    assert stream.failure is None
    assert policy.asked == []


def test_without_a_policy_a_client_gives_up() -> None:
    """AWS's client does the same without the producer around it."""
    shell = Shell(None)
    shell.results[kvs.DescribeStream] = 599
    shell.answer(40)
    assert shell.streams[0].failure is not None
    assert shell.streams[0].failure.status is _S.DESCRIBE_STREAM_CALL_FAILED


def test_a_client_without_credentials_starts_over() -> None:
    """Its streams wait, except the offline one, which fails with the client's status."""
    policy = Stubborn()
    shell = Shell(policy)
    offline = shell.open("file", streaming_type=kvs.StreamingType.OFFLINE)
    shell.results[kvs.GetSecurityToken] = 10006
    shell.answer(20)
    door = shell.streams[0]
    assert shell.client.failure is None
    assert door.failure is None
    assert offline.failure is not None
    assert offline.failure.status is _S.CLIENT_AUTH_CALL_FAILED
    assert not shell.reported(kvs.ClientErrorReported)[0].fatal
    shell.results.clear()
    shell.answer(20)
    assert door.ready


def test_a_client_that_was_ready_outlives_its_credentials() -> None:
    """Credentials cannot be renewed for a while; with any policy, no upload ends for that."""
    shell = Shell(None)
    (door,) = shell.streams
    door.put_frame(kvs.Frame(b"x", NOW, key_frame=True), shell.now)
    shell.answer(20)
    assert door.state is kvs.StreamState.STREAMING
    shell.now += 2 * 3600 * SECOND
    shell.results[kvs.GetSecurityToken] = 599
    door.reset_connection(shell.now)
    shell.answer(40)
    assert shell.client.failure is None
    assert door.failure is None
    shell.results.clear()
    shell.answer(40)
    assert door.state is kvs.StreamState.STREAMING


def test_a_token_that_expires_too_soon_is_requested_again() -> None:
    """The credentials are about to be renewed; the waits between requests grow."""
    policy = Stubborn()
    shell = Shell(policy)
    (door,) = shell.streams
    good = shell._good
    shell._good = lambda call: (  # type: ignore[method-assign]
        kvs.AuthInfo(expiration=shell.now + SECOND)
        if isinstance(call, kvs.GetStreamingToken)
        else good(call)
    )
    shell.answer(12)
    assert {status for status, *_ in policy.asked} >= {_S.INVALID_TOKEN_EXPIRATION}
    assert shell.now - NOW > SECOND
    shell._good = good  # type: ignore[method-assign]
    shell.answer(10)
    assert door.ready
