"""Expirations as AWS writes them; the cases of AWS's own tests first."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kvsproducer import KvsError, StatusCode
from kvsproducer.duration import TICKS_PER_HOUR, TICKS_PER_SECOND, instant_to_ticks
from kvsproducer.service.credentials.expiration import (
    check_not_past,
    looks_like_expiration,
    parse_expiration,
)

S = StatusCode
TEXT = "2019-01-31T23:00:59Z"
INSTANT = instant_to_ticks(datetime(2019, 1, 31, 23, 0, 59, tzinfo=UTC))


def test_an_hour_ahead_and_now_are_good_and_the_past_is_not() -> None:
    """The error for the past has the age of the expiration."""
    assert parse_expiration(TEXT) == INSTANT
    check_not_past(INSTANT, INSTANT - TICKS_PER_HOUR)
    check_not_past(INSTANT, INSTANT)
    with pytest.raises(KvsError, match=r"2019-01-31T23:00:59.000Z, 1 s ago") as caught:
        check_not_past(INSTANT, INSTANT + TICKS_PER_SECOND)
    assert caught.value.status is S.IOT_EXPIRATION_OCCURS_IN_PAST


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("2019-00-31T23:00:59Z", S.IOT_EXPIRATION_PARSING_FAILED),
        ("2019-01-31-23:00:59Z", S.IOT_EXPIRATION_PARSING_FAILED),
        ("2019-02-30T23:00:59Z", S.IOT_EXPIRATION_PARSING_FAILED),
        ("2019-01-31T24:00:59Z", S.IOT_EXPIRATION_PARSING_FAILED),
        ("2019-01-31T23:00:5٩Z", S.IOT_EXPIRATION_PARSING_FAILED),
        ("", S.TIMESTAMP_STRING_UNRECOGNIZED_FORMAT),
        ("2019-01-31T23:00:59+00:00", S.TIMESTAMP_STRING_UNRECOGNIZED_FORMAT),
    ],
)
def test_invalid_expirations(text: str, status: StatusCode) -> None:
    """The status depends on the length, as in AWS's producer; the text is not shown."""
    with pytest.raises(KvsError) as caught:
        parse_expiration(text)
    assert caught.value.status is status
    assert not text or text not in str(caught.value)


def test_looks_like_expiration() -> None:
    """A secret of 20 characters does not look like one."""
    assert looks_like_expiration(TEXT)
    assert looks_like_expiration("2019-99-99T99:99:99Z")
    assert not looks_like_expiration("x" * 20)
    assert not looks_like_expiration(TEXT + "x")
