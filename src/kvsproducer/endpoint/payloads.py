"""Store fragments in memory, or in the media files of a data folder.

The format of media files is described in `journal`. The store writes one file at a time, for all
streams, and begins the next file at `FILE_SIZE`. Only the store's writer thread may call methods
that write; any thread may call `read`.

Bytes that an earlier process wrote are never truncated or overwritten. After a damaged or
unfinished record, the store begins a new file (`recovery`).
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from kvsproducer.endpoint import journal
from kvsproducer.endpoint.fragment import Fragment
from kvsproducer.endpoint.index import Location, Written
from kvsproducer.endpoint.members import JsonObject, JsonValue

try:
    import fcntl
except ImportError:  # Windows
    _CAN_LOCK = False
else:
    _CAN_LOCK = True

__all__ = ["DamagedFragment", "FilePayloads", "MemoryPayloads", "Payloads"]

_log = logging.getLogger(__name__)

FILE_SIZE: Final = 256 * 1024 * 1024  # a larger file gets no more fragments
_NAME: Final = re.compile(r"([0-9]{8,12})\.mkvs")

_OLD_START: Final = bytes.fromhex("1a45dfa3")  # Matroska: files of format 1 begin with it


class DamagedFragment(OSError):
    """A stored fragment differs from what was written."""


class Payloads(Protocol):
    """The interface that `MemoryPayloads` and `FilePayloads` implement."""

    def append(self, arn: str, fragment: Fragment) -> Location:
        """Write a fragment. It is durable only after `sync`. Raises OSError."""

    def append_change(self, head: JsonObject) -> None:
        """Write a record about a stream. It is durable only after `sync`. Raises OSError."""

    def sync(self) -> None:
        """Make all appended bytes durable. Raises OSError."""

    def keep(self) -> None:
        """Confirm everything appended so far, so that `rollback` does not undo it.

        Call this after the index was committed.
        """

    def rollback(self) -> None:
        """Undo everything appended since the last `keep`. Raises OSError."""

    @property
    def written(self) -> Written | None:
        """The current file and its size with all appended data; None for storage in memory."""

    def read(self, location: Location) -> Fragment | None:
        """Return the fragment, or None if it was deleted. Raises OSError, DamagedFragment."""

    def keep_only(self, files: Collection[int]) -> list[int]:
        """Delete all files except `files` and the newest. Return the numbers of deleted files."""

    def close(self) -> None:
        """Release all resources."""


class MemoryPayloads:
    """Keep fragments in memory. Every fragment counts as one file."""

    def __init__(self) -> None:
        self._fragments: dict[int, Fragment] = {}
        self._last = 0
        self._kept = 0

    def append(self, _arn: str, fragment: Fragment) -> Location:
        self._last += 1
        self._fragments[self._last] = fragment
        return Location(self._last, 0, fragment.info.size, fragment.sizes)

    def append_change(self, head: JsonObject) -> None:
        pass  # the index, which is in memory too, has all information

    def sync(self) -> None:
        pass  # memory cannot be made durable

    def keep(self) -> None:
        self._kept = self._last

    def rollback(self) -> None:
        for number in range(self._kept + 1, self._last + 1):
            self._fragments.pop(number, None)
        self._last = self._kept

    @property
    def written(self) -> Written | None:
        return None

    def read(self, location: Location) -> Fragment | None:
        return self._fragments.get(location.file)

    def keep_only(self, files: Collection[int]) -> list[int]:
        gone = list(set(self._fragments) - set(files))
        for number in gone:
            del self._fragments[number]
        return gone

    def close(self) -> None:
        self._fragments.clear()


class FilePayloads:
    """Store fragments in the files `fragments/NNNNNNNN.mkvs` of a folder, created if missing.

    Only one process may use a folder, so the folder is locked. The operating system releases the
    lock when the process ends. `list_streams` returns [record, last number] of every stream, for
    the beginning of a new file.

    Raises OSError if another process has the lock, if the folder has files of another version, and
    on a system without POSIX file locks.
    """

    def __init__(self, folder: Path, file_size: int = FILE_SIZE) -> None:
        if not _CAN_LOCK:
            reason = "a data folder needs POSIX file locks, which this system lacks"
            raise OSError(errno.ENOTSUP, reason, str(folder))
        self.folder = folder / "fragments"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.list_streams: Callable[[], list[JsonValue]] = list
        self._refuse_old_files()
        self._lock = _lock(self.folder / "lock")
        self._file_size = file_size
        self._number = 1  # of the current file
        self._descriptor = -1
        self._mark = b""
        self._size = 0  # of the current file
        self._kept = 0  # bytes of it that are in the index

    # --- writing ---------------------------------------------------------------------------
    def append(self, arn: str, fragment: Fragment) -> Location:
        self._open()
        offset = self._size
        self._write(journal.encode_fragment(self._mark, arn, fragment))
        return Location(self._number, offset, self._size - offset, fragment.sizes)

    def append_change(self, head: JsonObject) -> None:
        self._open()
        self._write(journal.encode(self._mark, head))

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

    @property
    def written(self) -> Written | None:
        return Written(self._number, self._size, self._mark.hex())

    def read(self, location: Location) -> Fragment | None:
        try:
            with self.path(location.file).open("rb") as file:
                file.seek(location.offset)
                data = file.read(location.length)
        except FileNotFoundError:
            return None
        try:
            return journal.decode_fragment(data)
        except journal.RecordError as error:
            place = f"{self.path(location.file)} at byte {location.offset}"
            raise DamagedFragment(
                errno.EIO, f"a stored fragment is damaged ({error})", place
            ) from error

    def keep_only(self, files: Collection[int]) -> list[int]:
        found = self.sizes()
        # The newest file has the list of streams, even if it has no fragments any more.
        gone = sorted(set(found) - set(files) - {max(found, default=0)})
        for number in gone:
            self.path(number).unlink(missing_ok=True)
        return gone

    def close(self) -> None:
        self._close_file()
        os.close(self._lock)

    # --- for `recovery` --------------------------------------------------------------------
    def sizes(self) -> dict[int, int]:
        """Map the number of every media file to its size.

        Raises OSError if a file is not readable.
        """
        found = {}
        for path in self.folder.iterdir():
            match = _NAME.fullmatch(path.name)
            if match is None:
                continue
            if not path.is_file():
                raise OSError(errno.EINVAL, "it is not a readable file", str(path))
            found[int(match[1])] = path.stat().st_size
        return found

    def path(self, number: int) -> Path:
        """Return the path of a media file."""
        return self.folder / f"{number:08d}.mkvs"

    def open_file(self, number: int) -> tuple[BinaryIO, bytes]:
        """Open a media file for `journal.scan`. Return the open file and its mark.

        Raises OSError if the file's head is damaged.
        """
        file = self.path(number).open("rb")
        try:
            return file, journal.read_file_head(file.read(journal.FILE_HEAD_BYTES))
        except journal.RecordError as error:
            file.close()
            raise OSError(
                errno.EIO,
                f"{error}; restore it from a copy, or move it elsewhere to start without its media",
                str(self.path(number)),
            ) from error

    def mark(self, number: int) -> str:
        """Return the mark of a file, or "" if its head is damaged."""
        try:
            file, mark = self.open_file(number)
        except OSError:
            return ""
        file.close()
        return mark.hex()

    def continue_at(self, number: int) -> None:
        """Use this file for the next writes. The first write creates it if it does not exist."""
        self._number = number

    def begin(self, number: int) -> None:
        """Create a file, and use it for the next writes. Raises OSError."""
        self._number = number
        self._open()
        self.sync()
        self.keep()

    # --- files -----------------------------------------------------------------------------
    def _write(self, buffers: Sequence[bytes]) -> None:
        _write_all(self._descriptor, buffers, self._size)
        self._size += sum(map(len, buffers))

    def _open(self) -> None:
        """Open the current file, and write its head if it is empty. Raises OSError."""
        if self._descriptor >= 0:
            return
        path = self.path(self._number)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._size = os.lseek(self._descriptor, 0, os.SEEK_END)
            if self._size:
                start = os.pread(self._descriptor, journal.FILE_HEAD_BYTES, 0)
                self._mark = journal.read_file_head(start)
            else:
                self._begin_file()
        except BaseException as error:
            self._close_file()
            if isinstance(error, journal.RecordError):
                raise OSError(errno.EIO, str(error), str(path)) from error
            raise
        # `rollback` truncates the file to this size after a failed write; the head stays.
        self._kept = self._size

    def _begin_file(self) -> None:
        head, self._mark = journal.new_file_head()
        streams = journal.encode(self._mark, {"streams": self.list_streams()})
        try:
            self._write([head, *streams])
        except OSError:
            os.ftruncate(self._descriptor, 0)  # an incomplete head would make the file unreadable
            raise
        folder = os.open(self.folder, os.O_RDONLY)  # syncing the folder makes the new name durable
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _close_file(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _refuse_old_files(self) -> None:
        for number in self.sizes():
            with self.path(number).open("rb") as file:
                if file.read(len(_OLD_START)) == _OLD_START:
                    raise OSError(
                        errno.EINVAL,
                        "the media was written by an older version, which this one cannot read;"
                        " use that version, or another folder",
                        str(self.path(number)),
                    )


def _lock(path: Path) -> int:
    """Lock the folder. Return a file descriptor; closing it releases the lock."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OSError(
            errno.EBUSY, "the data folder is in use by another endpoint", str(path.parent)
        ) from None
    return descriptor


def _write_all(descriptor: int, parts: Sequence[bytes], offset: int) -> None:
    left = [memoryview(part) for part in parts if part]
    while left:
        written = os.pwritev(descriptor, left, offset)
        offset += written
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]
