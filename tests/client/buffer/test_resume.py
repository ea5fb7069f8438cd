"""Where sending goes on after a lost connection: fragments of a second, the last one half sent."""

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


def half_sent(desk: Desks, *, sent: int = 17, held: int = 20, **info: Any) -> Any:
    """Frames 0 to 19 in fragments at 0, 5, 10 and 15, of which 17 were sent."""
    d = desk(**info)
    for index in range(sent):
        d.put(index)
    d.read()
    for index in range(sent, held):
        d.put(index)
    return d


def resumed(d: Any, result: int) -> int:
    """Where the next upload goes on when the connection is lost so."""
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
    """Counted from the next frame to send."""
    assert resumed(half_sent(desk, replay_duration=replay), TIMEOUT) == expected


@pytest.mark.parametrize(("result", "expected"), [(ALIVE, 10), (TIMEOUT, 0)])
def test_received_fragments_are_not_sent_again_by_a_host_that_is_alive(
    desk: Desks, result: int, expected: int
) -> None:
    """After a time-out its RECEIVED acks are worth nothing."""
    d = half_sent(desk, replay_duration=60)
    d.ack("RECEIVED", 1)
    assert resumed(d, result) == expected


def test_buffering_is_not_received(desk: Desks) -> None:
    """The service may still lose it."""
    d = half_sent(desk, replay_duration=60)
    d.ack("BUFFERING", 1)
    assert resumed(d, ALIVE) == 0


def test_everything_that_is_held_is_replayed_when_everything_was_sent(desk: Desks) -> None:
    """However short the replay duration is; what is persisted is held no more."""
    d = half_sent(desk, held=17, replay_duration=1)
    d.ack("PERSISTED", 0)
    assert not anything_to_send(d.stream._core.buffer)
    assert resumed(d, TIMEOUT) == 5
    assert anything_to_send(d.stream._core.buffer)


def test_offline_everything_that_is_held_is_sent_again(desk: Desks) -> None:
    """RECEIVED or not, whatever the replay duration."""
    offline = kvs.StreamingType.OFFLINE
    d = half_sent(desk, replay_duration=0, streaming_type=offline)
    d.ack("RECEIVED", 1)
    assert resumed(d, ALIVE) == 0


def test_a_refused_fragment_is_not_sent_again(desk: Desks) -> None:
    """Sending goes on behind it."""
    d = half_sent(desk, replay_duration=60)
    d.ack("ERROR", 0, error=4006)
    assert resume_index(d.stream._core.buffer) == 5


def test_without_a_loss_sending_just_goes_on(desk: Desks) -> None:
    """At the next frame to send."""
    assert resume_index(half_sent(desk).stream._core.buffer) == 17


def test_a_replay_that_reaches_a_fragment_whose_start_is_gone(desk: Desks) -> None:
    """Sending goes on with what is left of it: the sender sees that it has no cluster."""
    d = desk(buffer_duration=3, replay_duration=3, view_overflow_policy=0)
    for index in range(18):
        d.put(index)
        d.read()
    tail = d.stream._core.buffer.view.tail
    assert not d.stream._core.buffer.view[tail].flags & FRAGMENT_START
    assert resumed(d, 500) == tail


@pytest.mark.parametrize("result", [TIMEOUT, ALIVE, 200])
def test_without_replay_an_open_fragment_is_sent_again_all_the_same(
    desk: Desks, result: int
) -> None:
    """The service ends a quiet upload in mid-fragment: what it has of that is not stored."""
    d = half_sent(desk, sent=17, held=17, replay_duration=0)
    assert resumed(d, result) == 15
    d.settle()
    d.read()
    d.put(17)
    assert d.read()[0].count(b"data") == 1


@pytest.mark.parametrize("end", ["mark", "RECEIVED", "PERSISTED"])
def test_without_replay_a_whole_fragment_is_not_sent_again(desk: Desks, end: str) -> None:
    """Its end was sent, or the service has it."""
    d = half_sent(desk, sent=17, held=17, replay_duration=0)
    if end == "mark":
        d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
        d.read()
    else:
        d.ack(end, 3)
    head = d.stream._core.buffer.view.head
    assert resumed(d, ALIVE) == head


def test_without_replay_nothing_is_sent_again_when_nothing_is_held(desk: Desks) -> None:
    """An empty view has no open fragment."""
    d = half_sent(desk, sent=5, held=5, replay_duration=0)
    d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    d.read()
    d.ack("PERSISTED", 0)
    assert resumed(d, ALIVE) == d.stream._core.buffer.view.head


@pytest.mark.parametrize("alive", [True, False])
def test_what_is_received_is_sent_again_when_the_host_may_be_gone(
    desk: Callable[..., Any], alive: bool
) -> None:
    """No PERSISTED ack will come over a connection that is given up as dead."""
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
def test_a_fragment_that_was_cut_is_sent_again_whatever_was_said_of_it(
    desk: Desks, replay: int, early: str
) -> None:
    """Its newest frame was handed out in part: an ERROR goes past what the service cannot have."""
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
def test_a_stream_that_is_stopped_and_cut_without_replay_says_what_became_of_its_frames(
    desk: Desks, sent: int, result: int, cut_first: bool
) -> None:
    """Stop and a cut at once: it closes, and each frame is stored or told."""
    d = desk(replay_duration=0)
    for index in range(10):
        d.put(index, data=b"frame %02d" % index)
    while d.stream._core.buffer.view.current < min(sent, 10):
        d.read(limit=30)
    if sent > 10:
        d.read()  # all of the last frame, but not what ends its fragment
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
    assert b"frame 09" in again  # its fragment was not whole: the end was not sent
    for second in (0, 1):
        if b"frame %02d" % (second * 5) in again:
            d.ack("PERSISTED", second)
    assert d.read()[1] is kvs.ReadStatus.END_OF_STREAM
    d.settle()
    assert d.stream.closed
    accepted, persisted, dropped, _, held = d.stream.account()
    assert (accepted, held) == (10, 0)
    assert persisted == sum(b"frame %02d" % index in again for index in range(10))
    assert sum(event.count for event in d.told(kvs.FrameDropped)) == dropped == 10 - persisted


@pytest.mark.parametrize("replay", [0, 60])
def test_an_item_that_left_the_view_half_sent_cannot_be_sent_again(
    desk: Desks, replay: int
) -> None:
    """Sending goes on with the oldest whole fragment; the frames before it are told."""
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


def test_a_fragment_that_is_received_but_was_not_sent_whole_is_sent_again(desk: Desks) -> None:
    """The service stored what it had of it when the connection ended; the rest came since."""
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
        ([2], 0),  # nothing is known of the older upload
        ([0, 2], 5),
        ([0, 1, 2], 13),  # the frame at 3 s, the second fragment of the newer upload
        ([0, 1], 8),
    ],
)
def test_received_says_nothing_of_what_another_upload_carries(
    desk: Desks, ended: int, received: list[int], expected: int
) -> None:
    """Both are lost with one of them, at a host that is alive."""
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
    """Its RECEIVED may have been lost; it stays in the view while an older upload is unfinished."""
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


def test_what_a_loss_before_had_left_to_its_acks_is_not_sent_again(desk: Desks) -> None:
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
    assert resumed(d, 200) == 13
