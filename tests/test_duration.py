"""Tests of durations and instants: accepted forms, refused values, and exact conversions."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsproducer.duration import (
    INVALID_DURATION_VALUE,
    MAX_TICKS,
    TICKS_PER_DAY,
    TICKS_PER_HOUR,
    TICKS_PER_MINUTE,
    TICKS_PER_MS,
    TICKS_PER_SECOND,
    TICKS_PER_US,
    durations_from_ticks,
    format_duration,
    format_instant,
    instant_to_ticks,
    parse_duration,
    ticks,
    to_datetime,
    to_seconds,
    to_timedelta,
)
from kvsproducer.status import InvalidConfiguration, KvsError, StatusCode


class numpy_like:  # noqa: N801
    """An integer type of another library, such as NumPy's."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def exactly(days: str = "0", hours: str = "0", minutes: str = "0", seconds: str = "0") -> int:
    """Return the ticks of a time with decimal parts, rounded down."""
    total = Fraction(days) * TICKS_PER_DAY + Fraction(hours) * TICKS_PER_HOUR
    return int(total + Fraction(minutes) * TICKS_PER_MINUTE + Fraction(seconds) * TICKS_PER_SECOND)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("PT2M", 2 * TICKS_PER_MINUTE),
        ("PT0.5S", TICKS_PER_SECOND // 2),
        ("PT0,5S", TICKS_PER_SECOND // 2),
        ("P1D", TICKS_PER_DAY),
        ("P1M", 31 * TICKS_PER_DAY),  # a month
        ("PT1M", TICKS_PER_MINUTE),  # a minute
        ("P1Y", 365 * TICKS_PER_DAY),
        ("P", 0),
        ("PTS", 0),  # a missing number is 0
        ("PD", 0),
        ("P1Y1Y", 730 * TICKS_PER_DAY),  # a repeated designator adds
        ("P2W1D", 15 * TICKS_PER_DAY),
        ("PT0.00000019S", 1),  # parts of a tick are cut off
        ("P1Y0M0.0W23DT23H", exactly("388", "23")),
        ("PT23.5H3M", exactly(hours="23.5", minutes="3")),
        ("P35500Y", 35500 * 365 * TICKS_PER_DAY),
        ("P1.2Y2.6M3.5W23.5DT23.2H12.5M6.7S", exactly("566.6", "23.2", "12.5", "6.7")),
        (
            "P1.2Y2.6M3.5W23.5DT23.2311H12.567122M6.712343S",
            exactly("566.6", "23.2311", "12.567122", "6.712343"),
        ),
    ],
)
def test_iso_8601_text(text: str, count: int) -> None:
    """Text in the grammar of AWS's Duration library is converted exactly."""
    assert parse_duration(text) == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1H",
        "23DT23H",
        "PT",
        "P1DT",
        "P1X",
        "P23DT23HT23H",
        "P23DT23HX",
        "P1Y23DT23H1Y",
        "P1Y23DT23H2D",
        "P1D1Y",
        "PT1S1M",
        "P1Y23.5.5DT23H",
        "P1Y34.SDT23H",
        "PT1.H",
        "PT.5S",
        "P1Y23.5DT23",
        "pT1H",
        "Pt1H",
        "PT1h",
        "PT23.5 H3M",
        "PT23.5;H",
        "-PT1H",
        "PT-1H",
        "PT1H\n",
        " PT1H",
        "PT\N{ARABIC-INDIC DIGIT ONE}H",
        "P355000Y",
        "PT" + "9" * 5000 + "S",
    ],
)
def test_other_text_is_refused(text: str) -> None:
    """Other text raises InvalidConfiguration, which is a ValueError, with the sentinel status."""
    with pytest.raises(InvalidConfiguration) as caught:
        parse_duration(text)
    assert caught.value.status is StatusCode.INVALID_DURATION_VALUE
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 1000


def test_longest_duration() -> None:
    """The longest duration is accepted; one tick more, which is the sentinel, is refused."""
    seconds, count = divmod(MAX_TICKS, TICKS_PER_SECOND)
    assert parse_duration(f"PT{seconds}.{count:07}S") == MAX_TICKS
    with pytest.raises(InvalidConfiguration):
        parse_duration(f"PT{seconds}.{count + 1:07}S")


