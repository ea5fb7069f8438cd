"""Payloads in files: reading, damaged files, and which files a store removes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvsproducer.heap import HoldingStore, HybridFileStore
from kvsproducer.heap.files import PREFIX, SpillFiles
from kvsproducer.status import KvsError, StatusCode, StorageError

MIB = 1 << 20
NOBODY = 65534


def status_of(action: Callable[[], object]) -> StatusCode:
    with pytest.raises(KvsError) as caught:
        action()
    return caught.value.status


def files_of(store: HybridFileStore) -> list[Path]:
    return sorted(Path(store.files.directory).iterdir())


@pytest.fixture
def store(tmp_path: Path) -> HybridFileStore:
    """Return a store whose 1 MiB of memory is almost full, so that payloads go to files."""
    made = HybridFileStore(4 * MIB, 25, str(tmp_path))
    assert made.keep([b"m" * (MIB - 100)], MIB - 100)
    assert files_of(made) == []
    return made


def test_memory_first_then_files(store: HybridFileStore) -> None:
    """A payload that does not fit into memory has one file, which is removed with it."""
    payload = store.keep([b"one", b"two" * 100], 303)
    small = store.keep([b"little"], 6)
    assert payload is not None
    assert small is not None
    assert [path.name for path in files_of(store)] == ["1.hfh"]
    assert b"".join(payload) == b"one" + b"two" * 100
    assert [*reversed(payload)] == list(payload) == [payload[0]]
    assert payload[:1] == [payload[0]]
    assert len(payload) == 1
    store.free(payload)
    assert files_of(store) == []
    assert list(small) == [b"little"]
    store.debug_check()


def test_closing_removes_all_files_of_the_store(store: HybridFileStore, tmp_path: Path) -> None:
    """Closing removes the files of held payloads. The root directory and its other files stay."""
    (tmp_path / "7.hfh").write_bytes(b"foreign")
    store.keep([b"x" * 1000], 1000)
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["7.hfh"]
    store.close()  # closing twice is allowed


def test_closed_store_refuses_every_operation(store: HybridFileStore) -> None:
    """Every operation raises HEAP_NOT_INITIALIZED."""
    payload = store.keep([b"x" * 1000], 1000)
    assert payload is not None
    store.close()
    for action in (
        lambda: store.keep([b"x"], 1),
        lambda: store.free(payload),
        store.debug_check,
    ):
        assert status_of(action) is StatusCode.HEAP_NOT_INITIALIZED


def _cut(path: Path) -> None:
    os.truncate(path, 500)


def _cut_header(path: Path) -> None:
    os.truncate(path, 3)


def _change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)


def _lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


@pytest.mark.parametrize("damage", [_cut, _cut_header, _change, _lengthen])
def test_damaged_file_is_reported(store: HybridFileStore, damage: Callable[[Path], None]) -> None:
    """A file that was truncated, changed or lengthened is not read as a payload."""
    payload = store.keep([b"x" * 1000], 1000)
    assert payload is not None
    damage(files_of(store)[0])
    assert status_of(lambda: list(payload)) is StatusCode.HEAP_FILE_HEAP_FILE_CORRUPT


def test_missing_file_is_reported(store: HybridFileStore) -> None:
    """Reading raises READ_FILE_FAILED. Freeing the payload succeeds."""
    payload = store.keep([b"x" * 1000], 1000)
    assert payload is not None
    files_of(store)[0].unlink()
    assert status_of(lambda: list(payload)) is StatusCode.READ_FILE_FAILED
    store.free(payload)


def test_failure_to_remove_a_file_is_reported(store: HybridFileStore) -> None:
    """A directory has replaced the file."""
    payload = store.keep([b"x" * 1000], 1000)
    assert payload is not None
    path = files_of(store)[0]
    path.unlink()
    path.mkdir()
    assert status_of(lambda: store.free(payload)) is StatusCode.REMOVE_FILE_FAILED


def test_foreign_files_are_never_removed(store: HybridFileStore) -> None:
    """A file that the store did not create stays, and so does its directory."""
    foreign = Path(store.files.directory) / "notes.hfh.txt"
    foreign.write_text("mine")
    store.keep([b"x" * 1000], 1000)
    assert status_of(store.close) is StatusCode.REMOVE_DIRECTORY_FAILED
    assert foreign.read_text() == "mine"
    assert [path.name for path in foreign.parent.iterdir()] == ["notes.hfh.txt"]


@contextmanager
def file_size_limit(count: int) -> Iterator[None]:
    """Let the kernel refuse to make a file longer than `count` bytes, as a full disk does."""
    import resource

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def test_full_disk_refuses_a_payload_and_keeps_the_others(store: HybridFileStore) -> None:
    """A file written in part is removed, and the store accepts payloads once there is space."""
    first = store.keep([b"1" * 1000], 1000)
    with file_size_limit(700):
        refused = status_of(lambda: store.keep([b"2" * 1000], 1000))
    assert refused is StatusCode.WRITE_TO_FILE_FAILED
    assert [path.name for path in files_of(store)] == ["1.hfh"]
    third = store.keep([b"3" * 1000], 1000)
    assert first is not None
    assert third is not None
    assert list(first) == [b"1" * 1000]
    assert list(third) == [b"3" * 1000]


def test_vanished_directory_refuses_payloads(store: HybridFileStore) -> None:
    """New payloads raise WRITE_TO_FILE_FAILED, and closing raises REMOVE_DIRECTORY_FAILED."""
    os.rmdir(store.files.directory)
    refused = status_of(lambda: store.keep([b"x" * 1000], 1000))
    assert refused is StatusCode.WRITE_TO_FILE_FAILED
    assert status_of(store.close) is StatusCode.REMOVE_DIRECTORY_FAILED


def test_invalid_roots_are_reported(tmp_path: Path) -> None:
    """Roots that are missing, not a directory, empty or too long raise their statuses."""
    file = tmp_path / "file"
    file.touch()
    roots = {
        str(tmp_path / "missing"): StatusCode.NOT_FOUND,
        str(file): StatusCode.DIRECTORY_OPEN_FAILED,
        "": StatusCode.INVALID_ARG_LEN,
        "r" * 4081: StatusCode.INVALID_ARG_LEN,
        "r\0t": StatusCode.INVALID_ARG,
        "r" * 300: StatusCode.WRITE_TO_FILE_FAILED,  # longer than the file system allows for a name
    }
    for root, status in roots.items():
        assert status_of(lambda root=root: HybridFileStore(4 * MIB, 25, root)) is status


def test_root_without_write_permission_is_reported(tmp_path: Path) -> None:
    """The error is DIRECTORY_ACCESS_DENIED, a StorageError."""
    tmp_path.chmod(0o500)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(StorageError) as caught:
            HybridFileStore(4 * MIB, 25, str(tmp_path))
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o700)
    assert caught.value.status is StatusCode.DIRECTORY_ACCESS_DENIED


@pytest.mark.parametrize("ratio", [0, 24])
def test_a_memory_part_below_1_mib_is_refused(tmp_path: Path, ratio: int) -> None:
    """The limit is the same as in AWS's heap."""
    assert status_of(lambda: HybridFileStore(4 * MIB, ratio, str(tmp_path))) is (
        StatusCode.INVALID_ARG
    )


