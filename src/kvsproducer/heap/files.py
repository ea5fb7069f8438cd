"""Payloads in files, in a directory that one store owns, and the hybrid store that uses them.

Source: AWS's hybrid file heap. Payloads go to memory first, and then to one file `<n>.hfh` each,
with n counting from 1. AWS's heap removes every `*.hfh` file of the root directory when it starts.
This store instead creates a directory of its own and locks it. At the start, it removes the
directories of crashed processes, which are the directories without a lock. In these it removes only
files that have names such as this store gives.

A file is a header (mark, CRC-32, size) and the payload, so a truncated or changed file is noticed
and not sent. Nothing is synchronised to the disk, because no process reads the files after a crash.
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
from kvsproducer.status import KvsError, StatusCode, StorageError, kvs_error
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
    """A directory of payload files below `root_directory`. A handle is the number of a file.

    Raises INVALID_ARG_LEN if the root is empty or longer than 4080 characters; INVALID_ARG if it
    contains a NUL character; NOT_FOUND if it does not exist; DIRECTORY_ENTRY_STAT_ERROR if it is a
    link without a target (such as a disk that is not mounted); DIRECTORY_OPEN_FAILED if it is not a
    directory; DIRECTORY_ACCESS_DENIED without permission to write; WRITE_TO_FILE_FAILED if writing
    fails for another reason; NOT_IMPLEMENTED on a system without POSIX file locks.
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
                f"the root directory's name has {len(root_directory)} characters, not 1 to "
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
            raise StorageError(
                status, f"cannot use root directory {root_directory!r}: {in_words(error)}"
            ) from error
        self._next = limits.FILE_HEAP_FIRST_INDEX

    def _path(self, handle: int) -> str:
        return f"{self.directory}/{handle}.hfh"

    def store(self, payload: Payload, size: int) -> int:
        """Write a payload to a new file.

        Raises WRITE_TO_FILE_FAILED; the file is then removed.
        """
        handle = self._next
        data = b"".join(payload)
        header = _HEADER.pack(_MARK, zlib.crc32(data), size)
        path = self._path(handle)
        try:
            with open(path, "xb", buffering=0) as file:
                _write_all(file.fileno(), header + data)
        except OSError as error:
            with suppress(OSError):
                os.unlink(path)
            raise kvs_error(
                StatusCode.WRITE_TO_FILE_FAILED,
                f"cannot write {size} bytes to {path}: {in_words(error)}",
            ) from error
        self._next = handle + 1
        return handle

    def read(self, handle: int) -> bytes:
        """Return a payload.

        Raises READ_FILE_FAILED, or HEAP_FILE_HEAP_FILE_CORRUPT if the file has changed.
        """
        path = self._path(handle)
        try:
            with open(path, "rb", buffering=0) as file:
                whole = file.readall()
        except OSError as error:
            raise kvs_error(
                StatusCode.READ_FILE_FAILED, f"cannot read {path}: {in_words(error)}"
            ) from error
        data = whole[_HEADER.size :]
        if whole[: _HEADER.size] != _HEADER.pack(_MARK, zlib.crc32(data), len(data)):
            raise kvs_error(
                StatusCode.HEAP_FILE_HEAP_FILE_CORRUPT,
                f"{path} ({len(whole)} bytes) was changed after it was written",
            )
        return data

    def free(self, handle: int) -> None:
        """Remove a file if it exists. Raises REMOVE_FILE_FAILED."""
        path = self._path(handle)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass  # another process removed the file: there is nothing left to do
        except OSError as error:
            raise kvs_error(
                StatusCode.REMOVE_FILE_FAILED, f"cannot remove {path}: {in_words(error)}"
            ) from error

    def fits(self, size: int) -> bool:
        """Return True: only writing shows whether the disk has space."""
        del size
        return True

    def debug_check(self) -> None:
        """Do nothing: each file is checked when it is read."""

    def close(self) -> None:
        """Remove the files and their directory.

        Raises REMOVE_FILE_FAILED or REMOVE_LINK_FAILED if a payload's file, or a link with its
        name, cannot be removed; UNKNOWN_DIR_ENTRY_TYPE if the directory contains a pipe, socket or
        device; REMOVE_DIRECTORY_FAILED if it contains anything else.
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


def _write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`.

    If the disk becomes full, a first call may write only a part, and the next call fails.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _lock(directory: str) -> int | None:
    """Lock a directory. Return a descriptor that holds the lock.

    Return None if it is locked already.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _own_directory(root: str) -> tuple[str, int]:
    """Create a directory below `root`. Return its path, and the descriptor that holds its lock."""
    while True:
        directory = tempfile.mkdtemp(prefix=PREFIX, dir=root)
        lock = _lock(directory)
        if lock is not None and os.path.isdir(directory):
            return directory, lock
        # Another process that starts at the same moment may have taken the new directory for that
        # of a dead process, and have locked or removed it. Try again with another name.
        if lock is not None:
            os.close(lock)


def sweep(root: str) -> None:
    """Remove the directories of dead processes below `root`.

    Raises OSError if `root` cannot be listed. Directories that cannot be removed stay, such as
    those of another user or with unknown files.
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
    """Remove the payload files of a directory, and then the directory if it is empty.

    Raises what `SpillFiles.close` raises.
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
            StatusCode.REMOVE_DIRECTORY_FAILED, f"cannot remove {directory}: {in_words(error)}"
        ) from error
    if failures:
        raise failures[0]


def _remove_entry(entry: os.DirEntry[str]) -> None:
    """Remove an entry of a directory if it is a payload's file, or a link with such a name."""
    link, file = entry.is_symlink(), entry.is_file(follow_symlinks=False)
    if not (link or file or entry.is_dir(follow_symlinks=False)):
        raise kvs_error(
            StatusCode.UNKNOWN_DIR_ENTRY_TYPE, f"{entry.path} is not a file, directory or link"
        )
    if (link or file) and _NAME.fullmatch(entry.name):
        try:
            os.unlink(entry.path)
        except OSError as error:
            status = StatusCode.REMOVE_LINK_FAILED if link else StatusCode.REMOVE_FILE_FAILED
            raise kvs_error(status, f"cannot remove {entry.path}: {in_words(error)}") from error


class HybridFileStore(HoldingStore):
    """A content store with `spill_ratio` percent of its size in memory and the rest in files.

    Raises INVALID_ARG if the memory part is below 1 MiB, HEAP_DIRECT_MEM_INIT if the operating
    system cannot allocate it, and what `SpillFiles` raises.
    """

    __slots__ = ("arena", "files")

    def __init__(self, size_bytes: int, spill_ratio: int, root_directory: str) -> None:
        self.arena = memory_part(size_bytes, spill_ratio)
        self.files = SpillFiles(root_directory)
        super().__init__(size_bytes, (self.arena, self.files))
