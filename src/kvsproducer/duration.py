"""Convert lengths of time and instants between the forms that users give and the core's ticks.

A tick is 100 ns. Media times and instants (since 1970-01-01 UTC) are plain ints of ticks in the
range of an unsigned 64-bit number, as in AWS's client. A length of time that is an option (a
timeout, a retention) is given as seconds, as a `timedelta` or as ISO 8601 text (`"PT2M"`). It is
stored as a `timedelta`, so that no code has to guess its unit. The core converts it to ticks once,
when a stream is opened.

The text grammar is that of AWS's Duration library: `P[nY][nM][nW][nD][T[nH][nM][nS]]`. A year has
365 days, a month has 31 days. The grammar accepts more than ISO 8601 does: weeks may be combined
with other fields, and every field may have a fraction (`.` or `,`). A missing number counts as 0.
A field may be repeated, but the fields must be in the order shown. The arithmetic of this module
is exact; AWS's library uses floating point.

This module reads no clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import inf, isfinite
from numbers import Real
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, SupportsIndex, cast

from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = [
    "INVALID_DURATION_VALUE",
    "Duration",
    "DurationField",
    "Instant",
    "MAX_TICKS",
    "MediaDuration",
    "TICKS_PER_DAY",
    "TICKS_PER_HOUR",
    "TICKS_PER_MINUTE",
    "TICKS_PER_MS",
    "TICKS_PER_SECOND",
    "TICKS_PER_US",
    "as_timedelta",
    "default_duration",
    "durations_from_ticks",
    "format_duration",
    "format_instant",
    "instant_to_ticks",
    "parse_duration",
    "ticks",
    "to_datetime",
    "to_seconds",
    "to_timedelta",
    "set_durations",
]

TICKS_PER_US: Final = 10
TICKS_PER_MS: Final = 10_000
TICKS_PER_SECOND: Final = 10_000_000
TICKS_PER_MINUTE: Final = 60 * TICKS_PER_SECOND
TICKS_PER_HOUR: Final = 60 * TICKS_PER_MINUTE
TICKS_PER_DAY: Final = 24 * TICKS_PER_HOUR

INVALID_DURATION_VALUE: Final = 2**64 - 1
"""AWS's sentinel for "no valid time"; as a timeout it means no limit."""

MAX_TICKS: Final = INVALID_DURATION_VALUE - 1
"""The longest duration and the latest instant (year 60425)."""

Duration = SupportsIndex | float | timedelta | str
"""A length of time: seconds (int or float), a `timedelta`, or ISO 8601 text (`"PT2M"`)."""

MediaDuration = SupportsIndex | timedelta | str
"""A length of media: ticks of 100 ns, a `timedelta`, or ISO 8601 text (`"PT0.04S"`)."""

Instant = SupportsIndex | datetime
"""A point in time: ticks of 100 ns since 1970-01-01 UTC, or an aware `datetime`."""

if TYPE_CHECKING:

    class DurationField:
        """Type of a dataclass member that is assigned as a `Duration` and read as a `timedelta`.

        It only informs type checkers. `set_durations` does the conversion when an instance is
        created.
        """

        def __get__(self, instance: object, owner: type) -> timedelta: ...

        def __set__(self, instance: object, value: Duration) -> None: ...
else:
    DurationField = timedelta

# A plain number of seconds above this is refused: it is probably in ticks. A timedelta or text may
# be longer, for it says its unit.
_MAX_NUMBER: Final = timedelta(days=30)
_US: Final = timedelta(microseconds=1)
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
_SHORTHAND: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|d|)\s*", re.IGNORECASE)


def parse_duration(text: str) -> int:
    """Return the ticks of an ISO 8601 duration such as `"PT2M"`, `"P1DT12H"` or `"PT0.5S"`.

    A fraction of a tick is cut off. Raises `InvalidConfiguration` (also a `ValueError`) with
    INVALID_DURATION_VALUE for any other text, and for more than `MAX_TICKS`.
    """
    match = _DURATION.fullmatch(text) if len(text) <= _MAX_TEXT_LEN else None
    if match is None:
        raise kvs_error(
            StatusCode.INVALID_DURATION_VALUE,
            f"{text[:_MAX_TEXT_LEN]!r} is not an ISO 8601 duration such as 'PT2M' or 'P1DT12H'",
        )
    ticks = int(_total(match[1], _DATE_UNITS) + _total(match[2] or "", _TIME_UNITS))
    if ticks > MAX_TICKS:
        raise kvs_error(StatusCode.INVALID_DURATION_VALUE, f"{text!r} is longer than 64 bits hold")
    return ticks


