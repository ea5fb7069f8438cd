"""A stream's life through its public methods: put, read, ack, loss, rotation, stop, reset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.heap import ReferenceStore
from kvsproducer.status import KvsError, StatusCode

NOW = 17_000_000_000_000_000
MS, SECOND = 10_000, 10_000_000
EBML = bytes.fromhex("1a45dfa3")
CLUSTER = bytes.fromhex("1f43b675")
Desks = Callable[..., Any]


@pytest.fixture(params=["reference", "arena", "files", "video memory"])
def store_kind(request: pytest.FixtureRequest) -> str:
    """Run every test of a stream with every kind of store."""
    return str(request.param)


def refused(action: Callable[[], object]) -> StatusCode:
    with pytest.raises(KvsError) as caught:
        action()
    return caught.value.status


def test_the_life_of_a_frame(desk: Desks) -> None:
    """It is put, read, acknowledged and settled; only the newest fragment is left in the store."""
    d = desk()
    d.settle()
    assert d.stream.ready
    for index in range(11):
        d.put(index)
    data, status = d.read()
    assert data.startswith(EBML)
    assert data.count(CLUSTER) == 3
    assert status is kvs.ReadStatus.NO_MORE_DATA
    d.ack("PERSISTED", 0)
    d.ack("PERSISTED", 1)
    assert d.stream.account() == (11, 10, 0, 0, 1)
    assert d.client.metrics(d.now).content_store_allocated_size < 3000
    d.stream.stop(d.now)
    assert d.read()[1] is kvs.ReadStatus.AWAITING_PERSISTED_ACK
    d.ack("PERSISTED", 2)
    assert kvs.DataAvailable("door", 0) in d.effects
    assert d.read() == (b"", kvs.ReadStatus.END_OF_STREAM)
    assert d.stream.closed
    assert d.stream.account() == (11, 11, 0, 0, 0)


def test_items_may_be_split_anywhere(desk: Desks) -> None:
    """Small reads give the same bytes as one large read; the payload is not copied."""
    payload = bytes(range(256)) * 40
    whole, pieces = desk(), desk()
    for d in (whole, pieces):
        for index in range(7):
            d.put(index, data=payload)
    joined = b"".join(pieces.read(limit=997)[0] for _ in range(80))
    assert joined == whole.read()[0]
    again = desk()
    again.put(0, data=payload)
    buffers, _ = again.stream.next_buffers(0, 1 << 20, again.now)
    by_reference = type(again.client.store) is ReferenceStore
    assert any(buffer is payload for buffer in buffers) is by_reference


def test_frames_before_a_key_frame_are_skipped_and_reported(desk: Desks) -> None:
    """They are not accepted."""
    d = desk()
    d.put(1)
    d.put(2)
    d.put(5)
    d.put(6)
    assert d.stream.account() == (2, 0, 0, 2, 2)
    assert [event.first for event in d.reported(ev.FrameSkipped)] == [
        d.now + 2_000_000,
        d.now + 4_000_000,
    ]


def test_data_available_is_emitted_once_per_idle_reader(desk: Desks) -> None:
    """Further frames emit no further effect."""
    d = desk()
    d.put(0)
    d.read()
    d.effects.clear()
    for index in range(1, 5):
        d.put(index)
    assert d.effects == [kvs.DataAvailable("door", 0)]


def test_errors_of_invalid_puts_and_reads(desk: Desks) -> None:
    """The first reason decides the status."""
    d = desk()
    d.put(0)
    assert refused(lambda: d.put(1, track_id=9)) is StatusCode.MKV_TRACK_INFO_NOT_FOUND
    assert refused(lambda: d.read(upload=7)) is StatusCode.UPLOAD_HANDLE_ABORTED
    assert refused(lambda: d.read(limit=0)) is StatusCode.INVALID_ARG
    d.stream.stop(d.now)
    assert refused(lambda: d.put(1)) is StatusCode.STREAM_HAS_BEEN_STOPPED
    assert (
        refused(lambda: d.stream.put_fragment_metadata("a", "b", False, d.now))
        is StatusCode.STREAM_HAS_BEEN_STOPPED
    )


def test_a_refused_frame_changes_nothing(desk: Desks) -> None:
    """Store, generator and accounts are as before."""
    d = desk()
    for index in range(6):
        d.put(index)
    before = d.stream.account(), d.client.store.used_bytes
    assert refused(lambda: d.put(3, key=False)) is StatusCode.MKV_INVALID_FRAME_TIMESTAMP
    assert refused(lambda: d.put(6, data=b"")) is StatusCode.MKV_INVALID_FRAME_DATA
    assert (d.stream.account(), d.client.store.used_bytes) == before
    d.put(6)
    before = d.stream.account(), d.client.store.used_bytes
    assert refused(lambda: d.put(0, key=True)) is StatusCode.CONTENT_VIEW_INVALID_TIMESTAMP
    assert (d.stream.account(), d.client.store.used_bytes) == before
    assert d.stream.metrics(d.now).counters.put_frame_errors == 3
    assert d.read()[0].count(CLUSTER) == 2


def test_end_of_fragment_frames(desk: Desks) -> None:
    """They write a tag, need a fragment, and must not be repeated."""
    d = desk()
    end = kvs.Frame.end_of_fragment()
    assert refused(lambda: d.stream.put_frame(end, d.now)) is StatusCode.CONTENT_VIEW_NO_MORE_ITEMS
    d.put(0)
    d.stream.put_frame(end, d.now)
    assert refused(lambda: d.stream.put_frame(end, d.now)) is StatusCode.MULTIPLE_CONSECUTIVE_EOFR
    d.put(1)
    assert d.stream.account().skipped == 1
    assert b"END_OF_FRAGMENT" in d.read()[0]
    by_time = desk(key_frame_fragmentation=False)
    by_time.put(0)
    assert (
        refused(lambda: by_time.stream.put_frame(end, by_time.now))
        is StatusCode.END_OF_FRAGMENT_FRAME_INVALID_STATE
    )


@pytest.mark.parametrize("streaming_type", kvs.StreamingType)
def test_a_fragment_can_be_ended_between_frames_with_long_durations(
    desk: Desks, streaming_type: kvs.StreamingType
) -> None:
    """The next frame may come before the end of the last one."""
    d = desk(streaming_type=streaming_type)
    for index in range(30):
        pts = d.now + index * 40 * MS
        d.stream.put_frame(kvs.Frame(b"x", pts, duration=SECOND, key_frame=index % 5 == 0), d.now)
        if index % 10 == 4:
            d.stream.end_fragment(d.now)
        d.settle()
    assert d.stream.account().accepted == 30
    assert d.reported(kvs.FrameSkipped) == []


def test_a_lost_connection_is_replayed_with_a_header(desk: Desks) -> None:
    """Media without an ack is sent again; a RECEIVED fragment is not, if the host is alive."""
    d = desk()
    for index in range(12):
        d.put(index)
    d.read()
    d.ack("RECEIVED", 0)
    d.stream.upload_ended(0, 200, d.now)
    d.settle()
    data, _ = d.read()
    assert data.startswith(EBML)
    assert data.count(CLUSTER) == 2
    d.ack("PERSISTED", 1)
    account = d.stream.account()
    assert (account.persisted, account.dropped, account.held) == (5, 5, 2)
    assert d.reported(ev.FrameDropped)[0].reason is ev.DropReason.UNCONFIRMED


def test_a_time_out_with_everything_sent_starts_a_session_at_once(desk: Desks) -> None:
    """The stream does not wait for the next key frame (DEFECTS 5)."""
    d = desk()
    for index in range(7):
        d.put(index)
    d.read()
    d.stream.upload_ended(0, 504, d.now)
    d.settle()
    assert d.upload == 1
    d.put(7)
    assert d.stream.account().skipped == 0
    assert d.read()[0].count(b"data") == 8


def test_a_failed_put_media_is_repeated(desk: Desks) -> None:
    """A result of 500 after the body was sent does not block `stop` (DEFECTS 6)."""
    d = desk()
    d.put(0)
    d.stream.stop(d.now)
    d.read()
    d.stream.upload_ended(0, 500, d.now)
    d.settle()
    assert d.read()[1] is kvs.ReadStatus.AWAITING_PERSISTED_ACK
    d.ack("PERSISTED", 0)
    d.read()
    assert d.stream.closed
    assert d.stream.account() == (1, 1, 0, 0, 0)


def test_an_error_ack_drops_the_fragment_that_it_names(desk: Desks) -> None:
    """Its frames are reported; the fragments around it are sent again."""
    d = desk()
    for index in range(12):
        d.put(index)
    d.read()
    d.ack("ERROR", 1, error=4006)
    assert kvs.UploadAborted("door", 0) in d.effects
    assert d.reported(ev.StreamErrorReported)[0].status is StatusCode.ACK_ERR_INVALID_MKV_DATA
    assert d.reported(ev.FrameDropped) == [
        ev.FrameDropped("door", NOW + SECOND, NOW + 18 * SECOND // 10, 5, ev.DropReason.REFUSED)
    ]
    assert d.read(upload=0) == (b"", kvs.ReadStatus.ABORTED)
    assert d.read()[0].count(CLUSTER) == 2
    d.ack("ERROR", 0, error=5000)
    assert d.stream.account().dropped == 5


def test_an_ack_for_an_unknown_fragment_is_rejected(desk: Desks) -> None:
    """Late and duplicate acks can happen."""
    d = desk()
    for index in range(11):
        d.put(index)
    d.read()
    d.ack("PERSISTED", 0)
    d.ack("PERSISTED", 0)
    assert d.reported(ev.AckRejected)[0].status is StatusCode.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW
    d.ack("PERSISTED", 1)
    assert d.stream.account().persisted == 10
    d.stream.receive_parsed_ack(0, kvs.FragmentAck(kvs.AckType.UNDEFINED), d.now)
    d.settle()
    assert d.reported(ev.AckRejected)[1].status is StatusCode.INVALID_FRAGMENT_ACK_TYPE


def test_a_token_is_rotated_without_a_gap(desk: Desks) -> None:
    """The new upload begins at a key frame, with a header, after the old one has finished."""
    d = desk()
    d.age_token()
    d.put(7)
    assert d.upload == 1
    assert d.read(upload=1) == (b"", kvs.ReadStatus.NO_MORE_DATA)
    d.now += 4 * SECOND
    d.put(10)
    d.put(11)
    old, status = d.read(upload=0)
    assert old.count(b"data") == 1
    assert status is kvs.ReadStatus.AWAITING_PERSISTED_ACK
    assert d.read(upload=1)[0].startswith(EBML)
    d.ack("PERSISTED", 2, upload=1)
    assert d.stream.account().persisted == 0
    d.ack("PERSISTED", 0, upload=0)
    d.ack("PERSISTED", 1, upload=0)
    assert d.read(upload=0)[1] is kvs.ReadStatus.END_OF_STREAM
    assert d.stream.account().dropped == 0


def test_a_token_that_expires_too_soon_keeps_the_old_session(desk: Desks) -> None:
    """The frame is not lost (DEFECTS 8)."""
    d = desk()
    d.token_life = 40 * SECOND
    d.put(0)
    d.read()
    short = (200, kvs.AuthInfo(expiration=d.now + 50 * SECOND))
    d.answers[kvs.GetStreamingToken] = [short]
    d.now += 38 * SECOND
    d.put(1)
    assert d.reported(ev.StreamErrorReported)[0].status is StatusCode.INVALID_TOKEN_EXPIRATION
    assert d.stream.account().held == 2
    assert d.upload == 1


def test_an_offline_writer_waits_and_is_woken(desk: Desks) -> None:
    """`WouldBlock` changes nothing; a PERSISTED ack frees space."""
    d = desk(streaming_type=kvs.StreamingType.OFFLINE, buffer_duration=3)
    for index in range(15):
        d.put(index)
    with pytest.raises(kvs.WouldBlock) as blocked:
        d.put(15)
    assert blocked.value.deadline == d.now + 15 * SECOND
    assert d.stream.account().accepted == 15
    d.read()
    d.ack("PERSISTED", 0)
    assert kvs.SpaceAvailable("door") in d.effects
    d.put(15)


@pytest.mark.parametrize("by_fragment", [False, True])
def test_a_full_store_drops_and_reports_the_oldest_frames(desk: Desks, by_fragment: bool) -> None:
    """It drops single frames or fragments; the rest starts with a header and a cluster."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
    d = desk(device, view_overflow_policy=int(by_fragment))
    for index in range(20):
        d.put(index, data=b"x" * 90_001)
    account = d.stream.account()
    drops = d.reported(ev.FrameDropped)
    assert account.dropped == sum(event.count for event in drops) > 0
    # A group of pictures that is dropped in one step is one event.
    assert {event.count for event in drops} == {5 if by_fragment else 1}
    assert account.held == 20 - account.dropped
    data, _ = d.read()
    assert data.startswith(EBML)
    assert d.stream.account().accepted == 20


