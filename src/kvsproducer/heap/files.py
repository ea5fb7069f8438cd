"""Payloads in files, under a directory of the store's own, and the hybrid store that spills there.

Facts: AWS's hybrid file heap: memory first, then one file `<n>.hfh` for each payload, n from 1.
Unlike AWS's, which removes every `*.hfh` file of the root directory, a store works in a
directory of its own that it holds a lock on; at the start it removes what crashed processes left,
which is told by the lock that nobody holds, and it never touches a file that it did not name.

A file is a header (mark, CRC-32, size) and the payload: what was cut or changed is not sent.
Nothing is synchronised to the disk: after a crash the files are of no use to anybody.
"""

from __future__ import annotations

import errno
import os
import re
import struct
import tempfile
import zlib
from contextlib import suppress
from typing import Final

from kvsproducer import limits
from kvsproducer.heap.arena import memory_part
from kvsproducer.heap.store import HoldingStore, Payload
from kvsproducer.status import KvsError, StatusCode, kvs_error
from kvsproducer.status.system import in_words
from kvsproducer.utils import check_exists

try:
    import fcntl
except ImportError:  # Windows
    _CAN_LOCK = False
else:
    _CAN_LOCK = True

__all__ = ["HybridFileStore", "SpillFiles"]

PREFIX: Final = "kvsproducer-heap-"
_NAME: Final = re.compile(r"\d+\.hfh")
_HEADER: Final = struct.Struct("<4sIQ")  # mark, CRC-32 of the payload, its size
_MARK: Final = b"KVSH"


class SpillFiles:
    """A directory of payloads below `root_directory`; a handle is the number of a file.

    Raises INVALID_ARG_LEN for a root of no or more than 4080 characters, INVALID_ARG for one with a
    NUL character, NOT_FOUND when it does not
    exist, DIRECTORY_ENTRY_STAT_ERROR when it is a link that leads nowhere (a disk that is not
    mounted), DIRECTORY_OPEN_FAILED when it is no directory, DIRECTORY_ACCESS_DENIED when it may not
    be written, WRITE_TO_FILE_FAILED when it cannot be for another reason, NOT_IMPLEMENTED on a
    system that has no POSIX file locks.
    """

    __slots__ = ("_lock", "_next", "directory")

    def __init__(self, root_directory: str) -> None:
        if not _CAN_LOCK:
            raise kvs_error(
                StatusCode.NOT_IMPLEMENTED,
                "payloads in files need POSIX file locks, which this system lacks; "
                "keep them in memory",
            )
        if not 0 < len(root_directory) <= limits.MAX_FILE_HEAP_ROOT_LEN:
            raise kvs_error(
                StatusCode.INVALID_ARG_LEN,
                f"a root directory of {len(root_directory)} characters, not 1 to "
                f"{limits.MAX_FILE_HEAP_ROOT_LEN}",
            )
        if "\0" in root_directory:
            raise kvs_error(
                StatusCode.INVALID_ARG,
                f"the root directory {root_directory!r} has a NUL character; no path may have one",
            )
        if os.path.islink(root_directory):
            check_exists(root_directory)
        try:
            sweep(root_directory)
            self.directory, self._lock = _own_directory(root_directory)
        except OSError as error:
            status = _ROOT_FAILURES.get(error.errno or 0, StatusCode.WRITE_TO_FILE_FAILED)
            raise kvs_error(
                status, f"root directory {root_directory!r}: {in_words(error)}"
            ) from error
        self._next = limits.FILE_HEAP_FIRST_INDEX

    def _path(self, handle: int) -> str:
        return f"{self.directory}/{handle}.hfh"

    def store(self, payload: Payload, size: int) -> int:
        """Write a payload into a file of its own; raises WRITE_TO_FILE_FAILED, with none left."""
        handle = self._next
        data = b"".join(payload)
        header = _HEADER.pack(_MARK, zlib.crc32(data), size)
        path = self._path(handle)
        try:
            with open(path, "xb", buffering=0) as file:
                _write_whole(file.fileno(), header + data)
        except OSError as error:
            with suppress(OSError):
                os.unlink(path)
            raise kvs_error(
                StatusCode.WRITE_TO_FILE_FAILED, f"{size} bytes to {path}: {in_words(error)}"
            ) from error
        self._next = handle + 1
        return handle

    def read(self, handle: int) -> bytes:
        """The payload; raises READ_FILE_FAILED, and HEAP_FILE_HEAP_FILE_CORRUPT when it changed."""
        path = self._path(handle)
        try:
            with open(path, "rb", buffering=0) as file:
                whole = file.readall()
        except OSError as error:
            raise kvs_error(StatusCode.READ_FILE_FAILED, f"{path}: {in_words(error)}") from error
        data = whole[_HEADER.size :]
        if whole[: _HEADER.size] != _HEADER.pack(_MARK, zlib.crc32(data), len(data)):
            raise kvs_error(StatusCode.HEAP_FILE_HEAP_FILE_CORRUPT, f"{path}, {len(whole)} bytes")
        return data

    def free(self, handle: int) -> None:
        """Remove a file; raises REMOVE_FILE_FAILED, unless it is gone already."""
        path = self._path(handle)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass  # what somebody else has removed is removed
        except OSError as error:
            raise kvs_error(StatusCode.REMOVE_FILE_FAILED, f"{path}: {in_words(error)}") from error

    def fits(self, size: int) -> bool:
        """Whatever the budget allows: how large the disk is, writing tells."""
        del size
        return True

    def debug_check(self) -> None:
        """Nothing: a file is checked when it is read."""

    def close(self) -> None:
        """Remove the files and their directory.

        Raises REMOVE_FILE_FAILED and REMOVE_LINK_FAILED for a payload's file, or the link that
        somebody put in its place, UNKNOWN_DIR_ENTRY_TYPE when a pipe, socket or device is in the
        way, REMOVE_DIRECTORY_FAILED when anything else is.
        """
        try:
            _remove(self.directory)
        finally:
            os.close(self._lock)


