"""The change from one session to the next; cases of AWS's own tests that others do not cover."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.limits import MAX_TOKEN_LIFE, TOKEN_GRACE_PERIOD
from kvsproducer.status import KvsError

SECOND = 10_000_000
MINUTE = 60 * SECOND
EBML = bytes.fromhex("1a45dfa3")
Desks = Callable[..., Any]
ENDPOINT, TOKEN = ["GetStreamingEndpoint", "GetStreamingToken"], ["GetStreamingToken"]
DESCRIBE = ["DescribeStream", *ENDPOINT]


def stream_frames(desk: Desks, frames: int = 7, **info: Any) -> Any:
    d = desk(**info)
    for index in range(frames):
        d.put(index)
    d.read()
    return d


@pytest.mark.parametrize(
    ("results", "calls"),
    [
        ((200, 10001, 10002), ENDPOINT),
        ((408, 504, 598, 599), []),
        ((401, 403), TOKEN),
        ((10003, 404, 10400, 5000, 500, 10006, 406, 10005, 4006), DESCRIBE),
    ],
)
def test_where_a_stream_continues_after_a_lost_session(
    desk: Desks, results: tuple[int, ...], calls: list[str]
) -> None:
    """It depends on the result; if media must be sent again, an upload is opened at once."""
    for result in results:
        d = stream_frames(desk)
        before = len(d.calls)
        d.stream.upload_ended(0, result, d.now)
        d.settle()
        made = [type(call).__name__ for call in d.calls[before:]]
        assert made == [*calls, "PutStream"], result
        assert d.read()[0].count(b"data") == 7


def test_an_unknown_upload_s_end_during_set_up_changes_nothing(desk: Desks) -> None:
    """It comes before each call of the set-up is answered."""
    d = desk()
    while not d.stream.ready:
        call = d.client.poll_effect()
        d.stream.upload_ended(0, 500, d.now)
        if isinstance(call, kvs.Call):
            result, answer = d.answer(call)
            d.client.call_result(call, result, d.now, answer)
    assert d.reported(ev.StreamErrorReported) == []


def test_frames_put_while_the_upload_is_being_opened(desk: Desks) -> None:
    """They are sent over it, and its acks settle them."""
    d = desk()
    d.settle()
    d.stream.put_frame(kvs.Frame(b"data", d.now, key_frame=True), d.now)
    put_stream = d.client.poll_effect()
    assert isinstance(put_stream, kvs.PutStream)
    d.calls.append(put_stream)
    for index in range(1, 7):
        d.put(index)
    assert d.stream.state is kvs.StreamState.PUT_STREAM
    d.client.call_result(put_stream, 200, d.now)
    d.settle()
    assert d.read()[0].count(b"data") == 7
    d.ack("PERSISTED", 0)
    assert d.stream.account().persisted == 5


def test_timecode_zero_is_valid(desk: Desks) -> None:
    """With relative times the first fragment is at 0."""
    d = stream_frames(desk, absolute_fragment_times=False)
    ack = b'{"EventType":"PERSISTED","FragmentTimecode":0,"FragmentNumber":"1"}'
    d.stream.receive_ack(0, ack, d.now)
    assert d.stream.account().persisted == 5


@pytest.mark.parametrize("kinds", [("PERSISTED", "RECEIVED"), ("RECEIVED", "BUFFERING")])
def test_acks_in_a_wrong_order_cause_no_error(desk: Desks, kinds: tuple[str, ...]) -> None:
    """A later kind may come first."""
    d = stream_frames(desk, 12)
    for kind in kinds:
        d.ack(kind, 1)
    assert d.stream.account().persisted == (10 if "PERSISTED" in kinds else 0)


def rotation_delay(desk: Desks, life: int, roll: float) -> int:
    """Return the time from now until a token with that life is replaced."""
    d = desk()
    d.client.roll = lambda sides: int(roll * (sides - 1))
    d.token_life = life
    d.settle()
    return int(d.stream._control.rotation.rotate_at - d.now)


def test_tokens_are_replaced_early_by_a_random_time(desk: Desks) -> None:
    """It is 0 for a short life, and at most 3 minutes. A token is used for 40 minutes at most."""
    grace = TOKEN_GRACE_PERIOD
    assert rotation_delay(desk, 4 * MINUTE, 1.0) == 4 * MINUTE - grace
    assert rotation_delay(desk, 10 * MINUTE, 0.0) == 10 * MINUTE - grace
    assert rotation_delay(desk, 10 * MINUTE, 1.0) == 9 * MINUTE + SECOND - grace
    assert rotation_delay(desk, 100 * MINUTE, 0.0) == MAX_TOKEN_LIFE - grace
    assert rotation_delay(desk, 100 * MINUTE, 1.0) == MAX_TOKEN_LIFE - 3 * MINUTE - grace


def test_no_connection_of_a_stream_lasts_45_minutes(
    desk: Desks,
) -> None:
    """Each rotation happens at a key frame.

    No frame is lost, sent twice, or sent in a wrong session.
    """
    d = desk(buffer_duration=600, replay_duration=0)
    d.token_life = 100 * MINUTE
    opened, start, sent = {}, d.now, b""
    for minute in range(200):
        for index in range(minute * 5, minute * 5 + 5):
            d.put(index, data=b"frame %05d" % index)
        for call in d.calls:
            if isinstance(call, kvs.PutStream) and call.upload not in opened:
                opened[call.upload] = d.now
        for upload in list(opened):
            try:
                data, status = d.read(upload=upload)
            except KvsError:
                continue
            sent += data
            d.ack("PERSISTED", minute, upload=upload)
            if status is kvs.ReadStatus.END_OF_STREAM:
                assert d.now - opened.pop(upload) < 45 * MINUTE
        d.now += MINUTE
    assert d.now - start == 200 * MINUTE
    assert sent.count(EBML) == d.upload + 1 == 200 // 40 + 1
    for index in range(1000):
        assert sent.count(b"frame %05d" % index) == 1
    assert d.stream.account().dropped == 0


def test_metadata_is_sent_again_with_its_fragment(desk: Desks) -> None:
    """This includes events."""
    d = desk()
    d.stream.put_fragment_metadata("door", "open", False, d.now)
    d.put(0)
    d.stream.put_event(kvs.EventType.NOTIFICATION, d.now)
    d.put(5)
    first = d.read()[0]
    d.stream.upload_ended(0, 500, d.now)
    d.settle()
    again = d.read()[0]
    for name in (b"door", b"AWS_KINESISVIDEO_NOTIFICATION"):
        assert first.count(name) == again.count(name) == 1


def test_metadata_after_the_last_key_frame_is_sent_at_the_end(desk: Desks) -> None:
    """A persistent item is not repeated there, because its fragments have ended."""
    d = desk()
    d.stream.put_fragment_metadata("always", "1", True, d.now)
    d.put(0)
    d.stream.put_fragment_metadata("late", "1", False, d.now)
    d.stream.stop(d.now)
    data = d.read()[0]
    assert (data.count(b"always"), data.count(b"late")) == (1, 1)


def test_an_idle_stream_ends_its_fragment_once(desk: Desks) -> None:
    """It does so again after the next frame; other streams have their own idle time."""
    d = desk(kvs.DeviceInfo())
    other = d.client.open_stream(d.stream.info.with_name("other"), d.now)
    d.put(0)
    for _ in range(20):
        d.now += 5 * SECOND
        other.put_frame(kvs.Frame(b"x", d.now, key_frame=True), d.now)
        d.client.handle_timer(d.now)
        d.settle()
    assert d.read(upload=0)[0].count(b"END_OF_FRAGMENT") == 1
    assert d.stream.metrics(d.now).counters.put_frame_errors == 0
    assert other.account().held == 20
    uploads = [c.upload for c in d.calls if isinstance(c, kvs.PutStream) and c.stream == "other"]
    data, _ = other.next_buffers(uploads[0], 1 << 20, d.now)
    assert b"END_OF_FRAGMENT" not in b"".join(data)
    d.put(600, key=True)
    for _ in range(5):
        d.now += 5 * SECOND
        d.client.handle_timer(d.now)
    d.settle()
    assert d.stream._core.buffer.view.newest.flags & 16


def stop_while_rotating(desk: Desks) -> Any:
    """Stop a stream that has two uploads, and read both."""
    d = desk()
    d.rotate()
    for index in range(10, 13):
        d.put(index)
    d.stream.stop(d.now)
    d.read(upload=0)
    d.read(upload=1)
    return d


def test_a_stopped_stream_with_two_uploads_closes_after_both(desk: Desks) -> None:
    """Each upload waits for its own last ack."""
    d = stop_while_rotating(desk)
    for second, upload in ((0, 0), (1, 0), (2, 1)):
        assert not d.stream.closed
        d.ack("PERSISTED", second, upload=upload)
    for upload in (0, 1):
        assert d.read(upload=upload)[1] is kvs.ReadStatus.END_OF_STREAM
    assert d.stream.closed
    assert d.stream.account() == (11, 11, 0, 0, 0)


@pytest.mark.parametrize("lost", [0, 1])
def test_one_of_two_uploads_of_a_stopped_stream_is_lost(desk: Desks, lost: int) -> None:
    """Media without an ack is sent again; the stream closes when it is stored."""
    d = stop_while_rotating(desk)
    d.stream.upload_ended(lost, 500, d.now)
    d.settle()
    for upload in [0, 1, 2, 3, 4] * 3:
        with suppress(KvsError):  # it is over
            d.read(upload=upload)
            for second in range(3):
                d.ack("PERSISTED", second, upload=upload)
    assert d.stream.closed
    assert d.stream.account() == (11, 11, 0, 0, 0)


def test_a_temporary_error_after_the_stop_drops_nothing(desk: Desks) -> None:
    """The media is sent again over another upload."""
    d = stream_frames(desk, 12)
    d.stream.stop(d.now)
    d.ack("ERROR", 1, error=5001)
    assert d.read()[0].count(b"data") == 12
    for second in range(3):
        d.ack("PERSISTED", second)
    d.read()
    assert d.stream.closed
    assert d.stream.account() == (12, 12, 0, 0, 0)


def test_a_fragment_that_is_refused_while_it_is_open(desk: Desks) -> None:
    """The rest of it is skipped; the next key frame begins a fragment."""
    d = stream_frames(desk, 7)
    d.ack("ERROR", 1, error=4006)
    d.put(7)
    d.put(10)
    assert d.stream.account().skipped == 1
    data, status = d.read()
    assert (data.count(b"data"), status) == (5, kvs.ReadStatus.AWAITING_PERSISTED_ACK)
    assert sum(event.count for event in d.reported(ev.FrameDropped)) == 2
    d.ack("PERSISTED", 0)
    assert d.read()[1] is kvs.ReadStatus.END_OF_STREAM
    assert d.read()[0].count(b"data") == 1


def test_an_idle_stream_does_not_open_connections_repeatedly(desk: Desks) -> None:
    """One is opened in advance, as AWS's client does.

    After that one, only a frame opens another.
    """
    d = desk(replay_duration=0)
    d.put(0)
    d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    d.read()
    d.ack("PERSISTED", 0)
    for upload, opened in ((0, 2), (1, 2)):
        d.now += 30 * SECOND
        d.stream.upload_ended(upload, 200, d.now)
        d.settle()
        assert len([call for call in d.calls if isinstance(call, kvs.PutStream)]) == opened
    assert d.stream.state is kvs.StreamState.READY
    d.put(5)
    assert d.upload == 2
    assert d.read()[0].count(b"data") == 1


def test_a_token_that_expired_without_media_is_not_used(desk: Desks) -> None:
    """The first frame requests another one before the upload is opened."""
    d = desk()
    d.settle()
    d.now += 41 * 60 * SECOND
    d.put(0)
    (call,) = (call for call in d.calls if isinstance(call, kvs.PutStream))
    assert call.auth is not None
    assert call.auth.expiration > d.now
    assert d.read()[0].count(b"data") == 1


def test_a_token_that_expires_in_an_outage_is_replaced_once(desk: Desks) -> None:
    """The session that is being prepared gets a new token anyway."""
    d = desk()
    d.token_life = 60 * SECOND
    d.put(0)
    d.read()
    d.stream.upload_ended(0, 500, d.now)
    describe = d.client.poll_effect()
    assert isinstance(describe, kvs.DescribeStream)
    d.now += 58 * SECOND
    d.stream.put_frame(kvs.Frame(b"data", d.now - 57 * SECOND), d.now)
    assert d.client.poll_effect() is None
    result, answer = d.answer(describe)
    d.client.call_result(describe, result, d.now, answer)
    d.settle()
    assert len([call for call in d.calls if isinstance(call, kvs.GetStreamingToken)]) == 2
    assert d.read()[0].count(b"data") == 2