@given(st.integers(0, MAX_TICKS))
def test_format_and_parse_are_inverse(count: int) -> None:
    """Parsing the text of a duration returns the same duration."""
    assert parse_duration(format_duration(count)) == count


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 999), st.integers(0, 999)), max_size=6),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 999), st.integers(0, 999)), max_size=6),
)
def test_fields_in_order_add_up(
    date: list[tuple[int, int, int]], time: list[tuple[int, int, int]]
) -> None:
    """A text whose fields are in the right order is the sum of its fields."""
    days = (365, 31, 7, 1)
    seconds = (3600, 60, 1)
    date, time = sorted(date), sorted(time)
    text = "P" + "".join(f"{whole}.{part:03}{'YMWD'[unit]}" for unit, whole, part in date)
    if time:
        text += "T" + "".join(f"{whole}.{part:03}{'HMS'[unit]}" for unit, whole, part in time)
    milli = sum((whole * 1000 + part) * days[unit] * 86400 for unit, whole, part in date)
    milli += sum((whole * 1000 + part) * seconds[unit] for unit, whole, part in time)
    assert parse_duration(text) == milli * TICKS_PER_MS


@given(st.text(alphabet="PTYMWDHS0123456789.,-+ x", max_size=30))
def test_any_text_gives_ticks_or_a_duration_error(text: str) -> None:
    """Parsing any text returns a value in range, or raises the one documented error."""
    try:
        count = parse_duration(text)
    except InvalidConfiguration:
        return
    assert text.startswith("P")
    assert 0 <= count <= MAX_TICKS


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "PT0S"),
        (1, "PT0.0000001S"),
        (15 * TICKS_PER_SECOND // 10, "PT1.5S"),
        (TICKS_PER_MINUTE, "PT1M"),
        (TICKS_PER_HOUR + TICKS_PER_SECOND, "PT1H1S"),
        (TICKS_PER_DAY, "P1D"),
        (TICKS_PER_DAY + TICKS_PER_MINUTE, "P1DT1M"),
    ],
)
def test_format_duration(count: int, text: str) -> None:
    """`format_duration` returns the shortest text in days, hours, minutes and seconds."""
    assert format_duration(count) == text


@given(st.integers(0, 10**15))
def test_timedelta_is_exact(microseconds: int) -> None:
    """A timedelta in the valid range is converted without loss."""
    length = timedelta(microseconds=microseconds)
    assert to_timedelta(length) == length
    assert ticks(length) == microseconds * TICKS_PER_US


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0.0),
        (2, 2.0),
        (2.5, 2.5),
        (numpy_like(3), 3.0),
        (Fraction(1, 4), 0.25),
        (timedelta(milliseconds=20), 0.02),
        ("PT2M", 120.0),
        (1e-9, 1e-6),  # 0 often means "no limit", so a small value is not rounded to 0
        ("PT0.0000001S", 1e-6),
        (30 * 86_400, 30 * 86_400.0),
        (timedelta(days=4000), 4000 * 86_400.0),
        ("P1Y", 365 * 86_400.0),
    ],
)
def test_seconds_timedelta_and_text_mean_the_same_length(value: Any, seconds: float) -> None:
    """Seconds may be ints or floats, also those of other libraries."""
    assert to_timedelta(value) == timedelta(seconds=seconds)
    assert to_seconds(value) == seconds


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-1, "give 0 or more seconds"),
        (-0.5, "give 0 or more seconds"),
        (timedelta(seconds=-1), "cannot be negative"),
        (math.nan, "give 0 or more seconds"),
        (math.inf, "give 0 or more seconds"),
        (10**400, "30 days at most"),
        (True, "(bool); give seconds"),
        (None, "(NoneType); give seconds"),
        (b"PT1S", "(bytes); give seconds"),
        ([1], "(list); give seconds"),
        (timedelta.max, "64 bits"),
        (1_200_000_000, "give 120 seconds"),  # two minutes in ticks
        (15_000_000, "give 1.5 seconds"),
        (30 * 86_400 + 1, "30 days at most"),
    ],
)
def test_other_lengths_of_time_are_refused(value: Any, words: str) -> None:
    """The error is INVALID_ARG and a ValueError; it names the option and what to give instead."""
    with pytest.raises(ValueError, match="buffer_duration is ") as caught:
        to_timedelta(value, "buffer_duration")
    assert isinstance(caught.value, KvsError)
    assert caught.value.status is StatusCode.INVALID_ARG
    assert words in caught.value.detail


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("24h", "write 'PT24H'"),
        ("2 M", "write 'PT2M'"),
        ("1d", "write 'P1D'"),
        ("30", "give the number 30, without quotes"),
        ("1.5", "give the number 1.5, without quotes"),
        ("two hours", "is not an ISO 8601 duration such as 'PT2M'"),
    ],
)
def test_text_that_is_not_iso_8601_is_refused_with_advice(text: str, words: str) -> None:
    """The error is INVALID_DURATION_VALUE and names the option."""
    with pytest.raises(InvalidConfiguration) as caught:
        to_timedelta(text, "retention")
    assert caught.value.status is StatusCode.INVALID_DURATION_VALUE
    assert caught.value.detail.startswith("retention: ")
    assert words in caught.value.detail


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, 20_000_000),
        (0.1, 1_000_000),
        (-0.5, -5_000_000),
        (numpy_like(3), 30_000_000),
        (Fraction(1, 3), 3_333_333),
        (1_767_225_600.123_456_7, 17_672_256_001_234_567),
        (timedelta(microseconds=1), 10),
        (datetime(2026, 1, 1, tzinfo=UTC), 17_672_256_000_000_000),
    ],
)
def test_ticks(value: Any, expected: int) -> None:
    """`ticks` converts seconds, a timedelta or a datetime to the precision of its argument."""
    assert abs(ticks(value) - expected) <= (2 if isinstance(value, float) and value > 1e9 else 0)


