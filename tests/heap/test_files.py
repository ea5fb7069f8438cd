"""Payloads in files: what is written is read, broken ones are told, only its own are removed."""

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
from kvsproducer.status import KvsError, StatusCode

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
    """1 MiB in memory, of which all but a little is taken; then files."""
    made = HybridFileStore(4 * MIB, 25, str(tmp_path))
    assert made.keep([b"m" * (MIB - 100)], MIB - 100)
    assert files_of(made) == []
    return made


def test_memory_first_then_files(store: HybridFileStore) -> None:
    """One file a payload, gone with it."""
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


def test_closing_leaves_nothing_of_its_own(store: HybridFileStore, tmp_path: Path) -> None:
    """Files that were still held included; the root directory stays, with what is in it."""
    (tmp_path / "7.hfh").write_bytes(b"somebody's")
    store.keep([b"x" * 1000], 1000)
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["7.hfh"]
    store.close()  # twice does no harm


def test_a_closed_store_takes_nothing(store: HybridFileStore) -> None:
    """HEAP_NOT_INITIALIZED for every operation."""
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
def test_a_damaged_file_is_told(store: HybridFileStore, damage: Callable[[Path], None]) -> None:
    """Cut, changed or lengthened: never handed out."""
    payload = store.keep([b"x" * 1000], 1000)
    assert payload is not None
    damage(files_of(store)[0])
    assert status_of(lambda: list(payload)) is StatusCode.HEAP_FILE_HEAP_FILE_CORRUPT


def test_a_file_that_is_gone_is_told(store: HybridFileStore) -> None:
    """READ_FILE_FAILED; giving it up is no failure."""
    payload = store.keep([b"x" * 1000], 1000)
    assert payload is not None
    files_of(store)[0].unlink()
    assert status_of(lambda: list(payload)) is StatusCode.READ_FILE_FAILED
    store.free(payload)


def test_a_file_that_cannot_be_removed_is_told(store: HybridFileStore) -> None:
    """Somebody put a directory in its place."""
    payload = store.keep([b"x" * 1000], 1000)
    assert payload is not None
    path = files_of(store)[0]
    path.unlink()
    path.mkdir()
    assert status_of(lambda: store.free(payload)) is StatusCode.REMOVE_FILE_FAILED


def test_foreign_files_are_never_removed(store: HybridFileStore) -> None:
    """What the store did not name stays, and its directory with it."""
    foreign = Path(store.files.directory) / "notes.hfh.txt"
    foreign.write_text("mine")
    store.keep([b"x" * 1000], 1000)
    assert status_of(store.close) is StatusCode.REMOVE_DIRECTORY_FAILED
    assert foreign.read_text() == "mine"
    assert [path.name for path in foreign.parent.iterdir()] == ["notes.hfh.txt"]


@contextmanager
def file_size_limit(count: int) -> Iterator[None]:
    """The kernel refuses to make a file longer, as a full disk does."""
    import resource

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_refuses_and_keeps_what_was_accepted(store: HybridFileStore) -> None:
    """The kernel takes a part of the file: nothing of it is left, and later there is room again."""
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


def test_a_directory_that_vanished_refuses(store: HybridFileStore) -> None:
    """WRITE_TO_FILE_FAILED for new payloads; closing tells too."""
    os.rmdir(store.files.directory)
    refused = status_of(lambda: store.keep([b"x" * 1000], 1000))
    assert refused is StatusCode.WRITE_TO_FILE_FAILED
    assert status_of(store.close) is StatusCode.REMOVE_DIRECTORY_FAILED


def test_bad_roots_are_told(tmp_path: Path) -> None:
    """Missing, no directory, no name, too long."""
    file = tmp_path / "file"
    file.touch()
    roots = {
        str(tmp_path / "missing"): StatusCode.NOT_FOUND,
        str(file): StatusCode.DIRECTORY_OPEN_FAILED,
        "": StatusCode.INVALID_ARG_LEN,
        "r" * 4081: StatusCode.INVALID_ARG_LEN,
        "r\0t": StatusCode.INVALID_ARG,
        "r" * 300: StatusCode.WRITE_TO_FILE_FAILED,  # longer than a name may be
    }
    for root, status in roots.items():
        assert status_of(lambda root=root: HybridFileStore(4 * MIB, 25, root)) is status


def test_a_root_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    """DIRECTORY_ACCESS_DENIED, also a PermissionError."""
    tmp_path.chmod(0o500)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(PermissionError) as caught:
            HybridFileStore(4 * MIB, 25, str(tmp_path))
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o700)
    assert isinstance(caught.value, KvsError)
    assert caught.value.status is StatusCode.DIRECTORY_ACCESS_DENIED


@pytest.mark.parametrize("ratio", [0, 24])
def test_a_memory_part_below_1_mib_is_refused(tmp_path: Path, ratio: int) -> None:
    """As in AWS's heap."""
    assert status_of(lambda: HybridFileStore(4 * MIB, ratio, str(tmp_path))) is (
        StatusCode.INVALID_ARG
    )


def test_what_a_killed_process_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    """The files of a living store are not; nor are foreign ones in a dead store's directory."""
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


def test_a_directory_taken_for_a_leftover_as_it_was_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process started in between: it held the lock, or had removed the directory."""
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


def test_nothing_to_keep_is_not_written(tmp_path: Path) -> None:
    """An empty payload stands for itself."""
    store = HoldingStore(MIB, [SpillFiles(str(tmp_path))])
    assert store.fits(1 << 40)  # how large the disk is, writing tells
    payload = store.keep((b"",), 0)
    assert payload == (b"",)
    store.free(payload)
    store.close()


def test_what_is_in_the_way_of_closing_is_told(store: HybridFileStore, tmp_path: Path) -> None:
    """A pipe is, by its name; the store's own files go all the same, and a link in place of one."""
    for _ in range(3):
        store.keep([b"x" * 1000], 1000)
    first, second, third = files_of(store)
    second.symlink_to(second.rename(tmp_path / "moved"))
    pipe = third.parent / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(KvsError, match="pipe is no file") as caught:
        store.close()
    assert caught.value.status is StatusCode.UNKNOWN_DIR_ENTRY_TYPE
    assert [path.name for path in first.parent.iterdir()] == ["pipe"]
    assert (tmp_path / "moved").stat().st_size > 1000


def test_a_root_on_a_disk_that_is_not_mounted(tmp_path: Path) -> None:
    """A link that leads nowhere is not the same as nothing; one that leads somewhere is fine."""
    link = tmp_path / "spill"
    link.symlink_to(tmp_path / "disk")
    assert status_of(lambda: SpillFiles(str(link))) is StatusCode.DIRECTORY_ENTRY_STAT_ERROR
    (tmp_path / "disk").mkdir()
    SpillFiles(str(link)).close()
