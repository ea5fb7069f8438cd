"""Parse and check the expiration of credentials: `YYYY-MM-DDTHH:MM:SSZ`, always 20 characters.

Answers of AWS IoT and credentials files contain this text. Source: the C producer's conversion;
unlike the C producer, this module checks the separators and the calendar.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from kvsproducer.duration import TICKS_PER_SECOND, format_instant, instant_to_ticks
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["check_not_past", "looks_like_expiration", "parse_expiration"]

_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"
_LENGTH: Final = 20
_MARKS: Final = {4: "-", 7: "-", 10: "T", 13: ":", 16: ":", 19: "Z"}


def parse_expiration(text: str) -> int:
    """Return the expiration in `text` as ticks since 1970.

    Raises TIMESTAMP_STRING_UNRECOGNIZED_FORMAT if `text` does not have 20 characters, and
    IOT_EXPIRATION_PARSING_FAILED if it is not a date and time. The messages do not show the text,
    because it may be a misplaced secret.
    """
    if len(text) != _LENGTH:
        raise kvs_error(
            StatusCode.TIMESTAMP_STRING_UNRECOGNIZED_FORMAT,
            f"the expiration has {len(text)} characters; write it as 2026-01-02T03:04:05Z",
        )
    try:
        if not text.isascii():
            raise ValueError
        instant = datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise kvs_error(
            StatusCode.IOT_EXPIRATION_PARSING_FAILED,
            "the expiration is not a date and time such as 2026-01-02T03:04:05Z",
        ) from None
    return instant_to_ticks(instant)


def looks_like_expiration(text: str) -> bool:
    """Return whether a word has the form of an expiration; the date itself may be invalid."""
    return len(text) == _LENGTH and all(text[place] == mark for place, mark in _MARKS.items())


def check_not_past(expiration: int, now: int) -> None:
    """Raise IOT_EXPIRATION_OCCURS_IN_PAST if `expiration` is before `now` (ticks since 1970)."""
    if expiration < now:
        ago = (now - expiration) // TICKS_PER_SECOND
        raise kvs_error(
            StatusCode.IOT_EXPIRATION_OCCURS_IN_PAST,
            f"the credentials expired at {format_instant(expiration)}, {ago} s ago",
        )
