"""The client itself: its streams, its credentials, its timer, its figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.limits import CLIENT_METRICS_VERSION
from kvsproducer.status import KvsError, StatusCode, kvs_error

NOW = 17_000_000_000_000_000
SECOND = 10_000_000
Desks = Callable[..., Any]
_S = StatusCode


def refused(action: Callable[[], object]) -> StatusCode:
    with pytest.raises(KvsError) as caught:
        action()
    return caught.value.status


def test_ready_is_told_once(desk: Desks) -> None:
    """Not again when credentials are refreshed."""
    d = desk()
    d.answers[kvs.GetSecurityToken] = [(200, kvs.AuthInfo(expiration=d.now + 60 * SECOND))]
    d.put(0)
    assert d.client.state is kvs.ClientState.READY
    d.now += 61 * SECOND
    d.read()
    d.stream.upload_ended(0, 200, d.now)
    d.settle()
    assert [type(call).__name__ for call in d.calls].count("GetSecurityToken") == 2
    assert len(d.told(ev.ClientReady)) == 1


def test_streams_by_name(desk: Desks) -> None:
    """They are listed until they are freed and another one is opened."""
    d = desk(kvs.DeviceInfo(stream_count=2))
    other = d.client.open_stream(d.stream.info.with_name("two"), d.now)
    assert dict(d.client.streams) == {"door": d.stream, "two": other}
    other.free(d.now)
    third = d.client.open_stream(d.stream.info.with_name("two"), d.now)
    assert dict(d.client.streams) == {"door": d.stream, "two": third}


def test_a_stream_that_is_opened_and_freed_many_times_leaves_nothing(desk: Desks) -> None:
    """Neither bytes nor calls."""
    d = desk()
    for number in range(20):
        stream = d.client.open_stream(d.stream.info.with_name(f"s{number}"), d.now)
        d.settle()
        stream.put_frame(kvs.Frame(b"data", d.now, key_frame=True), d.now)
        d.settle()
        stream.free(d.now)
        d.settle()
    assert d.client.store.used_bytes == 0
    d.client.open_stream(d.stream.info.with_name("last"), d.now)
    assert len(d.client.streams) == 2


def test_a_freed_stream_is_not_resumed(desk: Desks) -> None:
    """It was waiting for the client's credentials."""
    d = desk()
    d.stream.free(d.now)
    d.settle()
    assert d.client.state is kvs.ClientState.READY
    assert not [call for call in d.calls if call.stream is not None]


def test_a_closed_client_opens_no_stream(desk: Desks) -> None:
    """Nor does it revive one that it had."""
    d = desk()
    d.client.close(d.now)
    assert d.stream.freed
    two = d.stream.info.with_name("two")
    assert refused(lambda: d.client.open_stream(two, d.now)) is _S.CLIENT_SHUTTING_DOWN
    assert refused(lambda: d.stream.reset(d.now)) is _S.CLIENT_FREED_BEFORE_STREAM


def test_credentials_that_are_made_undefined_fail_the_client(desk: Desks) -> None:
    """They are the shell's to change, and found out with the next call."""
    d = desk()
    d.settle()
    d.client.auth.type = kvs.AuthType.UNDEFINED
    d.put(0)
    assert d.client.state is kvs.ClientState.FAILED
    assert d.client.failure.status is _S.INVALID_CLIENT_READY_STATE
    assert d.stream.failure.status is _S.INVALID_CLIENT_READY_STATE
    assert d.stream.account().held == 1


def test_whether_there_is_something_to_take_may_be_asked_cheaply(desk: Desks) -> None:
    """Effects and events: some while there are, none once they were taken."""
    d = desk()
    assert len(d.client.effects) > 0
    assert len(d.client.active_queues) == 1
    d.settle()
    while d.client.next_event() is not None:
        pass
    assert len(d.client.effects) == len(d.client.active_queues) == 0
    d.stream.put_frame(kvs.Frame(b"data", d.now, key_frame=True), d.now)
    assert len(d.client.effects) == len(d.client.active_queues) == 1


def test_after_a_failure_streams_are_refused_with_it(desk: Desks) -> None:
    """The set-up will not work for them either."""
    d = desk()
    d.answers[kvs.CreateDevice] = [(200, None)]
    d.settle()
    assert d.client.failure.status is _S.INVALID_CREATE_DEVICE_RESPONSE
    assert d.told(ev.ClientErrorReported)[0].fatal
    again = d.stream.info.with_name("two")
    assert refused(lambda: d.client.open_stream(again, d.now)) is (
        _S.INVALID_CREATE_DEVICE_RESPONSE
    )