def test_frames_that_never_fit_are_refused_at_once(desk: Desks) -> None:
    """Nothing is dropped for them."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
    d = desk(device)
    d.put(0)
    assert refused(lambda: d.put(1, data=bytes(1 << 20))) is StatusCode.STORE_OUT_OF_MEMORY
    d.put(1, data=bytes(600_000))
    d.put(2, data=bytes(600_000))
    assert d.stream.account().accepted == 3
    oom = desk(device, store_pressure_policy=kvs.StorePressurePolicy.OOM)
    oom.put(0, data=bytes(300_000))
    assert refused(lambda: oom.put(1, data=bytes(600_000))) is StatusCode.STORE_OUT_OF_MEMORY


def test_pressures_are_reported(desk: Desks) -> None:
    """Latency and buffer duration are checked with each frame."""
    d = desk(buffer_duration=4, max_latency=2)
    for index in range(20):
        d.put(index)
    assert d.reported(ev.StreamLatencyPressure)[0].duration == 22_000_000
    assert d.reported(ev.BufferDurationPressure)[0].remaining == 2_000_000


def test_staleness_is_reported(desk: Desks) -> None:
    """No BUFFERING ack came for more media than allowed."""
    d = desk(connection_staleness_duration=1)
    for index in range(7):
        d.put(index)
    d.read()
    assert d.reported(ev.ConnectionStale)[0].duration == 12_000_000
    d.ack("BUFFERING", 1)
    d.put(7)
    d.read()
    assert len(d.reported(ev.ConnectionStale)) == 1


def test_metadata_goes_with_the_next_fragment(desk: Desks) -> None:
    """Persistent items repeat; items without a fragment are sent at the end."""
    d = desk()
    d.stream.put_fragment_metadata("once", "1", False, d.now)
    d.stream.put_fragment_metadata("always", "2", True, d.now)
    assert refused(lambda: d.stream.put_event(1, d.now)) is StatusCode.STREAM_NOT_STARTED
    for index in range(6):
        d.put(index)
    d.stream.put_event(1, d.now, image_prefix="p", pairs=[("k", "v")])
    assert refused(lambda: d.stream.put_event(1, d.now)) is StatusCode.DUPLICATE_STREAM_EVENT_TYPE
    data, _ = d.read()
    assert (data.count(b"once"), data.count(b"always")) == (1, 2)
    d.stream.stop(d.now)
    assert b"IMAGE_GENERATION" in d.read()[0]


def test_reset_reports_everything_and_starts_over(desk: Desks) -> None:
    """Sent frames are unconfirmed, the others reset; the next session begins at a key frame."""
    d = desk()
    for index in range(7):
        d.put(index)
    d.read(limit=250)
    d.stream.reset(d.now)
    d.settle()
    reasons = {event.reason for event in d.reported(ev.FrameDropped)}
    assert reasons == {ev.DropReason.UNCONFIRMED, ev.DropReason.RESET}
    assert d.stream.account() == (7, 0, 7, 0, 0)
    assert d.client.store.used_bytes == 0
    d.put(8)
    d.put(10)
    assert d.read()[0].startswith(EBML)


def test_closing_the_client_releases_everything(desk: Desks) -> None:
    """Held frames count as dropped."""
    d = desk()
    for index in range(7):
        d.put(index)
    d.client.close(d.now)
    d.settle()
    assert d.stream.closed
    assert d.client.store.used_bytes == 0
    assert d.stream.account() == (7, 0, 7, 0, 0)
    assert refused(lambda: d.put(7)) is StatusCode.STREAM_HAS_BEEN_STOPPED


def test_an_idle_stream_ends_its_fragment(desk: Desks) -> None:
    """The client's timer does it for an intermittent producer."""
    d = desk(kvs.DeviceInfo())
    d.put(0)
    for _ in range(5):
        assert b"END_OF_FRAGMENT" not in d.read()[0]
        d.now = d.client.next_timer()
        d.client.handle_timer(d.now)
        d.settle()
    assert b"END_OF_FRAGMENT" in d.read()[0]


