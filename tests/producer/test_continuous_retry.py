"""Continuous retry: the tables, and the two state machines for connections."""

from __future__ import annotations

import itertools
import random

import pytest

from kvsproducer import client as core
from kvsproducer.client.states import result_status
from kvsproducer.producer.continuous_retry import (
    BEGINS_ANEW,
    WATCHES,
    ConnectionWatch,
    ContinuousRetry,
    Health,
)
from kvsproducer.service.results import failure_of
from kvsproducer.status import KvsError, StatusCode, kvs_error

S = StatusCode
SECOND = 10_000_000
NOW = 17_000_000_000_000_000
STALE, LATENCY = core.ConnectionStale, core.StreamLatencyPressure

# What AWS's producer resets a stream for: its own, and those of calls and credentials.
PRODUCER_RETRIABLE = (0x1500000F, 0x15000026, 0x15000027)
COMMON_RETRIABLE = (
    *(0x1500000C, 0x1500000D, 0x1500000E, 0x15000010, 0x15000017, 0x15000018, 0x1500001F),
    *(0x15000022, 0x15000023, 0x15000024, 0x16000001, 0x16000002, 0x16000003, 0x16000004),
)
CLIENT_RETRIABLE = (0x52000011, 0x52000019, 0x5200002A, 0x5200002B, 0x5200002D, 0x52000049)


def asked(
    status: StatusCode, cause: StatusCode, *, offline: bool = False, times: int = 0, on: bool = True
) -> KvsError | None:
    failure = kvs_error(status, "what happened")
    return ContinuousRetry(on).start_over(failure, cause, offline=offline, times=times)


@pytest.mark.parametrize("value", CLIENT_RETRIABLE)
def test_failures_that_are_retried(value: int) -> None:
    """If the network or the service is the cause; not offline, not if switched off."""
    status = S(value)
    assert status in BEGINS_ANEW
    output = asked(status, S.SERVICE_CALL_TIMEOUT_ERROR)
    assert output is not None
    assert output.status is status
    assert asked(status, S.SERVICE_CALL_NOT_AUTHORIZED_ERROR) is None
    assert asked(status, S.SERVICE_CALL_TIMEOUT_ERROR, offline=True) is None
    assert asked(status, S.SERVICE_CALL_TIMEOUT_ERROR, on=False) is None


@pytest.mark.parametrize("value", PRODUCER_RETRIABLE + COMMON_RETRIABLE)
def test_failures_of_calls_and_credentials_pass(value: int) -> None:
    """A provider that raises one is called again, and a stream restarts after it."""
    cause = result_status(failure_of(kvs_error(S(value), "the provider's")).result)
    assert asked(S.CLIENT_AUTH_CALL_FAILED, cause) is not None


@pytest.mark.parametrize(
    "status",
    [
        S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR,
        S.SERVICE_CALL_INVALID_ARG_ERROR,
        S.STREAM_IS_BEING_DELETED_ERROR,
        S.INVALID_DESCRIBE_STREAM_RESPONSE,
        S.INVALID_AUTH_LEN,
    ],
)
def test_failures_that_are_not_retried(status: StatusCode) -> None:
    assert asked(status, S.SUCCESS) is None


def test_repeated_failure_has_its_own_status() -> None:
    """The message has the failure and the number of restarts."""
    output = asked(S.DESCRIBE_STREAM_CALL_FAILED, S.SERVICE_CALL_UNKOWN_ERROR, times=3)
    assert output is not None
    assert output.status is S.CONTINUOUS_RETRY_RESET_FAILED
    assert "3 times" in output.detail
    assert "DESCRIBE_STREAM_CALL_FAILED" in output.detail
    assert "what happened" in output.detail


# --- the watches --------------------------------------------------------------------------------
def signs(
    watch: ConnectionWatch, start: float, seconds: float, *, amount: float = 6, growth: float = 0
) -> list[float]:
    """Send ten signs a second; return the times of the resets in seconds."""
    resets = []
    for step in range(int(seconds * 10)):
        at = start + step / 10
        if watch.sign(int((amount + growth * step / 10) * SECOND), NOW + round(at * SECOND)):
            resets.append(at)
    return resets


@pytest.mark.parametrize("kind", [STALE, LATENCY])
def test_a_sign_has_to_last(kind: type[core.Event]) -> None:
    """A short burst of signs is ignored; five seconds of signs cause a reset."""
    watch = ConnectionWatch(WATCHES[kind])
    assert signs(watch, 0, 4) == []
    assert watch.state is Health.SUSPECT
    assert signs(watch, 20, 4) == []  # the suspicion had lapsed
    assert signs(watch, 40, 10) == [45]
    assert watch.state is Health.QUIET


