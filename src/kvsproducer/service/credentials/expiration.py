"""When credentials end, as AWS writes it: `YYYY-MM-DDTHH:MM:SSZ`, always 20 characters.

Facts: the C producer's conversion of that text, which AWS IoT answers and credentials files hold.
Unlike it, the separators and the calendar are checked.
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
    """The instant, in ticks since 1970.

    Raises TIMESTAMP_STRING_UNRECOGNIZED_FORMAT unless there are 20 characters, and
    IOT_EXPIRATION_PARSING_FAILED when these are no date and time. The text is in no message, since
    what stands in its place may be a secret.
    """
    if len(text) != _LENGTH:
        raise kvs_error(
            StatusCode.TIMESTAMP_STRING_UNRECOGNIZED_FORMAT,
            f"the expiration has {len(text)} characters; it is written 2026-01-02T03:04:05Z",
        )
    try:
        if not text.isascii():
            raise ValueError
        instant = datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise kvs_error(
            StatusCode.IOT_EXPIRATION_PARSING_FAILED,
            "the expiration is no date and time such as 2026-01-02T03:04:05Z",
        ) from None
    return instant_to_ticks(instant)


def looks_like_expiration(text: str) -> bool:
    """Whether a word is meant as an expiration, be it a date or not."""
    return len(text) == _LENGTH and all(text[place] == mark for place, mark in _MARKS.items())


def check_not_past(expiration: int, now: int) -> None:
    """Raise IOT_EXPIRATION_OCCURS_IN_PAST for credentials that have ended; ticks since 1970."""
    if expiration < now:
        ago = (now - expiration) // TICKS_PER_SECOND
        raise kvs_error(
            StatusCode.IOT_EXPIRATION_OCCURS_IN_PAST,
            f"the credentials expired at {format_instant(expiration)}, {ago} s ago",
        )
