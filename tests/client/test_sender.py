"""The read path: cuts at any byte, the ends of sessions, and who is given what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.mkv.tags import end_of_fragment_tag
from kvsproducer.status import KvsError, StatusCode

SECOND = 10_000_000
EBML = bytes.fromhex("1a45dfa3")
CLUSTER = bytes.fromhex("1f43b675")
More = kvs.ReadStatus
Desks = Callable[..., Any]


def stopped(desk: Desks) -> Any:
    d = desk()
    for index in range(3):
        d.put(index)
    d.stream.stop(d.now)
    return d


def test_a_session_may_be_cut_at_every_byte(desk: Desks) -> None:
    """Stream header, block, and the tag at its end: two reads of any sizes give the same bytes."""
    whole, status = stopped(desk).read()
    assert status is More.AWAITING_PERSISTED_ACK
    assert whole.startswith(EBML)
    assert whole.endswith(end_of_fragment_tag())
    for cut in range(1, len(whole)):
        d = stopped(desk)
        first, status = d.read(limit=cut)
        assert (len(first), status) == (cut, More.MORE)
        rest, status = d.read()
        assert first + rest == whole
        assert status is More.AWAITING_PERSISTED_ACK


def test_byte_by_byte_the_limit_is_kept(desk: Desks) -> None:
    """Every read but the last gives one byte and says MORE, the end-of-stream tag included."""
    whole, _ = stopped(desk).read()
    d = stopped(desk)
    reads = [d.read(limit=1) for _ in range(len(whole))]
    assert b"".join(data for data, _ in reads) == whole
    assert {status for _, status in reads[:-1]} == {More.MORE}


def test_each_read_status_has_the_status_of_aws_s_client() -> None:
    """Those that getKinesisVideoStreamData returns."""
    assert {kind: kind.status for kind in More} == {
        More.MORE: StatusCode.SUCCESS,
        More.NO_MORE_DATA: StatusCode.NO_MORE_DATA_AVAILABLE,
        More.AWAITING_PERSISTED_ACK: StatusCode.AWAITING_PERSISTED_ACK,
        More.END_OF_STREAM: StatusCode.END_OF_STREAM,
        More.ABORTED: StatusCode.END_OF_STREAM,
    }


@pytest.mark.parametrize(
    ("upload", "limit", "status"),
    [
        (0, 0, StatusCode.INVALID_ARG),
        (0, -1, StatusCode.INVALID_ARG),
        (-1, 1, StatusCode.INVALID_ARG),
        (2**64 - 1, 1, StatusCode.INVALID_ARG),
        (7, 1, StatusCode.UPLOAD_HANDLE_ABORTED),
    ],
)
def test_bad_reads_have_their_status(
    desk: Desks, upload: int, limit: int, status: StatusCode
) -> None:
    """And cost no byte."""
    d = stopped(desk)
    with pytest.raises(KvsError) as caught:
        d.stream.next_buffers(upload, limit, d.now)
    assert caught.value.status is status
    assert d.read()[0] == stopped(desk).read()[0]


def test_an_upload_that_was_given_up_says_so_once(desk: Desks) -> None:
    """ABORTED, then it is forgotten; nothing of the media goes to it."""
    d = desk()
    d.put(0)
    d.read()
    d.ack("ERROR", 0, error=4000)
    assert d.read(upload=0) == (b"", More.ABORTED)
    with pytest.raises(KvsError) as caught:
        d.read(upload=0)
    assert caught.value.status is StatusCode.UPLOAD_HANDLE_ABORTED
    assert d.read()[0].startswith(EBML)


def test_an_upload_that_waits_for_its_turn_is_given_nothing(desk: Desks) -> None:
    """While the older one still has media of its session to send."""
    d = desk()
    d.token_life = 60 * SECOND
    d.put(0)
    d.read()
    d.now += 58 * SECOND
    d.put(1)
    assert d.upload == 1
    assert d.read(upload=1) == (b"", More.NO_MORE_DATA)
    assert b"data" in d.read(upload=0)[0]


def test_a_session_of_one_is_cut_off_where_the_next_begins(desk: Desks) -> None:
    """The old upload ends with a tag, the new one begins with a stream header."""
    d = desk()
    d.token_life = 60 * SECOND
    d.put(0)
    first, _ = d.read()
    d.now += 58 * SECOND
    d.put(1)
    d.now += 10 * SECOND
    d.put(5)
    rest, status = d.read(upload=0)
    assert (first + rest).count(CLUSTER) == 1
    assert rest.endswith(end_of_fragment_tag())
    assert status is More.AWAITING_PERSISTED_ACK
    assert d.read(upload=1)[0].startswith(EBML)


def test_no_block_is_sent_without_its_cluster(desk: Desks) -> None:
    """Frames whose fragment start was dropped for room are dropped too, and said to be."""
    d = desk(buffer_duration=2 * SECOND, view_overflow_policy=0)
    for index in range(12):
        d.put(index, data=f"frame {index}.".encode())
    data, _ = d.read()
    assert [n for n in range(12) if f"frame {n}.".encode() in data] == [5, 6, 7, 8, 9, 10, 11]
    assert d.stream.account().dropped == 5
    assert data.startswith(EBML)


def test_a_stopped_stream_without_acks_ends_its_upload_at_once(desk: Desks) -> None:
    """There is no ack to wait for: the last read closes the stream."""
    d = desk(fragment_acks=False)
    d.put(0)
    d.stream.stop(d.now)
    assert d.read()[1] is More.END_OF_STREAM
    assert d.stream.closed
    assert d.stream.account() == (1, 1, 0, 0, 0)
