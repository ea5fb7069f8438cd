"""An ack affects the fragment that it names, and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.client.ack import FragmentAck
from kvsproducer.client.buffer.view import BUFFERING, PERSISTED, RECEIVED
from kvsproducer.status import StatusCode

SECOND = 10_000_000
MS = 10_000
Desks = Callable[..., Any]


def send_frames(desk: Desks, frames: int = 12, **info: Any) -> Any:
    """Send frames in fragments of a second that touch: 0 to 4, 5 to 9, 10 to 11."""
    d = desk(**info)
    for index in range(frames):
        d.put(index)
    d.read()
    return d


def flags(d: Any, index: int) -> int:
    return int(d.stream._core.buffer.view[index].flags & (BUFFERING | RECEIVED | PERSISTED))


@pytest.mark.parametrize(("second", "index"), [(0, 0), (1, 5), (2, 10)])
def test_an_ack_goes_to_the_fragment_that_starts_then(desk: Desks, second: int, index: int) -> None:
    """The fragment that ends at the same time is not affected."""
    d = send_frames(desk)
    d.ack("BUFFERING", second)
    d.ack("RECEIVED", second)
    assert {start: flags(d, start) for start in (0, 5, 10)} == {
        start: BUFFERING | RECEIVED if start == index else 0 for start in (0, 5, 10)
    }
    assert d.stream.account().persisted == 0


def test_an_ack_within_a_fragment_is_for_that_fragment(desk: Desks) -> None:
    """A service may name a time within the fragment; the whole fragment is settled."""
    d = send_frames(desk)
    timecode = (d.now + 12 * SECOND // 10) // MS
    d.stream.receive_parsed_ack(0, FragmentAck(kvs.AckType.PERSISTED, timecode), d.now)
    assert d.stream.account() == (12, 10, 0, 0, 2)


@pytest.mark.parametrize("kind", ["RECEIVED", "PERSISTED"])
def test_an_ack_on_a_connection_that_did_not_send_its_fragment_is_ignored(
    desk: Desks, kind: str
) -> None:
    """Media was sent and its connection lost; the next connection gets an ack before it sends."""
    d = send_frames(desk)
    d.stream.upload_ended(d.upload, 500, d.now)
    d.settle()
    d.ack(kind, 1)
    assert flags(d, 5) == 0
    assert d.stream.account() == (12, 0, 0, 0, 12)
    assert d.read()[0].count(b"data") == 12


def test_an_early_ack_has_no_later_effect(desk: Desks) -> None:
    """The fragment is acknowledged before any byte of it was sent, and again after that."""
    d = desk()
    for index in range(12):
        d.put(index)
    d.ack("PERSISTED", 1)
    d.read()
    d.ack("PERSISTED", 0)
    assert d.stream.account() == (12, 5, 0, 0, 7)
    d.ack("PERSISTED", 1)
    assert d.stream.account() == (12, 10, 0, 0, 2)


def test_persisted_settles_the_fragments_before_it_once(desk: Desks) -> None:
    """A duplicate is reported as rejected and changes nothing."""
    d = send_frames(desk)
    d.ack("PERSISTED", 1)
    assert d.stream.account() == (12, 10, 0, 0, 2)
    assert len(d.stream._core.buffer.view) == 2
    d.ack("PERSISTED", 1)
    d.ack("PERSISTED", 0)
    assert d.stream.account() == (12, 10, 0, 0, 2)
    rejected = d.reported(kvs.AckRejected)
    assert [event.status for event in rejected] == [StatusCode.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW] * 2
    assert len(d.reported(kvs.FragmentAcked)) == 3
    assert d.stream.metrics(d.now).counters.persisted_acks == 1


@pytest.mark.parametrize("kind", ["BUFFERING", "RECEIVED", "PERSISTED"])
def test_an_ack_from_the_future_settles_nothing(desk: Desks, kind: str) -> None:
    """Its fragment is not held."""
    d = send_frames(desk)
    d.ack(kind, 100)
    assert d.stream.account() == (12, 0, 0, 0, 12)
    assert d.reported(kvs.AckRejected)[0].timecode == (d.now + 100 * SECOND) // MS
    assert [flags(d, start) for start in (0, 5, 10)] == [0, 0, 0]


def test_a_refused_fragment_is_dropped_and_no_other(desk: Desks) -> None:
    """After 4006 five frames are dropped, the upload is aborted, and the rest is sent again."""
    d = send_frames(desk)
    d.ack("ERROR", 1, error=4006)
    dropped = d.reported(kvs.FrameDropped)
    assert sum(event.count for event in dropped) == 5
    assert {event.reason for event in dropped} == {kvs.DropReason.REFUSED}
    assert min(event.first for event in dropped) == d.now + SECOND
    assert kvs.UploadAborted("door", 0) in d.effects
    error = d.reported(kvs.StreamErrorReported)[0]
    assert (error.status, error.upload, error.fatal) == (
        StatusCode.ACK_ERR_INVALID_MKV_DATA,
        0,
        False,
    )
    assert error.timecode == (d.now + SECOND) // MS
    assert d.upload == 1
    d.read()
    d.ack("PERSISTED", 2)
    account = d.stream.account()
    assert (account.persisted + account.held, account.dropped) == (7, 5)


def test_a_fragment_with_a_temporary_error_is_sent_again(desk: Desks) -> None:
    """After 4000 nothing is dropped; the next upload sends the fragment."""
    d = send_frames(desk)
    d.ack("ERROR", 1, error=4000)
    assert d.stream.account() == (12, 0, 0, 0, 12)
    assert d.read(upload=1)[0].count(b"data") >= 7


def test_relative_timecodes_count_from_the_start_of_their_session(desk: Desks) -> None:
    """They count from the session of the upload that got the ack."""
    d = send_frames(desk, absolute_fragment_times=False)
    ack = FragmentAck(kvs.AckType.PERSISTED, 1000)
    d.stream.receive_parsed_ack(0, ack, d.now)
    assert d.stream.account() == (12, 10, 0, 0, 2)


def test_which_acks_are_reported(desk: Desks) -> None:
    """IDLE is not reported, and an unknown type is rejected.

    An ack of an unknown upload is reported and has no effect.
    """
    d = send_frames(desk)
    timecode = d.now // MS
    d.stream.receive_parsed_ack(0, FragmentAck(kvs.AckType.IDLE), d.now)
    d.settle()
    assert d.reported(kvs.FragmentAcked) == []
    d.stream.receive_parsed_ack(0, FragmentAck(kvs.AckType.UNDEFINED, timecode), d.now)
    d.stream.receive_parsed_ack(77, FragmentAck(kvs.AckType.PERSISTED, timecode), d.now)
    d.settle()
    assert [event.upload for event in d.reported(kvs.FragmentAcked)] == [0, 77]
    assert [event.status for event in d.reported(kvs.AckRejected)] == [
        StatusCode.INVALID_FRAGMENT_ACK_TYPE
    ]
    assert d.stream.account().held == 12


def raw(d: Any, text: str, upload: int = 0) -> None:
    d.stream.receive_ack(upload, text.encode(), d.now)
    d.settle()


def test_an_ack_without_a_timecode_is_for_the_fragment_being_sent(desk: Desks) -> None:
    """If nothing is held, it is rejected."""
    d = send_frames(desk)
    raw(d, '{"EventType":"BUFFERING"}')
    assert flags(d, 11) & BUFFERING
    d.stream.reset(d.now)
    d.settle()
    raw(d, '{"EventType":"PERSISTED"}', upload=d.upload)
    assert d.reported(ev.AckRejected)[0].status is StatusCode.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW


def evict_start(desk: Desks) -> Any:
    """Send one long fragment whose start has left the view because space was short."""
    d = desk(buffer_duration=3, view_overflow_policy=0)
    for index in range(20):
        d.put(index, key=index == 0)
        d.read()
    assert d.stream._core.buffer.view.tail > 0
    return d


def test_a_fragment_is_stored_although_its_start_left_the_view(desk: Desks) -> None:
    """All of its frames are persisted, and a stopped stream ends."""
    d = evict_start(desk)
    d.stream.stop(d.now)
    assert d.read()[1] is kvs.ReadStatus.AWAITING_PERSISTED_ACK
    d.ack("PERSISTED", 0)
    assert d.stream.account() == (20, 20, 0, 0, 0)
    assert d.read()[1] is kvs.ReadStatus.END_OF_STREAM


def test_an_open_fragment_is_stored_although_its_start_left_the_view(desk: Desks) -> None:
    """The ack counts for the frames that were sent; the upload continues."""
    d = evict_start(desk)
    d.ack("PERSISTED", 0)
    assert d.stream.account().dropped == 0
    d.ack("RECEIVED", 0)
    d.ack("PERSISTED", -5)
    assert d.stream.account().accepted == 20


def test_an_ack_of_a_fragment_that_was_never_sent_settles_nothing(desk: Desks) -> None:
    """Its time is later than all held frames."""
    d = send_frames(desk)
    d.ack("PERSISTED", 50)
    assert d.stream.account().persisted == 0


def test_an_error_for_an_unknown_fragment_begins_a_new_session(desk: Desks) -> None:
    """Nothing is dropped, whether frames are held or not."""
    d = send_frames(desk)
    d.ack("ERROR", 50, error=4006)
    assert d.stream.account() == (12, 0, 0, 0, 12)
    assert d.read()[0].count(b"data") == 12
    d.stream.reset(d.now)
    d.settle()
    d.ack("ERROR", 50, error=4006)
    statuses = [event.status for event in d.reported(ev.AckRejected)]
    assert statuses == [StatusCode.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW] * 2


def test_invalid_bytes_are_reported_and_the_next_ack_is_used(desk: Desks) -> None:
    """An ack that cannot be parsed has no other effect."""
    d = send_frames(desk)
    timecode = d.now // MS
    good = f'{{"EventType":"PERSISTED","FragmentTimecode":{timecode},"FragmentNumber":"1"}}'
    d.stream.receive_ack(0, b'{"EventType":"PERSISTED","FragmentTimecode":"soon"}', d.now)
    d.stream.receive_ack(0, good.encode(), d.now)
    d.settle()
    assert [(e.upload, e.status) for e in d.reported(ev.AckRejected)] == [
        (0, StatusCode.INVALID_BASE)
    ]
    assert d.stream.account().persisted == 5


def test_an_error_on_the_upload_after_a_lost_one(desk: Desks) -> None:
    """The media of the lost upload is still sent again."""
    d = send_frames(desk)
    d.stream.upload_ended(0, 500, d.now)
    d.settle()
    d.ack("ERROR", 1, error=5000)
    assert d.read()[0].count(b"data") == 12


def test_acks_of_two_uploads(desk: Desks) -> None:
    """An ack of the newer upload settles its own fragment, and none of the older upload."""
    d = desk()
    d.rotate()
    for index in range(10, 17):
        d.put(index)
    d.read(upload=0)
    d.read(upload=1)
    d.ack("PERSISTED", 2, upload=1)
    assert d.stream.account().persisted == 5
    d.ack("PERSISTED", 0, upload=0)
    assert d.stream.account().persisted == 10
    d.ack("PERSISTED", 1, upload=0)
    assert d.stream.account().persisted == 13
    assert len(d.stream._core.buffer.view) == 2, "the open fragment"


def test_received_is_the_last_ack_without_retention(desk: Desks) -> None:
    """This also holds if acks were not requested and come nevertheless."""
    d = send_frames(desk, fragment_acks=False, retention=0)
    d.ack("RECEIVED", 0)
    assert d.stream.account().held == 0
    assert d.stream._core.buffer.view.tail == 5


def test_an_old_fragment_that_left_the_view_completely(desk: Desks) -> None:
    """Its ack settles it, but not the newer fragment of which a part has left the view."""
    d = desk(buffer_duration=3, view_overflow_policy=0)
    for index in range(23):
        d.put(index)
        d.read()
    assert d.stream._core.buffer.view.tail == 8
    d.ack("PERSISTED", 0)
    assert d.stream.account().persisted == 5


def test_the_newest_fragment_is_settled_if_the_older_upload_has_all_acks(
    desk: Desks,
) -> None:
    """The older upload has all its acks, but was not read since."""
    d = desk()
    d.rotate()
    d.put(10)
    d.read(upload=0)
    d.read(upload=1)
    d.ack("PERSISTED", 0, upload=0)
    d.ack("PERSISTED", 1, upload=0)
    d.ack("PERSISTED", 2, upload=1)
    assert d.stream.account() == (9, 9, 0, 0, 0)


def test_frames_outside_the_view_wait_for_acks_of_their_own_upload(desk: Desks) -> None:
    """An ack of the newer upload settles no frames of the older one, even outside the view."""
    d = desk(buffer_duration=3, view_overflow_policy=0)
    d.rotate()
    for index in range(10, 40):
        d.put(index)
        d.read(upload=0)
        d.read(upload=1)
    assert d.stream.account() == (38, 0, 0, 0, 38)
    d.ack("PERSISTED", 3, upload=1)
    assert d.stream.account().persisted == 10, "fragments 2 and 3"
    d.ack("PERSISTED", 0, upload=0)
    d.ack("PERSISTED", 1, upload=0)
    assert d.stream.account().persisted == 18


@pytest.mark.parametrize("timecode", [0, None])
def test_an_error_on_the_older_of_two_uploads(desk: Desks, timecode: int | None) -> None:
    """Its media is sent again, because acks of the newer upload do not cover it.

    Without a timecode, the error is for that upload's last fragment.
    """
    d = desk()
    d.rotate()
    for index in range(10, 17):
        d.put(index)
    d.read(upload=0)
    d.read(upload=1)
    wire = None if timecode is None else (d.now - 62 * SECOND) // MS
    d.stream.receive_parsed_ack(0, FragmentAck(kvs.AckType.ERROR, wire, result=4006), d.now)
    d.settle()
    refused = d.reported(kvs.FrameDropped)
    assert sum(event.count for event in refused) == (5 if timecode == 0 else 3)
    d.ack("PERSISTED", 2, upload=1)
    assert d.stream.account().persisted == 0
    for upload in (2, 2, 3):
        assert d.upload == upload
        d.read()
        for second in range(4):
            d.ack("PERSISTED", second)
    kept = 15 - (5 if timecode == 0 else 3)
    assert d.stream.account() == (15, kept, 15 - kept, 0, 0)


@pytest.mark.parametrize("error", [5000, 4006])
@pytest.mark.parametrize("timecode", [0, None])
def test_an_error_on_an_upload_that_has_sent_nothing(
    desk: Desks, timecode: int | None, error: int
) -> None:
    """The media of the other upload is neither sent twice nor dropped."""
    d = desk()
    d.rotate()
    d.read(upload=0)
    wire = None if timecode is None else (d.now - 62 * SECOND) // MS
    d.stream.receive_parsed_ack(1, FragmentAck(kvs.AckType.ERROR, wire, result=error), d.now)
    d.settle()
    assert [effect.upload for effect in d.effects if type(effect) is kvs.UploadAborted] == [1]
    assert d.read(upload=0)[0] == b""
    d.ack("PERSISTED", 0, upload=0)
    d.ack("PERSISTED", 1, upload=0)
    assert d.stream.account() == (8, 8, 0, 0, 0)


@pytest.mark.parametrize("error", [5000, 4006])
def test_an_error_for_an_unsent_fragment_skips_nothing_before_it(desk: Desks, error: int) -> None:
    """The frames before it are still sent."""
    d = desk()
    for index in range(7):
        d.put(index)
    d.read()
    for index in range(7, 18):
        d.put(index)
    d.ack("ERROR", 3, error=error)
    refused = 3 if error == 4006 else 0
    assert d.read()[0].count(b"data") == 18 - refused
    for second in range(4):
        d.ack("PERSISTED", second)
    assert d.stream.account() == (18, 18 - refused, refused, 0, 0)


def test_a_partly_sent_frame_cannot_be_stored(desk: Desks) -> None:
    """A PERSISTED ack for it changes nothing."""
    d = desk()
    d.put(0)
    d.read(limit=20)
    d.ack("PERSISTED", 0)
    assert d.stream.account() == (1, 0, 0, 0, 1)


def test_an_item_on_the_wire_is_not_stored(desk: Desks) -> None:
    """Its fragment gets an early ack, then the fragment before it gets one; all bytes are sent."""
    d = desk(replay_duration=0)
    for index in range(10):
        d.put(index)
    d.ack("PERSISTED", 1)  # before any byte of it was sent
    whole = b""
    while len(d.stream._core.buffer.view) == 10 and d.stream._core.buffer.view.current < 10:
        whole += d.read(limit=20)[0]
    assert d.stream._core.buffer.on_wire is not None
    d.ack("PERSISTED", 0)
    assert d.stream.account() == (10, 5, 0, 0, 5)
    assert d.stream.charged_bytes == d.client.store.used_bytes > 0
    whole += d.read()[0]
    assert whole.count(b"data") == 10
    d.ack("PERSISTED", 1)
    assert d.stream.account() == (10, 10, 0, 0, 0)


def test_an_early_ack_does_not_settle_an_item_on_the_wire_outside_the_view(desk: Desks) -> None:
    """It left the view when half of it was sent; then its connection is lost."""
    d = desk(buffer_duration=2, replay_duration=0)
    for index in range(5):
        d.put(index)
    while d.stream._core.buffer.view.current < 3:
        d.read(limit=20)
    for index in range(5, 15):
        d.put(index)
    core = d.stream._core
    assert core.buffer.evicted_wire == 2
    d.ack("PERSISTED", 2)  # the fragment is held, and nothing of it was sent
    assert d.stream.account()[1:] == (0, 2, 0, 13)  # the two dropped frames were never sent
    d.stream.upload_ended(d.upload, 500, d.now)
    d.settle()
    assert d.read()[0].count(b"data") == 10
    assert d.stream.account()[1:] == (0, 5, 0, 10)
    assert core.buffer.evicted_wire is None


def test_a_fragment_whose_last_item_is_on_the_wire_is_not_trimmed(desk: Desks) -> None:
    """It got an early ack; then the fragment before it is acknowledged, and another one began."""
    d = desk(replay_duration=0)
    for index in range(11):
        d.put(index)
    d.ack("PERSISTED", 1)  # before any byte of it was sent
    whole = b""
    while d.stream._core.buffer.view.current < 10:
        whole += d.read(limit=20)[0]
    assert d.stream._core.buffer.on_wire is not None
    d.ack("PERSISTED", 0)
    assert d.stream.account()[1:] == (5, 0, 0, 6)
    assert d.stream._core.buffer.view.tail == 5
    assert d.stream.charged_bytes == d.client.store.used_bytes
    whole += d.read()[0]
    assert whole.count(b"data") == 11
    d.ack("PERSISTED", 1)
    assert d.stream.account()[1:] == (10, 0, 0, 1)
    assert d.stream.charged_bytes == d.client.store.used_bytes


def test_the_rest_of_a_fragment_leaves_the_view_with_its_ack(desk: Desks) -> None:
    """Its start left the view earlier. It has ended, so nothing of it is sent again."""
    d = evict_start(desk)
    d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    d.settle()
    d.read()
    d.ack("PERSISTED", 0)
    assert d.stream.account() == (20, 20, 0, 0, 0)
    assert len(d.stream._core.buffer.view) == 0
    assert d.client.store.used_bytes == 0


def test_acks_without_timecode_settle_the_fragments_in_order(desk: Desks) -> None:
    """Each is for the oldest complete fragment that lacks it; the open fragment gets none."""
    d = send_frames(desk)
    received = FragmentAck(kvs.AckType.RECEIVED)
    for expected in ([0], [0, 5], [0, 5]):
        d.stream.receive_parsed_ack(0, received, d.now)
        assert [index for index in (0, 5, 10) if flags(d, index) & RECEIVED] == expected
    d.settle()
    (rejected,) = d.reported(kvs.AckRejected)
    assert rejected.status is StatusCode.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW


def test_ack_without_timecode_before_any_media_settles_nothing(desk: Desks) -> None:
    """The upload has sent no fragment that the ack could be for."""
    d = desk()
    for index in range(12):
        d.put(index)
    d.stream.receive_parsed_ack(0, FragmentAck(kvs.AckType.PERSISTED), d.now)
    d.settle()
    assert len(d.reported(kvs.AckRejected)) == 1
    assert d.stream.account() == (12, 0, 0, 0, 12)
