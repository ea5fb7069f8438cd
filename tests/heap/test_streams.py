"""Streams on every kind of store: through a real endpoint, fragmented, damaged, and full."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import kvsproducer as kvs
from kvsproducer import client
from kvsproducer.client import events as ev
from kvsproducer.heap import (
    Arena,
    ContentStore,
    HoldingStore,
    HybridFileStore,
    HybridVideoMemoryStore,
    StorageType,
)
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv.events import Block

NOW = 17_000_000_000_000_000
MS = 10_000
MIB = 1 << 20
ANSWERS: dict[type[client.Call], object] = {
    client.GetSecurityToken: client.AuthInfo(),
    client.GetStreamingToken: client.AuthInfo(expiration=NOW + 36_000_000_000),
    client.CreateDevice: "device",
    client.DescribeStream: client.StreamDescription("stream"),
    client.GetStreamingEndpoint: "https://data",
}
Make = Callable[[str, int], ContentStore]


class StreamHarness:
    """A core with a given store and a service that accepts every call."""

    def __init__(self, store: ContentStore, **info: object) -> None:
        device = client.DeviceInfo(storage_info=client.StorageInfo(storage_size=store.size_bytes))
        self.client = client.Client(device, now=NOW, dice=lambda sides: 0, store=store)
        self.stream = self.client.open_stream(
            client.StreamInfo.video("h264", name="door", nal_adaptation=0, frame_rate=30, **info),
            NOW,
        )
        self.uploads: list[int] = []
        self.events: list[client.Event] = []
        self.settle()

    def settle(self) -> None:
        while (effect := self.client.poll_effect()) is not None:
            if isinstance(effect, client.Call):
                self.client.call_result(effect, 200, NOW, ANSWERS.get(type(effect)))
            if isinstance(effect, client.PutStream):
                self.uploads.append(effect.upload)
        while (event := self.client.next_event()) is not None:
            self.events.append(event)

    def put(self, index: int, data: bytes) -> None:
        frame = client.Frame(data, NOW + index * 60 * MS, key_frame=index % 5 == 0)
        self.stream.put_frame(frame, NOW)
        self.settle()

    def sent(self) -> list[bytes]:
        """Return the payloads that the upload can send now, and check that they are Matroska."""
        parser = MkvParser()
        status = client.ReadStatus.MORE
        while status is client.ReadStatus.MORE:
            buffers, status = self.stream.next_buffers(self.uploads[-1], 5000, NOW)
            parser.receive_data(b"".join(buffers))
        self.settle()
        payloads = []
        while (event := parser.next_event()) is not None:
            if isinstance(event, Block):
                payloads += [bytes(frame) for frame in event.frames]
        return payloads

    def events_of(self, kind: type[client.Event]) -> list[client.Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def drop_reasons(self) -> set[ev.DropReason]:
        return {event.reason for event in self.events if isinstance(event, ev.FrameDropped)}


def payload(index: int) -> bytes:
    return b"frame %04d " % index * 100


@pytest.fixture
def files(tmp_path: Path) -> HybridFileStore:
    """Return a store whose memory is full, so that every payload is in a file."""
    store = HybridFileStore(4 * MIB, 25, str(tmp_path))
    assert store.keep([bytes(MIB - 100)], MIB - 100)
    return store


@pytest.mark.parametrize("damaged", [0, 2, 5, 7], ids=lambda index: f"frame {index}")
def test_a_damaged_frame_is_dropped_and_reported(files: HybridFileStore, damaged: int) -> None:
    """A damaged frame is never sent. If it begins a fragment, the fragment is dropped too."""
    harness = StreamHarness(files)
    for index in range(15):
        harness.put(index, payload(index))
    os.truncate(f"{files.files.directory}/{damaged + 1}.hfh", 100)
    orphans = range(damaged, damaged + 5) if damaged % 5 == 0 else [damaged]
    assert harness.sent() == [payload(index) for index in range(15) if index not in orphans]
    account = harness.stream.account()
    assert (account.accepted, account.dropped) == (15, len(orphans))
    errors = harness.events_of(ev.StreamErrorReported)
    assert [error.status for error in errors if isinstance(error, ev.StreamErrorReported)] == [
        kvs.StatusCode.HEAP_FILE_HEAP_FILE_CORRUPT
    ]
    assert ev.DropReason.UNREADABLE in harness.drop_reasons()


def test_session_with_a_damaged_fragment_begins_with_the_next(
    files: HybridFileStore,
) -> None:
    """The rest of the fragment is dropped, and frames up to the next key frame are skipped."""
    harness = StreamHarness(files)
    for index in range(3):
        harness.put(index, payload(index))
    os.truncate(f"{files.files.directory}/1.hfh", 0)
    assert harness.sent() == []
    for index in range(3, 8):
        harness.put(index, payload(index))
    assert harness.sent() == [payload(index) for index in range(5, 8)]
    account = harness.stream.account()
    assert (account.accepted, account.dropped, account.skipped) == (6, 3, 2)


def test_full_disk_refuses_the_frame_and_loses_none(files: HybridFileStore, tmp_path: Path) -> None:
    """`put_frame` raises. Frames accepted before and after are sent."""
    harness = StreamHarness(files)
    harness.put(0, payload(0))
    harness.put(1, payload(1))
    directory = Path(files.files.directory)
    directory.rename(tmp_path / "away")
    with pytest.raises(OSError, match="WRITE_TO_FILE_FAILED"):
        harness.put(2, payload(2))
    (tmp_path / "away").rename(directory)
    harness.put(3, payload(3))
    assert harness.sent() == [payload(0), payload(1), payload(3)]
    assert harness.stream.account() == (3, 0, 0, 0, 3)
    assert harness.stream.metrics(NOW).counters.put_frame_errors == 1


@contextmanager
def full_disk(store: HybridFileStore, tmp_path: Path) -> Iterator[None]:
    """Let no file be written inside the block."""
    directory = Path(store.files.directory)
    directory.rename(tmp_path / "away")
    yield
    (tmp_path / "away").rename(directory)


def test_full_disk_leaves_the_memory_in_use(tmp_path: Path) -> None:
    """The oldest frames are dropped. The error is reported once, until writing works."""
    store = HybridFileStore(4 * MIB, 25, str(tmp_path))
    harness = StreamHarness(store)
    large = [b"%d" % index * 300_000 for index in range(10)]
    harness.put(0, large[0])
    with full_disk(store, tmp_path):
        for index in range(1, 8):
            harness.put(index, large[index])
        with pytest.raises(OSError, match="WRITE_TO_FILE_FAILED"):
            harness.put(8, bytes(MIB))  # only the disk has space for it
        assert harness.stream.account() == (8, 0, 5, 0, 3)
    statuses = [e.status for e in harness.events if isinstance(e, ev.StreamErrorReported)]
    assert statuses == [kvs.StatusCode.WRITE_TO_FILE_FAILED]
    harness.put(9, large[9])
    assert harness.stream.account() == (9, 0, 5, 0, 4), "the disk works again"


def test_offline_stream_waits_while_the_disk_is_full(tmp_path: Path) -> None:
    """It waits for space in memory, which acks of held frames free."""
    store = HybridFileStore(4 * MIB, 25, str(tmp_path))
    harness = StreamHarness(store, streaming_type=kvs.StreamingType.OFFLINE)
    with full_disk(store, tmp_path), pytest.raises(client.WouldBlock):
        for index in range(8):
            harness.put(index, bytes([1]) * 300_000)
    assert harness.stream.account() == (3, 0, 0, 0, 3)


def test_frame_that_the_packager_refuses_is_removed_from_the_store(
    files: HybridFileStore,
) -> None:
    """Its file is removed and its bytes are returned to the budget."""
    harness = StreamHarness(files)
    harness.put(0, payload(0))
    used = files.used_bytes
    late = client.Frame(payload(1), NOW - 1_000_000 * MS)
    with pytest.raises(kvs.KvsError):
        harness.stream.put_frame(late, NOW)
    assert files.used_bytes == used
    assert os.listdir(files.files.directory) == ["1.hfh"]


def make_fragmented_store() -> HoldingStore:
    """Return a store with a 1 MiB arena, half of which is free in blocks of 60 KB."""
    arena = Arena(MIB)
    handles = [arena.allocate(60_000) for _ in range(17)]
    for handle in handles[::2]:
        arena.free(handle or 0)
    return HoldingStore(4 * MIB, [arena])


def test_fragmented_arena_drops_the_oldest_until_there_is_space() -> None:
    """The budget has space for the frame, but only merged free blocks are large enough."""
    store = HoldingStore(4 * MIB, [Arena(MIB)])
    harness = StreamHarness(store)
    for index in range(17):
        harness.put(index, bytes([index]) * 60_000)
    assert harness.stream.account().dropped == 0
    harness.put(20, bytes([20]) * 200_000)
    assert harness.stream.account().dropped == 5  # the oldest fragment
    assert harness.sent()[-1] == bytes([20]) * 200_000
    store.debug_check()


def test_fragmented_arena_makes_writers_wait_or_refuses() -> None:
    """An offline stream waits if it holds frames. Otherwise, or with policy OOM, `put` raises."""
    large = bytes(100_000)
    offline = StreamHarness(make_fragmented_store(), streaming_type=client.StreamingType.OFFLINE)
    with pytest.raises(kvs.KvsError) as caught:
        offline.put(0, large)
    assert caught.value.status is kvs.StatusCode.STORE_OUT_OF_MEMORY
    offline.put(0, bytes(100))
    used = offline.client.store.used_bytes
    with pytest.raises(client.WouldBlock):
        offline.put(1, large)
    assert offline.client.store.used_bytes == used
    policy = client.StorePressurePolicy.OOM
    strict = StreamHarness(make_fragmented_store(), store_pressure_policy=policy)
    strict.put(0, bytes(100))
    with pytest.raises(MemoryError):
        strict.put(1, large)
    assert strict.stream.account() == (1, 0, 0, 0, 1)


def test_frame_too_large_for_every_region_is_refused_at_once(
    video_library: Callable[..., str],
) -> None:
    """No frame is dropped for a frame that could not fit anyway."""
    store = HybridVideoMemoryStore(16 * MIB, 7, video_library("MAX=2000000"))
    harness = StreamHarness(store)
    harness.put(0, bytes(100))
    with pytest.raises(MemoryError):
        harness.put(1, bytes(2_500_000))
    assert harness.stream.account() == (1, 0, 0, 0, 1)
    harness.put(2, bytes(1_500_000))
    assert [len(data) for data in harness.sent()] == [100, 1_500_000]


def test_failure_to_free_a_payload_is_reported(video_library: Callable[..., str]) -> None:
    """The error is an event. The frame was stored nevertheless."""
    store = HybridVideoMemoryStore(4 * MIB, 25, video_library("FAIL_FREE"))
    assert store.keep([bytes(MIB - 100)], MIB - 100)
    harness = StreamHarness(store)
    for index in range(6):
        harness.put(index, payload(index))
    harness.sent()
    ack = b'{"EventType":"PERSISTED","FragmentTimecode":%d,"FragmentNumber":"1"}' % (NOW // MS)
    harness.stream.receive_ack(harness.uploads[-1], ack, NOW)
    harness.settle()
    assert harness.stream.account().persisted == 5
    statuses = [e.status for e in harness.events if isinstance(e, ev.StreamErrorReported)]
    assert statuses == [kvs.StatusCode.HEAP_VRAM_FREE_FAILED] * 5


@pytest.mark.parametrize("kind", ["arena", "files", "video memory"])
@pytest.mark.parametrize("seed", range(3))
def test_overflow_drops_frames_and_damages_none(make_store: Make, kind: str, seed: int) -> None:
    """Put frames of random sizes, more than the store holds, and read some: no byte is wrong."""
    dice = random.Random(seed)
    store = make_store(kind, 2 * MIB)
    harness = StreamHarness(store)
    put: dict[bytes, int] = {}
    sent: list[bytes] = []
    for index in range(300):
        data = b"#%04d" % index + dice.randbytes(dice.choice((20, 3000, 90_000)))
        harness.put(index, data)
        put[data] = index
        if dice.random() < 0.05:
            sent += harness.sent() if not sent else []
        store.debug_check() if isinstance(store, HoldingStore) else None
    assert all(data in put for data in sent)
    assert harness.stream.account().dropped > 0
    harness.stream.free(NOW)
    assert store.used_bytes == 0
    store.close()


@pytest.mark.parametrize("kind", list(StorageType), ids=lambda kind: kind.name)
def test_media_reaches_the_service_through_every_store(
    kind: StorageType,
    quick_url: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Frames are put, stored and read back. The store's files are removed at the end."""
    video = kind is StorageType.HYBRID_VIDEO_MEMORY
    library = request.getfixturevalue("video_library")() if video else ""
    storage = kvs.StorageInfo(kind, 4 * MIB, 25, str(tmp_path), library)
    info = kvs.StreamInfo.video(
        "h264",
        streaming_type=kvs.StreamingType.OFFLINE,
        retention="PT1H",
        nal_adaptation=kvs.NalAdaptation.NONE,
        frame_rate=25,
    )
    start = kvs.now()
    data = [index.to_bytes(4, "big") * 15_000 for index in range(50)]
    device = kvs.DeviceInfo(storage_info=storage)
    with kvs.Producer(endpoint_url=quick_url, device_info=device) as producer:
        with producer.open_stream("door", info) as stream:
            for index, content in enumerate(data):
                stream.put_frame(
                    kvs.Frame(content, start + index * 40 * MS, key_frame=index % 10 == 0)
                )
    fragments = kvs.get_media("door", start="earliest", endpoint_url=quick_url)
    read = [bytes(frame.data) for fragment in fragments for frame in fragment.frames]
    assert read == data
    assert list(tmp_path.glob("kvsproducer-heap-*")) == []
