"""The put path: the order of its checks, skipped frames, and the effects of a refused frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv import events as mkv
from kvsproducer.status import KvsError, StatusCode

NOW = 17_000_000_000_000_000
MS = 10_000
SECOND = 10_000_000
MARK = kvs.Frame.end_of_fragment
Desks = Callable[..., Any]


def refused(action: Callable[[], object]) -> StatusCode:
    with pytest.raises(KvsError) as caught:
        action()
    return caught.value.status


def put(d: Any, frame: kvs.Frame) -> None:
    d.stream.put_frame(frame, d.now)
    d.settle()


def foreign(d: Any, *, key: bool) -> kvs.Frame:
    return kvs.Frame(b"x", d.now + SECOND, track_id=9, key_frame=key)


@pytest.mark.parametrize("key", [False, True])
@pytest.mark.parametrize("frames", [0, 1, 3])
def test_an_unknown_track_is_reported_in_any_state(desk: Desks, frames: int, key: bool) -> None:
    """This check comes before skipping and STREAM_HAS_BEEN_STOPPED; the frame takes no space."""
    d = desk()
    for index in range(frames):
        d.put(index)
    used = d.client.store.used_bytes
    missing = StatusCode.MKV_TRACK_INFO_NOT_FOUND
    assert refused(lambda: put(d, foreign(d, key=key))) is missing
    d.stream.stop(d.now)
    assert refused(lambda: put(d, foreign(d, key=key))) is missing
    assert refused(lambda: d.put(9)) is StatusCode.STREAM_HAS_BEEN_STOPPED
    assert d.client.store.used_bytes == used
    assert d.stream.account() == (frames, 0, 0, 0, frames)


def test_frames_are_skipped_until_a_key_frame(desk: Desks) -> None:
    """This applies at the start and after an end-of-fragment frame; skipped frames are counted."""
    d = desk()
    d.put(1)
    d.put(5)
    put(d, MARK())
    d.put(6)
    d.put(10)
    d.put(11)
    assert d.stream.account() == (3, 0, 0, 2, 3)
    assert [(event.first - d.now) // (SECOND // 5) for event in d.reported(kvs.FrameSkipped)] == [
        1,
        6,
    ]


def test_when_a_fragment_may_be_ended(desk: Desks) -> None:
    """There must be one, it ends once, it must not be cut by time, and the stream not stopped."""
    d = desk()
    assert refused(lambda: put(d, MARK())) is StatusCode.CONTENT_VIEW_NO_MORE_ITEMS
    d.put(0)
    put(d, MARK())
    assert refused(lambda: put(d, MARK())) is StatusCode.MULTIPLE_CONSECUTIVE_EOFR
    d.stream.stop(d.now)
    assert refused(lambda: put(d, MARK())) is StatusCode.STREAM_HAS_BEEN_STOPPED
    by_time = desk(key_frame_fragmentation=False)
    by_time.put(0)
    assert refused(lambda: put(by_time, MARK())) is StatusCode.END_OF_FRAGMENT_FRAME_INVALID_STATE


@pytest.mark.parametrize(
    ("index", "key", "status"),
    [
        (3, True, StatusCode.CONTENT_VIEW_INVALID_TIMESTAMP),
        (3, False, StatusCode.MKV_INVALID_FRAME_TIMESTAMP),  # before the start of its fragment
        (5, False, StatusCode.CONTENT_VIEW_INVALID_TIMESTAMP),
    ],
)
def test_a_refused_frame_from_the_past_changes_nothing(
    desk: Desks, index: int, key: bool, status: StatusCode
) -> None:
    """Accounts and store are as before.

    Only after a key frame, the frames that need it are skipped.
    """
    d, plain = desk(), desk()
    for each in (d, plain):
        for number in range(7):
            each.put(number)
    used = d.client.store.used_bytes
    assert refused(lambda: d.put(index, key=key)) is status
    assert d.client.store.used_bytes == used
    assert d.stream.metrics(d.now).counters.put_frame_errors == 1
    for each in (d, plain):
        if not key:
            each.put(7)
        each.put(10)
    assert d.stream.account() == plain.stream.account()
    assert d.read() == plain.read()


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        ({"pts": 4 * SECOND, "track_id": 9}, StatusCode.MKV_TRACK_INFO_NOT_FOUND),
        ({"pts": 0}, StatusCode.MKV_INVALID_FRAME_TIMESTAMP),
        ({"pts": 2 * SECOND + 1}, StatusCode.CONTENT_VIEW_INVALID_TIMESTAMP),
    ],
)
def test_a_refused_frame_drops_nothing(
    desk: Desks, frame: dict[str, int], status: StatusCode
) -> None:
    """The window is full, and no held frame is dropped for a frame that is refused anyway."""
    d = desk(buffer_duration=3)
    for number in range(15):
        d.put(number)
    before = d.stream.account()
    pts = d.now + frame["pts"]
    track_id = frame.get("track_id", 1)
    assert refused(lambda: put(d, kvs.Frame(b"x", pts, track_id=track_id))) is status
    assert d.stream.account() == before


def test_a_frame_without_duration_gets_it_from_the_frame_rate(desk: Desks) -> None:
    """A duration of its own is kept."""
    for duration, expected in ((0, SECOND // 25), (30_000, 30_000)):
        d = desk(frame_rate=25)
        put(d, kvs.Frame(b"x", d.now, duration=duration, key_frame=True))
        assert d.stream.metrics(d.now).overall_view_duration == expected


def test_a_stream_without_frame_times_uses_the_clock(desk: Desks) -> None:
    """The times of the frames are ignored, even if they go back."""
    d = desk(frame_timecodes=False)
    for pts in (70, 60, 50):
        put(d, kvs.Frame(b"x", pts, key_frame=pts == 70))
        d.now += SECOND
    item = d.stream._core.buffer.view[2]
    assert (item.timestamp, item.ack_timestamp) == (d.now - SECOND, d.now - SECOND)


def test_a_queued_frame_that_the_packager_refuses_is_dropped() -> None:
    """It was accepted when it was queued to wait for the other track."""
    client = kvs.Client(kvs.DeviceInfo(), now=0, dice=lambda sides: sides // 2)
    info = kvs.StreamInfo.audio_video(name="av", nal_adaptation=0)
    stream = client.open_stream(info, 0)
    for pts, track in ((50, 1), (50, 2), (49, 1), (60, 2)):
        key = pts == 50 and track == 1
        frame = kvs.Frame(b"x", pts * SECOND, track_id=track, key_frame=key)
        stream.put_frame(frame, 0)
    events = list(iter(stream.next_event, None))
    dropped = [event for event in events if isinstance(event, kvs.FrameDropped)]
    assert [(event.first, event.reason) for event in dropped] == [
        (49 * SECOND, kvs.DropReason.INVALID)
    ]
    assert stream.account() == (4, 0, 1, 0, 3)


def test_a_fragment_can_be_ended_without_a_latency_limit(desk: Desks) -> None:
    """The latency is checked only if `max_latency` is given."""
    d = desk(max_latency=0)
    d.put(0)
    put(d, kvs.Frame.end_of_fragment())
    assert b"END_OF_FRAGMENT" in d.read()[0]


def test_leading_pictures_are_in_the_fragment_of_their_key_frame(desk: Desks) -> None:
    """The fragment starts with the first of them, and an ack with that time settles it."""
    d = desk()
    for start in (0, 10):
        d.put(start + 2, key=True, lead=400 * MS)
        for leading in (start, start + 1):
            d.put(leading, key=False, dts=NOW + (start + 2) * 200 * MS)
    parser = MkvParser()
    parser.receive_data(d.read()[0])
    times = [
        event.timecode * MS - NOW
        if isinstance(event, mkv.ClusterStart)
        else event.relative_timecode
        for event in iter(parser.next_event, None)
        if isinstance(event, mkv.ClusterStart | mkv.Block)
    ]
    assert times == [0, 400, 0, 200, 2 * SECOND, 400, 0, 200]
    d.ack("PERSISTED", 2)
    assert d.stream.account().persisted == 6
    assert not d.reported(kvs.AckRejected)


def test_without_frame_times_a_lead_is_ignored(desk: Desks) -> None:
    """The fragment starts at the time of the put."""
    d = desk(frame_timecodes=False)
    d.put(0, lead=400 * MS)
    assert d.stream._core.buffer.view[0].ack_timestamp == d.now


def test_a_frame_that_is_refused_for_its_lead_drops_nothing(desk: Desks) -> None:
    """The buffer is full, and no held frame is dropped for it."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=10 << 20))
    d = desk(device)
    for index in range(0, 25, 5):
        d.put(index, data=bytes((1 << 21) - 1))
    held = d.stream.account()
    with pytest.raises(KvsError) as caught:
        d.put(25, data=bytes((1 << 21) - 1), lead=40 * SECOND)
    assert caught.value.status is StatusCode.MKV_INVALID_FRAME_TIMESTAMP
    assert d.stream.account() == held