@pytest.mark.parametrize(
    ("call", "answers", "status"),
    [
        (kvs.GetSecurityToken, [(200, kvs.AuthInfo(length=10_001))], _S.INVALID_AUTH_LEN),
        (kvs.CreateDevice, [(200, "a" * 2049)], _S.INVALID_CREATE_DEVICE_RESPONSE),
        (kvs.CreateDevice, [(406, None)], _S.SERVICE_CALL_INVALID_ARG_ERROR),
        (kvs.GetSecurityToken, [(200, None)], _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR),
    ],
)
def test_answers_that_cannot_be_used(
    desk: Desks, call: type[kvs.Call], answers: list[tuple[int, object]], status: StatusCode
) -> None:
    """Fail the client, and its streams with it."""
    d = desk()
    d.answers[call] = answers
    d.settle()
    assert d.client.failure.status is status
    assert d.stream.failure.status is status


def test_a_repeated_step_recovers(desk: Desks) -> None:
    """A time-out is cured by the next attempt, which waits."""
    d = desk(kvs.DeviceInfo(tags=(("a", "b"),)))
    d.answers[kvs.CreateDevice] = [(599, None)]
    d.settle()
    assert d.stream.ready
    create = [call for call in d.calls if isinstance(call, kvs.CreateDevice)]
    assert create[1].not_before > create[0].not_before
    assert create[1].tags == (("a", "b"),)


@pytest.mark.parametrize(
    ("storage", "status"),
    [
        (kvs.StorageInfo(kvs.StorageType.HYBRID_FILE, spill_ratio=50), _S.INVALID_ARG),
        (
            kvs.StorageInfo(kvs.StorageType.IN_MEM_CONTENT_STORE_ALLOC),
            _S.NON_ALIGNED_HEAP_WITH_IN_CONTENT_STORE_ALLOCATORS,
        ),
    ],
)
def test_the_store_of_another_type_has_to_be_given(
    storage: kvs.StorageInfo, status: StatusCode
) -> None:
    """The core opens no files, and has no memory of its own."""
    device = kvs.DeviceInfo(storage_info=storage)
    assert refused(lambda: kvs.Client(device, now=0, dice=lambda n: 0)) is status


def test_the_timer(desk: Desks) -> None:
    """It asks every few seconds, not before its time, and not after the end."""
    d = desk()
    first = d.client.next_timer()
    assert first == d.now + 3 * SECOND
    d.client.handle_timer(first - 1)
    assert d.client.next_timer() == first
    d.client.handle_timer(first)
    assert d.client.next_timer() == first + 5 * SECOND
    d.client.close(d.now)
    assert d.client.next_timer() is None
    d.client.handle_timer(first + 9 * SECOND)
    assert d.client.next_timer() is None


def test_figures_of_all_streams(desk: Desks) -> None:
    """The store's and the streams' sums, and in `to_dict` those of the version asked for."""
    d = desk()
    d.put(0, data=bytes(1000))
    d.put(1, data=bytes(1000))
    metrics = d.client.metrics(d.now)
    used = d.client.store.used_bytes
    assert 2000 < metrics.content_store_allocated_size == used
    assert metrics.content_store_available_size == metrics.content_store_size - used
    assert 2000 < metrics.total_content_views_size < used
    names = [set(d.client.metrics(d.now, version).to_dict()) for version in range(3)]
    assert CLIENT_METRICS_VERSION == 2
    assert names[1] - names[0] == {"total_elementary_frame_rate"}
    assert names[2] - names[1] == {"avg_api_call_retry_count"}


def test_a_call_of_another_client_is_refused_and_a_late_answer_is_not(desk: Desks) -> None:
    """The first is a mistake of the shell, the second is how the world is."""
    d = desk()
    d.settle()
    first = d.calls[0]
    d.client.call_result(first, 200, d.now, None)
    d.stream.free(d.now)
    d.client.open_stream(d.stream.info.with_name("two"), d.now)
    d.client.call_result(d.calls[2], 404, d.now)
    strange = kvs.DescribeStream(10**6, "door", 0, 0, 0, None)
    assert refused(lambda: d.client.call_result(strange, 200, d.now)) is _S.INVALID_CUSTOM_DATA


