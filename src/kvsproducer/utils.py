"""Convert numbers, base64 and hexadecimal, and check paths, with a specific status for each error.

The functions use Python's own conversions, add the checks of AWS's Utils library, and raise that
library's statuses (0x4000....). Unlike `int()`, `parse_int` does not accept blanks, underscores or
non-ASCII digits.
"""

from __future__ import annotations

import base64
import os
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from kvsproducer.duration import TICKS_PER_MS
from kvsproducer.limits import (
    MAX_CONVERSION_BASE,
    MAX_PATH_LEN,
    MAX_TIMESTAMP_FORMAT_LEN,
    MIN_CONVERSION_BASE,
)
from kvsproducer.status import StatusCode, kvs_error
from kvsproducer.status.system import in_words

__all__ = [
    "base64_decode",
    "base64_encode",
    "check_directory",
    "check_exists",
    "check_path",
    "format_int",
    "format_timestamp",
    "hex_decode",
    "hex_encode",
    "parse_int",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS: Final = string.digits + string.ascii_lowercase
_VALUES: Final = {
    char: value for value, digit in enumerate(_DIGITS) for char in {digit, digit.upper()}
}
_SHOWN_LEN: Final = 40  # characters of an invalid text in a message


def parse_int(text: str, base: int = 10, *, bits: int = 64, signed: bool = False) -> int:
    """Convert text in `base` (2 to 36) to an integer that fits into `bits` bits.

    The text may begin with + (if `signed` also with -), and have leading zeros.

    Raises INVALID_BASE for a `base` outside 2 to 36, and for a letter or digit that the base does
    not have. Raises INVALID_DIGIT for any other character (including - for an unsigned number),
    EMPTY_STRING if there is no digit, and INT_OVERFLOW if the number needs more bits.
    """
    _check_base(base)
    digits = text[1:] if text[:1] == "+" or (signed and text[:1] == "-") else text
    if not digits:
        raise kvs_error(StatusCode.EMPTY_STRING, f"{text!r} has no digit")
    for char in digits:
        value = _VALUES.get(char)
        if value is None or value >= base:
            status = StatusCode.INVALID_DIGIT if value is None else StatusCode.INVALID_BASE
            raise kvs_error(
                status, f"{char!r} in {text[:_SHOWN_LEN]!r} is not a digit of base {base}"
            )
    significant = digits.lstrip("0") or "0"
    number = int(significant, base) if len(significant) <= bits else 1 << bits
    if text[0] == "-":
        number = -number
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not lowest <= number <= highest:
        kind = "a signed" if signed else "an unsigned"
        raise kvs_error(
            StatusCode.INT_OVERFLOW, f"{text[:_SHOWN_LEN]!r} exceeds {kind} number of {bits} bits"
        )
    return number


def format_int(value: int, base: int = 10) -> str:
    """Convert an integer to text in `base` (2 to 36), with lower-case letters.

    Raises INVALID_BASE for a `base` outside 2 to 36.
    """
    _check_base(base)
    digits: list[str] = []
    rest = abs(value)
    while rest or not digits:
        rest, digit = divmod(rest, base)
        digits.append(_DIGITS[digit])
    return "-" * (value < 0) + "".join(reversed(digits))


def _check_base(base: int) -> None:
    if not MIN_CONVERSION_BASE <= base <= MAX_CONVERSION_BASE:
        raise kvs_error(StatusCode.INVALID_BASE, f"base {base} is not in 2..36")


def base64_encode(data: bytes) -> str:
    """Encode data as base64 (RFC 4648 section 4) with padding.

    Raises INVALID_ARG_LEN for empty data.
    """
    _require_content(data)
    return base64.b64encode(data).decode("ascii")


def base64_decode(text: str) -> bytes:
    """Decode base64 text, with or without padding.

    Raises INVALID_ARG_LEN for an empty text, and INVALID_BASE64_ENCODE for text that is not base64.
    """
    _require_content(text)
    bare = text.rstrip("=")
    # The message does not contain the text, which may be a credential.
    bad = kvs_error(
        StatusCode.INVALID_BASE64_ENCODE, f"the {len(text)} characters given are not base64"
    )
    if not bare or len(text) - len(bare) > 2:
        raise bad
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError as error:
        raise bad from error


def hex_encode(data: bytes) -> str:
    """Encode data as lower-case hexadecimal. Raises INVALID_ARG_LEN for empty data."""
    _require_content(data)
    return data.hex()


def hex_decode(text: str) -> bytes:
    """Decode hexadecimal text in upper or lower case, without blanks.

    Raises INVALID_ARG_LEN for an empty text or an odd number of digits. For a character that is not
    a hexadecimal digit, raises INVALID_DIGIT or INVALID_BASE, as `parse_int` does.
    """
    _require_content(text)
    if len(text) % 2:
        raise kvs_error(
            StatusCode.INVALID_ARG_LEN,
            f"{len(text)} hexadecimal digits: bytes need an even number of digits",
        )
    for char in text:
        parse_int(char, 16)
    return bytes.fromhex(text)


def _require_content(value: str | bytes) -> None:
    if not value:
        raise kvs_error(StatusCode.INVALID_ARG_LEN, "the value to convert is empty")


def format_timestamp(ticks: int, time_format: str) -> str:
    """Format a time (ticks of 100 ns since 1970) in UTC, with a format for `strftime`.

    Raises MAX_TIMESTAMP_FORMAT_STR_LEN_EXCEEDED for a format of more than 26 characters, and
    STRFTIME_FALIED if the result is empty or the time is after the year 9999.
    """
    if len(time_format) > MAX_TIMESTAMP_FORMAT_LEN:
        raise kvs_error(
            StatusCode.MAX_TIMESTAMP_FORMAT_STR_LEN_EXCEEDED,
            f"the format has {len(time_format)} characters, at most {MAX_TIMESTAMP_FORMAT_LEN}",
        )
    try:
        text = (_EPOCH + timedelta(milliseconds=ticks // TICKS_PER_MS)).strftime(time_format)
    except (OverflowError, ValueError) as error:
        raise kvs_error(StatusCode.STRFTIME_FALIED, f"{ticks} ticks: {error}") from error
    if not text:
        raise kvs_error(
            StatusCode.STRFTIME_FALIED, f"the format {time_format!r} gives an empty text"
        )
    return text


def check_path(path: str | os.PathLike[str]) -> Path:
    """Check the type and the length of a path, and return it as a `Path`.

    Raises INVALID_ARG_LEN for an empty path, PATH_TOO_LONG for more than 4096 characters, and
    NULL_ARG for None. Raises INVALID_ARG for any type other than `str` or a `PathLike` of `str`.
    """
    if path is None:
        raise kvs_error(StatusCode.NULL_ARG, "the path is None")
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str):
        raise kvs_error(
            StatusCode.INVALID_ARG, f"the path is of type {type(text).__name__}: give a str or Path"
        )
    if not text:
        raise kvs_error(StatusCode.INVALID_ARG_LEN, "the path is empty")
    if len(text) > MAX_PATH_LEN:
        raise kvs_error(
            StatusCode.PATH_TOO_LONG, f"the path has {len(text)} characters, at most {MAX_PATH_LEN}"
        )
    return Path(text)


def check_exists(path: str | os.PathLike[str]) -> Path:
    """Check that a file or directory exists and can be examined, and return its `Path`.

    Raises what `check_path` raises, and DIRECTORY_ENTRY_STAT_ERROR (a `StorageError`).
    """
    checked = check_path(path)
    try:
        checked.stat()
    except (OSError, ValueError) as error:
        raise kvs_error(
            StatusCode.DIRECTORY_ENTRY_STAT_ERROR,
            f"{str(checked)!r} cannot be examined: {in_words(error)}",
        ) from error
    return checked


def check_directory(path: str | os.PathLike[str]) -> Path:
    """Check that a directory can be listed, and return its `Path`.

    Raises what `check_path` raises, and `StorageError` with one of three statuses:
    DIRECTORY_MISSING_PATH if the path does not exist, or DIRECTORY_ACCESS_DENIED if the process
    lacks the permission. DIRECTORY_OPEN_FAILED means that the path is not a directory, or cannot be
    opened for another reason.
    """
    checked = check_path(path)
    try:
        os.scandir(checked).close()
    except FileNotFoundError as error:
        raise kvs_error(
            StatusCode.DIRECTORY_MISSING_PATH, f"{str(checked)!r} does not exist"
        ) from error
    except PermissionError as error:
        raise kvs_error(
            StatusCode.DIRECTORY_ACCESS_DENIED, f"no permission for {str(checked)!r}"
        ) from error
    except (OSError, ValueError) as error:
        raise kvs_error(
            StatusCode.DIRECTORY_OPEN_FAILED,
            f"{str(checked)!r} cannot be opened: {in_words(error)}",
        ) from error
    return checked
