"""The state machines of streams and the client: calls, retries, failures and their effects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.client.ack import FragmentAck
from kvsproducer.client.states import (
    CLIENT_STATES,
    STREAM_STATES,
    ClientState,
    StreamState,
    result_status,
)
from kvsproducer.limits import MAX_BACKOFF
from kvsproducer.status import (
    ConnectionFailed,
    InvalidConfiguration,
    KvsError,
    NotAuthorized,
    ServiceError,
    StatusCode,
    Throttled,
    TimedOut,
)

SECOND = 10_000_000
MS = 10_000
Desks = Callable[..., Any]
_S = StatusCode


def names(desk: Any) -> list[str]:
    return [type(call).__name__ for call in desk.calls]


def test_calls_before_the_first_upload(desk: Desks) -> None:
    """Each call is made once, in order, and the upload is opened with the first frame."""
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
    assert [state.new for state in d.reported(ev.StreamStateChanged)][-1] is StreamState.STREAMING


def test_a_stream_that_is_not_active_is_described_again_with_pauses(desk: Desks) -> None:
    d, updating = desk(), kvs.StreamDescription("", kvs.StreamStatus.UPDATING)
    d.answers[kvs.DescribeStream] = [(200, updating)] * 6
    d.settle()
    waits = [c.not_before - d.now for c in d.calls if isinstance(c, kvs.DescribeStream)]
    assert 0 == waits[0] < waits[1] < waits[2]
    assert "the stream is UPDATING" in d.reported(ev.StreamErrorReported)[0].detail


def test_a_missing_stream_is_created(desk: Desks) -> None:
    """It is not described again, and it is created with the retention of the stream's options."""
    d = desk(retention=3 * 3600)
    d.answers[kvs.DescribeStream] = [(404, None)]
    d.settle()
    assert names(d)[2:5] == ["DescribeStream", "CreateStream", "GetStreamingEndpoint"]
    assert d.calls[3].retention == 3 * 3600 * SECOND
    assert d.calls[3].not_before == d.now


def test_frames_put_before_the_stream_is_ready_are_held(desk: Desks) -> None:
    """They are sent once it is ready."""
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
        (kvs.CreateStream, [(200, None)], _S.INVALID_CREATE_STREAM_RESPONSE),
        (kvs.CreateStream, [(200, "a" * 2049)], _S.INVALID_CREATE_STREAM_RESPONSE),
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
        (kvs.GetSecurityToken, [(200, None)], _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR),
    ],
)
def test_a_failure_that_a_retry_does_not_cure_is_fatal(
    desk: Desks, call: type[kvs.Call], answers: list[tuple[int, object]], status: StatusCode
) -> None:
    """The stream reports it, raises it for frames, and stops without hanging."""
    d = desk()
    if call is kvs.CreateStream:
        d.answers[kvs.DescribeStream] = [(404, None)]
    d.answers[call] = answers
    d.stream.put_frame(kvs.Frame(b"early", d.now, key_frame=True), d.now)
    d.settle()
    assert d.stream.state is StreamState.FAILED
    report = d.reported(ev.StreamErrorReported)[-1]
    assert (report.status, report.fatal) == (status, True)
    with pytest.raises(KvsError) as caught:
        d.put(1)
    assert caught.value.status is status
    d.stream.stop(d.now)
    d.settle()
    assert d.stream.closed
    assert d.reported(ev.StreamEnded)
    assert d.stream.account().held == 1


@pytest.mark.parametrize(
    ("call", "answer", "cls"),
    [
        (kvs.DescribeStream, (403, None), NotAuthorized),
        (kvs.DescribeStream, (599, None), TimedOut),
        (kvs.DescribeStream, (10006, None), ConnectionFailed),
        (kvs.DescribeStream, (503, None), ServiceError),
        (kvs.DescribeStream, (429, None), Throttled),
        (
            kvs.DescribeStream,
            (200, kvs.StreamDescription("a", kvs.StreamStatus.CREATING)),
            ServiceError,
        ),
        (kvs.CreateStream, (403, None), NotAuthorized),
        (kvs.GetStreamingEndpoint, (599, None), TimedOut),
        (kvs.GetStreamingToken, (599, None), TimedOut),
        (kvs.GetStreamingToken, (10006, None), ConnectionFailed),
        (kvs.GetStreamingToken, (429, None), Throttled),
        (kvs.GetStreamingToken, (500, None), ServiceError),
        (kvs.GetSecurityToken, (403, None), NotAuthorized),
        (kvs.GetSecurityToken, (599, None), TimedOut),
        (kvs.GetSecurityToken, (10006, None), ConnectionFailed),
        (kvs.GetSecurityToken, (200, kvs.AuthInfo(expiration=0)), NotAuthorized),
        (kvs.CreateDevice, (599, None), TimedOut),
    ],
)
def test_used_up_retries_raise_the_class_of_their_cause(
    desk: Desks, call: type[kvs.Call], answer: tuple[int, object], cls: type[KvsError]
) -> None:
    """A program reacts to the cause of a failure, not to the call that failed."""
    d = desk()
    d.answers[kvs.DescribeStream] = [(404, None)] if call is kvs.CreateStream else []
    d.answers[call] = [answer] * 6
    d.settle()
    with pytest.raises(cls) as caught:
        d.put(0)
    assert type(caught.value) is cls
    assert caught.value.status.name.endswith("_CALL_FAILED")