@pytest.mark.parametrize(("life", "good"), [(30 * SECOND, True), (30 * SECOND - 1, False)])
def test_credentials_have_to_live_for_thirty_seconds(life: int, good: bool) -> None:
    """Shorter ones are asked for again, as often as a call is tried; then the client fails."""
    client = kvs.Client(kvs.DeviceInfo(), now=NOW, dice=lambda sides: 0)
    calls = []
    while (effect := client.poll_effect()) is not None:
        calls.append(type(effect))
        assert isinstance(effect, kvs.Call)
        answer = (
            kvs.AuthInfo(expiration=NOW + life)
            if isinstance(effect, kvs.GetSecurityToken)
            else "device-arn"
        )
        client.call_result(effect, 200, NOW, answer)
    if good:
        assert calls == [kvs.GetSecurityToken, kvs.CreateDevice]
        assert client.state is kvs.ClientState.READY
    else:
        assert calls == [kvs.GetSecurityToken] * 6
        assert client.failure is not None
        assert client.failure.status is StatusCode.CLIENT_AUTH_CALL_FAILED
        assert client.failure.detail.endswith("expire in 29 s, at least 30 s are needed")


def test_credentials_that_live_too_short_are_asked_for_with_growing_pauses() -> None:
    """Whoever gives them is not asked in a hurry."""
    client = kvs.Client(kvs.DeviceInfo(), now=NOW, dice=lambda sides: 0)
    waits = []
    while (effect := client.poll_effect()) is not None:
        assert isinstance(effect, kvs.GetSecurityToken)
        waits.append(effect.not_before - NOW)
        client.call_result(effect, 200, NOW, kvs.AuthInfo(expiration=NOW + SECOND))
    assert waits == [0, *(SECOND // 10 * 2**n for n in range(5))]


def test_what_a_call_met_with_is_told_and_changes_nothing(desk: Desks) -> None:
    """By the stream that it was made for, else by the client; not for a stream that is gone."""
    d = desk()
    d.settle()
    state = d.stream.state
    for stream in ("door", None, "gone"):
        call = kvs.GetStreamingToken(1, stream, 0, 0, 0, None)
        d.client.report(call, _S.CURL_PERFORM_FAILED, "no answer")
    d.settle()
    assert d.told(ev.StreamErrorReported) == [
        ev.StreamErrorReported("door", None, None, _S.CURL_PERFORM_FAILED, "no answer", False)
    ]
    assert d.told(ev.ClientErrorReported) == [
        ev.ClientErrorReported(None, _S.CURL_PERFORM_FAILED, "no answer", False)
    ]
    assert d.stream.state is state


def test_the_shell_may_give_up(desk: Desks) -> None:
    """Its streams fail with what it says, and new ones are refused with it."""
    d = desk()
    under_way = d.client.poll_effect()
    assert isinstance(under_way, kvs.GetSecurityToken)
    d.client.fail(kvs_error(_S.INVALID_OPERATION, "the loop is gone"))
    assert d.stream.failure.status is _S.INVALID_OPERATION
    d.client.call_result(under_way, 500, d.now)  # too late to matter
    assert d.client.failure.status is _S.INVALID_OPERATION
    again = d.stream.info.with_name("two")
    assert refused(lambda: d.client.open_stream(again, d.now)) is _S.INVALID_OPERATION


@pytest.mark.parametrize(("detail", "told"), [("look there", "look there"), ("", "no credentials")])
def test_no_credentials_are_final(desk: Desks, detail: str, told: str) -> None:
    """The client is not asked again, and fails with what the shell says about it."""
    d = desk()
    asked = d.client.poll_effect()
    assert isinstance(asked, kvs.GetSecurityToken)
    d.client.call_result(asked, 200, d.now, None, detail)
    assert d.client.poll_effect() is None
    assert d.client.failure.status is _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR
    assert told in d.client.failure.detail


@pytest.mark.parametrize("answer", ["text", kvs.AuthInfo(type=kvs.AuthType.UNDEFINED)])
def test_what_is_no_credentials_is_asked_for_again(desk: Desks, answer: object) -> None:
    """The next answer may be better; after six the client fails."""
    d = desk()
    d.answers[kvs.GetSecurityToken] = [(200, answer)]
    d.settle()
    assert d.stream.ready
    d = desk()
    d.answers[kvs.GetSecurityToken] = [(200, answer)] * 6
    d.settle()
    assert d.client.failure.status is _S.CLIENT_AUTH_CALL_FAILED


def test_credentials_that_the_service_refuses_are_replaced(desk: Desks) -> None:
    """Before the next call of a stream."""
    d = desk()
    d.client.renew_auth(now=d.now)  # there are none yet
    d.put(0)
    d.client.renew_auth(now=d.now)
    d.stream.upload_ended(0, 403, d.now)
    d.settle()
    names = [type(call).__name__ for call in d.calls]
    assert names.count("GetSecurityToken") == 2
