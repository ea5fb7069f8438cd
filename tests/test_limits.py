"""Tests of the limits: their numbers, sources, and consistency."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvsproducer import limits
from kvsproducer.duration import TICKS_PER_HOUR, TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.status import StatusCode

SOURCE = Path(limits.__file__).read_text()


def numbers() -> dict[str, float]:
    return {n: v for n, v in vars(limits).items() if n.isupper() and isinstance(v, int | float)}


@pytest.mark.parametrize("name", [n for n in numbers() if n.startswith("MIN_")])
def test_minimum_is_not_above_maximum(name: str) -> None:
    """Each MIN_ constant is not above the MAX_ constant of the same name."""
    maximum = numbers().get("MAX_" + name.removeprefix("MIN_"))
    if maximum is not None:
        assert numbers()[name] <= maximum


def test_defaults_lie_within_their_limits() -> None:
    """Each default is within the limits of the same name."""
    for name, value in numbers().items():
        if name.startswith("DEFAULT_"):
            thing = name.removeprefix("DEFAULT_")
            assert numbers().get(f"MIN_{thing}", value) <= value
            assert value <= numbers().get(f"MAX_{thing}", value)


def test_statuses_named_in_comments_exist() -> None:
    """Each status after "S:" in a comment exists."""
    named = re.findall(r"S: ((?:[A-Z][A-Z0-9_]+(?:, )?)+)", SOURCE)
    names = [name for group in named for name in group.split(", ") if name[-1:] not in ("", "_")]
    assert len(names) > 50
    assert [name for name in names if name not in StatusCode.__members__] == []


def test_each_constant_has_a_comment_or_an_evident_unit() -> None:
    """Each constant has a comment with its source, unless its name makes it clear."""
    bare = re.findall(r"^([A-Z][A-Z0-9_]+): Final = [^#\n]*$", SOURCE, flags=re.MULTILINE)
    evident = ("KIB", "MIB", "GIB", "STREAM_INFO_", "SERVICE_", "_TRACK_ID", "_VERSION", "_CUSTOM_")
    assert [name for name in bare if not any(part in name for part in evident)] == []


def test_numbers_of_the_documentation() -> None:
    """A sample of documented numbers, to detect a wrong unit."""
    assert limits.MAX_STORAGE_SIZE_BYTES == 10 * 1024**3
    assert limits.MIN_STORAGE_SIZE_BYTES == 1024**2
    assert limits.MAX_STREAM_NAME_LEN == 256
    assert limits.MIN_RETENTION_PERIOD == TICKS_PER_HOUR
    assert limits.DEFAULT_TIMECODE_SCALE == TICKS_PER_MS == 10_000
    assert limits.MAX_TIMECODE_SCALE == TICKS_PER_SECOND == 10_000_000
    assert limits.SERVICE_MAX_CONNECTION_DURATION > limits.MAX_TOKEN_LIFE
    assert limits.SERVICE_MAX_FRAGMENT_DURATION < limits.MAX_RELATIVE_TIMECODE * TICKS_PER_MS