@pytest.mark.parametrize(
    ("cause", "cls"),
    [
        (None, ConnectionFailed),
        (NotAuthorized, NotAuthorized),
        (TimedOut, TimedOut),
        (Throttled, Throttled),
        (InvalidConfiguration, None),
    ],
)
@pytest.mark.parametrize(
    "call",
    [kvs.GetSecurityToken, kvs.GetStreamingToken, kvs.DescribeStream],
    ids=lambda c: c.__name__,
)
def test_the_shell_may_give_the_cause_of_a_failure(
    desk: Desks,
    call: type[kvs.Call],
    cause: type[KvsError] | None,
    cls: type[KvsError] | None,
) -> None:
    """The result 10006 covers many causes, such as a credentials provider that raises."""
    d = desk()
    d.answers[call] = [(10006, None)] * 6
    if cause is not None:
        d.causes[call] = cause
    d.settle()
    with pytest.raises(KvsError) as caught:
        d.put(0)
    usual = ServiceError if call is kvs.DescribeStream else NotAuthorized
    assert type(caught.value) is (cls or usual)


def test_a_missing_stream_without_permission_to_create_it_is_fatal(desk: Desks) -> None:
    """AWS's client repeats the call without a limit there (DEFECTS 7)."""
    d = desk(allow_stream_creation=False)
    d.answers[kvs.DescribeStream] = [(404, None)]
    d.settle()
    assert d.stream.failure.status is _S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR
    d.stream.reset(d.now)
    d.settle()
    assert d.stream.ready


def test_failed_tags_are_reported_and_ignored(desk: Desks) -> None:
    """The stream works without them."""
    d = desk(tags=(("a", "b"),))
    d.answers[kvs.TagStream] = [(500, None)] * 6
    d.settle()
    report = d.reported(ev.StreamErrorReported)[0]
    assert (report.status, report.fatal) == (_S.TAG_STREAM_CALL_FAILED, False)
    assert d.stream.ready


def test_a_stream_that_was_ready_outlives_an_outage(desk: Desks) -> None:
    """Used-up retries are reported and the calls continue; no frame is lost."""
    d = desk()
    d.put(0)
    d.read()
    d.answers[kvs.DescribeStream] = [(10006, None)] * 20
    d.stream.upload_ended(0, 10006, d.now)
    d.settle()
    exhausted = [e for e in d.reported(ev.StreamErrorReported) if not e.fatal]
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
def test_a_refused_put_stream_is_repeated(desk: Desks, result: int, following: str) -> None:
    """It starts at the state for its result; the refused upload is removed."""
    d = desk()
    d.settle()
    d.answers[kvs.PutStream] = [(result, None)]
    d.put(0)
    calls = names(d)
    assert calls[calls.index("PutStream") + 1] == following
    assert calls.count("PutStream") == 2
    assert b"data" in d.read()[0]


def test_a_late_answer_is_ignored(desk: Desks) -> None:
    """It is the answer to a call that was made again since."""
    d = desk()
    d.settle()
    describe = next(call for call in d.calls if isinstance(call, kvs.DescribeStream))
    d.client.call_result(describe, 404, d.now)
    d.settle()
    assert d.stream.state is StreamState.READY


def test_expired_credentials_are_refreshed_before_the_next_call(desk: Desks) -> None:
    """The call of the stream waits for them."""
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


def test_the_names_and_the_number_of_streams_are_checked(desk: Desks) -> None:
    """A name is unique, and the number is limited; a freed stream does not count."""
    d = desk(kvs.DeviceInfo(stream_count=2))
    info = kvs.StreamInfo.video("h264", name="door")
    cases = ((_S.DUPLICATE_STREAM_NAME, "door"), (None, "two"), (_S.MAX_STREAM_COUNT, "3"))
    for expected, name in cases:
        if expected is None:
            d.client.open_stream(info.with_name(name), d.now)
            continue
        with pytest.raises(KvsError) as caught:
            d.client.open_stream(info.with_name(name), d.now)
        assert caught.value.status is expected
    d.stream.free(d.now)
    assert len(d.client.open_stream(info.with_name(""), d.now).name) == 16


