"""Sources that are read once, front to back: standard input, a FIFO, a shell's `<(...)`.

FFmpeg reads through `Pipe`, which has no `seek`, so that FFmpeg does not try to; and which is the
only reader, for what somebody else has read of a pipe is gone. What goes wrong meanwhile is kept
and raised once FFmpeg is out of the way: FFmpeg's reading swallows exceptions.

A file that a shell has put behind standard input is a file: `stdin_path` finds it.
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
_MP4_BOX: Final = slice(4, 8)  # the kind of the first box of an MP4 or MOV file
_HEAD: Final = 8
_MAX_PIECES: Final = 8192  # ours: pieces whose arrival is remembered


class Pipe:
    """`file`, called `name` in errors, without a way back. `close` closes it if it is `own`."""

    def __init__(self, file: BinaryIO, name: str, *, own: bool = False) -> None:
        self.name = name
        self._file = file
        self._own = own
        self._head = b""
        self._ends: list[int] = []  # of the pieces that came, in bytes from the start
        self._times: list[int] = []  # when they came
        self._failure: KeyboardInterrupt | OSError | None = None

    def read(self, size: int) -> bytes:
        """What is there, up to `size` bytes; b"" at the end."""
        if self._failure is not None:
            return b""  # FFmpeg asks again after an end
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

    def arrived(self, offset: int | None) -> int:
        """Return when the byte at `offset` came (monotonic ticks), the newest one for None."""
        if not self._times:
            return monotonic()
        if offset is None or offset < 0:
            return self._times[-1]
        return self._times[min(bisect_right(self._ends, offset), len(self._times) - 1)]

    def check(self) -> None:
        """Raise what came while FFmpeg was reading, Ctrl-C or READ_FILE_FAILED.

        Raises FORMAT_ERROR when nothing at all has come.
        """
        if isinstance(self._failure, OSError):
            detail = f"{self.name}: {in_words(self._failure)}"
            raise kvs_error(StatusCode.READ_FILE_FAILED, detail) from self._failure
        if self._failure is not None:
            raise KeyboardInterrupt
        if not self._head:
            raise kvs_error(StatusCode.FORMAT_ERROR, f"{self.name} is empty: nothing has come")

    def checked(self, packets: Packets) -> Packets:
        """`packets`, until Ctrl-C; raises as `check`, and says it of an MP4 with a late index."""
        try:
            for packet in packets:
                self.check()
                yield packet
        except KvsError as error:
            if self._head[_MP4_BOX] != b"ftyp" or error.status is not StatusCode.READ_FILE_FAILED:
                raise
            raise kvs_error(
                StatusCode.FORMAT_ERROR,
                f"{self.name} is MP4 with its index at the end, which a pipe cannot go back from."
                " Name the file, or pipe MKV or TS: ffmpeg -i IN -c copy -f matroska - | kvs put"
                " - STREAM",
            ) from error
        finally:
            self.check()

    def close(self) -> None:
        """Nothing more is to be read."""
        if self._own:
            self._file.close()


def is_pipe(path: str) -> bool:
    """Whether `path` is something that can be read once: a FIFO, a socket, a terminal."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode))


def stdin_path() -> str | None:
    """A path for what is behind standard input if that is a whole file (`< clip.mp4`)."""
    path = "/dev/stdin"
    try:
        number = sys.stdin.fileno()
        regular = stat.S_ISREG(os.fstat(number).st_mode)
        whole = regular and os.lseek(number, 0, os.SEEK_CUR) == 0
        return path if whole and os.path.samestat(os.fstat(number), os.stat(path)) else None
    except (AttributeError, OSError, ValueError):  # closed, or an object of the application's
        return None


def stdin_pipe() -> Pipe:
    """Standard input; raises READ_FILE_FAILED when it is closed, INVALID_ARG for a terminal."""
    if sys.stdin is None or sys.stdin.closed:
        raise kvs_error(StatusCode.READ_FILE_FAILED, f"{STDIN}: it is closed")
    if sys.stdin.isatty():
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"{STDIN} is a terminal: pipe media into it, as in ffmpeg ... -f mpegts - | kvs put"
            " - STREAM",
        )
    return Pipe(sys.stdin.buffer, STDIN)