_ROOT_FAILURES: Final = {
    errno.ENOENT: StatusCode.NOT_FOUND,
    errno.ENOTDIR: StatusCode.DIRECTORY_OPEN_FAILED,
    errno.EACCES: StatusCode.DIRECTORY_ACCESS_DENIED,
    errno.EPERM: StatusCode.DIRECTORY_ACCESS_DENIED,
    errno.EROFS: StatusCode.DIRECTORY_ACCESS_DENIED,
}


def _write_whole(descriptor: int, data: bytes) -> None:
    """Write all of `data`: a disk that fills up takes a part first, and then says so."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _lock(directory: str) -> int | None:
    """A descriptor that holds the directory's lock, or None when a living process has it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _own_directory(root: str) -> tuple[str, int]:
    """A new directory below `root`, and the descriptor that holds its lock."""
    while True:
        directory = tempfile.mkdtemp(prefix=PREFIX, dir=root)
        lock = _lock(directory)
        if lock is not None and os.path.isdir(directory):
            return directory, lock
        # A process that starts at this moment took it for a leftover.
        if lock is not None:
            os.close(lock)


def sweep(root: str) -> None:
    """Remove what stores of dead processes left below `root`; raises OSError when it has no list.

    What cannot be removed, such as another user's, or a directory with foreign files in it, stays.
    """
    for name in os.listdir(root):
        directory = os.path.join(root, name)
        if not name.startswith(PREFIX):
            continue
        with suppress(OSError):
            lock = _lock(directory)
            if lock is not None:
                try:
                    with suppress(KvsError):
                        _remove(directory)
                finally:
                    os.close(lock)


def _remove(directory: str) -> None:
    """Remove the payload files of a directory and, when nothing else is in it, the directory.

    Raises as `SpillFiles.close`.
    """
    failures = []
    try:
        with os.scandir(directory) as entries:
            for entry in list(entries):
                try:
                    _remove_entry(entry)
                except KvsError as failure:
                    failures.append(failure)
        if not failures:
            os.rmdir(directory)
    except OSError as error:
        raise kvs_error(
            StatusCode.REMOVE_DIRECTORY_FAILED, f"{directory}: {in_words(error)}"
        ) from error
    if failures:
        raise failures[0]


def _remove_entry(entry: os.DirEntry[str]) -> None:
    """Remove a payload's file or what links to one; what is foreign stays."""
    link, file = entry.is_symlink(), entry.is_file(follow_symlinks=False)
    if not (link or file or entry.is_dir(follow_symlinks=False)):
        raise kvs_error(
            StatusCode.UNKNOWN_DIR_ENTRY_TYPE, f"{entry.path} is no file, directory or link"
        )
    if (link or file) and _NAME.fullmatch(entry.name):
        try:
            os.unlink(entry.path)
        except OSError as error:
            status = StatusCode.REMOVE_LINK_FAILED if link else StatusCode.REMOVE_FILE_FAILED
            raise kvs_error(status, f"{entry.path}: {in_words(error)}") from error


class HybridFileStore(HoldingStore):
    """A content store with `spill_ratio` percent of its size in memory, the rest in files.

    Raises INVALID_ARG when less than 1 MiB is in memory, HEAP_DIRECT_MEM_INIT, and as `SpillFiles`.
    """

    __slots__ = ("arena", "files")

    def __init__(self, size_bytes: int, spill_ratio: int, root_directory: str) -> None:
        self.arena = memory_part(size_bytes, spill_ratio)
        self.files = SpillFiles(root_directory)
        super().__init__(size_bytes, (self.arena, self.files))
