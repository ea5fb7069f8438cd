"""A completely sent fragment leaves the buffer with its final ack, and is never sent again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.client.ack import FragmentAck
from kvsproducer.client.buffer.view import SKIP

SECOND = 10_000_000
Desks = Callable[..., Any]
# Ways to lose a connection: closed by the service, reset, timed out, or refused.
LOSSES = [200, 500, 599, 401, 10006]
MODES = list(kvs.StreamingType)


@pytest.fixture(params=["reference", "arena", "files", "video memory"])
def store_kind(request: pytest.FixtureRequest) -> str:
    """Run with all content stores."""
    return str(request.param)


def put_fragment(d: Any, first: int = 0) -> None:
    """Put and send a fragment of five frames that ends with a mark."""
    for index in range(first, first + 5):
        d.put(index)
    d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    d.settle()
    d.read()


def assert_empty(d: Any) -> None:
    """Check that neither the view nor the store holds anything."""
    assert len(d.stream._core.buffer.view) == 0
    assert d.client.store.used_bytes == 0
    assert d.stream.account().held == 0
    metrics = d.stream.metrics(d.now)
    assert metrics.overall_view_duration == metrics.overall_view_size == 0


def lose_connection(d: Any, result: int) -> bytes:
    """Lose the newest connection; return what the next one sends, b"" if there is none."""
    before = d.upload
    d.stream.upload_ended(before, result, d.now)
    d.settle()
    d.now += 60 * SECOND
    d.client.handle_timer(d.now)
    d.settle()
    return d.read()[0] if d.upload != before else b""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("result", LOSSES)
def test_an_ended_fragment_leaves_with_its_ack(
    desk: Desks, mode: kvs.StreamingType, result: int
) -> None:
    """It is not sent again, however often the connection is lost afterwards."""
    d = desk(streaming_type=mode)
    put_fragment(d)
    d.ack("BUFFERING", 0)
    d.ack("RECEIVED", 0)
    assert len(d.stream._core.buffer.view) == 6
    d.ack("PERSISTED", 0)
    assert_empty(d)
    for _ in range(4):
        assert lose_connection(d, result) == b""
    put_fragment(d, first=5)
    assert d.read()[1] is kvs.ReadStatus.NO_MORE_DATA
    d.ack("PERSISTED", 1)
    assert_empty(d)
    assert d.stream.account() == (10, 10, 0, 0, 0)


@pytest.mark.parametrize("mode", MODES[:2])
def test_without_retention_received_is_enough(desk: Desks, mode: kvs.StreamingType) -> None:
    """The service never sends PERSISTED then."""
    d = desk(streaming_type=mode, retention=0)
    put_fragment(d)
    d.ack("RECEIVED", 0)
    assert_empty(d)
    assert lose_connection(d, 500) == b""


def test_an_idle_fragment_is_ended_and_leaves_the_buffer(desk: Desks) -> None:
    """The client ends the fragment of a stream that had no frame for 20 s."""
    d = desk(kvs.DeviceInfo())
    for index in range(3):
        d.put(index)
    d.read()
    for _ in range(6):
        d.now += 5 * SECOND
        d.client.handle_timer(d.now)
        d.settle()
    d.read()
    d.ack("PERSISTED", 0)
    assert_empty(d)
    assert lose_connection(d, 599) == b""


def test_a_stopped_stream_leaves_nothing_in_the_buffer(desk: Desks) -> None:
    """The end of the session also ends its last fragment; then the connection is lost."""
    d = desk()
    for index in range(3):
        d.put(index)
    d.stream.stop(d.now)
    d.read()
    d.ack("PERSISTED", 0)
    assert_empty(d)
    uploads = len(d.reported(ev.UploadStarted))
    assert lose_connection(d, 599) == b""
    assert len(d.reported(ev.UploadStarted)) == uploads
    assert d.reported(ev.StreamEnded)


@pytest.mark.parametrize("error", [4003, 4006, 5000])
def test_an_error_ack_after_the_last_fragment_was_stored(desk: Desks, error: int) -> None:
    """It ends the session; nothing is dropped and nothing is sent again."""
    d = desk()
    put_fragment(d)
    d.ack("PERSISTED", 0)
    d.ack("ERROR", 0, error=error)
    d.now += 60 * SECOND
    d.client.handle_timer(d.now)
    d.settle()
    assert d.read()[0] == b""
    assert d.stream.account() == (5, 5, 0, 0, 0)
    put_fragment(d, first=5)
    d.ack("PERSISTED", 1)
    assert d.stream.account() == (10, 10, 0, 0, 0)


def test_stored_media_causes_no_pressure(desk: Desks) -> None:
    """The next fragment comes after most of the buffer's duration."""
    d = desk()
    put_fragment(d)
    d.ack("PERSISTED", 0)
    for index in range(580, 585):
        d.put(index)
    assert d.reported(ev.BufferDurationPressure) == []


def test_media_after_a_stored_fragment_may_begin_a_session(desk: Desks) -> None:
    """The upload is lost after the buffer was emptied, so the next one has a stream header."""
    d = desk()
    put_fragment(d)
    d.ack("PERSISTED", 0)
    assert lose_connection(d, 500) == b""
    d.put(5)
    assert d.read()[0].startswith(bytes.fromhex("1a45dfa3"))


