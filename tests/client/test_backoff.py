"""Waits before retries, as measured with AWS's client (golden/retry_delays.json)."""

from __future__ import annotations

from kvsproducer.client.backoff import Backoff

MS = 10_000


def test_waits_double_with_full_jitter_up_to_the_cap() -> None:
    """A wait is base * 2**n plus a random part below the same amount."""
    low, high = Backoff(lambda _: 0), Backoff(lambda sides: sides - 1)
    expected = [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
    assert [low.next_wait(0) // MS for _ in expected] == expected
    assert [(high.next_wait(0) + 1) // MS for _ in expected] == [2 * wait for wait in expected]


def test_a_quiet_time_resets_the_wait() -> None:
    """That is after 90 s without retries."""
    backoff = Backoff(lambda _: 0)
    backoff.next_wait(0)
    assert backoff.next_wait(100 * MS) == 200 * MS
    assert backoff.next_wait(92_000 * MS) == 100 * MS


def test_a_lower_cap_applies_to_one_wait_only() -> None:
    """The attempt counts like any other."""
    backoff = Backoff(lambda sides: 0)
    for _ in range(10):
        assert backoff.next_wait(0, offline=True) <= 2000 * MS
    assert backoff.next_wait(0) == 10_000 * MS