def test_the_tables_are_complete() -> None:
    """Every state has a rule, and every result has a status."""
    assert set(STREAM_STATES) == set(StreamState)
    assert set(CLIENT_STATES) == set(ClientState)
    assert result_status(4006) is _S.ACK_ERR_INVALID_MKV_DATA
    assert result_status(12345) is _S.SERVICE_CALL_UNKOWN_ERROR


def test_reset_connection_without_an_upload_changes_nothing(desk: Desks) -> None:
    """The stream has sent nothing; the next frame is sent as usual."""
    d = desk()
    d.settle()
    calls = len(d.calls)
    d.stream.reset_connection(d.now)
    d.settle()
    assert len(d.calls) == calls
    d.put(0)
    assert b"data" in d.read()[0]


def test_reset_connection_sends_unstored_media_again(desk: Desks) -> None:
    """It goes over a new upload. The old one is aborted, even if it is just being opened."""
    d = desk()
    d.put(0)
    d.read()
    d.stream.reset_connection(d.now)
    d.settle()
    assert kvs.UploadAborted("door", 0) in d.effects
    assert d.read()[0].count(b"data") == 1
    d.stream.upload_ended(1, 200, d.now)
    while not isinstance(call := d.client.poll_effect(), kvs.PutStream):
        if isinstance(call, kvs.Call):
            d.client.call_result(call, *_answer(d, call))
    d.stream.reset_connection(d.now)
    d.client.call_result(call, 200, d.now)
    d.settle()
    assert d.stream.account().held == 1


def _answer(d: Any, call: kvs.Call) -> tuple[int, int, object]:
    result, answer = d.answer(call)
    return result, d.now, answer


def test_a_loss_while_the_next_session_is_prepared_changes_nothing(desk: Desks) -> None:
    """No further session is begun."""
    d = desk()
    d.token_life = 60 * SECOND
    d.put(0)
    d.read()
    d.now += 58 * SECOND
    d.stream.put_frame(kvs.Frame(b"data", d.now - 57 * SECOND), d.now)
    d.stream.upload_ended(0, 500, d.now)
    d.settle()
    assert names(d).count("PutStream") == 2
    assert d.read()[0].count(b"data") == 2


def test_an_old_token_is_replaced_with_the_first_frames(desk: Desks) -> None:
    """The upload is opened with the old token, and the next frame starts its rotation."""
    d = desk()
    d.settle()
    d.now += 41 * 60 * SECOND
    for index in range(3):
        d.put(index)
    assert names(d).count("GetStreamingToken") == 2
    assert d.stream.account().held == 3


def test_a_lost_session_is_fatal_without_recovery(desk: Desks) -> None:
    """The failure is reported and raised; resetting the connection begins another session."""
    d = desk(recover_on_error=False)
    d.put(0)
    d.read()
    d.stream.upload_ended(0, 500, d.now, "gone")
    d.settle()
    assert d.reported(ev.StreamErrorReported)[-1].fatal
    assert d.stream.state is StreamState.STOPPED
    assert d.stream.failure is not None
    with pytest.raises(KvsError) as raised:
        d.put(1)
    assert raised.value.status is StatusCode.SERVICE_CALL_UNKOWN_ERROR
    assert "gone; recovery is switched off" in str(raised.value)
    assert d.stream.account().held == 1
    d.stream.reset_connection(d.now)
    d.settle()
    assert d.stream.failure is None
    d.put(1)
    assert d.read()[0].count(b"data") == 2
    d.stream.stop(d.now)
    d.stream.upload_ended(d.upload, 500, d.now)
    assert d.stream.closed


@pytest.mark.parametrize("result", [200, 500])
def test_late_answer_does_not_restart_a_stream_without_recovery(desk: Desks, result: int) -> None:
    """The upload is lost before PutMedia's call is answered, so the answer changes nothing."""
    d = desk(recover_on_error=False)
    d.settle()
    d.stream.put_frame(kvs.Frame(b"data", d.now, key_frame=True), d.now)
    effects = iter(d.client.poll_effect, None)
    call = next(effect for effect in effects if isinstance(effect, kvs.PutStream))
    d.stream.upload_ended(call.upload, 500, d.now, "gone")
    d.client.call_result(call, result, d.now)
    d.settle()
    assert d.stream.state is StreamState.STOPPED
    assert [type(made) for made in d.calls].count(kvs.GetStreamingEndpoint) == 1
    assert d.stream.account().held == 1


