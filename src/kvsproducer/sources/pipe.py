"""Sources that can be read only once: standard input, a FIFO, a shell's `<(...)`.

FFmpeg reads through `Pipe`. It has no `seek` method, so FFmpeg only reads forward. There is only
one reader, because bytes read from a pipe cannot be read again. FFmpeg ignores exceptions of its
read function, so `Pipe` stores errors and raises them after FFmpeg returns.

If the user's shell connected a file to standard input (`< clip.mp4`), `stdin_path` returns a path
for it, so that it can be read like any file.
"""

from __future__ import annotations

import os
import stat
import sys
from bisect import bisect_right
from typing import BinaryIO, Final, cast

from kvsproducer.service.clock import monotonic
from kvsproducer.sources.media import Packets
from kvsproducer.status import KvsError, StatusCode, kvs_error
from kvsproducer.status.system import in_words

__all__ = ["STDIN", "Pipe", "is_pipe", "stdin_path", "stdin_pipe"]

STDIN: Final = "standard input"
_MP4_BOX: Final = slice(4, 8)  # the type of the first box of an MP4 or MOV file
_HEAD: Final = 8
_MAX_PIECES: Final = 8192  # our limit: reads whose arrival times are remembered


class Pipe:
    """A pipe as a file object for FFmpeg. `name` is its name in errors.

    `close` closes `file` only if `own` is true.
    """

    def __init__(self, file: BinaryIO, name: str, *, own: bool = False) -> None:
        self.name = name
        self._file = file
        self._own = own
        self._head = b""
        self._ends: list[int] = []  # end of each read, in bytes from the start
        self._times: list[int] = []  # arrival time of each read
        self._failure: KeyboardInterrupt | OSError | None = None

    def read(self, size: int) -> bytes:
        """Return the bytes that are available, at most `size`; return b"" at the end."""
        if self._failure is not None:
            return b""  # FFmpeg calls again after the end
        read1 = getattr(self._file, "read1", self._file.read)
        try:
            data = cast(bytes, read1(size))
        except (KeyboardInterrupt, OSError) as failure:
            self._failure = failure
            return b""
        self._head += data[: _HEAD - len(self._head)]
        if len(self._ends) == _MAX_PIECES:
            del self._ends[: _MAX_PIECES // 2], self._times[: _MAX_PIECES // 2]
        self._ends.append(len(data) + (self._ends[-1] if self._ends else 0))
        self._times.append(monotonic())
        return data

    def arrival(self, offset: int | None) -> int:
        """Return the time at which the byte at `offset` arrived, in monotonic ticks.

        If `offset` is None, return the time of the latest byte.
        """
        if not self._times:
            return monotonic()
        if offset is None or offset < 0:
            return self._times[-1]
        return self._times[min(bisect_right(self._ends, offset), len(self._times) - 1)]

    def check(self) -> None:
        """Raise the error that occurred while FFmpeg was reading, if there was one.

        This is KeyboardInterrupt (Ctrl-C) or READ_FILE_FAILED. Raises FORMAT_ERROR if no bytes
        arrived.
        """
        if isinstance(self._failure, OSError):
            detail = f"{self.name}: {in_words(self._failure)}"
            raise kvs_error(StatusCode.READ_FILE_FAILED, detail) from self._failure
        if self._failure is not None:
            raise KeyboardInterrupt
        if not self._head:
            raise kvs_error(StatusCode.FORMAT_ERROR, f"{self.name} is empty: it has no bytes")

    def check_packets(self, packets: Packets) -> Packets:
        """Yield `packets`, and call `check` after each one and at the end.

        Raises what `check` raises, and FORMAT_ERROR for an MP4 with its index at the end.
        """
        try:
            for packet in packets:
                self.check()
                yield packet
        except KvsError as error:
            if self._head[_MP4_BOX] != b"ftyp" or error.status is not StatusCode.READ_FILE_FAILED:
                raise
            raise kvs_error(
                StatusCode.FORMAT_ERROR,
                f"{self.name} is MP4 with its index at the end, and a pipe cannot seek back."
                " Give the path of the file, or pipe MKV: ffmpeg -i IN -c copy -f matroska -"
                " | kvs put - STREAM",
            ) from error
        finally:
            self.check()

    def close(self) -> None:
        """Close the file if this object owns it."""
        if self._own:
            self._file.close()


def is_pipe(path: str) -> bool:
    """Return whether `path` can be read only once, as a FIFO, a socket or a terminal."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode))


def stdin_path() -> str | None:
    """Return a path for standard input if it is a complete file (`< clip.mp4`), else None."""
    path = "/dev/stdin"
    try:
        number = sys.stdin.fileno()
        regular = stat.S_ISREG(os.fstat(number).st_mode)
        whole = regular and os.lseek(number, 0, os.SEEK_CUR) == 0
        return path if whole and os.path.samestat(os.fstat(number), os.stat(path)) else None
    except (
        AttributeError,
        OSError,
        ValueError,
    ):  # closed, or replaced by an object of the application
        return None


def stdin_pipe() -> Pipe:
    """Return standard input as a `Pipe`.

    Raises READ_FILE_FAILED if it is closed, and INVALID_ARG if it is a terminal.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise kvs_error(StatusCode.READ_FILE_FAILED, f"{STDIN} is closed")
    if sys.stdin.isatty():
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"{STDIN} is a terminal: pipe media into it, as in ffmpeg ... -f mpegts - | kvs put"
            " - STREAM",
        )
    return Pipe(sys.stdin.buffer, STDIN)
