"""The read path: cuts at any byte, the end of sessions, and which upload gets which data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.heap import ArenaStore
from kvsproducer.heap.store import Payload, StoredPayload
from kvsproducer.mkv.tags import end_of_fragment_tag
from kvsproducer.status import KvsError, StatusCode, kvs_error

SECOND = 10_000_000
EBML = bytes.fromhex("1a45dfa3")
CLUSTER = bytes.fromhex("1f43b675")
More = kvs.ReadStatus
Desks = Callable[..., Any]


def stop_with_frames(desk: Desks) -> Any:
    d = desk()
    for index in range(3):
        d.put(index)
    d.stream.stop(d.now)
    return d


def test_a_session_may_be_split_at_every_byte(desk: Desks) -> None:
    """Two reads of any sizes give the same bytes, including stream header and end tag."""
    whole, status = stop_with_frames(desk).read()
    assert status is More.AWAITING_PERSISTED_ACK
    assert whole.startswith(EBML)
    assert whole.endswith(end_of_fragment_tag())
    for cut in range(1, len(whole)):
        d = stop_with_frames(desk)
        first, status = d.read(limit=cut)
        assert (len(first), status) == (cut, More.MORE)
        rest, status = d.read()
        assert first + rest == whole
        assert status is More.AWAITING_PERSISTED_ACK


def test_reads_of_one_byte_keep_the_limit(desk: Desks) -> None:
    """Every read except the last returns one byte and MORE, including the end-of-stream tag."""
    whole, _ = stop_with_frames(desk).read()
    d = stop_with_frames(desk)
    reads = [d.read(limit=1) for _ in range(len(whole))]
    assert b"".join(data for data, _ in reads) == whole
    assert {status for _, status in reads[:-1]} == {More.MORE}


def test_each_read_status_has_a_status_of_aws_s_client() -> None:
    """They are the ones that getKinesisVideoStreamData returns."""
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
    """No byte is lost."""
    d = stop_with_frames(desk)
    with pytest.raises(KvsError) as caught:
        d.stream.next_buffers(upload, limit, d.now)
    assert caught.value.status is status
    assert d.read()[0] == stop_with_frames(desk).read()[0]


def test_an_aborted_upload_returns_aborted_once(desk: Desks) -> None:
    """After that it is removed; it gets no media."""
    d = desk()
    d.put(0)
    d.read()
    d.ack("ERROR", 0, error=4000)
    assert d.read(upload=0) == (b"", More.ABORTED)
    with pytest.raises(KvsError) as caught:
        d.read(upload=0)
    assert caught.value.status is StatusCode.UPLOAD_HANDLE_ABORTED
    assert d.read()[0].startswith(EBML)


def test_an_upload_that_waits_for_its_turn_gets_no_data(desk: Desks) -> None:
    """The older upload still has media of its session to send."""
    d = desk()
    d.token_life = 60 * SECOND
    d.put(0)
    d.read()
    d.now += 58 * SECOND
    d.put(1)
    assert d.upload == 1
    assert d.read(upload=1) == (b"", More.NO_MORE_DATA)
    assert b"data" in d.read(upload=0)[0]


def test_a_session_ends_where_the_next_begins(desk: Desks) -> None:
    """The old upload ends with a tag, and the new one begins with a stream header."""
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
    """If the start of a fragment was dropped, its other frames are dropped and reported too."""
    d = desk(buffer_duration=2, view_overflow_policy=0)
    for index in range(12):
        d.put(index, data=f"frame {index}.".encode())
    data, _ = d.read()
    assert [n for n in range(12) if f"frame {n}.".encode() in data] == [5, 6, 7, 8, 9, 10, 11]
    assert d.stream.account().dropped == 5
    assert data.startswith(EBML)


def test_a_stopped_stream_without_acks_ends_its_upload_at_once(desk: Desks) -> None:
    """No ack is expected, so the last read closes the stream."""
    d = desk(fragment_acks=False)
    d.put(0)
    d.stream.stop(d.now)
    assert d.read()[1] is More.END_OF_STREAM
    assert d.stream.closed
    assert d.stream.account() == (1, 1, 0, 0, 0)


class Damaged(ArenaStore):
    """A store that cannot return payloads that begin with `bad`."""

    def keep(self, payload: Payload, size: int) -> Payload | None:
        kept = super().keep(payload, size)
        assert isinstance(kept, StoredPayload)
        return Unreadable(kept) if bytes(payload[0]).startswith(b"bad") else kept


class Unreadable(StoredPayload):
    """A payload that is lost."""

    def __init__(self, kept: StoredPayload) -> None:
        super().__init__(kept._region, kept._handle)

    def __iter__(self) -> Iterator[bytes]:
        raise kvs_error(StatusCode.HEAP_CORRUPTED, "test")


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_frame_that_the_store_lost_is_dropped(desk: Desks, bad: int) -> None:
    """If it is the first one, its session begins with the next fragment."""
    d = desk(make_store=lambda size: Damaged(1 << 20))
    for index in range(12):
        d.put(index, data=b"bad!" if index == bad else b"data")
    data = d.read()[0]
    assert data.count(b"bad!") == 0
    assert data.startswith(EBML)
    assert next(event.reason for event in d.reported(ev.FrameDropped)) is ev.DropReason.UNREADABLE
    account = d.stream.account()
    assert account.accepted == account.dropped + account.held
    assert data.count(b"data") == account.held


def test_a_session_that_the_store_lost_begins_with_the_next_key_frame(desk: Desks) -> None:
    """Nothing of it is left, so the upload waits and gets no data before that."""
    d = desk(make_store=lambda size: Damaged(1 << 20))
    d.put(0, data=b"bad!")
    assert d.read() == (b"", More.NO_MORE_DATA)
    assert d.stream.account() == (1, 0, 1, 0, 0)
    d.put(1)
    assert d.read() == (b"", More.NO_MORE_DATA)
    d.put(5)
    data = d.read()[0]
    assert data.startswith(EBML)
    assert data.count(b"data") == 1


class Short(ArenaStore):
    """A store that returns fewer bytes of payloads that begin with `bad`."""

    def keep(self, payload: Payload, size: int) -> Payload | None:
        kept = super().keep(payload, size)
        return (b"ba",) if bytes(payload[0]).startswith(b"bad") else kept

    def free(self, payload: Payload) -> None:
        if isinstance(payload, StoredPayload):
            super().free(payload)


def test_a_frame_that_the_store_shortened_is_dropped(desk: Desks) -> None:
    """A block of another size than in its header would be corrupt."""
    d = desk(make_store=lambda size: Short(1 << 20))
    for index in range(5):
        d.put(index, data=b"bad!" if index == 2 else b"data")
    data = d.read()[0]
    assert data.count(b"data") == 4
    assert b"ba" not in data.replace(b"data", b"")
    statuses = [event.status for event in d.reported(ev.StreamErrorReported)]
    assert statuses == [StatusCode.VIEW_ITEM_SIZE_GREATER_THAN_ALLOCATION]
    assert d.stream.account() == (5, 0, 1, 0, 4)


def test_an_error_when_a_payload_is_freed_is_reported(desk: Desks) -> None:
    """The stream continues."""

    class Stubborn(ArenaStore):
        def free(self, payload: Payload) -> None:
            raise kvs_error(StatusCode.HEAP_CORRUPTED, "test")

    d = desk(make_store=lambda size: Stubborn(1 << 20))
    for index in range(7):
        d.put(index)
    d.read()
    d.ack("PERSISTED", 0)
    statuses = {event.status for event in d.reported(ev.StreamErrorReported)}
    assert statuses == {StatusCode.HEAP_CORRUPTED}
    assert d.stream.account().persisted == 5


def test_an_aborted_upload_is_over_at_its_next_read(desk: Desks) -> None:
    """This also holds while no other upload exists."""
    d = desk()
    d.put(0)
    d.read()
    d.stream.reset_connection(d.now)
    assert d.stream.next_buffers(0, 100, d.now) == ([], kvs.ReadStatus.ABORTED)
    d.settle()
    assert b"data" in d.read()[0]


def test_old_buffering_acks_do_not_make_a_connection_stale(desk: Desks) -> None:
    """Nothing was sent between the acknowledged frame and this one."""
    d = desk(connection_staleness_duration=1)
    d.put(0)
    d.read()
    d.ack("BUFFERING", 0)
    d.put(20, key=True)
    d.read()
    assert d.reported(ev.ConnectionStale) == []


def test_staleness_ignores_items_outside_the_view(desk: Desks) -> None:
    """The item on the wire was dropped, and the rest of it is still handed out."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
    d = desk(device, connection_staleness_duration=1, view_overflow_policy=0)
    d.put(0, data=bytes(300_000))
    d.read(limit=1000)
    for index in range(5, 12):
        d.put(index, data=bytes(150_000))
    assert d.stream._core.buffer.view.tail > 0
    rest, _ = d.read(limit=100_000)
    assert len(rest) == 100_000
    assert d.reported(ev.ConnectionStale) == []