def uploads_of(d: Any) -> list[int]:
    """Return the numbers of the uploads that are not over."""
    return [upload.number for upload in d.stream._core.uploads.active()]


@pytest.mark.parametrize("lost", [False, True])
def test_token_rotation_sends_nothing_again(desk: Desks, lost: bool) -> None:
    """The stream was idle while its token expired; its connection may be lost meanwhile."""
    d = desk()
    d.token_life = 60 * SECOND
    put_fragment(d)
    d.ack("PERSISTED", 0)
    d.now += 120 * SECOND
    if lost:
        assert lose_connection(d, 401) == b""
    sent = 0
    for first in (5, 10):
        for index in range(first, first + 5):
            d.put(index)
        d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
        d.settle()
        d.now += 10 * SECOND
        for upload in uploads_of(d):
            sent += d.read(upload)[0].count(b"data")
    for upload in uploads_of(d):
        d.ack("PERSISTED", 1, upload)
        d.ack("PERSISTED", 2, upload)
    assert sent == 10
    assert d.stream.account() == (15, 15, 0, 0, 0)
    assert_empty(d)


def overlap_uploads(desk: Desks, *, last: int = 1 << 20) -> Any:
    """Make two uploads: 0 waits for its last ack, 1 has sent fragments 2 and 3, and 3 is open.

    Only `last` bytes of fragment 3 were sent.
    """
    d = desk()
    d.rotate()
    for index in range(10, 15):
        d.put(index)
    d.read(upload=0)
    d.read(upload=1)
    d.put(15)
    d.put(16)
    d.read(upload=1, limit=last)
    return d


@pytest.mark.parametrize("last", [12, 1 << 20])
def test_a_fragment_stored_before_an_older_one_is_not_sent_again(desk: Desks, last: int) -> None:
    """The older upload's acks are missing; then both connections are lost.

    The first bytes of the next fragment are enough to end the stored one.
    """
    d = overlap_uploads(desk, last=last)
    d.ack("PERSISTED", 2, upload=1)
    assert d.stream.account() == (15, 5, 0, 0, 10)
    stored = [d.stream._core.buffer.view[index] for index in range(8, 13)]
    assert all(item.flags & SKIP for item in stored)
    assert lose_connection(d, 599).count(b"data") == 8, "fragments 0 and 1, which end their session"
    d.ack("PERSISTED", 0)
    d.ack("PERSISTED", 1)
    d.stream.stop(d.now)
    d.read()
    assert d.read()[0].count(b"data") == 2, "fragment 3"
    d.ack("PERSISTED", 3)
    assert d.stream.account() == (15, 15, 0, 0, 0)
    assert d.stream.metrics(d.now).counters.skipped_frames == 0


def test_a_later_ack_of_the_newer_upload_covers_its_earlier_fragments(desk: Desks) -> None:
    """The ack of fragment 2 was lost; that of fragment 3 covers it."""
    d = overlap_uploads(desk)
    d.put(20)
    d.read(upload=1)
    d.ack("PERSISTED", 3, upload=1)
    assert d.stream.account() == (16, 7, 0, 0, 9)
    d.ack("PERSISTED", 1, upload=0)
    assert d.stream.account() == (16, 15, 0, 0, 1)
    assert len(d.stream._core.buffer.view) == 1


def test_persisted_without_a_timecode_is_for_the_oldest_complete_fragment(desk: Desks) -> None:
    """One ack settles one fragment, and never the open one."""
    d = desk()
    for index in range(13):
        d.put(index)
    d.read()
    ack = FragmentAck(kvs.AckType.PERSISTED, None)
    for stored, rejected in ((5, 0), (10, 0), (10, 1)):
        d.stream.receive_parsed_ack(d.upload, ack, d.now)
        d.settle()
        assert d.stream.account().persisted == stored
        assert len(d.reported(ev.AckRejected)) == rejected
    assert lose_connection(d, 500).count(b"data") == 3


def test_an_open_stored_fragment_is_sent_again_only_if_it_grows(
    desk: Desks,
) -> None:
    """A service that ends an idle connection stores the part that it has."""
    d = desk()
    for index in range(3):
        d.put(index)
    d.read()
    for kind in ("BUFFERING", "RECEIVED", "PERSISTED"):
        d.ack(kind, 0)
    assert d.stream.account() == (3, 3, 0, 0, 0)
    for _ in range(3):
        assert lose_connection(d, 200) == b""
    d.put(3)
    assert d.read()[0].count(b"data") == 4
    assert d.stream.account() == (4, 3, 0, 0, 1)
    assert lose_connection(d, 599).count(b"data") == 4, "nothing has stored the newest frame"
    assert d.stream.account() == (4, 3, 0, 0, 1)


def test_frames_after_an_early_ack_of_an_open_fragment_are_not_covered(desk: Desks) -> None:
    """They were sent on the same connection, which is then lost."""
    d = desk(replay_duration=0)
    d.put(0)
    d.read()
    d.ack("RECEIVED", 0)
    d.ack("PERSISTED", 0)
    d.put(1)
    d.read()
    assert lose_connection(d, 500).count(b"data") == 2
    assert d.stream.account() == (2, 1, 0, 0, 1)
