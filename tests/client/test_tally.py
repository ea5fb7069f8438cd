"""Statistics of calls and uploads: latencies, durations, and repeated failures."""

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
    """Return a tally, and the desk whose stream it reports on."""
    d = desk()
    return Tally(d.stream._core), d


def statuses(d: Any) -> list[StatusCode]:
    d.settle()
    return [event.status for event in d.reported(kvs.StreamErrorReported)]


def test_latencies_count_from_when_a_call_could_be_made(tallied: tuple[Tally, Any]) -> None:
    """Uploads are counted apart from other calls; an answer before its time counts as 0."""
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


def test_only_uploads_with_media_have_a_duration(tallied: tuple[Tally, Any]) -> None:
    """The others must not shorten the average session."""
    tally, d = tallied
    upload = Upload(3, 1000)
    tally.count_upload(upload, 9000)
    assert d.stream.metrics(d.now).counters.avg_session_duration == 0
    upload.first_index = 0
    tally.count_upload(upload, 9000)
    assert d.stream.metrics(d.now).counters.avg_session_duration == 8000


def test_each_failed_upload_is_reported_and_every_sixth_as_a_further_error(
    tallied: tuple[Tally, Any],
) -> None:
    """The number is that of a call's attempts; a successful end is not a failure."""
    tally, d = tallied
    for number in range(12):
        tally.report_failed_upload(number, 599, "no route")
        tally.report_failed_upload(number, 200, "")
    assert statuses(d) == [*[TIMEOUT] * 6, GIVEN_UP, *[TIMEOUT] * 6, GIVEN_UP]
    last = d.reported(kvs.StreamErrorReported)[-1]
    assert (last.upload, last.fatal) == (11, False)
    assert last.detail == "12 uploads failed and nothing was stored; no route"


def test_stored_media_resets_the_count_of_failures(tallied: tuple[Tally, Any]) -> None:
    """With five failures before and after it, no further error is reported."""
    tally, d = tallied
    for _ in range(2):
        for number in range(5):
            tally.report_failed_upload(number, 599, "")
        tally.reset_failures()
    assert statuses(d) == [TIMEOUT] * 10
    assert "599" in d.reported(kvs.StreamErrorReported)[0].detail
