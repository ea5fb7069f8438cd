"""Prepare the standard streams, which may be closed, full, or have any encoding.

Service managers and scripts start programs with closed standard streams (`>&-`). The next file or
socket that the program opens would get the free descriptor, and printed text would go into it. So
each closed descriptor is replaced by the null device, opened in the wrong direction. Reading or
writing it then raises.

If standard error cannot be written, its text is lost; the command and its exit code do not change.
If standard output cannot be written, that raises OSError, which `console.report_errors` reports.
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
    """A binary file whose `write` ignores errors."""

    def write(self, data: object) -> int:
        with suppress(OSError):
            return super().write(data)  # type: ignore[arg-type]
        return len(memoryview(data))  # type: ignore[arg-type]


def prepare_streams() -> None:
    """Replace closed standard streams. This must run at the start, before a file is opened."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # `open` uses the lowest free descriptor, which is this one.
            os.open(os.devnull, os.O_WRONLY if number == 0 else os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names may contain any bytes, and a terminal may have any encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    raw = _Forgiving(2, "w", closefd=False)
    sys.stderr = io.TextIOWrapper(
        raw,  # without a buffer, as Python itself does it with -u
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=True,
        write_through=True,
    )


def writes_to_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def refusal(error: OSError) -> str:
    """Return a text that says why a standard stream could not be read or written."""
    return CLOSED if error.errno == errno.EBADF else in_words(error)