@pytest.mark.parametrize("value", [True, "1", None, math.nan, math.inf, datetime(2026, 1, 1)])  # noqa: DTZ001
def test_ticks_refuses_other_values(value: Any) -> None:
    """`ticks` raises INVALID_ARG for other values."""
    with pytest.raises(KvsError) as caught:
        ticks(value)
    assert caught.value.status is StatusCode.INVALID_ARG


def test_to_datetime_is_the_inverse_of_ticks() -> None:
    """The result is exact to the microsecond; times beyond the range of datetime are refused."""
    instant = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    assert to_datetime(ticks(instant)) == instant
    assert to_datetime(numpy_like(ticks(instant) + 9)) == instant
    assert to_datetime(0) == datetime(1970, 1, 1, tzinfo=UTC)
    for wrong in (-1, MAX_TICKS, 1.7e16, True, "0", None):
        with pytest.raises(KvsError) as caught:
            to_datetime(wrong)  # type: ignore[arg-type]
        assert caught.value.status is StatusCode.INVALID_ARG


def test_a_structure_in_awss_layout_has_ticks() -> None:
    """Ints in ticks become timedelta, exact to the microsecond; text is left as it is."""
    values: dict[str, object] = {"a": 20_000_009, "b": 1, "c": 0, "d": "PT2M", "other": 5}
    durations_from_ticks(values, ("a", "b", "c", "d", "absent"))
    seconds, least = timedelta(seconds=2), timedelta(microseconds=1)
    assert values == {"a": seconds, "b": least, "c": timedelta(0), "d": "PT2M", "other": 5}
    for wrong in (-1, 2**64, 1.5, True, None):
        with pytest.raises(KvsError, match=r"a is|the a") as caught:
            durations_from_ticks({"a": wrong}, ("a",))
        assert caught.value.status is StatusCode.INVALID_ARG


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001
    st.integers(-12, 14),
)
def test_aware_datetimes_are_exact(naive: datetime, hours: int) -> None:
    """A datetime's time zone is applied, and its microseconds are kept."""
    zone = timezone(timedelta(hours=hours))
    count = instant_to_ticks(naive.replace(tzinfo=zone))
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=count // 10) == naive.replace(
        tzinfo=zone
    )
    assert count % 10 == 0


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 2),  # noqa: DTZ001 (naive on purpose)
        datetime(1969, 12, 31, tzinfo=UTC),
        -1,
        2**64,
        False,
        1.7e9,
        "2026-01-02T03:04:05Z",
    ],
)
def test_other_instants_are_refused(value: object) -> None:
    """A naive datetime and a float are refused, because they are ambiguous."""
    with pytest.raises(KvsError) as caught:
        instant_to_ticks(value)  # type: ignore[arg-type]
    assert caught.value.status is StatusCode.INVALID_ARG


def test_format_instant() -> None:
    """The text is ISO 8601 in UTC with milliseconds; years after 9999 have a sign."""
    assert format_instant(0) == "1970-01-01T00:00:00.000Z"
    instant = instant_to_ticks(datetime(2026, 1, 2, 3, 4, 5, 678999, tzinfo=UTC))
    assert format_instant(instant) == "2026-01-02T03:04:05.678Z"
    assert format_instant(INVALID_DURATION_VALUE) == "+60425-05-28T05:36:10.955Z"
    assert format_instant(253_402_300_799_999 * TICKS_PER_MS) == "9999-12-31T23:59:59.999Z"
    assert format_instant(253_402_300_800_000 * TICKS_PER_MS) == "+10000-01-01T00:00:00.000Z"
    assert format_instant(-TICKS_PER_MS) == "1969-12-31T23:59:59.999Z"
