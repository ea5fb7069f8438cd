"""Helpers that wait for a condition, with a timeout that only a failing test exceeds."""

from __future__ import annotations

import time
from collections.abc import Callable

import kvsproducer as kvs


def until(
    happened: Callable[[], object], within_s: float = 30, seen: Callable[[], object] | None = None
) -> None:
    """Wait until `happened()` is true. After `within_s` s, fail and show the result of `seen()`."""
    deadline = time.monotonic() + within_s
    while not happened():
        instead = "" if seen is None else f": {seen()}"
        assert time.monotonic() < deadline, f"not within {within_s} s{instead}"
        time.sleep(0.01)


def why_not_ready(stream: kvs.Stream, reason: str, within_s: float = 30) -> kvs.KvsError:
    """Return the error of `stream.wait_ready` as soon as its text contains `reason`."""
    raised: list[kvs.KvsError] = []

    def explained() -> bool:
        try:
            stream.wait_ready(0.1)
        except kvs.KvsError as error:
            raised.append(error)
            return reason in str(error)
        raise AssertionError(f"{stream.name} is ready")

    until(explained, within_s, seen=lambda: raised[-1])
    return raised[-1]
