"""Waits that must end, frames that must be settled, and full buffers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.status import KvsError, StatusCode

Desks = Callable[..., Any]
SECOND = 10_000_000
MIB = 1 << 20


def offline(**info: object) -> dict[str, object]:
    return {"streaming_type": kvs.StreamingType.OFFLINE, "frame_rate": 30, **info}


def test_space_freed_by_one_stream_wakes_the_writers_of_another(desk: Desks) -> None:
    """The streams of a client share its store."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=MIB))
    d = desk(device, **offline())
    other = d.client.open_stream(
        kvs.StreamInfo.video("h264", nal_adaptation=0, **offline(name="other")), d.now
    )
    d.settle()
    d.put(0, data=b"x" * 300_000)
    d.put(1, data=b"x" * 100_000)
    d.put(5)
    d.read()
    with pytest.raises(kvs.WouldBlock):
        other.put_frame(kvs.Frame(b"y" * 700_000, d.now, key_frame=True), d.now)
    d.effects.clear()
    d.ack("PERSISTED", 0)
    d.settle()
    assert kvs.SpaceAvailable("other") in d.effects


def test_a_fragment_longer_than_the_buffer_does_not_wait_for_its_own_ack(desk: Desks) -> None:
    """The service acknowledges only complete fragments, so the wait would never end."""
    d = desk(**offline(buffer_duration=4))
    d.put(0)
    for index in range(1, 31):  # 6 s
        d.put(index, key=False)
    assert d.stream.account().accepted == 31
    d.put(31, key=True)
    with pytest.raises(kvs.WouldBlock):
        d.put(32)


def test_a_frame_too_large_for_the_store_does_not_change_the_reserve(desk: Desks) -> None:
    """The reserve depends on the largest accepted frame."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=MIB))
    d = desk(device, **offline())
    with pytest.raises(KvsError) as caught:
        d.put(0, data=b"x" * (2 * MIB + 1))
    assert caught.value.status is StatusCode.STORE_OUT_OF_MEMORY
    for second in range(5):
        d.put(second)
    assert d.stream.account().held == 5


def test_sent_frames_that_are_not_sent_again_are_settled_with_their_connection(
    desk: Desks,
) -> None:
    """Without replay, no ack can come for them."""
    d = desk(replay_duration=0)
    d.put(0)
    d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    d.read()
    d.stream.upload_ended(d.upload, 599, d.now)
    d.settle()
    assert d.stream.account() == kvs.FrameAccount(1, 0, 1, 0, 0)
    assert [event.reason for event in d.reported(ev.FrameDropped)] == [ev.DropReason.UNCONFIRMED]


def test_a_refused_key_frame_does_not_reopen_an_ended_fragment(desk: Desks) -> None:
    """A block after an end-of-fragment tag would be invalid."""
    d = desk()
    d.put(0)
    d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    with pytest.raises(KvsError):
        d.put(1, key=True, data=b"")
    d.put(2, key=False)
    d.settle()
    assert d.stream.account().accepted == 1
    assert len(d.reported(ev.FrameSkipped)) == 1


def test_an_ack_for_a_fragment_that_was_never_sent_settles_nothing(desk: Desks) -> None:
    """This includes frames that left the view without an ack."""
    d = desk(buffer_duration=1, frame_rate=30, replay_duration=0)
    for second in range(4):
        d.put(second)
        d.read()
    held = d.stream.account().held
    assert held
    d.ack("PERSISTED", 3000)
    assert d.stream.account().held == held


def test_a_reset_stream_of_a_failed_client_fails_again(desk: Desks) -> None:
    """The client makes no more calls, so the stream would wait without end."""
    d = desk()
    d.answers[kvs.GetSecurityToken] = [(404, None)]
    d.settle()
    assert d.stream.failure is not None
    d.stream.reset(d.now)
    assert d.stream.failure is not None
    d.stream.stop(d.now)
    assert d.stream.closed


def test_frames_in_the_order_coordinator_are_not_lost_by_a_wait(desk: Desks) -> None:
    """They were accepted; when an older frame raises WouldBlock, the newer one is refused."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=MIB))
    tracks = kvs.StreamInfo.audio_video("h264", "aac").tracks
    mode = kvs.FrameOrderMode.PTS_ONE_MS_COMPENSATE_EOFR
    d = desk(device, **offline(tracks=tracks, frame_order_mode=mode))
    for second in range(60):
        for track in (1, 2):
            before = d.stream.account()
            frame = kvs.Frame(
                b"x" * 12_000, d.now + second * SECOND, key_frame=track == 1, track_id=track
            )
            try:
                d.stream.put_frame(frame, d.now)
            except kvs.WouldBlock:
                assert d.stream.account() == before
    d.stream.stop(d.now)
    account = d.stream.account()
    assert account.accepted == account.held