def test_files_of_a_killed_process_are_removed_at_the_next_start(tmp_path: Path) -> None:
    """Files of a living store stay, and so do foreign files in the directory of a dead one."""
    program = (
        "import os, sys\n"
        "from kvsproducer.heap import HybridFileStore\n"
        f"store = HybridFileStore({2 * MIB}, 50, sys.argv[1])\n"
        f"store.keep([bytes({MIB})], {MIB})\n"
        "os.kill(os.getpid(), 9)\n"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program, str(tmp_path)])
        (left,) = tmp_path.glob(PREFIX + "*")
        assert [path.name for path in left.iterdir()] == ["1.hfh"]
    (left / "precious").touch()
    (tmp_path / (PREFIX + "file")).touch()
    foreign = tmp_path / "1.hfh"
    foreign.touch()
    living = HybridFileStore(2 * MIB, 50, str(tmp_path))
    held = living.keep([bytes(MIB)], MIB)
    assert held is not None
    other = HybridFileStore(2 * MIB, 50, str(tmp_path))
    assert [path.name for path in left.iterdir()] == ["precious"]
    assert list(held) == [bytes(MIB)]
    other.close()
    living.close()
    stays = [left.name, PREFIX + "file", foreign.name]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(stays)


def test_directory_lost_to_another_process_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process locked or removed the new directory before the store could lock it."""
    import kvsproducer.heap.files as module

    whole = module._lock
    seen: list[str] = []

    def disturbed(directory: str) -> int | None:
        seen.append(directory)
        if len(seen) == 1:
            return None
        lock = whole(directory)
        if len(seen) == 2:
            os.rmdir(directory)
        return lock

    monkeypatch.setattr(module, "_lock", disturbed)
    files = SpillFiles(str(tmp_path))
    assert len(set(seen)) == 3
    assert files.directory == seen[2]
    files.close()


def test_empty_payload_is_not_written(tmp_path: Path) -> None:
    """An empty payload is returned as it is."""
    store = HoldingStore(MIB, [SpillFiles(str(tmp_path))])
    assert store.fits(1 << 40)  # only writing shows whether the disk has space
    payload = store.keep((b"",), 0)
    assert payload == (b"",)
    store.free(payload)
    store.close()


def test_foreign_entry_is_reported_at_close(store: HybridFileStore, tmp_path: Path) -> None:
    """A pipe is reported by its path. The store's files and links with their names are removed."""
    for _ in range(3):
        store.keep([b"x" * 1000], 1000)
    first, second, third = files_of(store)
    second.symlink_to(second.rename(tmp_path / "moved"))
    pipe = third.parent / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(KvsError, match="pipe is not a file") as caught:
        store.close()
    assert caught.value.status is StatusCode.UNKNOWN_DIR_ENTRY_TYPE
    assert [path.name for path in first.parent.iterdir()] == ["pipe"]
    assert (tmp_path / "moved").stat().st_size > 1000


def test_a_root_on_a_disk_that_is_not_mounted(tmp_path: Path) -> None:
    """A link without a target has its own status. A link to a directory is accepted."""
    link = tmp_path / "spill"
    link.symlink_to(tmp_path / "disk")
    assert status_of(lambda: SpillFiles(str(link))) is StatusCode.DIRECTORY_ENTRY_STAT_ERROR
    (tmp_path / "disk").mkdir()
    SpillFiles(str(link)).close()