@pytest.mark.parametrize("kind", [STALE, LATENCY])
def test_resets_become_rarer_and_are_forgotten(kind: type[core.Event]) -> None:
    """The quiet time doubles from 30 s to 240 s; after a minute of calm it is 30 s again."""
    watch = ConnectionWatch(WATCHES[kind])
    resets = signs(watch, 0, 1000)
    gaps = [round(b - a) for a, b in itertools.pairwise(resets)]
    assert gaps[:3] == [35, 65, 125]
    assert set(gaps[3:]) == {245}
    later = resets[-1] + 240 + 61
    again = signs(watch, later, 50)
    assert [round(at - later) for at in again] == [5, 40]


def test_shrinking_backlog_causes_no_reset() -> None:
    """After an outage latency is normal; if it does not shrink, the connection is reset."""
    watch = ConnectionWatch(WATCHES[LATENCY])
    assert signs(watch, 0, 60, amount=120, growth=-2) == []
    assert signs(watch, 60, 10, amount=5, growth=0.1) != []


def test_a_service_that_answers_is_not_stale() -> None:
    """An ack ends a suspicion of staleness, but not one of latency."""
    for kind, resets in ((STALE, 0), (LATENCY, 1)):
        watch = ConnectionWatch(WATCHES[kind])
        cut = []
        for second in range(20):
            cut += signs(watch, second, 1)
            watch.ack_received()
        assert len(cut) == resets


def test_a_new_connection_is_not_suspected() -> None:
    watch = ConnectionWatch(WATCHES[LATENCY])
    signs(watch, 0, 4.5)
    watch.connection_opened()
    assert signs(watch, 4.5, 4.5) == []


@pytest.mark.parametrize("kind", [STALE, LATENCY])
def test_each_state_can_lead_to_a_reset(kind: type[core.Event]) -> None:
    """From any state, five seconds of signs after a calm time cause one reset."""
    dice = random.Random(f"watch {kind.__name__}")
    for _ in range(20):
        watch, at = ConnectionWatch(WATCHES[kind]), 0.0
        for _ in range(dice.randrange(1, 60)):
            signs(watch, at, dice.uniform(0, 20), amount=dice.uniform(1, 99))
            at += dice.uniform(20, 60)
            dice.choice((watch.ack_received, watch.connection_opened, lambda: None))()
        assert len(signs(watch, at + 500, 6)) == 1


def stream_that_streams(**info: object) -> core.Stream:
    """Return a stream that is ready to upload."""
    client = core.Client(core.DeviceInfo(), now=NOW, dice=lambda sides: 0)
    stream = client.open_stream(
        core.StreamInfo.video("h264", name="door", nal_adaptation=0, **info), NOW
    )
    stream.put_frame(core.Frame(b"x", NOW, key_frame=True), NOW)
    answers = {
        core.GetStreamingToken: core.AuthInfo(),
        core.CreateDevice: "device",
        core.DescribeStream: core.StreamDescription("arn"),
        core.GetStreamingEndpoint: "https://data",
    }
    while (effect := client.poll_effect()) is not None:
        if isinstance(effect, core.Call):
            answer = answers.get(type(effect), core.AuthInfo())
            client.call_result(effect, 200, NOW, answer)
    assert stream.state is core.StreamState.STREAMING
    return stream


def test_service_that_reads_no_data() -> None:
    """A reset follows after the stream's limit and the patience, unless it is switched off."""
    for enabled, limit, resets in ((True, 5, 1), (True, 0, 0), (False, 5, 0)):
        retry = ContinuousRetry(enabled)
        stream = stream_that_streams(connection_staleness_duration=limit)
        output = [
            retry.check_blocked(stream, half * SECOND // 2, NOW + half * SECOND // 2)
            for half in range(2, 30)
        ]
        assert len([why for why in output if why]) == resets
        if resets:
            assert output.index("the service has read no data for 10.0 s") == 18


def test_stream_without_a_connection_is_not_reset() -> None:
    """There is nothing to reset until the next connection."""
    retry = ContinuousRetry()
    stream = stream_that_streams(connection_staleness_duration=1)
    stream.reset_connection(NOW)
    assert stream.state is not core.StreamState.STREAMING
    assert not any(retry.check_blocked(stream, n * SECOND, NOW + n * SECOND) for n in range(60))
