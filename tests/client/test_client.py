"""The client: its streams, credentials, timer and metrics."""

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


def test_client_ready_is_reported_once(desk: Desks) -> None:
    """It is not repeated when credentials are refreshed."""
    d = desk()
    d.answers[kvs.GetSecurityToken] = [(200, kvs.AuthInfo(expiration=d.now + 60 * SECOND))]
    d.put(0)
    assert d.client.state is kvs.ClientState.READY
    d.now += 61 * SECOND
    d.read()
    d.stream.upload_ended(0, 200, d.now)
    d.settle()
    assert [type(call).__name__ for call in d.calls].count("GetSecurityToken") == 2
    assert len(d.reported(ev.ClientReady)) == 1


def test_streams_are_listed_by_name(desk: Desks) -> None:
    """A freed stream is listed until another one is opened."""
    d = desk(kvs.DeviceInfo(stream_count=2))
    other = d.client.open_stream(d.stream.info.with_name("two"), d.now)
    assert dict(d.client.streams) == {"door": d.stream, "two": other}
    other.free(d.now)
    third = d.client.open_stream(d.stream.info.with_name("two"), d.now)
    assert dict(d.client.streams) == {"door": d.stream, "two": third}


def test_opening_and_freeing_many_streams_leaves_nothing(desk: Desks) -> None:
    """No bytes and no calls are left."""
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


def test_a_freed_stream_makes_no_calls(desk: Desks) -> None:
    """It was freed while it waited for the client's credentials."""
    d = desk()
    d.stream.free(d.now)
    d.settle()
    assert d.client.state is kvs.ClientState.READY
    assert not [call for call in d.calls if call.stream is not None]


def test_a_closed_client_opens_and_resets_no_stream(desk: Desks) -> None:
    """The two methods raise their own statuses."""
    d = desk()
    d.client.close(d.now)
    assert d.stream.freed
    two = d.stream.info.with_name("two")
    assert refused(lambda: d.client.open_stream(two, d.now)) is _S.CLIENT_SHUTTING_DOWN
    assert refused(lambda: d.stream.reset(d.now)) is _S.CLIENT_FREED_BEFORE_STREAM


def test_credentials_of_undefined_type_fail_the_client(desk: Desks) -> None:
    """The shell changed the type; the next call detects it."""
    d = desk()
    d.settle()
    d.client.auth.type = kvs.AuthType.UNDEFINED
    d.put(0)
    assert d.client.state is kvs.ClientState.FAILED
    assert d.client.failure.status is _S.INVALID_CLIENT_READY_STATE
    assert d.stream.failure.status is _S.INVALID_CLIENT_READY_STATE
    assert d.stream.account().held == 1


def test_effects_and_queues_have_a_length(desk: Desks) -> None:
    """They are empty after everything was taken."""
    d = desk()
    assert len(d.client.effects) > 0
    assert len(d.client.active_queues) == 1
    d.settle()
    while d.client.next_event() is not None:
        pass
    assert len(d.client.effects) == len(d.client.active_queues) == 0
    d.stream.put_frame(kvs.Frame(b"data", d.now, key_frame=True), d.now)
    assert len(d.client.effects) == len(d.client.active_queues) == 1


def test_a_failed_client_refuses_new_streams(desk: Desks) -> None:
    """`open_stream` raises the client's failure."""
    d = desk()
    d.answers[kvs.CreateDevice] = [(200, None)]
    d.settle()
    assert d.client.failure.status is _S.INVALID_CREATE_DEVICE_RESPONSE
    assert d.reported(ev.ClientErrorReported)[0].fatal
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
def test_unusable_answers_fail_the_client(
    desk: Desks, call: type[kvs.Call], answers: list[tuple[int, object]], status: StatusCode
) -> None:
    """Its streams fail with the same status."""
    d = desk()
    d.answers[call] = answers
    d.settle()
    assert d.client.failure.status is status
    assert d.stream.failure.status is status


def test_a_repeated_call_recovers(desk: Desks) -> None:
    """After a time-out the next attempt waits, and succeeds."""
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
def test_a_store_of_another_type_must_be_given(
    storage: kvs.StorageInfo, status: StatusCode
) -> None:
    """The core opens no files and allocates no memory for a store."""
    device = kvs.DeviceInfo(storage_info=storage)
    assert refused(lambda: kvs.Client(device, now=0, dice=lambda n: 0)) is status


