"""Streams on every kind of store: to a real endpoint and back, in pieces, damaged, and full."""

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


class World:
    """A core with a service that says yes, and a store of the test's."""

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
        """The payloads that the upload is given now; they have to be whole Matroska."""
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

    def told(self, kind: type[client.Event]) -> list[client.Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def drop_reasons(self) -> set[ev.DropReason]:
        return {event.reason for event in self.events if isinstance(event, ev.FrameDropped)}


def payload(index: int) -> bytes:
    return b"frame %04d " % index * 100


@pytest.fixture
def files(tmp_path: Path) -> HybridFileStore:
    """A store whose memory is taken: every payload is in a file."""
    store = HybridFileStore(4 * MIB, 25, str(tmp_path))
    assert store.keep([bytes(MIB - 100)], MIB - 100)
    return store


@pytest.mark.parametrize("damaged", [0, 2, 5, 7], ids=lambda index: f"frame {index}")
def test_a_damaged_frame_is_dropped_and_reported(files: HybridFileStore, damaged: int) -> None:
    """Never sent; the others are, save those whose fragment lost its first frame."""
    world = World(files)
    for index in range(15):
        world.put(index, payload(index))
    os.truncate(f"{files.files.directory}/{damaged + 1}.hfh", 100)
    orphans = range(damaged, damaged + 5) if damaged % 5 == 0 else [damaged]
    assert world.sent() == [payload(index) for index in range(15) if index not in orphans]
    account = world.stream.account()
    assert (account.accepted, account.dropped) == (15, len(orphans))
    errors = world.told(ev.StreamErrorReported)
    assert [error.status for error in errors if isinstance(error, ev.StreamErrorReported)] == [
        kvs.StatusCode.HEAP_FILE_HEAP_FILE_CORRUPT
    ]
    assert ev.DropReason.UNREADABLE in world.drop_reasons()


def test_a_session_whose_only_fragment_is_damaged_begins_with_the_next(
    files: HybridFileStore,
) -> None:
    """Its other frames are dropped, and those up to the next key frame are skipped."""
    world = World(files)
    for index in range(3):
        world.put(index, payload(index))
    os.truncate(f"{files.files.directory}/1.hfh", 0)
    assert world.sent() == []
    for index in range(3, 8):
        world.put(index, payload(index))
    assert world.sent() == [payload(index) for index in range(5, 8)]
    account = world.stream.account()
    assert (account.accepted, account.dropped, account.skipped) == (6, 3, 2)


def test_a_full_disk_refuses_the_frame_and_loses_none(
    files: HybridFileStore, tmp_path: Path
) -> None:
    """`put_frame` raises; what was accepted is sent, and so is what comes after."""
    world = World(files)
    world.put(0, payload(0))
    world.put(1, payload(1))
    directory = Path(files.files.directory)
    directory.rename(tmp_path / "away")
    with pytest.raises(OSError, match="WRITE_TO_FILE_FAILED"):
        world.put(2, payload(2))
    (tmp_path / "away").rename(directory)
    world.put(3, payload(3))
    assert world.sent() == [payload(0), payload(1), payload(3)]
    assert world.stream.account() == (3, 0, 0, 0, 3)
    assert world.stream.metrics(NOW).counters.put_frame_errors == 1


@contextmanager
def full_disk(store: HybridFileStore, tmp_path: Path) -> Iterator[None]:
    """No file can be written meanwhile."""
    directory = Path(store.files.directory)
    directory.rename(tmp_path / "away")
    yield
    (tmp_path / "away").rename(directory)


def test_with_a_full_disk_the_memory_is_used(tmp_path: Path) -> None:
    """The oldest frames give way to new ones; the disk is reported once, until it works again."""
    store = HybridFileStore(4 * MIB, 25, str(tmp_path))
    world = World(store)
    large = [b"%d" % index * 300_000 for index in range(10)]
    world.put(0, large[0])
    with full_disk(store, tmp_path):
        for index in range(1, 8):
            world.put(index, large[index])
        with pytest.raises(OSError, match="WRITE_TO_FILE_FAILED"):
            world.put(8, bytes(MIB))  # only the disk could hold it
        assert world.stream.account() == (8, 0, 5, 0, 3)
    statuses = [e.status for e in world.events if isinstance(e, ev.StreamErrorReported)]
    assert statuses == [kvs.StatusCode.WRITE_TO_FILE_FAILED]
    world.put(9, large[9])
    assert world.stream.account() == (9, 0, 5, 0, 4), "there is a disk again"


def test_an_offline_stream_waits_while_the_disk_is_full(tmp_path: Path) -> None:
    """For space in memory, which the acks of what is held make."""
    store = HybridFileStore(4 * MIB, 25, str(tmp_path))
    world = World(store, streaming_type=kvs.StreamingType.OFFLINE)
    with full_disk(store, tmp_path), pytest.raises(client.WouldBlock):
        for index in range(8):
            world.put(index, bytes([1]) * 300_000)
    assert world.stream.account() == (3, 0, 0, 0, 3)


def test_a_frame_that_the_packager_refuses_leaves_nothing_in_the_store(
    files: HybridFileStore,
) -> None:
    """Its file is removed and its charge given back."""
    world = World(files)
    world.put(0, payload(0))
    used = files.used_bytes
    late = client.Frame(payload(1), NOW - 1_000_000 * MS)
    with pytest.raises(kvs.KvsError):
        world.stream.put_frame(late, NOW)
    assert files.used_bytes == used
    assert os.listdir(files.files.directory) == ["1.hfh"]


def pieces() -> HoldingStore:
    """An arena of 1 MiB half of which is free, in pieces of 60 KB."""
    arena = Arena(MIB)
    handles = [arena.allocate(60_000) for _ in range(17)]
    for handle in handles[::2]:
        arena.free(handle or 0)
    return HoldingStore(4 * MIB, [arena])


def test_an_arena_in_pieces_drops_the_oldest_until_there_is_room() -> None:
    """The budget would allow the frame: freed neighbours make the room for it."""
    store = HoldingStore(4 * MIB, [Arena(MIB)])
    world = World(store)
    for index in range(17):
        world.put(index, bytes([index]) * 60_000)
    assert world.stream.account().dropped == 0
    world.put(20, bytes([20]) * 200_000)
    assert world.stream.account().dropped == 5  # the oldest fragment
    assert world.sent()[-1] == bytes([20]) * 200_000
    store.debug_check()


def test_an_arena_in_pieces_makes_writers_wait_or_refuses() -> None:
    """Offline streams wait; with nothing of their own to wait for, and by policy, it is refused."""
    large = bytes(100_000)
    offline = World(pieces(), streaming_type=client.StreamingType.OFFLINE)
    with pytest.raises(kvs.KvsError) as caught:
        offline.put(0, large)
    assert caught.value.status is kvs.StatusCode.STORE_OUT_OF_MEMORY
    offline.put(0, bytes(100))
    used = offline.client.store.used_bytes
    with pytest.raises(client.WouldBlock):
        offline.put(1, large)
    assert offline.client.store.used_bytes == used
    policy = client.StorePressurePolicy.OOM
    strict = World(pieces(), store_pressure_policy=policy)
    strict.put(0, bytes(100))
    with pytest.raises(MemoryError):
        strict.put(1, large)
    assert strict.stream.account() == (1, 0, 0, 0, 1)


def test_a_frame_that_no_region_could_ever_hold_is_refused_at_once(
    video_library: Callable[..., str],
) -> None:
    """Nothing is dropped for it."""
    store = HybridVideoMemoryStore(16 * MIB, 7, video_library("MAX=2000000"))
    world = World(store)
    world.put(0, bytes(100))
    with pytest.raises(MemoryError):
        world.put(1, bytes(2_500_000))
    assert world.stream.account() == (1, 0, 0, 0, 1)
    world.put(2, bytes(1_500_000))
    assert [len(data) for data in world.sent()] == [100, 1_500_000]


def test_a_payload_that_cannot_be_freed_is_told(video_library: Callable[..., str]) -> None:
    """As an event: the frame was stored all the same."""
    store = HybridVideoMemoryStore(4 * MIB, 25, video_library("FAIL_FREE"))
    assert store.keep([bytes(MIB - 100)], MIB - 100)
    world = World(store)
    for index in range(6):
        world.put(index, payload(index))
    world.sent()
    ack = b'{"EventType":"PERSISTED","FragmentTimecode":%d,"FragmentNumber":"1"}' % (NOW // MS)
    world.stream.receive_ack(world.uploads[-1], ack, NOW)
    world.settle()
    assert world.stream.account().persisted == 5
    statuses = [e.status for e in world.events if isinstance(e, ev.StreamErrorReported)]
    assert statuses == [kvs.StatusCode.HEAP_VRAM_FREE_FAILED] * 5


@pytest.mark.parametrize("kind", ["arena", "files", "video memory"])
@pytest.mark.parametrize("seed", range(3))
def test_what_overflows_is_dropped_and_the_rest_is_whole(
    make_store: Make, kind: str, seed: int
) -> None:
    """More than the store holds, in random sizes, read now and then: every byte is right."""
    dice = random.Random(seed)
    store = make_store(kind, 2 * MIB)
    world = World(store)
    put: dict[bytes, int] = {}
    sent: list[bytes] = []
    for index in range(300):
        data = b"#%04d" % index + dice.randbytes(dice.choice((20, 3000, 90_000)))
        world.put(index, data)
        put[data] = index
        if dice.random() < 0.05:
            sent += world.sent() if not sent else []
        store.debug_check() if isinstance(store, HoldingStore) else None
    assert all(data in put for data in sent)
    assert world.stream.account().dropped > 0
    world.stream.free(NOW)
    assert store.used_bytes == 0
    store.close()


@pytest.mark.parametrize("kind", list(StorageType), ids=lambda kind: kind.name)
def test_media_reaches_the_service_through_every_store(
    kind: StorageType,
    quick_url: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Put, stored, read back; the files are gone afterwards."""
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
