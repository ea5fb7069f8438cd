"""Durations and instants: what a user writes, and the ticks that everything inside counts in.

A tick is 100 ns. Inside, a duration and an instant (since 1970-01-01 UTC) are plain ints of ticks
in the range of an unsigned 64-bit number, as in AWS's client. At the door a duration is also a
`timedelta` or ISO 8601 text (`"PT2M"`), an instant also an aware `datetime`; this module is that
door.

The text grammar is that of AWS's Duration library: `P[nY][nM][nW][nD][T[nH][nM][nS]]`, a year of
365 days, a month of 31. It is wider than ISO 8601: weeks mix with the rest, every field may have
a fraction (`.` or `,`), a number may be missing (0) and a designator may repeat, but not go
backwards. Here the arithmetic is exact; AWS's is in doubles.

It reads no clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from operator import index
from typing import TYPE_CHECKING, Final, SupportsIndex, cast

from kvsproducer.status import StatusCode, kvs_error

__all__ = [
    "INVALID_DURATION_VALUE",
    "Duration",
    "DurationField",
    "Instant",
    "MAX_TICKS",
    "TICKS_PER_DAY",
    "TICKS_PER_HOUR",
    "TICKS_PER_MINUTE",
    "TICKS_PER_MS",
    "TICKS_PER_SECOND",
    "TICKS_PER_US",
    "default_ticks",
    "durations_to_ticks",
    "format_duration",
    "format_instant",
    "instant_to_ticks",
    "parse_duration",
    "to_ticks",
]

TICKS_PER_US: Final = 10
TICKS_PER_MS: Final = 10_000
TICKS_PER_SECOND: Final = 10_000_000
TICKS_PER_MINUTE: Final = 60 * TICKS_PER_SECOND
TICKS_PER_HOUR: Final = 60 * TICKS_PER_MINUTE
TICKS_PER_DAY: Final = 24 * TICKS_PER_HOUR

INVALID_DURATION_VALUE: Final = 2**64 - 1
"""AWS's sentinel for "no valid time"; as a time-out it means "for ever"."""

MAX_TICKS: Final = INVALID_DURATION_VALUE - 1
"""The longest duration and the latest instant (year 60425)."""

Duration = SupportsIndex | timedelta | str
"""A duration at the door: ticks of 100 ns, a `timedelta`, or ISO 8601 text (`"PT2M"`)."""

Instant = SupportsIndex | datetime
"""An instant at the door: ticks of 100 ns since 1970-01-01 UTC, or an aware `datetime`."""

if TYPE_CHECKING:

    class DurationField:
        """A member of a frozen dataclass that is given as a `Duration` and read as ticks.

        So type checkers see it; it is an int, which `durations_to_ticks` makes of what was given.
        """

        def __get__(self, instance: object, owner: type) -> int: ...

        def __set__(self, instance: object, value: Duration) -> None: ...
else:
    DurationField = int

_MAX_TEXT_LEN: Final = 256  # ours: the text comes from files and command lines

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CALENDAR_CYCLE: Final = 146_097 * TICKS_PER_DAY  # 400 years

_DATE_UNITS: Final = {  # in the order in which they must appear
    "Y": 365 * TICKS_PER_DAY,
    "M": 31 * TICKS_PER_DAY,
    "W": 7 * TICKS_PER_DAY,
    "D": TICKS_PER_DAY,
}
_TIME_UNITS: Final = {"H": TICKS_PER_HOUR, "M": TICKS_PER_MINUTE, "S": TICKS_PER_SECOND}

_NUMBER: Final = r"[0-9]++(?:[.,][0-9]++)?"


def _fields(units: dict[str, int]) -> str:
    return "".join(f"(?:(?:{_NUMBER})?{unit})*+" for unit in units)


_DURATION: Final = re.compile(f"P({_fields(_DATE_UNITS)})(?:T(?=.)({_fields(_TIME_UNITS)}))?")
_FIELD: Final = re.compile(f"({_NUMBER})?([A-Z])")


def parse_duration(text: str) -> int:
    """Ticks of an ISO 8601 duration such as `"PT2M"`, `"P1DT12H"` or `"PT0.5S"`.

    Parts of a tick are cut off. Raises `InvalidConfiguration` (also a `ValueError`) with
    INVALID_DURATION_VALUE for any other text, and for more than `MAX_TICKS`.
    """
    match = _DURATION.fullmatch(text) if len(text) <= _MAX_TEXT_LEN else None
    if match is None:
        raise kvs_error(
            StatusCode.INVALID_DURATION_VALUE,
            f"{text[:_MAX_TEXT_LEN]!r} is no ISO 8601 duration such as 'PT2M' or 'P1DT12H'",
        )
    ticks = int(_total(match[1], _DATE_UNITS) + _total(match[2] or "", _TIME_UNITS))
    if ticks > MAX_TICKS:
        raise kvs_error(StatusCode.INVALID_DURATION_VALUE, f"{text!r} is longer than 64 bits hold")
    return ticks


