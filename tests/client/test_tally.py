"""How calls and uploads fare: latencies, durations, and failures that go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client.session import Upload
from kvsproducer.client.tally import Tally
from kvsproducer.status import StatusCode

Desks = Callable[..., Any]
TIMEOUT = StatusCode.SERVICE_CALL_TIMEOUT_ERROR
GIVEN_UP = StatusCode.PUT_STREAM_CALL_FAILED


@pytest.fixture
def tallied(desk: Desks) -> tuple[Tally, Any]:
    """A tally of its own, and the desk whose stream it tells of."""
    d = desk()
    return Tally(d.stream._core), d


def statuses(d: Any) -> list[StatusCode]:
    d.settle()
    return [event.status for event in d.told(kvs.StreamErrorReported)]


def test_latencies_count_from_when_a_call_could_be_made(tallied: tuple[Tally, Any]) -> None:
    """Those of uploads apart from the others; an answer before its time took no time."""
    tally, d = tallied
    call = kvs.DescribeStream(1, "door", 1000, 0, 0, None)
    put = kvs.PutStream(2, "door", 500, 0, 0, None, 0, "", 0, True, True, "")
    tally.count_call(call, 1400)
    tally.count_call(put, 600)
    counters = d.stream.metrics(d.now).counters
    assert (counters.cpl_api_call_latency, counters.data_api_call_latency) == (400, 100)
    tally.count_call(call, 900)
    counters = d.stream.metrics(d.now).counters
    assert counters.cpl_api_call_latency == pytest.approx(380)
    assert counters.data_api_call_latency == 100


def test_only_uploads_that_were_given_media_have_a_duration(tallied: tuple[Tally, Any]) -> None:
    """The average session is not shortened by those that never began."""
    tally, d = tallied
    upload = Upload(3, 1000)
    tally.count_upload(upload, 9000)
    assert d.stream.metrics(d.now).counters.avg_session_duration == 0
    upload.first_index = 0
    tally.count_upload(upload, 9000)
    assert d.stream.metrics(d.now).counters.avg_session_duration == 8000


def test_each_failure_is_told_and_every_sixth_that_none_works(tallied: tuple[Tally, Any]) -> None:
    """As often as a service call would be made; a good end is no failure."""
    tally, d = tallied
    for number in range(12):
        tally.report_failed_upload(number, 599, "no route")
        tally.report_failed_upload(number, 200, "")
    assert statuses(d) == [*[TIMEOUT] * 6, GIVEN_UP, *[TIMEOUT] * 6, GIVEN_UP]
    last = d.told(kvs.StreamErrorReported)[-1]
    assert (last.upload, last.fatal) == (11, False)
    assert last.detail == "12 uploads failed and nothing was stored; no route"


def test_whatever_is_stored_counts_failures_anew(tallied: tuple[Tally, Any]) -> None:
    """Five, something stored, five: no error says that nothing works."""
    tally, d = tallied
    for _ in range(2):
        for number in range(5):
            tally.report_failed_upload(number, 599, "")
        tally.reset_failures()
    assert statuses(d) == [TIMEOUT] * 10
    assert "599" in d.told(kvs.StreamErrorReported)[0].detail