def test_an_emptied_stream_has_no_fragment_to_end(desk: Desks) -> None:
    """Neither the application nor the timer adds a mark, which alone would fill an offline view."""
    d = desk(
        kvs.DeviceInfo(client_info=kvs.ClientInfo(automatic_streaming_flags=0)),
        streaming_type=kvs.StreamingType.OFFLINE,
    )
    d.put(0)
    d.stream.reset(d.now)
    with pytest.raises(KvsError) as raised:
        d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    assert raised.value.status is StatusCode.CONTENT_VIEW_NO_MORE_ITEMS
    d.now += 60 * SECOND
    d.client.handle_timer(d.now)
    assert len(d.stream._core.buffer.view) == 0
    d.put(5)
    assert d.stream.account().held == 1


def fill_store(desk: Desks) -> Any:
    """Make a stream that refuses large frames because its store is full; small ones still fit."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
    d = desk(device, store_pressure_policy=kvs.StorePressurePolicy.OOM)
    d.put(0, data=b"x" * 100_000)
    store = d.client.store
    while store.size_bytes - store.used_bytes > 280_000:
        d.put(d.stream.account().accepted, key=False, data=b"x" * 100_000)
    return d


def test_frames_after_a_refused_key_frame_are_skipped(desk: Desks) -> None:
    """They could not be decoded. Each is reported, up to the next key frame."""
    d = fill_store(desk)
    held = d.stream.account().held
    assert refused(lambda: d.put(20, data=b"x" * 100_000)) is StatusCode.STORE_OUT_OF_MEMORY
    d.put(21, data=b"small")
    d.put(22, data=b"small")
    assert d.stream.account() == (held, 0, 0, 2, held)
    assert sum(event.count for event in d.reported(kvs.FrameSkipped)) == 2
    big = b"x" * 100_000
    assert refused(lambda: d.put(23, data=big)) is StatusCode.STORE_OUT_OF_MEMORY, "reported first"
    d.put(25, data=b"small")
    d.put(26, data=b"small")
    assert d.stream.account().accepted == held + 2
    assert d.read()[0].count(b"small") == 2


def test_a_refused_frame_that_is_not_a_key_frame_skips_no_others(desk: Desks) -> None:
    """No other frame is known to need it."""
    d = fill_store(desk)
    held = d.stream.account().held
    assert refused(lambda: d.put(21, data=b"x" * 100_000)) is StatusCode.STORE_OUT_OF_MEMORY
    d.put(22, data=b"small")
    assert d.stream.account() == (held + 1, 0, 0, 0, held + 1)


@pytest.mark.parametrize("back", [2, 3])
def test_frames_after_a_key_frame_with_a_wrong_time_are_skipped(desk: Desks, back: int) -> None:
    """Each is reported, up to the next key frame; a decoder would show them damaged."""
    d = desk()
    for index in range(15):
        d.put(index)
    late = kvs.Frame(b"late", NOW + (15 - back) * 200 * MS, key_frame=True)
    assert refused(lambda: put(d, late)) is StatusCode.CONTENT_VIEW_INVALID_TIMESTAMP
    for index in range(16, 22):
        d.put(index)
    assert d.stream.account() == (17, 0, 0, 4, 17)
    assert sum(event.count for event in d.reported(kvs.FrameSkipped)) == 4


def test_sound_continues_while_pictures_wait_for_a_key_frame(desk: Desks) -> None:
    """Sound needs no key frame and goes into the open fragment."""
    d = desk()
    both = kvs.StreamInfo.audio_video(
        "h264", "aac", name="both", nal_adaptation=0, frame_order_mode=0
    )
    stream = d.client.open_stream(both, d.now)
    d.settle()

    def put_both(index: int, *, key: bool, data: bytes = b"picture") -> None:
        pts = d.now + index * 40 * MS
        stream.put_frame(kvs.Frame(data, pts, key_frame=key), d.now)
        stream.put_frame(kvs.Frame(b"sound", pts + 5 * MS, track_id=2), d.now)

    for index in range(10):
        put_both(index, key=index == 0)
    assert refused(lambda: put_both(10, key=True, data=b"")) is StatusCode.MKV_INVALID_FRAME_DATA
    for index in range(11, 22):
        put_both(index, key=index == 20)
    d.settle()
    assert stream.account() == (20 + 11 + 2, 0, 0, 9, 33)
    skipped = [event for event in d.reported(kvs.FrameSkipped) if event.stream == "both"]
    assert sum(event.count for event in skipped) == 9


def test_a_refused_key_frame_of_sound_skips_no_others(desk: Desks) -> None:
    """Each sound frame can be decoded alone."""
    d = desk(kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20)))
    sound = d.client.open_stream(
        kvs.StreamInfo.audio_video(
            "h264", "aac", name="sound", nal_adaptation=0, frame_order_mode=0
        ),
        d.now,
    )
    d.settle()
    sound.put_frame(kvs.Frame(b"picture", d.now, key_frame=True), d.now)
    empty = kvs.Frame(b"", d.now + SECOND, key_frame=True, track_id=2)
    assert refused(lambda: sound.put_frame(empty, d.now)) is StatusCode.MKV_INVALID_FRAME_DATA
    sound.put_frame(kvs.Frame(b"picture", d.now + SECOND), d.now)
    assert sound.account().accepted == 2


def test_a_frame_is_converted_once_if_the_store_is_full(desk: Desks) -> None:
    """This happens in an outage, when older frames are dropped for it."""
    d = desk(
        kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20)),
        nal_adaptation=kvs.NalAdaptation.ANNEXB_NALS,
    )
    data = b"\0\0\1\x41" + bytes([1]) * 100_000
    adapter, converted = d.stream._intake._adapter, []
    convert = adapter.convert

    def counted(frame: bytes) -> Any:
        converted.append(frame)
        return convert(frame)

    adapter.convert = counted
    for index in range(40):
        d.put(index, data=data)
    assert d.stream.account().dropped > 20
    assert len(converted) == 40


def kept_alive(item: Any) -> int:
    """Return the number of bytes of the objects that an item's payload keeps alive."""
    owners = [part.obj if isinstance(part, memoryview) else part for part in item.payload]
    return sum({id(owner): len(owner) for owner in owners}.values())