def test_without_acks_sent_frames_are_settled(desk: Desks) -> None:
    """With acks but without retention, RECEIVED frames are settled."""
    d = desk(fragment_acks=False)
    d.put(0)
    d.put(1)
    d.read()
    assert d.stream.account().held == 0
    e = desk(retention=0)
    for index in range(6):
        e.put(index)
    e.read()
    e.ack("RECEIVED", 0)
    assert e.stream.account() == (6, 5, 0, 0, 1)
    e.stream.stop(e.now)
    assert e.read()[1] is kvs.ReadStatus.AWAITING_PERSISTED_ACK
    e.ack("RECEIVED", 1)
    assert e.stream.account() == (6, 6, 0, 0, 0)
    assert e.read()[1] is kvs.ReadStatus.END_OF_STREAM


def test_frames_of_two_tracks_are_ordered() -> None:
    """They are ordered by time, and equal times are moved; `stop` sends waiting frames."""
    client = kvs.Client(kvs.DeviceInfo(), now=0, dice=lambda sides: sides // 2)
    stream = client.open_stream(
        kvs.StreamInfo.audio_video("h264", "aac", name="av", nal_adaptation=0, frame_order_mode=3),
        0,
    )
    for pts, track in ((0, 1), (20, 1), (0, 2), (10, 2)):
        stream.put_frame(
            kvs.Frame(
                bytes([track]), pts * 10_000, key_frame=pts == 0 and track == 1, track_id=track
            ),
            0,
        )
    order = [
        (item.ack_timestamp // 10_000, item.payload)
        for item in stream._core.buffer.view.items.values()
    ]
    assert order == [(0, (b"\1",)), (1, (b"\2",)), (10, (b"\2",))]
    assert stream.account().held == 4
    assert (
        refused(lambda: stream.put_frame(kvs.Frame.end_of_fragment(), 0))
        is StatusCode.SETTING_KEY_FRAME_FLAG_WHILE_USING_EOFR
    )
    for number in range(2000):
        stream.put_frame(kvs.Frame(b"a", 300_000 + number * 1000, track_id=1), 0)
    assert (
        refused(lambda: stream.put_frame(kvs.Frame(b"a", 3 * 10**6, track_id=1), 0))
        is StatusCode.MAX_FRAME_TIMESTAMP_DELTA_BETWEEN_TRACKS_EXCEEDED
    )
    stream.stop(0)
    assert len(stream._core.buffer.view) == stream.account().accepted


def audio_and_video(mode: int = 5) -> Any:
    client = kvs.Client(kvs.DeviceInfo(), now=0, dice=lambda sides: sides // 2)
    info = kvs.StreamInfo.audio_video(
        "h264", "aac", name="av", nal_adaptation=0, frame_order_mode=mode
    )
    return client.open_stream(info, 0)


def test_a_reset_drops_frames_that_wait_for_another_track() -> None:
    """They were accepted, so they are counted as dropped."""
    stream = audio_and_video()
    stream.put_frame(kvs.Frame(b"v", 17 * 10**15, key_frame=True, track_id=1), 0)
    assert stream.account().held == 1
    stream.reset(0)
    assert stream.account() == (1, 0, 1, 0, 0)


def test_an_end_of_fragment_stores_frames_that_wait_for_another_track() -> None:
    """Frames after it that need a key frame are not accepted."""
    stream = audio_and_video()
    stream.put_frame(kvs.Frame(b"v", 17 * 10**15, key_frame=True, track_id=1), 0)
    stream.put_frame(kvs.Frame.end_of_fragment(), 0)
    assert stream.account() == (1, 0, 0, 0, 1)
    for time in (1, 2):
        stream.put_frame(kvs.Frame(b"v", 17 * 10**15 + time * SECOND, track_id=1), 0)
        stream.put_frame(kvs.Frame(b"a", 17 * 10**15 + time * SECOND, track_id=2), 0)
    assert stream.account().skipped == 3
    assert stream.account().accepted == 2


def test_open_fragment_is_the_time_of_its_first_frame(desk: Desks) -> None:
    """None while no fragment is open, or if its first frame is not held any more."""
    d = desk(buffer_duration=3, view_overflow_policy=0)
    assert d.stream.open_fragment is None
    d.put(0)
    d.put(1)
    assert d.stream.open_fragment == d.now
    d.stream.end_fragment(d.now)
    assert d.stream.open_fragment is None
    d.put(5)
    assert d.stream.open_fragment == d.now + SECOND
    for index in range(6, 25):
        d.put(index, key=False)
    assert d.stream.account().dropped > 2
    assert d.stream.open_fragment is None


def test_put_waiting_does_nothing_in_a_stopped_stream(desk: Desks) -> None:
    """The frames that waited were put by `stop`."""
    d = desk()
    d.put(0)
    d.stream.stop(d.now)
    before = d.stream.account()
    d.stream.put_waiting(d.now)
    assert d.stream.account() == before == (1, 0, 0, 0, 1)