def test_a_stream_header_needs_no_space(desk: Desks) -> None:
    """It is sent again although the store is full; the charges of the store stay correct."""
    d = desk()
    for index in range(7):
        d.put(index)
    d.read()
    store = d.client.store
    filler = store.available_bytes
    assert store.charge(filler)
    d.stream.upload_ended(0, 500, d.now)
    d.settle()
    assert d.read()[0].startswith(EBML)
    store.release(filler)
    d.stream.reset(d.now)
    assert store.used_bytes == 0


def test_a_session_that_ends_with_a_mark_gets_no_second_tag(desk: Desks) -> None:
    """There is one end-of-fragment tag."""
    d = desk()
    d.put(0)
    d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    d.stream.stop(d.now)
    data, status = d.read()
    assert data.count(b"END_OF_FRAGMENT") == 1
    assert status is kvs.ReadStatus.AWAITING_PERSISTED_ACK


def test_a_stream_stopped_after_everything_was_stored_ends_with_the_tag(desk: Desks) -> None:
    """No ack is expected."""
    d = desk()
    d.put(0)
    d.read()
    d.ack("PERSISTED", 0)
    d.stream.stop(d.now)
    data, status = d.read()
    assert b"END_OF_FRAGMENT" in data
    assert status is kvs.ReadStatus.END_OF_STREAM


