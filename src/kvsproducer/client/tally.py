"""Statistics of a stream's service calls and uploads: average durations and repeated failures.

Source: AWS's metrics of call latencies and session durations (exponential moving averages). AWS's
client does not report that an upload failed. Here each failure is an event. If as many uploads in a
row fail as a service call has attempts, a further event reports that PutMedia does not work.
"""

from __future__ import annotations

from kvsproducer import limits
from kvsproducer.client.core import StreamCore
from kvsproducer.client.effects import Call, PutStream
from kvsproducer.client.metrics import moving_average
from kvsproducer.client.session import Upload
from kvsproducer.client.states import result_status
from kvsproducer.status import StatusCode

__all__ = ["Tally"]


class Tally:
    """The counters of one stream."""

    __slots__ = ("_core", "_failures")

    def __init__(self, core: StreamCore) -> None:
        self._core = core
        self._failures = 0  # failed uploads in a row, with nothing stored in between

    def count_call(self, call: Call, now: int) -> None:
        """Add a call to the average latencies: from when it could be made until its answer."""
        counters, took = self._core.counters, max(now - call.not_before, 0)
        if isinstance(call, PutStream):
            counters.data_api_call_latency = moving_average(counters.data_api_call_latency, took)
        else:
            counters.cpl_api_call_latency = moving_average(counters.cpl_api_call_latency, took)

    def count_upload(self, upload: Upload, now: int) -> None:
        """Add an upload that got media to the average session duration."""
        if upload.used:
            counters, took = self._core.counters, now - upload.opened_at
            counters.avg_session_duration = moving_average(counters.avg_session_duration, took)

    def report_failed_upload(self, upload: int, result: int, detail: str) -> None:
        """Report a failed upload; after several in a row, also report that none succeeds."""
        core, status = self._core, result_status(result)
        if status is StatusCode.SUCCESS:
            return
        why = detail or f"PutMedia: result {result}"
        core.report(status, why, upload=upload)
        self._failures += 1
        if self._failures % (limits.MAX_SERVICE_CALL_RETRIES + 1) == 0:
            message = f"{self._failures} uploads failed and nothing was stored; {why}"
            core.report(StatusCode.PUT_STREAM_CALL_FAILED, message, upload=upload)

    def reset_failures(self) -> None:
        """Reset the count of failures, because the service has stored media."""
        self._failures = 0
