"""Where sending continues after a lost connection, with fragments of a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client.buffer.resume import anything_to_send, resume_index
from kvsproducer.client.buffer.view import FRAGMENT_START

SECOND = 10_000_000
TIMEOUT, ALIVE = 599, 4000
Desks = Callable[..., Any]


def send_part(desk: Desks, *, sent: int = 17, held: int = 20, **info: Any) -> Any:
    """Put frames 0 to 19 in fragments at 0, 5, 10 and 15, and send the first 17."""
    d = desk(**info)
    for index in range(sent):
        d.put(index)
    d.read()
    for index in range(sent, held):
        d.put(index)
    return d


def lose_connection(d: Any, result: int) -> int:
    """End the upload with `result`; return the index where the next upload continues."""
    d.stream.upload_ended(d.upload, result, d.now)
    return resume_index(d.stream._core.buffer)


@pytest.mark.parametrize(
    ("replay", "expected"),
    [
        (0, 15),  # a fragment that was cut is sent again from its start
        (0.4, 15),  # of the frame at 3.4 s
        (0.400_001, 10),
        (1.4, 10),
        (1.400_001, 5),
        (60, 0),
    ],
)
def test_the_replay_duration_reaches_back_to_a_fragment_start(
    desk: Desks, replay: float, expected: int
) -> None:
    """It counts from the next frame to send."""
    assert lose_connection(send_part(desk, replay_duration=replay), TIMEOUT) == expected


@pytest.mark.parametrize(("result", "expected"), [(ALIVE, 10), (TIMEOUT, 0)])
def test_a_host_that_is_alive_does_not_get_received_fragments_again(
    desk: Desks, result: int, expected: int
) -> None:
    """After a time-out, RECEIVED acks are not reliable."""
    d = send_part(desk, replay_duration=60)
    d.ack("RECEIVED", 1)
    assert lose_connection(d, result) == expected


def test_a_buffering_ack_does_not_count_as_received(desk: Desks) -> None:
    """The service may still lose the fragment."""
    d = send_part(desk, replay_duration=60)
    d.ack("BUFFERING", 1)
    assert lose_connection(d, ALIVE) == 0


def test_all_held_media_is_replayed_if_everything_was_sent(desk: Desks) -> None:
    """The replay duration does not limit it. Persisted frames are not held any more."""
    d = send_part(desk, held=17, replay_duration=1)
    d.ack("PERSISTED", 0)
    assert not anything_to_send(d.stream._core.buffer)
    assert lose_connection(d, TIMEOUT) == 5
    assert anything_to_send(d.stream._core.buffer)


def test_offline_streams_send_all_held_media_again(desk: Desks) -> None:
    """RECEIVED acks and the replay duration do not matter."""
    offline = kvs.StreamingType.OFFLINE
    d = send_part(desk, replay_duration=0, streaming_type=offline)
    d.ack("RECEIVED", 1)
    assert lose_connection(d, ALIVE) == 0


def test_a_refused_fragment_is_not_sent_again(desk: Desks) -> None:
    """Sending continues after it."""
    d = send_part(desk, replay_duration=60)
    d.ack("ERROR", 0, error=4006)
    assert resume_index(d.stream._core.buffer) == 5


def test_without_a_loss_sending_continues_at_the_next_frame(desk: Desks) -> None:
    """Nothing is sent twice."""
    assert resume_index(send_part(desk).stream._core.buffer) == 17


def test_a_replay_that_reaches_a_fragment_without_its_start(desk: Desks) -> None:
    """It begins with the rest of that fragment; the sender detects that its cluster is missing."""
    d = desk(buffer_duration=3, replay_duration=3, view_overflow_policy=0)
    for index in range(18):
        d.put(index)
        d.read()
    tail = d.stream._core.buffer.view.tail
    assert not d.stream._core.buffer.view[tail].flags & FRAGMENT_START
    assert lose_connection(d, 500) == tail


@pytest.mark.parametrize("result", [TIMEOUT, ALIVE, 200])
def test_an_open_fragment_is_sent_again_even_without_replay(desk: Desks, result: int) -> None:
    """The service ends an idle upload within a fragment, and does not store that part."""
    d = send_part(desk, sent=17, held=17, replay_duration=0)
    assert lose_connection(d, result) == 15
    d.settle()
    d.read()
    d.put(17)
    assert d.read()[0].count(b"data") == 1


@pytest.mark.parametrize("end", ["mark", "RECEIVED", "PERSISTED"])
def test_a_complete_fragment_is_not_sent_again_without_replay(desk: Desks, end: str) -> None:
    """Its end was sent, or the service has it."""
    d = send_part(desk, sent=17, held=17, replay_duration=0)
    if end == "mark":
        d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
        d.read()
    else:
        d.ack(end, 3)
    head = d.stream._core.buffer.view.head
    assert lose_connection(d, ALIVE) == head


def test_nothing_is_sent_again_if_nothing_is_held(desk: Desks) -> None:
    """An empty view has no open fragment."""
    d = send_part(desk, sent=5, held=5, replay_duration=0)
    d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    d.read()
    d.ack("PERSISTED", 0)
    assert lose_connection(d, ALIVE) == d.stream._core.buffer.view.head


@pytest.mark.parametrize("alive", [True, False])
def test_received_media_is_sent_again_if_the_host_may_be_dead(
    desk: Callable[..., Any], alive: bool
) -> None:
    """No PERSISTED ack can come over an aborted connection."""
    d = desk()
    for index in range(11):
        d.put(index, data=b"frame %02d" % index)
    d.read()
    d.ack("RECEIVED", 0)
    d.stream.reset_connection(d.now, alive=alive)
    d.settle()
    sent, _ = d.read()
    assert (b"frame 00" in sent) is not alive
    assert b"frame 05" in sent


@pytest.mark.parametrize("early", ["", "RECEIVED", "PERSISTED"])
@pytest.mark.parametrize("replay", [0, 60])
def test_a_fragment_that_was_cut_is_sent_again_after_any_ack(
    desk: Desks, replay: int, early: str
) -> None:
    """Its newest frame was handed out in part.

    The ERROR ack of the next fragment does not skip it.
    """
    d = desk(replay_duration=replay)
    for index in range(10):
        d.put(index, data=b"frame %02d" % index)
    d.read(limit=300)
    while d.stream._core.buffer.view.current < 5:
        d.read(limit=3)
    assert d.stream._core.buffer.partly_sent
    if early:
        d.ack(early, 0)
    d.ack("ERROR", 1, error=4005)  # for the fragment after it
    sent, _ = d.read()
    assert b"frame 00" in sent
    assert b"frame 04" in sent
    assert b"frame 05" not in sent
    d.ack("PERSISTED", 0)
    d.put(10)
    d.ack("PERSISTED", 0)
    assert d.stream.account()[1:3] == (5, 5)


@pytest.mark.parametrize("cut_first", [True, False])
@pytest.mark.parametrize("result", [200, 500, 599])
@pytest.mark.parametrize("sent", [3, 5, 7, 10, 11])
def test_a_stopped_stream_that_loses_its_connection_accounts_for_all_frames(
    desk: Desks, sent: int, result: int, cut_first: bool
) -> None:
    """The stream closes, and each frame is stored or reported as dropped."""
    d = desk(replay_duration=0)
    for index in range(10):
        d.put(index, data=b"frame %02d" % index)
    while d.stream._core.buffer.view.current < min(sent, 10):
        d.read(limit=30)
    if sent > 10:
        d.read()  # all of the last frame, but not the end of its fragment
    first = d.upload
    if cut_first:
        d.stream.upload_ended(first, result, d.now)
        d.stream.stop(d.now)
    else:
        d.stream.stop(d.now)
        d.stream.upload_ended(first, result, d.now)
    d.settle()
    again, status = d.read()
    assert status is kvs.ReadStatus.AWAITING_PERSISTED_ACK
    assert again.startswith(bytes.fromhex("1a45dfa3"))
    assert b"frame 09" in again  # its fragment is incomplete: its end was not sent
    for second in (0, 1):
        if b"frame %02d" % (second * 5) in again:
            d.ack("PERSISTED", second)
    assert d.read()[1] is kvs.ReadStatus.END_OF_STREAM
    d.settle()
    assert d.stream.closed
    accepted, persisted, dropped, _, held = d.stream.account()
    assert (accepted, held) == (10, 0)
    assert persisted == sum(b"frame %02d" % index in again for index in range(10))
    assert sum(event.count for event in d.reported(kvs.FrameDropped)) == dropped == 10 - persisted


@pytest.mark.parametrize("replay", [0, 60])
def test_an_item_that_left_the_view_partly_sent_is_not_sent_again(desk: Desks, replay: int) -> None:
    """Sending continues with the oldest complete fragment; the frames before it are dropped."""
    d = desk(buffer_duration=2, replay_duration=replay)
    for index in range(5):
        d.put(index, data=b"frame %02d" % index)
    while d.stream._core.buffer.view.current < 3:
        d.read(limit=20)
    for index in range(5, 15):
        d.put(index, data=b"frame %02d" % index)
    assert d.stream._core.buffer.evicted_wire == 2
    d.stream.upload_ended(d.upload, TIMEOUT, d.now)
    d.settle()
    sent, _ = d.read()
    assert [b"frame %02d" % index in sent for index in range(15)] == [False] * 5 + [True] * 10
    assert d.stream.account()[1:] == (0, 5, 0, 10)


def test_a_received_fragment_that_was_not_sent_completely_is_sent_again(desk: Desks) -> None:
    """The service stored its first part when the connection ended; the rest was put later."""
    d = desk(replay_duration=2)
    for index in range(3):
        d.put(index, data=b"frame %02d" % index)
    d.read()
    d.ack("RECEIVED", 0)
    for index in range(3, 7):
        d.put(index, data=b"frame %02d" % index)
    d.stream.upload_ended(d.upload, 200, d.now)
    d.settle()
    sent, _ = d.read()
    assert [b"frame %02d" % index in sent for index in range(7)] == [True] * 7


@pytest.mark.parametrize("ended", [0, 1])
@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ([2], 0),  # nothing is known about the older upload
        ([0, 2], 5),
        ([0, 1, 2], 13),  # the frame at 3 s, the second fragment of the newer upload
        ([0, 1], 8),
    ],
)
def test_received_does_not_cover_media_of_another_upload(
    desk: Desks, ended: int, received: list[int], expected: int
) -> None:
    """If one upload is lost, both are; the host is alive."""
    d = desk(replay_duration=60)
    d.rotate()
    for index in range(10, 17):
        d.put(index)
    d.read(upload=0)
    d.read(upload=1)
    for second in received:
        d.ack("RECEIVED", second, upload=second // 2)
    d.stream.upload_ended(ended, 200, d.now)
    assert resume_index(d.stream._core.buffer) == expected


def test_persisted_counts_as_received(desk: Desks) -> None:
    """RECEIVED may be lost. The fragment stays in the view while an older upload is unfinished."""
    d = desk(replay_duration=60)
    d.rotate()
    for index in range(10, 17):
        d.put(index)
    d.read(upload=0)
    d.read(upload=1)
    d.ack("RECEIVED", 1, upload=0)
    d.ack("PERSISTED", 2, upload=1)
    d.stream.upload_ended(1, 200, d.now)
    assert resume_index(d.stream._core.buffer) == 13


def test_media_of_an_earlier_loss_that_waits_for_acks_is_not_sent_again(desk: Desks) -> None:
    """The last fragment of the older session was RECEIVED."""
    d = desk(replay_duration=60)
    d.rotate()
    d.read(upload=0)
    d.ack("RECEIVED", 1, upload=0)
    d.stream.upload_ended(0, 200, d.now)
    d.settle()
    for index in range(10, 17):
        d.put(index)
    d.read()
    d.ack("RECEIVED", 2)
    assert lose_connection(d, 200) == 13
