"""The quota of fragments per second: a burst is allowed, then the average is limited."""

from __future__ import annotations

from kvsproducer.endpoint.fragment_rate import FragmentRate

SECOND = 10_000_000
START = 17_000_000_000_000_000


def test_burst_passes_then_average_is_limited() -> None:
    rate = FragmentRate(5, START - 10 * SECOND)
    assert rate.wait(10, START) == 0
    assert rate.wait(1, START) == SECOND // 5
    assert rate.wait(4, START + SECOND // 5) == 4 * SECOND // 5


def test_a_stream_within_the_quota_never_waits() -> None:
    rate = FragmentRate(5, START)
    assert [rate.wait(1, START + n * SECOND // 5) for n in range(1, 100)] == [0] * 99


def test_unused_quota_does_not_accumulate() -> None:
    rate = FragmentRate(5, START)
    assert rate.wait(11, START + 3600 * SECOND) == SECOND // 5