def _total(fields: str, units: dict[str, int]) -> Fraction:
    """The sum of the fields of one part, exact, in ticks."""
    return sum(
        (Fraction(number.replace(",", ".")) * units[unit])
        for number, unit in _FIELD.findall(fields)
        if number
    ) or Fraction(0)


def to_ticks(value: Duration) -> int:
    """A duration at the door: ticks of 100 ns, a `timedelta`, or ISO 8601 text.

    An int (NumPy's too) may be 2**64 - 1 (for ever). Raises INVALID_DURATION_VALUE for bad text,
    INVALID_ARG for a negative or oversized value and for any other type (a float would leave the
    unit open).
    """
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return _checked(value // timedelta(microseconds=1) * TICKS_PER_US, "duration", value)
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        return _checked(index(value), "duration", value)
    raise kvs_error(
        StatusCode.INVALID_ARG,
        f"a duration is ticks of 100 ns (int), a timedelta or text such as 'PT2M', not {value!r}",
    )


def default_ticks(ticks: int) -> DurationField:
    """The default of a `DurationField`."""
    return cast("DurationField", ticks)


def durations_to_ticks(structure: object, names: Iterable[str]) -> None:
    """At the door of a frozen dataclass (its `__post_init__`): these members become ticks.

    Raises as `to_ticks`.
    """
    for name in names:
        object.__setattr__(structure, name, to_ticks(getattr(structure, name)))


def instant_to_ticks(value: Instant) -> int:
    """An instant at the door: ticks of 100 ns since 1970-01-01 UTC, or an aware `datetime`.

    Raises INVALID_ARG for a naive `datetime`, an instant before 1970 or any other type.
    """
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise kvs_error(
                StatusCode.INVALID_ARG,
                f"{value.isoformat()} has no time zone: use datetime.now(UTC) or .astimezone()",
            )
        return _checked(
            (value - _EPOCH) // timedelta(microseconds=1) * TICKS_PER_US, "instant", value
        )
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        return _checked(index(value), "instant", value)
    raise kvs_error(
        StatusCode.INVALID_ARG,
        f"an instant is ticks of 100 ns since 1970 (int) or an aware datetime, not {value!r}",
    )


def _checked(ticks: int, what: str, value: object) -> int:
    if not 0 <= ticks <= INVALID_DURATION_VALUE:
        raise kvs_error(StatusCode.INVALID_ARG, f"the {what} {value} is not in 0..2**64-1 ticks")
    return ticks


def format_duration(ticks: int) -> str:
    """ISO 8601 text of a duration of at least 0 ticks; `parse_duration` gives the ticks back.

    Only days, hours, minutes and seconds are used: the length of a month is a convention.
    """
    assert ticks >= 0, ticks
    days, rest = divmod(ticks, TICKS_PER_DAY)
    hours, rest = divmod(rest, TICKS_PER_HOUR)
    minutes, rest = divmod(rest, TICKS_PER_MINUTE)
    seconds, fraction = divmod(rest, TICKS_PER_SECOND)
    date = f"{days}D" if days else ""
    time = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "")
    if fraction:
        time += f"{seconds}.{fraction:07}".rstrip("0") + "S"
    elif seconds or not (date or time):
        time += f"{seconds}S"
    return f"P{date}T{time}" if time else f"P{date}"


def format_instant(ticks: int) -> str:
    """An instant as ISO 8601 in UTC, cut to milliseconds: `2026-01-02T03:04:05.678Z`.

    It never fails, since it is used in logs and messages. A year beyond 9999 has a sign in front,
    as in ISO 8601: `+60425-05-22T...`.
    """
    # The calendar repeats every 400 years; `datetime` knows the years 1 to 9999.
    cycles, rest = divmod(ticks, _CALENDAR_CYCLE)
    instant = _EPOCH + timedelta(milliseconds=rest // TICKS_PER_MS)
    year, text = instant.year + 400 * cycles, instant.strftime("-%m-%dT%H:%M:%S")
    sign = "" if 0 <= year <= 9999 else "+" if year > 0 else "-"
    return f"{sign}{abs(year):04}{text}.{instant.microsecond // 1000:03}Z"
