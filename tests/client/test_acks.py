"""What an ack does: to the fragment that it names, and to no other."""

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


def sent(desk: Desks, frames: int = 12, **info: Any) -> Any:
    """Fragments of a second that touch: 0 to 4, 5 to 9, 10 to 11; everything is sent."""
    d = desk(**info)
    for index in range(frames):
        d.put(index)
    d.read()
    return d


def flags(d: Any, index: int) -> int:
    return int(d.stream._core.buffer.view[index].flags & (BUFFERING | RECEIVED | PERSISTED))


@pytest.mark.parametrize(("second", "index"), [(0, 0), (1, 5), (2, 10)])
def test_an_ack_goes_to_the_fragment_that_starts_then(desk: Desks, second: int, index: int) -> None:
    """Not to the one that ends at the same instant."""
    d = sent(desk)
    d.ack("BUFFERING", second)
    d.ack("RECEIVED", second)
    assert {start: flags(d, start) for start in (0, 5, 10)} == {
        start: BUFFERING | RECEIVED if start == index else 0 for start in (0, 5, 10)
    }
    assert d.stream.account().persisted == 0


def test_an_ack_within_a_fragment_is_for_that_fragment(desk: Desks) -> None:
    """A service that cuts differently names other times; the whole fragment is settled."""
    d = sent(desk)
    timecode = (d.now + 12 * SECOND // 10) // MS
    d.stream.receive_parsed_ack(0, FragmentAck(kvs.AckType.PERSISTED, timecode), d.now)
    assert d.stream.account() == (12, 10, 0, 0, 2)


@pytest.mark.parametrize("kind", ["RECEIVED", "PERSISTED"])
def test_an_ack_on_a_connection_that_did_not_carry_its_fragment_settles_nothing(
    desk: Desks, kind: str
) -> None:
    """Media was sent, its connection is lost, and the next one acks before it was given any."""
    d = sent(desk)
    d.stream.upload_ended(d.upload, 500, d.now)
    d.settle()
    d.ack(kind, 1)
    assert flags(d, 5) == 0
    assert d.stream.account() == (12, 0, 0, 0, 12)
    assert d.read()[0].count(b"data") == 12


def test_an_early_ack_does_not_count_later(desk: Desks) -> None:
    """The fragment is acknowledged before a byte of it was sent, and again when it was."""
    d = desk()
    for index in range(12):
        d.put(index)
    d.ack("PERSISTED", 1)
    d.read()
    d.ack("PERSISTED", 0)
    assert d.stream.account() == (12, 5, 0, 0, 7)
    d.ack("PERSISTED", 1)
    assert d.stream.account() == (12, 10, 0, 0, 2)


def test_persisted_covers_what_was_sent_before_it_once(desk: Desks) -> None:
    """A duplicate is told and costs nothing."""
    d = sent(desk)
    d.ack("PERSISTED", 1)
    assert d.stream.account() == (12, 10, 0, 0, 2)
    assert len(d.stream._core.buffer.view) == 2
    d.ack("PERSISTED", 1)
    d.ack("PERSISTED", 0)
    assert d.stream.account() == (12, 10, 0, 0, 2)
    rejected = d.told(kvs.AckRejected)
    assert [event.status for event in rejected] == [StatusCode.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW] * 2
    assert len(d.told(kvs.FragmentAcked)) == 3
    assert d.stream.metrics(d.now).counters.persisted_acks == 1


@pytest.mark.parametrize("kind", ["BUFFERING", "RECEIVED", "PERSISTED"])
def test_an_ack_from_the_future_settles_nothing(desk: Desks, kind: str) -> None:
    """It names nothing that is held."""
    d = sent(desk)
    d.ack(kind, 100)
    assert d.stream.account() == (12, 0, 0, 0, 12)
    assert d.told(kvs.AckRejected)[0].timecode == (d.now + 100 * SECOND) // MS
    assert [flags(d, start) for start in (0, 5, 10)] == [0, 0, 0]


def test_a_refused_fragment_is_dropped_alone(desk: Desks) -> None:
    """4006 never gets better: five frames are refused, its upload is aborted, the rest re-sent."""
    d = sent(desk)
    d.ack("ERROR", 1, error=4006)
    dropped = d.told(kvs.FrameDropped)
    assert sum(event.count for event in dropped) == 5
    assert {event.reason for event in dropped} == {kvs.DropReason.REFUSED}
    assert min(event.first for event in dropped) == d.now + SECOND
    assert kvs.UploadAborted("door", 0) in d.effects
    error = d.told(kvs.StreamErrorReported)[0]
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


def test_a_fragment_that_may_be_tried_again_is(desk: Desks) -> None:
    """4000: nothing is dropped; the next upload sends it."""
    d = sent(desk)
    d.ack("ERROR", 1, error=4000)
    assert d.stream.account() == (12, 0, 0, 0, 12)
    assert d.read(upload=1)[0].count(b"data") >= 7


def test_relative_timecodes_count_from_the_start_of_their_session(desk: Desks) -> None:
    """Of the upload that the ack came on."""
    d = sent(desk, absolute_fragment_times=False)
    ack = FragmentAck(kvs.AckType.PERSISTED, 1000)
    d.stream.receive_parsed_ack(0, ack, d.now)
    assert d.stream.account() == (12, 10, 0, 0, 2)


def test_which_acks_are_told(desk: Desks) -> None:
    """IDLE is not; an unknown kind is rejected; one of an unknown upload is told, and no more."""
    d = sent(desk)
    timecode = d.now // MS
    d.stream.receive_parsed_ack(0, FragmentAck(kvs.AckType.IDLE), d.now)
    d.settle()
    assert d.told(kvs.FragmentAcked) == []
    d.stream.receive_parsed_ack(0, FragmentAck(kvs.AckType.UNDEFINED, timecode), d.now)
    d.stream.receive_parsed_ack(77, FragmentAck(kvs.AckType.PERSISTED, timecode), d.now)
    d.settle()
    assert [event.upload for event in d.told(kvs.FragmentAcked)] == [0, 77]
    assert [event.status for event in d.told(kvs.AckRejected)] == [
        StatusCode.INVALID_FRAGMENT_ACK_TYPE
    ]
    assert d.stream.account().held == 12


def raw(d: Any, text: str, upload: int = 0) -> None:
    d.stream.receive_ack(upload, text.encode(), d.now)
    d.settle()


def test_an_ack_without_a_timecode_is_for_what_is_being_sent(desk: Desks) -> None:
    """And for nothing when nothing is held."""
    d = sent(desk)
    raw(d, '{"EventType":"BUFFERING"}')
    assert flags(d, 11) & BUFFERING
    d.stream.reset(d.now)
    d.settle()
    raw(d, '{"EventType":"PERSISTED"}', upload=d.upload)
    assert d.told(ev.AckRejected)[0].status is StatusCode.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW


def evicted(desk: Desks) -> Any:
    """One long fragment, all sent, whose start has left the view for want of room."""
    d = desk(buffer_duration=3, view_overflow_policy=0)
    for index in range(20):
        d.put(index, key=index == 0)
        d.read()
    assert d.stream._core.buffer.view.tail > 0
    return d


def test_a_fragment_whose_start_has_left_the_view_can_still_be_stored(desk: Desks) -> None:
    """What left and what is held of it are persisted, and a stopped stream is done."""
    d = evicted(desk)
    d.stream.stop(d.now)
    assert d.read()[1] is kvs.ReadStatus.AWAITING_PERSISTED_ACK
    d.ack("PERSISTED", 0)
    assert d.stream.account() == (20, 20, 0, 0, 0)
    assert d.read()[1] is kvs.ReadStatus.END_OF_STREAM


def test_a_fragment_whose_start_has_left_the_view_while_it_is_written(desk: Desks) -> None:
    """The ack counts for what was sent; the upload goes on."""
    d = evicted(desk)
    d.ack("PERSISTED", 0)
    assert d.stream.account().dropped == 0
    d.ack("RECEIVED", 0)
    d.ack("PERSISTED", -5)
    assert d.stream.account().accepted == 20


def test_an_ack_of_a_fragment_that_was_never_sent_settles_nothing_outside(desk: Desks) -> None:
    """Not even when it lies beyond what is held."""
    d = sent(desk)
    d.ack("PERSISTED", 50)
    assert d.stream.account().persisted == 0


def test_an_error_for_nothing_held_begins_a_session_anew(desk: Desks) -> None:
    """Nothing is dropped for it, whether anything is held or not."""
    d = sent(desk)
    d.ack("ERROR", 50, error=4006)
    assert d.stream.account() == (12, 0, 0, 0, 12)
    assert d.read()[0].count(b"data") == 12
    d.stream.reset(d.now)
    d.settle()
    d.ack("ERROR", 50, error=4006)
    statuses = [event.status for event in d.told(ev.AckRejected)]
    assert statuses == [StatusCode.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW] * 2


def test_bytes_that_are_no_ack_are_told_and_the_next_ack_counts(desk: Desks) -> None:
    """What the service meant is not guessed at."""
    d = sent(desk)
    timecode = d.now // MS
    good = f'{{"EventType":"PERSISTED","FragmentTimecode":{timecode},"FragmentNumber":"1"}}'
    d.stream.receive_ack(0, b'{"EventType":"PERSISTED","FragmentTimecode":"soon"}', d.now)
    d.stream.receive_ack(0, good.encode(), d.now)
    d.settle()
    assert [(e.upload, e.status) for e in d.told(ev.AckRejected)] == [(0, StatusCode.INVALID_BASE)]
    assert d.stream.account().persisted == 5


def test_an_error_on_the_newer_of_two_uploads(desk: Desks) -> None:
    """What a lost upload left to be sent again is still known."""
    d = sent(desk)
    d.stream.upload_ended(0, 500, d.now)
    d.settle()
    d.ack("ERROR", 1, error=5000)
    assert d.read()[0].count(b"data") == 12


def test_acks_of_two_uploads(desk: Desks) -> None:
    """An ack of the newer one settles its own fragment, and none that the older one carries."""
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


def test_received_is_final_where_nothing_is_kept(desk: Desks) -> None:
    """Also where acks were not asked for and come all the same."""
    d = sent(desk, fragment_acks=False, retention=0)
    d.ack("RECEIVED", 0)
    assert d.stream.account().held == 0
    assert d.stream._core.buffer.view.tail == 5


def test_an_old_fragment_that_left_the_view_whole(desk: Desks) -> None:
    """Its ack settles it, and nothing of the newer one that has left in part."""
    d = desk(buffer_duration=3, view_overflow_policy=0)
    for index in range(23):
        d.put(index)
        d.read()
    assert d.stream._core.buffer.view.tail == 8
    d.ack("PERSISTED", 0)
    assert d.stream.account().persisted == 5


def test_the_newest_fragment_is_settled_while_an_older_upload_is_still_to_be_asked(
    desk: Desks,
) -> None:
    """Everything of the older one was acknowledged: it only has to be told that it is over."""
    d = desk()
    d.rotate()
    d.put(10)
    d.read(upload=0)
    d.read(upload=1)
    d.ack("PERSISTED", 0, upload=0)
    d.ack("PERSISTED", 1, upload=0)
    d.ack("PERSISTED", 2, upload=1)
    assert d.stream.account() == (9, 9, 0, 0, 0)


def test_what_has_left_the_view_waits_for_the_acks_of_its_own_upload(desk: Desks) -> None:
    """An ack of the newer upload, also for what has left, settles nothing of the older one."""
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
    """What it was given is sent again: the newer one's acks say nothing about it.

    Without a timecode it is for the last fragment of that upload, not for what another sends now.
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
    refused = d.told(kvs.FrameDropped)
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
def test_an_error_on_an_upload_whose_turn_has_not_come(
    desk: Desks, timecode: int | None, error: int
) -> None:
    """It was given nothing: what the other one carries is neither sent twice nor given up."""
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
def test_an_error_for_what_was_not_sent_yet_moves_nothing_ahead(desk: Desks, error: int) -> None:
    """Sending goes on behind it: what lies between is not passed over."""
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


def test_a_frame_that_is_half_sent_cannot_be_stored(desk: Desks) -> None:
    """Whatever the service says."""
    d = desk()
    d.put(0)
    d.read(limit=20)
    d.ack("PERSISTED", 0)
    assert d.stream.account() == (1, 0, 0, 0, 1)


def test_an_item_that_is_being_handed_out_is_not_stored(desk: Desks) -> None:
    """An early ack for its fragment, and then one for what is before it: its bytes still go out."""
    d = desk(replay_duration=0)
    for index in range(10):
        d.put(index)
    d.ack("PERSISTED", 1)  # before a byte of it was sent
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


def test_an_ack_from_the_future_settles_no_item_that_is_being_handed_out(desk: Desks) -> None:
    """It has left the view for want of room, half of it sent; then its connection is lost."""
    d = desk(buffer_duration=2, replay_duration=0)
    for index in range(5):
        d.put(index)
    while d.stream._core.buffer.view.current < 3:
        d.read(limit=20)
    for index in range(5, 15):
        d.put(index)
    core = d.stream._core
    assert core.buffer.evicted_wire == 2
    d.ack("PERSISTED", 2)  # the fragment is held, and none of it was sent
    assert d.stream.account()[1:] == (0, 2, 0, 13)  # those two were never sent
    d.stream.upload_ended(d.upload, 500, d.now)
    d.settle()
    assert d.read()[0].count(b"data") == 10
    assert d.stream.account()[1:] == (0, 5, 0, 10)
    assert core.buffer.evicted_wire is None


def test_a_fragment_whose_last_item_is_being_handed_out_is_not_trimmed(desk: Desks) -> None:
    """It was said to be stored too early; then what is before it is, and another fragment began."""
    d = desk(replay_duration=0)
    for index in range(11):
        d.put(index)
    d.ack("PERSISTED", 1)  # before a byte of it was sent
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


def test_the_rest_of_a_fragment_whose_start_has_left_the_view_leaves_too(desk: Desks) -> None:
    """It is closed, and its ack has come: nothing of it is sent again."""
    d = evicted(desk)
    d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    d.settle()
    d.read()
    d.ack("PERSISTED", 0)
    assert d.stream.account() == (20, 20, 0, 0, 0)
    assert len(d.stream._core.buffer.view) == 0
    assert d.client.store.used_bytes == 0


def test_acks_without_timecode_settle_the_fragments_in_order(desk: Desks) -> None:
    """Each is for the oldest complete fragment that lacks it; the open fragment gets none."""
    d = sent(desk)
    received = FragmentAck(kvs.AckType.RECEIVED)
    for expected in ([0], [0, 5], [0, 5]):
        d.stream.receive_parsed_ack(0, received, d.now)
        assert [index for index in (0, 5, 10) if flags(d, index) & RECEIVED] == expected
    d.settle()
    (rejected,) = d.told(kvs.AckRejected)
    assert rejected.status is StatusCode.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW


def test_ack_without_timecode_before_any_media_settles_nothing(desk: Desks) -> None:
    """The upload has sent no fragment that the ack could be for."""
    d = desk()
    for index in range(12):
        d.put(index)
    d.stream.receive_parsed_ack(0, FragmentAck(kvs.AckType.PERSISTED), d.now)
    d.settle()
    assert len(d.told(kvs.AckRejected)) == 1
    assert d.stream.account() == (12, 0, 0, 0, 12)