def test_the_mark_of_a_refused_fragment_ends_the_one_before(desk: Desks) -> None:
    """So the service can store that one, although nothing follows it."""
    d = desk()
    for index in range(7):
        d.put(index)
    d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    d.read()
    d.ack("ERROR", 1, error=4006)
    data = d.read()[0]
    assert data.count(b"data") == 5
    assert data.count(b"END_OF_FRAGMENT") == 1


def test_a_writer_waits_for_the_fragment_before_a_refused_one(desk: Desks) -> None:
    """A mark ends that fragment, because its ack frees the space that the writer waits for."""
    d = desk(streaming_type=kvs.StreamingType.OFFLINE, buffer_duration=3)
    for index in range(15):
        d.put(index)
    d.read()
    d.ack("ERROR", 2, error=4006)
    data, _ = d.read()
    assert data.count(b"data") == 10
    with pytest.raises(kvs.WouldBlock):
        d.put(15)
    d.settle()
    assert b"END_OF_FRAGMENT" in d.read()[0]
    d.ack("PERSISTED", 1)
    d.put(15)
    assert d.stream.account() == (16, 10, 5, 0, 1)


def test_a_waiting_writer_does_not_end_the_open_fragment(desk: Desks) -> None:
    """Acks of the fragments before it free space, and the writer's frame will end it."""
    d = desk(streaming_type=kvs.StreamingType.OFFLINE, buffer_duration=3)
    for index in range(13):
        d.put(index)
    d.read()
    d.put(13, data=b"last")
    d.put(14, data=b"last")
    with pytest.raises(kvs.WouldBlock):
        d.put(15)
    data, status = d.read()
    assert data.count(b"last") == 2
    assert b"END_OF_FRAGMENT" not in data
    assert status is More.NO_MORE_DATA
    assert d.read() == (b"", More.NO_MORE_DATA)


def test_the_rest_of_a_dropped_fragment_is_not_sent(desk: Desks) -> None:
    """Its cluster was never sent, so the session continues with the next fragment."""
    d = desk(buffer_duration=3, view_overflow_policy=0)
    d.put(0)
    d.read()
    for index in range(1, 23):
        d.put(index)
    assert d.stream._core.buffer.view.tail == 8
    assert d.read()[0].count(b"data") == 13
    account = d.stream.account()
    assert (account.dropped, account.held) == (9, 14)


def test_a_session_begins_after_items_that_cannot_be_sent(desk: Desks) -> None:
    """These are the rest of a fragment without its start, and a refused fragment."""
    d = desk(buffer_duration=3, replay_duration=3, view_overflow_policy=0)
    for index in range(18):
        d.put(index)
        d.read()
    d.ack("ERROR", 1, error=4006)
    data = d.read()[0]
    assert data.startswith(EBML)
    assert data.count(b"data") == 8
    assert d.stream.account().held == 8


@pytest.mark.parametrize("acked", [True, False])
def test_a_long_fragment_with_a_buffering_ack_is_not_reported_as_trouble(
    desk: Desks, acked: bool
) -> None:
    """The service sends one BUFFERING ack per fragment; the shell acts only without it."""
    d = desk(connection_staleness_duration=1)
    d.put(0)
    d.read()
    if acked:
        d.ack("BUFFERING", 0)
    for index in range(1, 12):
        d.put(index, key=False)
    d.read()
    assert d.reported(ev.ConnectionStale)
    troubled = [e for e in d.effects if isinstance(e, kvs.ConnectionTroubled)]
    assert bool(troubled) is not acked
    assert [type(sign) for sign in d.stream.take_troubles()] == [ev.ConnectionStale] * (not acked)
    assert d.stream.take_troubles() == ()


def test_media_that_was_stored_is_not_waited_for_again(desk: Desks) -> None:
    """The service has stored its part of an open fragment, so it is not sent again."""
    d = desk()
    d.put(0)
    d.read()
    for kind in ("BUFFERING", "RECEIVED", "PERSISTED"):
        d.ack(kind, 0)
    d.stream.receive_ack(d.upload, b'{"EventType":"ERROR","ErrorId":4003}', d.now)
    d.settle()
    assert d.upload == 1
    d.stream.stop(d.now)
    data, status = d.read()
    assert data.count(b"data") == 0
    assert status is kvs.ReadStatus.END_OF_STREAM
    d.settle()
    assert d.reported(ev.StreamEnded)
    assert d.stream.account() == (1, 1, 0, 0, 0)
