"""Standard streams that cannot surprise a command: closed, full, broken off, in another encoding.

Service managers and scripts start programs without some of them (`>&-`). Then the next file or
socket gets the free number, and what is printed goes into it: so each closed one is occupied by a
file that refuses (POSIX: the null device, opened the wrong way round).

Invariants: what cannot be told on standard error is lost, and changes neither what a command does
nor its exit code; standard output that takes nothing raises OSError, which `console.reports` tells.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress

from kvsproducer.status.system import in_words

__all__ = ["prepare_streams", "refusal", "writes_to_terminal"]

CLOSED = "it is closed"


class _Forgiving(io.FileIO):
    """Takes everything; what the system refuses is forgotten."""

    def write(self, data: object) -> int:
        with suppress(OSError):
            return super().write(data)  # type: ignore[arg-type]
        return len(memoryview(data))  # type: ignore[arg-type]


def prepare_streams() -> None:
    """For the start of a process, before anything is opened."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, and those below are not free.
            os.open(os.devnull, os.O_WRONLY if number == 0 else os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may hold any bytes, and a terminal speak any encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    told = _Forgiving(2, "w", closefd=False)
    sys.stderr = io.TextIOWrapper(
        told,  # unbuffered: the interpreter's own is such a pair with -u
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=True,
        write_through=True,
    )


def writes_to_terminal() -> bool:
    """Whether somebody would see what is printed on standard output."""
    return sys.stdout is not None and sys.stdout.isatty()


def refusal(error: OSError) -> str:
    """Why a standard stream takes or gives nothing, in words."""
    return CLOSED if error.errno == errno.EBADF else in_words(error)