def test_the_timer_of_the_client(desk: Desks) -> None:
    """It is due every few seconds. Calls before that time or after `close` do nothing."""
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


def test_metrics_of_all_streams(desk: Desks) -> None:
    """They are the sums of store and streams; `to_dict` has the fields of the requested version."""
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


def test_a_call_of_another_client_is_refused_and_a_late_answer_ignored(desk: Desks) -> None:
    """The first is a bug of the shell, the second can always happen."""
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
def test_credentials_must_be_valid_for_thirty_seconds(life: int, good: bool) -> None:
    """Otherwise the call is repeated, and after six attempts the client fails."""
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


def test_requests_for_longer_lived_credentials_use_growing_pauses() -> None:
    """So the credentials provider is not called in a tight loop."""
    client = kvs.Client(kvs.DeviceInfo(), now=NOW, dice=lambda sides: 0)
    waits = []
    while (effect := client.poll_effect()) is not None:
        assert isinstance(effect, kvs.GetSecurityToken)
        waits.append(effect.not_before - NOW)
        client.call_result(effect, 200, NOW, kvs.AuthInfo(expiration=NOW + SECOND))
    assert waits == [0, *(SECOND // 10 * 2**n for n in range(5))]


def test_report_emits_an_event_and_changes_nothing(desk: Desks) -> None:
    """The event is the stream's or the client's; for a freed stream there is none."""
    d = desk()
    d.settle()
    state = d.stream.state
    for stream in ("door", None, "gone"):
        call = kvs.GetStreamingToken(1, stream, 0, 0, 0, None)
        d.client.report(call, _S.CURL_PERFORM_FAILED, "no answer")
    d.settle()
    assert d.reported(ev.StreamErrorReported) == [
        ev.StreamErrorReported("door", None, None, _S.CURL_PERFORM_FAILED, "no answer", False)
    ]
    assert d.reported(ev.ClientErrorReported) == [
        ev.ClientErrorReported(None, _S.CURL_PERFORM_FAILED, "no answer", False)
    ]
    assert d.stream.state is state


def test_the_shell_may_fail_the_client(desk: Desks) -> None:
    """All streams fail with the given error, and new ones are refused with it."""
    d = desk()
    under_way = d.client.poll_effect()
    assert isinstance(under_way, kvs.GetSecurityToken)
    d.client.fail(kvs_error(_S.INVALID_OPERATION, "the loop is gone"))
    assert d.stream.failure.status is _S.INVALID_OPERATION
    d.client.call_result(under_way, 500, d.now)  # too late
    assert d.client.failure.status is _S.INVALID_OPERATION
    again = d.stream.info.with_name("two")
    assert refused(lambda: d.client.open_stream(again, d.now)) is _S.INVALID_OPERATION


@pytest.mark.parametrize(
    ("detail", "expected"), [("look there", "look there"), ("", "no credentials")]
)
def test_an_answer_without_credentials_is_final(desk: Desks, detail: str, expected: str) -> None:
    """The client asks only once, and fails with the detail of the answer."""
    d = desk()
    asked = d.client.poll_effect()
    assert isinstance(asked, kvs.GetSecurityToken)
    d.client.call_result(asked, 200, d.now, None, detail)
    assert d.client.poll_effect() is None
    assert d.client.failure.status is _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR
    assert expected in d.client.failure.detail


@pytest.mark.parametrize("answer", ["text", kvs.AuthInfo(type=kvs.AuthType.UNDEFINED)])
def test_an_invalid_credentials_answer_is_requested_again(desk: Desks, answer: object) -> None:
    """After six such answers the client fails."""
    d = desk()
    d.answers[kvs.GetSecurityToken] = [(200, answer)]
    d.settle()
    assert d.stream.ready
    d = desk()
    d.answers[kvs.GetSecurityToken] = [(200, answer)] * 6
    d.settle()
    assert d.client.failure.status is _S.CLIENT_AUTH_CALL_FAILED


def test_refused_credentials_are_renewed(desk: Desks) -> None:
    """This happens before the next call of a stream."""
    d = desk()
    d.client.renew_auth(now=d.now)  # there are none yet
    d.put(0)
    d.client.renew_auth(now=d.now)
    d.stream.upload_ended(0, 403, d.now)
    d.settle()
    names = [type(call).__name__ for call in d.calls]
    assert names.count("GetSecurityToken") == 2
