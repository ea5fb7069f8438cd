"""Texts of operating system errors for our own messages: without error numbers, on one line.

`str(OSError)` is "[Errno 2] No such file or directory: 'x'". Our messages name the path themselves,
so they need only "No such file or directory". The result is never empty.
"""

from __future__ import annotations

import os
import re
from typing import Final

__all__ = ["in_words", "without_numbers"]

_NUMBER: Final = re.compile(r"\[(?:Errno|WinError) -?\d+\] ?")


def in_words(error: BaseException) -> str:
    """Return the reason for `error` without its path: `No such file or directory`.

    For an error that is not from the operating system: its text, or the name of its type.
    """
    number = getattr(error, "errno", None) or 0
    words = getattr(error, "strerror", None) if number else None  # also in FFmpeg's errors
    if not words and number > 0:
        words = os.strerror(number)
    return _plain(words) if words else without_numbers(error)


def without_numbers(error: BaseException) -> str:
    """Return the whole text of `error`, with its path but without its number, or its type."""
    return _plain(str(error)) or type(error).__name__


def _plain(text: str) -> str:
    return " ".join(_NUMBER.sub("", text).split())
