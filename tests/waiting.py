"""Waiting until something is the case, within a bound that only what never comes exceeds."""

from __future__ import annotations

import time
from collections.abc import Callable

import kvsproducer as kvs


def until(
    happened: Callable[[], object], within_s: float = 30, seen: Callable[[], object] | None = None
) -> None:
    """Look every 10 ms; what takes too long fails, and tells what was `seen` instead."""
    deadline = time.monotonic() + within_s
    while not happened():
        told = "" if seen is None else f": {seen()}"
        assert time.monotonic() < deadline, f"not within {within_s} s{told}"
        time.sleep(0.01)


def why_not_ready(stream: kvs.Stream, reason: str, within_s: float = 30) -> kvs.KvsError:
    """What waiting for the stream raises, once it tells that reason."""
    told: list[kvs.KvsError] = []

    def explained() -> bool:
        try:
            stream.wait_ready(0.1)
        except kvs.KvsError as error:
            told.append(error)
            return reason in str(error)
        raise AssertionError(f"{stream.name} is ready")

    until(explained, within_s, seen=lambda: told[-1])
    return told[-1]
