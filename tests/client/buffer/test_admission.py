"""Space for a frame: the reserve, evictions, waiting writers, and pressure events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client.buffer.admission import Admission, WouldBlock
from kvsproducer.heap import ArenaStore, HoldingStore
from kvsproducer.heap.store import Payload
from kvsproducer.status import KvsError, StatusCode

SECOND = 10_000_000
SIZE = 1 << 20
OFFLINE = kvs.StreamingType.OFFLINE
OOM = kvs.StorePressurePolicy.OOM
Desks = Callable[..., Any]


def small(desk: Desks, **info: Any) -> Any:
    """Make a desk with a store of 1 MiB."""
    return desk(kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=SIZE)), **info)


def admission(d: Any) -> Admission:
    core = d.stream._core
    return Admission(core.buffer, core.info, core, 7 * SECOND)


def refused(action: Callable[[], object]) -> StatusCode:
    with pytest.raises(KvsError) as caught:
        action()
    return caught.value.status


def test_a_reserve_is_kept_for_the_largest_frame(desk: Desks) -> None:
    """The reserve is exactly 100 bytes and 1.8 times the largest frame so far."""
    d = small(desk, store_pressure_policy=OOM)
    store, door = d.client.store, admission(d)
    door.admit(10_000, 10_000, d.now)
    room = SIZE - 10_000 - 18_100
    assert refused(lambda: door.admit(10, room + 1, d.now)) is StatusCode.STORE_OUT_OF_MEMORY
    assert store.used_bytes == 10_000
    door.admit(10, room, d.now)
    assert store.available_bytes == 18_100


def test_a_frame_that_never_fits_drops_nothing_and_changes_no_reserve(desk: Desks) -> None:
    """It is refused before it counts as the largest."""
    d = small(desk)
    for index in range(5):
        d.put(index, data=bytes(100_000))
    door = admission(d)
    assert refused(lambda: door.admit(SIZE + 1, SIZE + 1, d.now)) is StatusCode.STORE_OUT_OF_MEMORY
    assert door.largest == 0
    assert d.stream.account() == (5, 0, 0, 0, 5)


def test_nothing_is_dropped_when_other_streams_use_the_store(desk: Desks) -> None:
    """Dropping all frames of this stream would not free enough space."""
    d = small(desk)
    for index in range(3):
        d.put(index, data=bytes(10_000))
    d.client.store.charge(900_000)
    assert refused(lambda: d.put(3, data=bytes(160_000))) is StatusCode.STORE_OUT_OF_MEMORY
    assert d.stream.account() == (3, 0, 0, 0, 3)


@pytest.mark.parametrize(("policy", "dropped"), [(0, 1), (1, 5)])
@pytest.mark.parametrize(
    ("info", "size"),
    [
        ({}, 100_000),  # the store is full
        ({"buffer_duration": 3}, 10),  # the window is full, by duration
        ({"buffer_duration": 4, "frame_rate": 4}, 10),  # the window is full, by count
    ],
)
def test_the_oldest_frame_or_fragment_is_dropped(
    desk: Desks, info: dict[str, Any], size: int, policy: int, dropped: int
) -> None:
    """That is one frame, or all up to the next fragment start."""
    d = small(desk, view_overflow_policy=policy, **info)
    index = 0
    while not d.stream.account().dropped:
        assert index < 20, "nothing was dropped"
        d.put(index, data=bytes(size))
        index += 1
    assert d.stream.account() == (index, 0, dropped, 0, index - dropped)
    assert d.reported(kvs.FrameDropped)[0].reason is kvs.DropReason.OVERFLOW
    assert d.reported(kvs.FrameDropped)[0].first == d.now


def test_storage_pressure_is_reported_below_six_percent(desk: Desks) -> None:
    """The remaining share is rounded down, so it is 5 % just below 6 %."""
    d = small(desk, store_pressure_policy=OOM)
    door = admission(d)
    left = SIZE * 6 // 100
    door.admit(10, SIZE - left - 1, d.now)
    d.settle()
    assert d.reported(kvs.StoragePressure) == []
    door.admit(10, 1, d.now)
    d.settle()
    assert d.reported(kvs.StoragePressure) == [kvs.StoragePressure("door", left)]
    assert d.stream.metrics(d.now).counters.storage_pressures == 1


def test_latency_pressure_is_reported_above_the_maximum(desk: Desks) -> None:
    """Only media that waits to be sent counts, not media that waits for its ack."""
    d = desk(max_latency=0)
    for index in range(5):
        d.put(index)
    door = admission(d)
    door.check_latency(SECOND)
    d.settle()
    assert d.reported(kvs.StreamLatencyPressure) == []
    door.check_latency(SECOND - 1)
    d.settle()
    assert d.reported(kvs.StreamLatencyPressure) == [kvs.StreamLatencyPressure("door", SECOND)]
    d.read()
    door.check_latency(0)
    d.settle()
    assert len(d.reported(kvs.StreamLatencyPressure)) == 1


def test_an_offline_writer_waits_and_nothing_changes(desk: Desks) -> None:
    """It waits while acks may free space; `SpaceAvailable` names its stream; nothing is dropped."""
    d = small(desk, streaming_type=OFFLINE)
    for index in range(6):
        d.put(index, data=bytes(100_000))
    used = d.client.store.used_bytes
    with pytest.raises(WouldBlock) as blocked:
        admission(d).admit(500_000, 500_000, d.now)
    assert blocked.value.deadline == d.now + 7 * SECOND
    assert d.client.store.used_bytes == used
    assert d.stream.account() == (6, 0, 0, 0, 6)
    assert kvs.SpaceAvailable("door") not in d.effects
    d.read()
    d.ack("PERSISTED", 0)
    assert kvs.SpaceAvailable("door") in d.effects
    admission(d).admit(100_000, 500_000, d.now)


class InPieces(ArenaStore):
    """A store whose free space is fragmented while more than `limit` bytes are used."""

    limit = 300_000

    def keep(self, payload: Payload, size: int) -> Payload | None:
        return None if self.used_bytes > self.limit else super().keep(payload, size)

    def fits(self, size: int) -> bool:
        return size < 200_000


@pytest.mark.parametrize(
    ("info", "answer"),
    [
        ({}, None),
        ({"store_pressure_policy": OOM}, StatusCode.STORE_OUT_OF_MEMORY),
        ({"streaming_type": OFFLINE}, WouldBlock),
    ],
)
def test_fragmented_free_space(desk: Desks, info: dict[str, Any], answer: object) -> None:
    """Space is made as the policies say; if that fails, the charge is released."""
    d = desk(make_store=lambda size: InPieces(SIZE), **info)
    d.put(0, data=bytes(100_000))
    d.put(1, data=bytes(100_000))
    used = d.client.store.used_bytes
    if answer is None:
        d.put(5, data=bytes(190_000))
        assert d.stream.account().dropped > 0
        return
    with pytest.raises((KvsError, WouldBlock)) as caught:
        d.put(5, data=bytes(190_000))
    assert answer in (type(caught.value), getattr(caught.value, "status", None))
    assert d.client.store.used_bytes == used


def test_a_frame_that_no_region_can_hold_is_refused(desk: Desks) -> None:
    """This holds however much space is free, and nothing is dropped for it."""
    d = desk(make_store=lambda size: InPieces(SIZE))
    d.put(0, data=bytes(100_000))
    d.client.store.limit = 0
    assert refused(lambda: d.put(5, data=bytes(250_000))) is StatusCode.STORE_OUT_OF_MEMORY
    assert d.stream.account() == (1, 0, 0, 0, 1)


def test_a_queued_fragment_that_does_not_fit_is_reported() -> None:
    """No space becomes free before it has ended, so the rest of it is skipped."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=SIZE))
    client = kvs.Client(device, now=0, dice=lambda sides: 0)
    info = kvs.StreamInfo.audio_video(
        "h264", "aac", nal_adaptation=0, streaming_type=OFFLINE, name="av"
    )
    stream = client.open_stream(info, 0)
    start = 17 * 10**15
    for number in range(60):
        frame = kvs.Frame(bytes(17_400), start + number * 10**5, key_frame=number == 0)
        stream.put_frame(frame, 0)
    stream.put_frame(kvs.Frame(b"a", start + 60 * 10**5, track_id=2), 0)
    account = stream.account()
    assert (account.dropped, account.held, account.skipped) == (1, 59, 1)
    events = iter(client.next_event, None)
    errors = [event for event in events if isinstance(event, kvs.StreamErrorReported)]
    assert "the fragment does not fit into the store" in errors[0].detail