def test_queued_frames_may_wait_for_space_before_the_stream_stops(desk: Desks) -> None:
    """Another stream has filled the store; `stop` alone would drop them."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=MIB))
    d = desk(device, **offline())
    mode = kvs.FrameOrderMode.DTS_ONE_MS_COMPENSATE_EOFR
    order = offline(name="both", frame_order_mode=mode)
    info = kvs.StreamInfo.audio_video("h264", "alaw", nal_adaptation=0, **order)
    both = d.client.open_stream(info, d.now)
    d.settle()
    both.put_frame(kvs.Frame(b"sound", d.now, track_id=2), d.now)
    for index in range(9):  # they wait for more sound
        picture = kvs.Frame(bytes(25_000), d.now + index * SECOND // 10, key_frame=index == 0)
        both.put_frame(picture, d.now)
    assert both.waiting == 8
    index = 0
    with pytest.raises(kvs.WouldBlock):
        for index in range(60):
            d.put(index, data=bytes(40_000))
    with pytest.raises(kvs.WouldBlock):
        both.put_waiting(d.now)
    d.read()
    d.ack("PERSISTED", index // 5 - 1)
    both.put_waiting(d.now)
    both.stop(d.now)
    assert both.account().accepted == both.account().held >= 9


def test_without_acks_no_frame_stays_unacknowledged(desk: Desks) -> None:
    """A frame on the wire that left the view counts as stored once it was handed out."""
    d = desk(fragment_acks=False, buffer_duration=1, frame_rate=30)
    d.put(0, data=b"x" * 1000)
    d.read(limit=600)
    for index in range(1, 8):
        d.put(index)
    d.read()
    assert d.stream.account().held == 0


def test_the_mark_of_a_refused_fragment_ends_the_one_before(desk: Desks) -> None:
    """Otherwise the service would wait for the rest of it, and a flush for the service."""
    d = desk(replay_duration=120)
    d.put(0)
    d.put(5)
    d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    d.read()
    d.ack("ERROR", 1, error=4009)
    d.stream.upload_ended(d.upload, 200, d.now)
    d.settle()
    sent, _ = d.read()
    assert sent.count(b"AWS_KINESISVIDEO_END_OF_FRAGMENT") == 1


def test_a_stopped_stream_without_usable_frames_ends_its_upload(desk: Desks) -> None:
    """The remaining frames have lost their cluster; they are dropped, and the stream closes."""
    d = desk(view_overflow_policy=0, buffer_duration=1, frame_rate=30)
    d.put(0)
    for index in range(1, 8):
        d.put(index, key=False)
    d.stream.stop(d.now)
    d.settle()
    d.read()
    assert d.stream.account() == kvs.FrameAccount(8, 0, 8, 0, 0)
    assert d.stream.closed


def test_a_session_that_is_sent_again_is_not_joined_to_the_one_before(desk: Desks) -> None:
    """Relative timecodes start at 0 in each session, so it must be a session again."""
    d = desk(absolute_fragment_times=False, replay_duration=120)
    d.put(0)
    d.stream._core.refuse_until_key(new_session=True)
    d.put(5)
    d.put(10)
    d.read(0)
    d.stream._core.uploads.remove(d.stream._core.uploads.find(0))
    d.stream._control.handle_loss(200, d.now)
    d.settle()
    second = d.upload
    d.read(second)
    d.stream._core.buffer.view.rewind(0)
    d.stream.upload_ended(second, 599, d.now)
    d.settle()
    sent, _ = d.read()
    assert sent.count(bytes.fromhex("1a45dfa3")) == 1
    assert sent.count(bytes.fromhex("1f43b675")) == 1


def test_the_space_of_a_sent_stream_header_wakes_the_writer(desk: Desks) -> None:
    """A few hundred bytes may be all that a waiting writer needs."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=MIB))
    d = desk(device, **offline())
    d.put(0)
    d.put(1)
    d.put(5)
    store = d.client.store
    free = store.size_bytes - store.used_bytes
    with pytest.raises(kvs.WouldBlock):
        d.put(6, data=b"x" * (free // 2))
    d.effects.clear()
    used = store.used_bytes
    d.read()
    assert store.used_bytes < used
    assert kvs.SpaceAvailable("door") in d.effects


def test_a_partly_sent_refused_fragment_frees_its_space(desk: Desks) -> None:
    """The rest of it is not sent; a partly sent frame before it does not matter."""
    d = desk(**offline(buffer_duration=4))
    for index in range(20):
        d.put(index, data=b"x" * 1000)
    d.read(limit=2500)  # up to its third frame
    with pytest.raises(kvs.WouldBlock):
        d.put(20)
    d.effects.clear()
    d.ack("ERROR", 0, error=4506)
    assert kvs.SpaceAvailable("door") in d.effects
    d.put(20)
    assert d.stream.account() == (21, 0, 5, 0, 16)
    assert d.read()[0].count(b"x" * 1000) == 15


@pytest.mark.parametrize("sent", [0, 2500])
def test_a_refused_fragment_that_fills_the_store_frees_its_space(desk: Desks, sent: int) -> None:
    """No other session begins before the writer's next frame, which waits for the space."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=MIB))
    d = desk(device, **offline())
    d.put(0, data=b"x" * 1000)
    for index in range(1, 5):
        d.put(index, data=b"x" * 240_000)
    d.read(limit=500)
    if sent:
        d.read(limit=sent)
    with pytest.raises(kvs.WouldBlock):
        d.put(5, data=b"x" * 240_000)
    d.effects.clear()
    d.ack("ERROR", 0, error=4506)
    assert kvs.SpaceAvailable("door") in d.effects
    d.put(5, data=b"x" * 240_000)
    assert d.stream.account() == (6, 0, 5, 0, 1)


def fill_store(desk: Desks, policy: kvs.StorePressurePolicy, mode: kvs.StreamingType) -> Any:
    """Make a stream with a full store: the next frame is refused, waits, or drops another."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=MIB))
    d = desk(device, store_pressure_policy=policy, streaming_type=mode, frame_rate=100)
    index = 0
    with suppress(KvsError, kvs.WouldBlock):
        while d.stream.account().dropped == 0:
            d.put(index, data=b"x" * 10_000)
            index += 1
    store = d.client.store
    store.charge(store.size_bytes - store.used_bytes)
    return d


@pytest.mark.parametrize("policy", list(kvs.StorePressurePolicy))
@pytest.mark.parametrize("mode", list(kvs.StreamingType))
def test_a_fragment_can_be_ended_without_free_space(
    desk: Desks, policy: kvs.StorePressurePolicy, mode: kvs.StreamingType
) -> None:
    """Otherwise the frames that fill the buffer could not be stored; nothing is dropped for it."""
    d = fill_store(desk, policy, mode)
    before = d.stream.account()
    for _ in range(3):
        d.stream.end_fragment(d.now)
    assert d.stream.account() == before
    counters = d.stream.metrics(d.now).counters
    assert b"END_OF_FRAGMENT" in d.read()[0][-200:]
    for second in range(200):
        d.ack("PERSISTED", second)
    assert d.stream.account().held == 0
    assert d.stream.metrics(d.now).counters.put_frame_errors == counters.put_frame_errors


def test_ending_a_fragment_waits_for_frames_in_the_order_coordinator(desk: Desks) -> None:
    """They were accepted, so an offline stream stores them once there is space."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=MIB))
    client = desk(device).client
    info = kvs.StreamInfo.audio_video(
        "h264",
        "aac",
        name="av",
        nal_adaptation=0,
        streaming_type=kvs.StreamingType.OFFLINE,
    )
    stream = client.open_stream(info, 0)
    start = 17_000_000_000_000_000
    for second in range(3):
        at = start + second * SECOND
        stream.put_frame(kvs.Frame(b"v", at, key_frame=True), 0)
        stream.put_frame(kvs.Frame(b"a", at + 1, track_id=2), 0)
    assert stream._core.buffer.view.head < 6, "a frame waits for the other track"
    spare = client.store.size_bytes - client.store.used_bytes
    client.store.charge(spare)
    with pytest.raises(kvs.WouldBlock):
        stream.end_fragment(0)
    client.store.release(spare)
    stream.end_fragment(0)
    assert stream._core.buffer.view.head == 7
    assert stream.account() == (6, 0, 0, 0, 6)


def test_ending_a_fragment_without_an_open_one_raises_nothing(desk: Desks) -> None:
    """That is before the first frame, twice, and after a reset; no error is counted."""
    d = desk()
    d.stream.end_fragment(d.now)
    d.put(0)
    d.stream.end_fragment(d.now)
    d.stream.end_fragment(d.now)
    assert d.stream._core.buffer.view.head == 2
    d.stream.reset(d.now)
    d.stream.end_fragment(d.now)
    assert d.stream.metrics(d.now).counters.put_frame_errors == 0
    d.put(5)
    d.stream.stop(d.now)
    with pytest.raises(KvsError) as caught:
        d.stream.end_fragment(d.now)
    assert caught.value.status is StatusCode.STREAM_HAS_BEEN_STOPPED


def test_fragments_that_are_cut_by_time_cannot_be_ended(desk: Desks) -> None:
    """The stream continues unchanged."""
    d = desk(key_frame_fragmentation=False)
    d.put(0)
    with pytest.raises(KvsError) as caught:
        d.stream.end_fragment(d.now)
    assert caught.value.status is StatusCode.END_OF_FRAGMENT_FRAME_INVALID_STATE
    d.put(1)
    assert d.stream.account().accepted == 2


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        (kvs.StreamingType.OFFLINE, 2 * SECOND, 4 * SECOND),
        (kvs.StreamingType.NEAR_REALTIME, 10 * SECOND, 20 * SECOND),
        (kvs.StreamingType.REALTIME, 10 * SECOND, 20 * SECOND),
    ],
)
def test_an_offline_stream_reconnects_sooner(
    desk: Desks, kind: kvs.StreamingType, least: int, most: int
) -> None:
    """Its writer waits for space, while a camera continues."""
    d = desk(streaming_type=kind)
    d.put(0)
    waits = []
    for _ in range(10):
        d.read()
        d.stream.upload_ended(d.upload, 10006, d.now)
        d.settle()
        waits.append(max(call.not_before for call in d.calls[-4:]) - d.now)
        d.now += waits[-1]
    assert least <= waits[-1] == max(waits) <= most


MARK = b"AWS_KINESISVIDEO_END_OF_FRAGMENT"


def fill_with_one_fragment(desk: Desks, **info: object) -> Any:
    """Fill the 1-MiB store of an offline stream with one open fragment of 5 frames."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=MIB))
    d = desk(device, **offline(**info))
    for index in range(5):
        d.put(index, data=b"x" * 200_000)
    return d


@pytest.mark.parametrize("by_keys", [True, False])
def test_a_waiting_key_frame_ends_the_fragment_that_fills_the_store(
    desk: Desks, by_keys: bool
) -> None:
    """Otherwise no ack would come, because the service acknowledges whole fragments."""
    d = fill_with_one_fragment(desk, key_frame_fragmentation=by_keys, fragment_duration=1)
    d.read()
    d.stream.put_fragment_metadata("door", "open", False, d.now)
    before, used = d.stream.account(), d.client.store.used_bytes
    for _ in range(3):
        with pytest.raises(kvs.WouldBlock):
            d.put(5, data=b"x" * 200_000)
        assert (d.stream.account(), d.client.store.used_bytes) == (before, used)
    assert any(isinstance(effect, kvs.DataAvailable) for effect in d.effects)
    sent, _ = d.read()
    assert sent.count(MARK) == 1
    assert b"door" not in sent, "it is the next fragment's"
    d.effects.clear()
    d.ack("PERSISTED", 0)
    d.settle()
    assert kvs.SpaceAvailable("door") in d.effects
    d.put(5, data=b"x" * 200_000)
    sent, _ = d.read()
    assert (sent.count(MARK), sent.count(b"door")) == (0, 1)
    assert sent.count(bytes.fromhex("1a45dfa3")) == 0, "the session goes on"
    assert d.stream.account() == (6, 5, 0, 0, 1)


def test_a_fragment_is_ended_although_its_last_frame_lasts_too_long(
    desk: Desks,
) -> None:
    """The time of the mark is not later than that of the waiting key frame."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=MIB))
    d = desk(device, **offline())
    times = d.now, d.now + 4 * SECOND // 10, d.now + 5 * SECOND // 10
    frames = [
        kvs.Frame(b"x" * 500_000, at, duration=SECOND, key_frame=at != times[1]) for at in times
    ]
    for frame in frames[:2]:
        d.stream.put_frame(frame, d.now)
    d.settle()
    with pytest.raises(kvs.WouldBlock):
        d.stream.put_frame(frames[2], d.now)
    d.read()
    d.ack("PERSISTED", 0)
    d.stream.put_frame(frames[2], d.now)
    assert d.stream.account() == (3, 2, 0, 0, 1)


def test_a_fragment_that_was_ended_for_space_takes_no_more_frames(desk: Desks) -> None:
    """The writer gives up and continues; a block after the mark would be lost."""
    d = fill_with_one_fragment(desk)
    with pytest.raises(kvs.WouldBlock):
        d.put(5, data=b"x" * 200_000)
    d.put(6, key=False, data=b"x")
    assert d.stream.account() == (5, 0, 0, 1, 5)
    assert d.read()[0].count(MARK) == 1
    d.ack("PERSISTED", 0)
    d.put(7, key=True, data=b"x")
    assert d.stream.account() == (6, 5, 0, 1, 1)


def test_a_fragment_larger_than_the_store_is_refused_with_both_sizes(desk: Desks) -> None:
    """No ack could free space; the frames up to the next key frame are skipped."""
    d = fill_with_one_fragment(desk)
    with pytest.raises(KvsError) as caught:
        d.put(5, key=False, data=b"x" * 200_000)
    assert caught.value.status is StatusCode.STORE_OUT_OF_MEMORY
    assert f"the store of {MIB} bytes: 5 frames of it take" in str(caught.value)
    d.put(6, key=False, data=b"x")
    assert d.stream.account() == (5, 0, 0, 1, 5)
    with pytest.raises(kvs.WouldBlock):
        d.put(7, key=True, data=b"x" * 200_000)
    d.read()
    d.ack("PERSISTED", 0)
    d.put(7, key=True, data=b"x" * 200_000)
    assert d.stream.account() == (6, 5, 0, 1, 1)


def test_a_delta_frame_waits_for_space_that_another_stream_uses(desk: Desks) -> None:
    """Its own fragment fits into the store, and the other stream's acks free space."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=MIB))
    d = desk(device, **offline())
    d.put(0, data=b"x" * 300_000)
    used = d.client.store.size_bytes - d.client.store.used_bytes - 100
    d.client.store.charge(used)
    with pytest.raises(kvs.WouldBlock):
        d.put(1, key=False, data=b"x" * 300_000)
    assert MARK not in d.read()[0]
    d.client.store.release(used)
    d.put(1, key=False, data=b"x" * 300_000)
    assert d.stream.account().accepted == 2