PICTURES = {  # Annex-B: sizes of a picture's units, and number of zero bytes after them
    "plain": ([1000], 0),
    "many small units": ([2] * 20_000, 0),
    "many units": ([900] * 100, 0),
    "few units": ([5000] * 8, 0),
    "little padding": ([9000], 900),
    "padding": ([11], 500_000),
    "units and padding": ([2000] * 10, 100_000),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("adaptation", [1, 2], ids=["annexb", "avcc"])
@pytest.mark.parametrize("track", ["key", "block"])
def test_the_charge_covers_the_memory_that_a_frame_keeps_alive(
    desk: Desks, name: str, adaptation: int, track: str
) -> None:
    """It is little more: units and padding are copied into one buffer if they would cost much."""
    units, zeros = PICTURES[name]
    bodies = [bytes([0x65 if track == "key" else 0x41]) * size for size in units]
    if adaptation == 1:
        data = b"".join(b"\0\0\0\1" + body for body in bodies) + bytes(zeros)
        sent = sum(4 + size for size in units)
    else:
        data = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
        sent = len(data)
    flags = kvs.NalAdaptation.ANNEXB_NALS if adaptation == 1 else kvs.NalAdaptation.AVCC_NALS
    d = desk(nal_adaptation=flags)
    begin = b"\0\0\0\1\x65first" if adaptation == 1 else b"\0\0\0\x06\x65first"
    d.put(0, data=begin)
    used = d.client.store.used_bytes
    d.put(5 if track == "key" else 1, data=data)
    charge = d.client.store.used_bytes - used
    item = d.stream._core.buffer.view.newest
    assert sum(map(len, item.payload)) == sent
    assert kept_alive(item) <= item.charge == charge
    assert charge < 1.2 * sent + 15_000
    assert len(item.payload) <= 64


def test_padded_frames_take_no_more_memory_than_the_store(desk: Desks) -> None:
    """There are 400 pictures of 15 bytes, each in a buffer of 500 KB."""
    store = kvs.StorageInfo(storage_size=1 << 20)
    d = desk(kvs.DeviceInfo(storage_info=store), nal_adaptation=kvs.NalAdaptation.ANNEXB_NALS)
    for index in range(400):
        kind = b"\x65" if index % 5 == 0 else b"\x41"
        d.put(index, data=b"\0\0\0\1" + kind + b"x" * 10 + bytes(500_000))
    view = d.stream._core.buffer.view
    assert len(view) == 400
    assert sum(kept_alive(view[index]) for index in range(400)) < 10_000
