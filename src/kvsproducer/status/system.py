"""Get texts of operating system errors for messages, on one line and without error numbers.

`str(OSError)` is "[Errno 2] No such file or directory: 'x'". The messages of this package contain
the path anyway, so they need only "No such file or directory". The result is never empty.
"""

from __future__ import annotations

import os
import re
from typing import Final

__all__ = ["in_words", "without_numbers"]

_NUMBER: Final = re.compile(r"\[(?:Errno|WinError) -?\d+\] ?")


def in_words(error: BaseException) -> str:
    """Return the reason for `error` without the path, such as `No such file or directory`.

    If the error is not from the operating system, return its text, or the name of its type.
    """
    number = getattr(error, "errno", None) or 0
    words = getattr(error, "strerror", None) if number else None  # also in FFmpeg's errors
    if not words and number > 0:
        words = os.strerror(number)
    return _plain(words) if words else without_numbers(error)


def without_numbers(error: BaseException) -> str:
    """Return the text of `error` without the error number.

    If there is no text, return the name of the type of `error`.
    """
    return _plain(str(error)) or type(error).__name__


def _plain(text: str) -> str:
    return " ".join(_NUMBER.sub("", text).split())