class Stingy(ArenaStore):
    """A store that books one byte too few, once `stingy` is set."""

    stingy = False

    def charge(self, count: int) -> bool:
        return super().charge(count - self.stingy)


def test_a_store_that_books_too_little_is_detected(desk: Desks) -> None:
    """The frame is refused, and the booked bytes are released."""
    d = desk(make_store=lambda size: Stingy(SIZE))
    d.put(0)
    used = d.client.store.used_bytes
    d.client.store.stingy = True
    smaller = StatusCode.ALLOCATION_SIZE_SMALLER_THAN_REQUESTED
    assert refused(lambda: d.put(1)) is smaller
    assert d.client.store.used_bytes == used
    assert d.stream.account() == (1, 0, 0, 0, 1)


def test_frame_without_an_open_fragment_waits_for_other_streams(desk: Desks) -> None:
    """No fragment of its own is too large for the store, so it is not refused."""
    d = small(desk, streaming_type=OFFLINE)
    d.client.store.charge(900_000)
    with pytest.raises(WouldBlock):
        admission(d).admit(200_000, 200_000, d.now)
    d.put(0)
    d.stream.end_fragment(d.now)
    with pytest.raises(WouldBlock):
        admission(d).admit(200_000, 200_000, d.now)
    assert d.stream.account() == (1, 0, 0, 0, 1)