def _total(fields: str, units: dict[str, int]) -> Fraction:
    """Return the exact sum, in ticks, of the fields in the date part or the time part."""
    return sum(
        (Fraction(number.replace(",", ".")) * units[unit])
        for number, unit in _FIELD.findall(fields)
        if number
    ) or Fraction(0)


def to_timedelta(
    value: Duration, name: str = "the duration", *, largest: timedelta = _MAX_NUMBER
) -> timedelta:
    """Convert a length of time that a user gave to a `timedelta`.

    `name` is the name of the user's argument, for error messages. The result is exact to the
    microsecond, and a value above 0 does not become 0. `largest` limits plain numbers only.

    Raises INVALID_DURATION_VALUE for text that is not ISO 8601. Raises INVALID_ARG for any other
    type, NaN, a negative value, or a value that is too large.
    """
    if isinstance(value, str):
        return _from_text(value, name)
    if isinstance(value, timedelta):
        if value < timedelta(0):
            raise kvs_error(StatusCode.INVALID_ARG, f"{name} is {value!r}: it cannot be negative")
        return _bounded(value, name, value)
    if isinstance(value, bool) or not isinstance(value, Real | SupportsIndex):
        kind = type(value).__name__
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"{name} is {value!r} ({kind}); give seconds as an int or float, a timedelta, or ISO"
            " 8601 text such as 'PT2M'",
        )
    number = index(value) if isinstance(value, SupportsIndex) else float(value)
    if not 0 <= number < inf:
        raise kvs_error(
            StatusCode.INVALID_ARG, f"{name} is {value!r}; give 0 or more seconds, for example 2.5"
        )
    if number > largest.total_seconds():
        raise kvs_error(StatusCode.INVALID_ARG, _too_large(value, name, number, largest))
    seconds = timedelta(seconds=number)
    return seconds if seconds or not number else _US


def _too_large(value: object, name: str, number: float, largest: timedelta) -> str:
    number = min(number, MAX_TICKS)
    meant, days = number / TICKS_PER_SECOND, number / 86_400
    return (
        f"{name} is {str(value)[:40]} seconds, which is {days:,.0f} days; as a plain number it is"
        f" {largest.days:,} days at most. If the number is in ticks of 100 ns, as media times are,"
        f" give {meant:g} seconds; for so long a time give a timedelta"
    )


def _from_text(text: str, name: str) -> timedelta:
    try:
        length = parse_duration(text)
    except KvsError as error:
        raise kvs_error(error.status, f"{name}: {error.detail}{_text_advice(text)}") from error
    return as_timedelta(length)


def _text_advice(text: str) -> str:
    """Return a hint with the ISO 8601 text that the user probably meant, or ""."""
    match = _SHORTHAND.fullmatch(text)
    if match is None:
        return ""
    number, unit = match[1], match[2]
    if not unit:
        return f"; for {number} seconds give the number {number}, without quotes"
    written = f"P{number}D" if unit == "d" else f"PT{number}{unit.upper()}"
    return f"; write {written!r}"


def _bounded(length: timedelta, name: str, value: object) -> timedelta:
    if length // _US * TICKS_PER_US > MAX_TICKS:
        raise kvs_error(
            StatusCode.INVALID_ARG, f"{name} is {value!r}: 64 bits of 100 ns cannot hold it"
        )
    return length


def to_seconds(value: Duration, name: str = "timeout") -> float:
    """Convert a length of time that a user gave to seconds. Raises as `to_timedelta` does."""
    return to_timedelta(value, name).total_seconds()


def default_duration(ticks: int) -> DurationField:
    """Return the default value for a `DurationField`, from ticks."""
    return cast("DurationField", as_timedelta(ticks))


def set_durations(
    structure: object,
    names: Iterable[str],
    *,
    largest: Mapping[str, timedelta] = MappingProxyType({}),
) -> None:
    """Convert members of a frozen dataclass to `timedelta`. Call this in its `__post_init__`.

    `largest` maps names of members to the largest plain number allowed. Raises as `to_timedelta`
    does.
    """
    for name in names:
        bound = largest.get(name, _MAX_NUMBER)
        value = to_timedelta(getattr(structure, name), name, largest=bound)
        object.__setattr__(structure, name, value)


