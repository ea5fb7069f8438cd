"""A clock that tests set, and AWS IoT's endpoint on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.iot import IotEndpoint

from kvsproducer.service.credentials import AwsCredentials

SECOND = 10_000_000
NOW = 17_000_000_000_000_000


class Clock:
    """A clock in ticks since 1970 that a test sets."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> int:
        return self.time

    def forward(self, seconds: float) -> None:
        """Advance the clock."""
        self.time += round(seconds * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys() -> AwsCredentials:
    """Temporary credentials that end an hour after the clock's time."""
    return AwsCredentials("ASIAEXAMPLE", "secretsecret", "tokentoken", NOW + 3600 * SECOND)


@pytest.fixture
def iot(tmp_path: Path) -> Iterator[IotEndpoint]:
    with IotEndpoint(tmp_path) as endpoint:
        yield endpoint
