"""The store: durability, recovery after a crash, and a full disk."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from kvsproducer.endpoint.fragment import Fragment
from kvsproducer.endpoint.index import Axis, Index, Location, Span
from kvsproducer.endpoint.payloads import FilePayloads, MemoryPayloads
from kvsproducer.endpoint.store import INDEX_NAME, Store, StoreError, open_store
from kvsproducer.endpoint.streams import StreamRecord
from kvsproducer.status import KvsError, StatusCode

SECOND = 10_000_000
ARN = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/door/1"
RECORD = StreamRecord(name="door", arn=ARN, version="v1", created=1, tags={"a": "b"})
ALL = Span(Axis.SERVER, 0, 2**62)
MakeFragment = Callable[..., Fragment]


@pytest.fixture(params=["memory", "files"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Yield a store of both kinds, each with one stream."""
    opened = open_store(None if request.param == "memory" else tmp_path)
    opened.save_stream(RECORD).result()
    yield opened
    opened.close()


def numbers(store: Store, span: Span = ALL, oldest: int = 0) -> list[int]:
    return [int(info.number) for info in store.page(ARN, oldest, span, "", 1000)]


def fill(store: Store, make: MakeFragment, count: int = 5) -> None:
    for done in [store.append(ARN, make(n)) for n in range(1, count + 1)]:
        done.result(10)


def test_fragment_is_read_unchanged(store: Store, fragment: MakeFragment) -> None:
    fill(store, fragment)
    assert store.read(ARN, 0, fragment(3).info.number) == fragment(3)
    assert store.read(ARN, 0, f"{99:047d}") is None
    assert store.last_number(ARN) == fragment(5).info.number
    assert store.pending_bytes == 0


def test_queries(store: Store, fragment: MakeFragment) -> None:
    fill(store, fragment)
    infos = [fragment(n).info for n in range(1, 6)]
    assert store.latest(ARN, 0) == infos[4]
    assert store.next_after(ARN, 0, "") == infos[0]
    assert store.next_after(ARN, 0, infos[1].number) == infos[2]
    assert store.next_after(ARN, 0, infos[4].number) is None
    contains = store.first_reaching(ARN, 0, Axis.PRODUCER, 2 * SECOND + 1)
    assert contains == infos[1]
    assert store.first_reaching(ARN, 0, Axis.SERVER, 3 * SECOND) == infos[1]
    assert store.first_reaching(ARN, 0, Axis.PRODUCER, 6 * SECOND) is None
    assert numbers(store, Span(Axis.PRODUCER, 2 * SECOND, 4 * SECOND)) == [2, 3, 4]
    assert store.page(ARN, 0, ALL, infos[1].number, 2) == infos[2:4]


def test_fragments_past_the_retention_are_hidden_then_deleted(
    store: Store, fragment: MakeFragment
) -> None:
    fill(store, fragment)
    oldest = fragment(4).info.server_timestamp
    assert numbers(store, oldest=oldest) == [4, 5]
    store.expire([(ARN, oldest)]).result(10)
    assert numbers(store) == [4, 5]
    assert store.last_number(ARN) == fragment(5).info.number


def test_deleted_stream_loses_its_fragments(store: Store, fragment: MakeFragment) -> None:
    fill(store, fragment)
    store.delete_stream(ARN).result(10)
    assert store.streams() == []
    assert numbers(store) == []
    store.append(ARN, fragment(6)).result(10)
    assert numbers(store) == [], "a late fragment of a deleted stream goes nowhere"


def test_restart_keeps_everything(tmp_path: Path, fragment: MakeFragment) -> None:
    store = open_store(tmp_path)
    store.save_stream(RECORD).result()
    fill(store, fragment)
    store.close()
    again = open_store(tmp_path)
    assert again.streams() == [RECORD]
    assert numbers(again) == [1, 2, 3, 4, 5]
    assert again.last_number(ARN) == fragment(5).info.number
    again.append(ARN, fragment(6)).result(10)
    for n in range(1, 7):
        assert again.read(ARN, 0, fragment(n).info.number) == fragment(n)
    again.close()


def test_truncated_file_loses_only_its_last_fragments(
    tmp_path: Path, fragment: MakeFragment
) -> None:
    store = open_store(tmp_path)
    store.save_stream(RECORD).result()
    fill(store, fragment)
    store.close()
    (path,) = (tmp_path / "fragments").glob("*.mkvs")
    os.truncate(path, path.stat().st_size - 1)
    again = open_store(tmp_path)
    assert numbers(again) == [1, 2, 3, 4]
    fill_again = again.append(ARN, fragment(6))
    fill_again.result(10)
    assert again.read(ARN, 0, fragment(6).info.number) == fragment(6)
    assert again.read(ARN, 0, fragment(4).info.number) == fragment(4)
    again.close()