def durations_from_ticks(values: dict[str, object], names: Iterable[str]) -> None:
    """Convert the named int values, which are ticks, to `timedelta`.

    `values` are the members of a structure in AWS's layout. Text and `timedelta` values are not
    changed. Raises INVALID_ARG for other types, and for numbers that are not in
    0 to 2**64 - 1.
    """
    for name in names:
        value = values.get(name, "")
        if isinstance(value, str | timedelta):
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise kvs_error(
                StatusCode.INVALID_ARG,
                f"{name} is {value!r}; give ticks of 100 ns (int) or ISO 8601 text such as 'PT2M'",
            )
        values[name] = as_timedelta(_checked(value, name, value))


def as_timedelta(ticks: int) -> timedelta:
    """Return a length of time in ticks as a `timedelta`.

    A fraction of a microsecond is cut off, but a value above 0 becomes at least 1 microsecond.
    """
    return max(timedelta(microseconds=ticks // TICKS_PER_US), _US) if ticks else timedelta(0)


def ticks(value: SupportsIndex | float | timedelta | datetime) -> int:
    """Convert seconds, a `timedelta` or an aware `datetime` to ticks of 100 ns.

    For a `datetime` the ticks are counted from 1970-01-01 UTC. Use the result for `pts`, `dts`,
    `duration` and `lead` of a `Frame`. Seconds may be negative, for a difference. A float is
    rounded to the nearest tick. Raises INVALID_ARG for NaN, infinity, a `datetime` without a time
    zone or before 1970, and any other type.
    """
    if isinstance(value, datetime):
        return instant_to_ticks(value)
    if isinstance(value, timedelta):
        return value // _US * TICKS_PER_US
    if not isinstance(value, bool):
        if isinstance(value, SupportsIndex):
            return index(value) * TICKS_PER_SECOND
        if isinstance(value, Real | float) and isfinite(value):
            return round(Fraction(float(value)) * TICKS_PER_SECOND)
    raise kvs_error(
        StatusCode.INVALID_ARG,
        f"ticks() takes seconds (int or float), a timedelta or an aware datetime, not {value!r}",
    )


def to_datetime(ticks: SupportsIndex) -> datetime:
    """Convert an instant in ticks of 100 ns since 1970 to a `datetime` in UTC.

    A fraction of a microsecond is cut off. Raises INVALID_ARG for any other type than int, and for
    an instant outside the years 1970 to 9999. (`datetime` has no later years.)
    """
    if isinstance(ticks, bool) or not isinstance(ticks, SupportsIndex):
        raise kvs_error(
            StatusCode.INVALID_ARG, f"to_datetime() takes ticks of 100 ns (int), not {ticks!r}"
        )
    number = index(ticks)
    try:
        if number >= 0:
            return _EPOCH + timedelta(microseconds=number // TICKS_PER_US)
    except OverflowError:
        pass
    raise kvs_error(
        StatusCode.INVALID_ARG,
        f"{number} ticks of 100 ns since 1970 is not in the years 1970 to 9999 of a datetime",
    )


def instant_to_ticks(value: Instant) -> int:
    """Convert an instant to ticks of 100 ns since 1970-01-01 UTC.

    `value` is an aware `datetime`, or a number of ticks, which is returned unchanged. Raises
    INVALID_ARG for a naive `datetime`, an instant before 1970 or any other type.
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
    """Return the ISO 8601 text of a duration of 0 or more ticks.

    `parse_duration` converts the text to the same number of ticks. The text has only days, hours,
    minutes and seconds, because months and years have no fixed length.
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
    """Return an instant as ISO 8601 in UTC, cut to milliseconds: `2026-01-02T03:04:05.678Z`.

    The function never fails, because it is used for logs and messages. A year after 9999 begins
    with a sign, as in ISO 8601: `+60425-05-22T...`.
    """
    # The calendar repeats every 400 years; `datetime` knows the years 1 to 9999.
    cycles, rest = divmod(ticks, _CALENDAR_CYCLE)
    instant = _EPOCH + timedelta(milliseconds=rest // TICKS_PER_MS)
    year, text = instant.year + 400 * cycles, instant.strftime("-%m-%dT%H:%M:%S")
    sign = "" if 0 <= year <= 9999 else "+" if year > 0 else "-"
    return f"{sign}{abs(year):04}{text}.{instant.microsecond // 1000:03}Z"