def test_resetting_the_connection_of_a_closed_stream_keeps_its_failure(desk: Desks) -> None:
    """It holds a frame, and the failure says that the frame was not stored."""
    d = desk(recover_on_error=False)
    d.put(0)
    d.read()
    d.stream.upload_ended(0, 500, d.now, "gone")
    d.settle()
    d.stream.stop(d.now)
    assert d.stream.closed
    d.stream.reset_connection(d.now)
    d.settle()
    assert d.stream.failure is not None
    assert d.stream.account().held == 1


def test_a_stopped_stream_whose_fragments_are_all_refused_closes(desk: Desks) -> None:
    """No media is left to send over another connection."""
    d = desk()
    d.put(0)
    d.read()
    d.stream.stop(d.now)
    d.ack("ERROR", 0, error=4006)
    assert d.stream.closed
    assert d.stream.account() == (1, 0, 1, 0, 0)


def test_a_stopped_stream_that_fails_closes(desk: Desks) -> None:
    """So no caller waits for it."""
    failed = desk()
    failed.stream.put_frame(kvs.Frame(b"early", failed.now, key_frame=True), failed.now)
    failed.stream.stop(failed.now)
    failed.answers[kvs.DescribeStream] = [(406, None)]
    failed.settle()
    assert failed.stream.closed


@pytest.mark.parametrize("closed", [False, True])
def test_a_stopped_stream_accepts_frames_after_a_reset(desk: Desks, closed: bool) -> None:
    """This holds whether or not it had sent everything; held frames are dropped."""
    d = desk()
    d.put(0)
    d.stream.stop(d.now)
    if closed:
        d.read()
        d.ack("PERSISTED", 0)
        d.read()
    assert d.stream.closed is closed
    d.stream.reset(d.now)
    d.settle()
    assert (d.stream.stopped, d.stream.closed) == (False, False)
    d.put(5)
    assert d.read()[0].count(b"data") == 1
    d.stream.stop(d.now)
    d.read()
    d.ack("PERSISTED", 1)
    d.read()
    assert d.stream.closed
    assert d.stream.account() == (2, 1 + closed, 1 - closed, 0, 0)


def test_the_retention_of_the_existing_stream_counts(desk: Desks) -> None:
    """Without retention nothing is persisted, so RECEIVED is the last ack."""
    d = desk()
    d.answers[kvs.DescribeStream] = [(200, kvs.StreamDescription("arn", retention=0))]
    d.put(0)
    d.read()
    d.stream.stop(d.now)
    d.read()
    d.ack("RECEIVED", 0)
    assert d.read()[1] is kvs.ReadStatus.END_OF_STREAM


def test_create_stream_is_repeated_after_an_unknown_error(desk: Desks) -> None:
    """The second attempt succeeds."""
    d = desk()
    d.answers[kvs.DescribeStream] = [(404, None)]
    d.answers[kvs.CreateStream] = [(500, None)]
    d.settle()
    assert names(d).count("CreateStream") == 2
    assert d.stream.ready


def test_an_upload_waits_for_the_client_s_credentials(desk: Desks) -> None:
    """The credentials expired while there was no media."""
    d = desk()
    d.answers[kvs.GetSecurityToken] = [(200, kvs.AuthInfo(expiration=d.now + 60 * SECOND))]
    d.settle()
    d.now += 61 * SECOND
    d.put(0)
    assert names(d)[-2:] == ["GetSecurityToken", "PutStream"]
    assert b"data" in d.read()[0]


def test_the_end_of_an_unknown_or_ended_upload_changes_nothing(desk: Desks) -> None:
    """The shell may report it late."""
    d = desk()
    d.put(0)
    d.read()
    d.stream.upload_ended(77, 500, d.now)
    d.ack("ERROR", 0, error=5000)
    d.stream.upload_ended(0, 500, d.now)
    d.settle()
    assert names(d).count("PutStream") == 2
    assert d.reported(ev.StreamErrorReported)[-1].status is _S.ACK_ERR_ACK_INTERNAL_ERROR


def test_a_loss_of_the_older_of_two_uploads(desk: Desks) -> None:
    """The media of both sessions is sent again over a third upload."""
    d = desk()
    d.rotate()
    for index in range(10, 13):
        d.put(index)
    d.read(upload=0)
    d.read(upload=1)
    d.stream.upload_ended(0, 500, d.now)
    d.settle()
    assert kvs.UploadAborted("door", 1) in d.effects
    old = d.read(upload=2)[0]
    d.read(upload=2)
    assert old.count(b"data") == 8
    assert d.stream.account() == (11, 0, 0, 0, 11)


