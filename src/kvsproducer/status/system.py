"""What the operating system says, as people read it: words, without numbers and repeated paths.

`str(OSError)` is "[Errno 2] No such file or directory: 'x'"; whoever raises from it names the path
already, and nobody looks numbers up. Invariant: the result is one line, and never empty.
"""

from __future__ import annotations

import os
import re
from typing import Final

__all__ = ["in_words", "without_numbers"]

_NUMBER: Final = re.compile(r"\[(?:Errno|WinError) -?\d+\] ?")


def in_words(error: BaseException) -> str:
    """Why `error` was raised: `No such file or directory`; any other error's text, or its type.

    For those who name the file themselves.
    """
    number = getattr(error, "errno", None) or 0
    words = getattr(error, "strerror", None) if number else None  # FFmpeg's errors have both, too
    if not words and number > 0:
        words = os.strerror(number)
    return _plain(words) if words else without_numbers(error)


def without_numbers(error: BaseException) -> str:
    """All that `error` says, files that it names among it; its type when it says nothing."""
    return _plain(str(error)) or type(error).__name__


def _plain(text: str) -> str:
    return " ".join(_NUMBER.sub("", text).split())
