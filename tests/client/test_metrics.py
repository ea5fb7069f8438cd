"""Metrics: moving averages, rates, and the versions of the structures."""

from __future__ import annotations

import pytest

from kvsproducer.client.metrics import (
    ClientMetrics,
    Rates,
    StreamCounters,
    StreamMetrics,
    check_metrics_version,
    moving_average,
)
from kvsproducer.status import KvsError, StatusCode

SECOND = 10_000_000


def test_moving_average_starts_with_the_first_sample() -> None:
    """It is an exponential moving average with alpha 0.05."""
    assert moving_average(0.0, 100) == 100
    assert moving_average(100, 200) == pytest.approx(105)
    assert moving_average(105, 105) == pytest.approx(105)


def test_frame_rates_by_put_time_and_by_timestamp() -> None:
    """They are sampled between fragment starts, so the first start gives no sample."""
    rates = Rates(0)
    rates.sample_put(1, 0, 5 * SECOND)
    assert (rates.frame, rates.elementary) == (0, 0)
    rates.sample_put(31, SECOND, 7 * SECOND)
    assert (rates.frame, rates.elementary) == (15, 30)
    rates.sample_put(61, SECOND, 7 * SECOND)  # no time has passed, so no sample
    assert (rates.frame, rates.elementary) == (15, 30)
    rates.sample_put(91, 2 * SECOND, 8 * SECOND)
    assert rates.frame == pytest.approx(15.75)
    assert rates.elementary == pytest.approx(30)


def read(rates: Rates, count: int, now: int) -> None:
    """Count bytes as the sender does."""
    rates.transferred += count
    if now >= rates.next_read:
        rates.sample_read(now)


def test_the_transfer_rate_is_sampled_every_200_ms() -> None:
    """Reads in between are added up; the total counts every byte."""
    rates = Rates(0)
    for now in (0, SECOND // 10, SECOND // 5 - 1):
        read(rates, 100, now)
    assert (rates.transfer, rates.transferred) == (0, 300)
    read(rates, 100, SECOND // 5)
    assert (rates.transfer, rates.transferred) == (2000, 400)
    read(rates, 800, 2 * SECOND // 5)
    assert rates.transfer == pytest.approx(2100)


def test_each_version_adds_fields() -> None:
    """A version has the fields of the versions before it, and its own number."""
    counters = StreamCounters(transferred_bytes=7, api_call_retries=3)
    texts = [
        StreamMetrics(1, 2, 3, 4, 5.0, 6.0, 7.0, 8, counters, version).to_dict()
        for version in range(4)
    ]
    assert [len(text) for text in texts] == [7, 26, 27, 28]
    assert [text["version"] for text in texts] == [0, 1, 2, 3]
    assert texts[0]["overall_view_size"] == 4
    assert "transferred_bytes" not in texts[0]
    assert texts[1]["transferred_bytes"] == 7
    assert texts[2]["elementary_frame_rate"] == 6.0
    assert texts[3]["api_call_retries"] == 3
    clients = [ClientMetrics(1, 2, 3, 4, 5.0, 6.0, 7.0, 8.0, n).to_dict() for n in range(3)]
    assert [len(text) for text in clients] == [7, 8, 9]
    assert clients[2]["avg_api_call_retry_count"] == 8.0


@pytest.mark.parametrize("version", [-1, 4])
def test_an_unknown_version_raises_the_given_status(version: int) -> None:
    """Versions from 0 to the newest are accepted."""
    status = StatusCode.INVALID_STREAM_METRICS_VERSION
    for known in range(4):
        check_metrics_version(known, 3, status)
    with pytest.raises(KvsError) as caught:
        check_metrics_version(version, 3, status)
    assert caught.value.status is status