def begin_rotation(desk: Desks) -> Any:
    """Return a desk whose next upload is being opened while the old one still works."""
    d = desk()
    d.age_token()
    d.stream.put_frame(kvs.Frame(b"data", d.now - 57 * SECOND + 5 * 10**6), d.now)
    while not isinstance(call := d.client.poll_effect(), kvs.PutStream):
        if isinstance(call, kvs.Call):
            d.client.call_result(call, *_answer(d, call))
    d.calls.append(call)
    return d


def test_an_upload_that_ends_while_it_is_being_opened(desk: Desks) -> None:
    """The old upload continues; after its end another one is opened."""
    d = begin_rotation(desk)
    d.stream.upload_ended(1, 500, d.now)
    d.client.call_result(d.calls[-1], 200, d.now)
    d.settle()
    assert d.read(upload=0)[0].count(b"data") == 1
    d.now += 4 * SECOND
    d.put(10)
    assert d.read(upload=0)[1] is kvs.ReadStatus.AWAITING_PERSISTED_ACK
    d.ack("PERSISTED", 0, upload=0)
    d.ack("PERSISTED", 1, upload=0)
    assert d.read(upload=0)[1] is kvs.ReadStatus.END_OF_STREAM
    assert d.upload == 2
    assert d.read()[0].count(b"data") == 1


def test_the_next_upload_is_refused_while_the_old_one_works(desk: Desks) -> None:
    """Only the new upload is given up, and another one is opened."""
    d = begin_rotation(desk)
    d.client.call_result(d.calls[-1], 500, d.now)
    d.settle()
    assert d.upload == 2
    assert d.read(upload=0)[0].count(b"data") == 1


def test_a_stream_that_already_exists_is_described_again(desk: Desks) -> None:
    """The answer to our call was lost, or another client created the stream."""
    d = desk()
    d.answers[kvs.DescribeStream] = [(404, None)]
    d.answers[kvs.CreateStream] = [(10003, None)]
    d.settle()
    assert names(d).count("DescribeStream") == 2
    assert d.stream.ready


@pytest.mark.parametrize(
    ("asked_hours", "kept_hours", "expected"),
    [
        (24, 24, ""),
        (24, 0, "keeps no media, not for P1D as asked"),
        (24, 2, "keeps media for PT2H, not for P1D as asked"),
        (24, 168, ""),  # callers accept a longer retention than the default
        (3, 168, "keeps media for P7D, not for PT3H as asked"),
        (1.5, 2, ""),  # KVS counts whole hours
        (1.5, 1, "keeps media for PT1H, not for PT2H as asked"),
        (0, 24, "keeps media for P1D, not for PT0S as asked"),
    ],
)
def test_a_different_retention_is_reported_once(
    desk: Desks, asked_hours: float, kept_hours: int, expected: str
) -> None:
    """The stream exists, and putting media into it does not change its retention."""
    hour = 3600 * SECOND
    d = desk(retention=asked_hours * 3600)
    found = kvs.StreamDescription("arn", kvs.StreamStatus.ACTIVE, retention=kept_hours * hour)
    d.answers[kvs.DescribeStream] = [(200, found)]
    d.settle()
    ready = d.reported(ev.StreamReady)
    assert [bool(event.warning) for event in ready] == [bool(expected)]
    assert expected in ready[0].warning


def test_stopped_stream_that_has_sent_everything_closes_when_the_next_session_is_ready(
    desk: Desks,
) -> None:
    """Its last upload ended while a new token was fetched, so no upload is needed any more."""
    d = desk()
    d.age_token()
    d.stream.put_frame(kvs.Frame(b"data", d.now - 57 * SECOND + 5 * 10**6), d.now)
    d.stream.next_buffers(0, 1 << 20, d.now)
    for second in (0, 1):
        timecode = (d.now - 58 * SECOND + second * SECOND) // MS
        d.stream.receive_parsed_ack(0, FragmentAck(kvs.AckType.PERSISTED, timecode), d.now)
    assert d.stream.account() == (8, 8, 0, 0, 0)
    d.stream.stop(d.now)
    d.stream.upload_ended(0, 200, d.now)
    assert not d.stream.closed
    d.settle()
    assert d.stream.closed
    assert names(d).count("PutStream") == 1
    assert d.stream.account() == (8, 8, 0, 0, 0)
