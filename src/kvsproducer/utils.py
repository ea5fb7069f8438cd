"""Checked conversions and path checks: where a user's text or path gets a status of its own.

What AWS's Utils library does for numbers, base64, hexadecimal and directories, with its codes
(0x4000....); Python's own functions do the work, and these say precisely what was wrong. Unlike
`int()`, `parse_int` takes no blanks, underscores or digits outside of ASCII.
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
_SHOWN_LEN: Final = 40  # of a bad text in a message


def parse_int(text: str, base: int = 10, *, bits: int = 64, signed: bool = False) -> int:
    """The number that `text` writes in `base` 2..36, within an integer of `bits` bits.

    One leading + is allowed, one - too if `signed`; leading zeros are. Raises INVALID_BASE for
    another base and for a letter or digit that the base does not have, INVALID_DIGIT for any
    other character (a - for an unsigned number included), EMPTY_STRING when there is no digit, and
    INT_OVERFLOW for what the integer cannot hold.
    """
    _check_base(base)
    digits = text[1:] if text[:1] == "+" or (signed and text[:1] == "-") else text
    if not digits:
        raise kvs_error(StatusCode.EMPTY_STRING, f"{text!r} has no digit")
    for char in digits:
        value = _VALUES.get(char)
        if value is None or value >= base:
            status = StatusCode.INVALID_DIGIT if value is None else StatusCode.INVALID_BASE
            raise kvs_error(status, f"{char!r} in {text[:_SHOWN_LEN]!r} is no digit of base {base}")
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
    """`value` in `base` 2..36 with lower-case letters; raises INVALID_BASE."""
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
    """Base64 (RFC 4648 section 4) with padding; raises INVALID_ARG_LEN for empty data."""
    _require_content(data)
    return base64.b64encode(data).decode("ascii")


def base64_decode(text: str) -> bytes:
    """The bytes of base64 text, whose padding may be left out.

    Raises INVALID_ARG_LEN for an empty text and INVALID_BASE64_ENCODE for one that is not base64.
    """
    _require_content(text)
    bare = text.rstrip("=")
    # The text itself stays out of the message: credentials are passed in base64.
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
    """Lower-case hexadecimal; raises INVALID_ARG_LEN for empty data."""
    _require_content(data)
    return data.hex()


def hex_decode(text: str) -> bytes:
    """The bytes of hexadecimal text without blanks, in either case.

    Raises INVALID_ARG_LEN for an empty text or an odd number of digits, INVALID_DIGIT or
    INVALID_BASE as `parse_int` does for a character that is no hexadecimal digit.
    """
    _require_content(text)
    if len(text) % 2:
        raise kvs_error(
            StatusCode.INVALID_ARG_LEN, f"{len(text)} hexadecimal digits: one is missing"
        )
    for char in text:
        parse_int(char, 16)
    return bytes.fromhex(text)


def _require_content(value: str | bytes) -> None:
    if not value:
        raise kvs_error(StatusCode.INVALID_ARG_LEN, "nothing to convert")


def format_timestamp(ticks: int, time_format: str) -> str:
    """An instant (ticks of 100 ns since 1970) in UTC, as `strftime` writes it.

    Raises MAX_TIMESTAMP_FORMAT_STR_LEN_EXCEEDED for a format of more than 26 characters, and
    STRFTIME_FALIED when nothing comes of it: an empty format, an instant beyond the year 9999.
    """
    if len(time_format) > MAX_TIMESTAMP_FORMAT_LEN:
        raise kvs_error(
            StatusCode.MAX_TIMESTAMP_FORMAT_STR_LEN_EXCEEDED,
            f"{len(time_format)} characters; at most {MAX_TIMESTAMP_FORMAT_LEN}",
        )
    try:
        text = (_EPOCH + timedelta(milliseconds=ticks // TICKS_PER_MS)).strftime(time_format)
    except (OverflowError, ValueError) as error:
        raise kvs_error(StatusCode.STRFTIME_FALIED, f"{ticks} ticks: {error}") from error
    if not text:
        raise kvs_error(StatusCode.STRFTIME_FALIED, f"{time_format!r} writes nothing")
    return text


def check_path(path: str | os.PathLike[str]) -> Path:
    """The path, if it has 1 to 4096 characters; raises INVALID_ARG_LEN and PATH_TOO_LONG.

    For what is no text and no `PathLike` of text, NULL_ARG (None) and INVALID_ARG.
    """
    if path is None:
        raise kvs_error(StatusCode.NULL_ARG, "the path is None")
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str):
        raise kvs_error(StatusCode.INVALID_ARG, f"a path that is {type(text).__name__}")
    if not text:
        raise kvs_error(StatusCode.INVALID_ARG_LEN, "the path is empty")
    if len(text) > MAX_PATH_LEN:
        raise kvs_error(
            StatusCode.PATH_TOO_LONG, f"the path has {len(text)} characters, at most {MAX_PATH_LEN}"
        )
    return Path(text)


def check_exists(path: str | os.PathLike[str]) -> Path:
    """The path of a file or directory that exists and may be examined.

    Raises what `check_path` does, and DIRECTORY_ENTRY_STAT_ERROR (a StorageError).
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
    """The path of a directory that can be listed.

    Raises what `check_path` does, DIRECTORY_MISSING_PATH when it does not exist,
    DIRECTORY_ACCESS_DENIED without permission, and DIRECTORY_OPEN_FAILED for what is no directory
    or cannot be opened for another reason; these three are StorageErrors.
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
