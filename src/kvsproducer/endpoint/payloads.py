"""The bytes of stored fragments: in memory, or in append-only files of a data folder.

One file is written at a time, for all streams; at `FILE_SIZE` the next one begins, and a file none
of whose fragments is left is deleted. Everything that writes is called by the store's writer
thread; `read` may be called by any.

A file may end in bytes that no fragment of the index owns (a crash between the two): `recover`
cuts them off.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from kvsproducer.endpoint.index import Location

try:
    import fcntl
except ImportError:  # Windows
    _CAN_LOCK = False
else:
    _CAN_LOCK = True

__all__ = ["FilePayloads", "MemoryPayloads", "Payloads"]

FILE_SIZE: Final = 256 * 1024 * 1024  # a file is closed to new fragments beyond it


class Payloads(Protocol):
    """Where the bytes of fragments are."""

    def append(self, parts: Sequence[bytes]) -> Location:
        """Writes the four parts of a fragment; durable after `sync`. Raises OSError."""

    def sync(self) -> None:
        """Makes all appended bytes durable. Raises OSError."""

    def keep(self) -> None:
        """The index has what was appended: it is never rolled back any more."""

    def rollback(self) -> None:
        """Forgets what was appended since the last `keep`. Raises OSError."""

    def read(self, location: Location) -> list[bytes] | None:
        """The four parts, None when they are gone."""

    def recover(self, ends: dict[int, int]) -> dict[int, int]:
        """At the start: cuts every file at its end in the index (file -> size). Returns the real
        sizes of the files that are shorter than that."""

    def keep_only(self, files: set[int]) -> None:
        """Deletes every other file, save the one being written."""

    def close(self) -> None:
        """Closes what is open."""


class MemoryPayloads:
    """Fragments in memory: every fragment is a "file" of its own."""

    def __init__(self) -> None:
        self._parts: dict[int, list[bytes]] = {}
        self._last = 0
        self._kept = 0

    def append(self, parts: Sequence[bytes]) -> Location:
        self._last += 1
        self._parts[self._last] = list(parts)
        header, leading, cluster, trailing = map(len, parts)
        return Location(self._last, 0, (header, leading, cluster, trailing))

    def sync(self) -> None:
        pass  # memory is as durable as it gets

    def keep(self) -> None:
        self._kept = self._last

    def rollback(self) -> None:
        for number in range(self._kept + 1, self._last + 1):
            self._parts.pop(number, None)
        self._last = self._kept

    def read(self, location: Location) -> list[bytes] | None:
        return self._parts.get(location.file)

    def recover(self, ends: dict[int, int]) -> dict[int, int]:
        return dict.fromkeys(ends, 0)

    def keep_only(self, files: set[int]) -> None:
        for number in set(self._parts) - files:
            del self._parts[number]

    def close(self) -> None:
        self._parts.clear()


class FilePayloads:
    """Fragments in files `fragments/NNNNNNNN.mkvs` of a folder, which is made when missing.

    Only one process may use a folder: a second one would cut off what the first is writing. The
    lock goes with the process, however it ends. Raises OSError when another has it, and on a
    system that has no POSIX file locks.
    """

    def __init__(self, folder: Path, file_size: int = FILE_SIZE) -> None:
        if not _CAN_LOCK:
            lack = "a data folder needs POSIX file locks, which this system lacks"
            raise OSError(errno.ENOTSUP, lack, str(folder))
        self._folder = folder / "fragments"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._folder / "lock")
        self._file_size = file_size
        self._number = max(self._numbers(), default=1)
        self._descriptor = -1
        self._size = 0  # of the file being written
        self._kept = 0  # of it, what the index has

    def append(self, parts: Sequence[bytes]) -> Location:
        if self._descriptor < 0:
            self._open()
        header, leading, cluster, trailing = map(len, parts)
        location = Location(self._number, self._size, (header, leading, cluster, trailing))
        _write_all(self._descriptor, parts, self._size)
        self._size = location.end
        return location

    def sync(self) -> None:
        if self._descriptor >= 0:
            os.fsync(self._descriptor)

    def keep(self) -> None:
        self._kept = self._size
        if self._size >= self._file_size:
            self._close_file()
            self._number += 1

    def rollback(self) -> None:
        self._size = self._kept
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, self._kept)

    def read(self, location: Location) -> list[bytes] | None:
        try:
            with self._path(location.file).open("rb") as file:
                file.seek(location.offset)
                parts = [file.read(size) for size in location.sizes]
        except FileNotFoundError:
            return None
        return parts if all(map(_whole, parts, location.sizes)) else None

    def recover(self, ends: dict[int, int]) -> dict[int, int]:
        short = {}
        for number in {*self._numbers(), *ends}:
            path = self._path(number)
            size = path.stat().st_size if path.exists() else 0
            end = ends.get(number, 0)
            if size < end:
                short[number] = size
            elif size > end:
                os.truncate(path, end)
        return short

    def keep_only(self, files: set[int]) -> None:
        for number in set(self._numbers()) - files - {self._number}:
            self._path(number).unlink(missing_ok=True)

    def close(self) -> None:
        self._close_file()
        os.close(self._lock)

    def _close_file(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        path = self._path(self._number)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._size = self._kept = os.lseek(self._descriptor, 0, os.SEEK_END)
        folder = os.open(self._folder, os.O_RDONLY)  # makes the new name durable
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.mkvs"

    def _numbers(self) -> list[int]:
        return [int(path.stem) for path in self._folder.glob("*.mkvs") if path.stem.isdigit()]


def _lock(path: Path) -> int:
    """The descriptor that holds the lock until it is closed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OSError(
            errno.EBUSY, "the data folder is in use by another endpoint", str(path.parent)
        ) from None
    return descriptor


def _whole(part: bytes, size: int) -> bool:
    return len(part) == size


def _write_all(descriptor: int, parts: Sequence[bytes], offset: int) -> None:
    left = [memoryview(part) for part in parts if part]
    while left:
        written = os.pwritev(descriptor, left, offset)
        offset += written
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]