def test_full_files_are_followed_by_new_ones_and_deleted_when_unused(
    tmp_path: Path, fragment: MakeFragment
) -> None:
    store = open_store(tmp_path, file_size=900)
    store.save_stream(RECORD).result()
    for n in range(1, 6):
        store.append(ARN, fragment(n)).result(10)
    assert len(list((tmp_path / "fragments").glob("*.mkvs"))) == 3
    store.expire([(ARN, fragment(5).info.server_timestamp)]).result(10)
    assert len(list((tmp_path / "fragments").glob("*.mkvs"))) == 1
    assert store.read(ARN, 0, fragment(5).info.number) == fragment(5)
    store.close()


def test_folder_is_used_by_one_store_at_a_time(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(OSError, match="in use by another endpoint"):
        open_store(tmp_path)
    store.close()
    open_store(tmp_path).close()


class FullDisk(FilePayloads):
    """A disk with space for `room` bytes. The write that exceeds it is partial."""

    room = 400

    def append(self, arn: str, fragment: Fragment) -> Location:
        if fragment.info.size > self.room:
            super().append(arn, Fragment(fragment.info, b"", b"partial", b"", b""))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= fragment.info.size
        return super().append(arn, fragment)


def test_full_disk_fails_the_fragment_and_the_store_continues(
    tmp_path: Path, fragment: MakeFragment, caplog: pytest.LogCaptureFixture
) -> None:
    payloads = FullDisk(tmp_path)
    store = Store(Index(tmp_path / INDEX_NAME), payloads)
    store.save_stream(RECORD).result()
    fill(store, fragment, 3)
    with pytest.raises(StoreError, match="No space left"):
        store.append(ARN, fragment(4)).result(10)
    assert "No space left" in caplog.text
    assert numbers(store) == [1, 2, 3]
    assert store.pending_bytes == 0
    payloads.room = 10_000
    store.append(ARN, fragment(5)).result(10)
    assert store.read(ARN, 0, fragment(5).info.number) == fragment(5)
    assert store.read(ARN, 0, fragment(3).info.number) == fragment(3)
    store.close()


def test_unexpected_failure_of_a_group_does_not_end_the_writer(
    store: Store, fragment: MakeFragment, caplog: pytest.LogCaptureFixture
) -> None:
    """A number that SQLite cannot store once ended the writer thread, and all streams hung."""
    good = fragment(1)
    wrong = replace(good, info=replace(good.info, duration=2**63))
    with pytest.raises(StoreError, match="too large"):
        store.append(ARN, wrong).result(10)
    assert "Traceback" in caplog.text
    fill(store, fragment)
    assert numbers(store) == [1, 2, 3, 4, 5]
    assert store.read(ARN, 0, fragment(1).info.number) == fragment(1)
    store.save_stream(replace(RECORD, version="v2")).result(10)


class SlowDisk(MemoryPayloads):
    """A disk that waits for `go` before each sync, and counts syncs."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.syncs = 0

    def sync(self) -> None:
        assert self.go.wait(10)
        self.syncs += 1


def test_waiting_fragments_share_one_commit(fragment: MakeFragment) -> None:
    disk = SlowDisk()
    index = Index(None)
    index.save_stream(RECORD)
    store = Store(index, disk)
    waiting = [store.append(ARN, fragment(n)) for n in range(1, 101)]
    assert not waiting[0].done()
    assert store.pending_bytes > 0
    disk.go.set()
    for done in waiting:
        done.result(10)
    assert disk.syncs <= 3
    assert store.pending_bytes == 0
    store.close()


def test_close_writes_waiting_fragments(tmp_path: Path, fragment: MakeFragment) -> None:
    store = open_store(tmp_path)
    store.save_stream(RECORD)
    waiting = [store.append(ARN, fragment(n)) for n in range(1, 51)]
    store.close()
    assert all(done.done() and done.exception() is None for done in waiting)
    again = open_store(tmp_path)
    assert len(numbers(again)) == 50
    again.close()


def test_readers_and_the_writer_work_in_parallel(store: Store, fragment: MakeFragment) -> None:
    def look() -> None:
        for _ in range(100):
            for n in numbers(store):
                assert store.read(ARN, 0, f"{n:047d}") == fragment(n)

    with ThreadPoolExecutor(3) as readers:
        looking = [readers.submit(look) for _ in range(3)]
        fill(store, fragment, 20)
        for done in looking:
            done.result(30)


def test_invalid_folders(tmp_path: Path) -> None:
    """A file, a link without a target, and a name that is too long each have a status."""
    file, link = tmp_path / "file", tmp_path / "link"
    file.touch()
    link.symlink_to(tmp_path / "disk")
    for folder, status in (
        (file, StatusCode.DIRECTORY_OPEN_FAILED),
        (link, StatusCode.DIRECTORY_ENTRY_STAT_ERROR),
        (tmp_path / ("x" * 4096), StatusCode.PATH_TOO_LONG),
        ("", StatusCode.INVALID_ARG_LEN),
    ):
        with pytest.raises(KvsError) as caught:
            open_store(folder)
        assert caught.value.status is status