class Disk:
    """A region that fails with a status once `full` is set."""

    def __init__(self, status: StatusCode) -> None:
        self.status = status
        self.full = False
        self.kept: dict[int, bytes] = {}

    def store(self, payload: Payload, size: int) -> int:
        if self.full:
            raise KvsError(self.status, "no space left on the disk")
        handle = len(self.kept)
        self.kept[handle] = b"".join(payload)
        return handle

    def read(self, handle: int) -> bytes:
        return self.kept[handle]

    def free(self, handle: int) -> None:
        self.kept[handle] = b""

    def fits(self, size: int) -> bool:
        return size <= SIZE


def test_failure_of_a_region_is_reported_once_while_another_one_holds_the_frames(
    desk: Desks,
) -> None:
    """No frame is lost or refused."""
    full, spare = Disk(StatusCode.STORE_OUT_OF_MEMORY), Disk(StatusCode.INVALID_OPERATION)
    d = desk(make_store=lambda size: HoldingStore(SIZE, [full, spare]))
    d.put(0)
    full.full = True
    for index in range(1, 4):
        d.put(index)
    (error,) = d.reported(kvs.StreamErrorReported)
    assert error.status is StatusCode.STORE_OUT_OF_MEMORY
    assert "no space left on the disk" in error.detail
    assert (len(full.kept), len(spare.kept)) == (1, 3)
    assert d.stream.account() == (4, 0, 0, 0, 4)


@pytest.mark.parametrize("spare_full", [False, True])
def test_frame_is_refused_with_the_error_of_the_region(desk: Desks, spare_full: bool) -> None:
    """Its charge is released, and nothing is dropped: that would free no space on the disk.

    If all regions fail, the error of the first one is raised.
    """
    full, spare = Disk(StatusCode.STORE_OUT_OF_MEMORY), Disk(StatusCode.INVALID_OPERATION)
    regions = [full, spare] if spare_full else [full]
    d = desk(make_store=lambda size: HoldingStore(SIZE, regions))
    d.put(0)
    used = d.client.store.used_bytes
    full.full = spare.full = True
    assert refused(lambda: d.put(1)) is StatusCode.STORE_OUT_OF_MEMORY
    assert d.client.store.used_bytes == used
    assert d.stream.account() == (1, 0, 0, 0, 1)
