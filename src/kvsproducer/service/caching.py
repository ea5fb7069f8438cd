"""A cache of control-plane answers, with the caching modes of the C producer.

The cache has an entry for each stream: the answers of DescribeStream (or CreateStream) and
GetDataEndpoint. An entry is valid for the caching period, which begins when GetDataEndpoint is
called. Closing the stream removes the entry. A failed upload also removes it, unless the service
refused the signature, so that the next attempt describes the stream and fetches its endpoint again.
(The C producer tries the failed endpoint until the period is over.) Resetting the stream keeps the
entry.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from kvsproducer import client as core
from kvsproducer.service.calls import Answer
from kvsproducer.service.config import Caching
from kvsproducer.service.results import OK, Failure
from kvsproducer.status import StatusCode

__all__ = ["AnswerCache", "Cached"]

# Statuses of failed uploads that do not mean that the endpoint is wrong.
_NOT_ITS_FAULT: Final = frozenset({StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR})


@dataclass(frozen=True, slots=True)
class Cached:
    """A cached answer, wrapped so that a cached None differs from no cached answer."""

    answer: Answer


@dataclass(slots=True)
class _Entry:
    """The cached answers for one stream.

    `asked` is the monotonic time in ticks at which GetDataEndpoint was called.
    """

    description: core.StreamDescription | None = None
    endpoint: str = ""
    asked: int = 0


class AnswerCache:
    """The cached answers by stream; used on the engine's loop only. `period` is in ticks."""

    def __init__(self, mode: Caching, period: int) -> None:
        self._mode = mode
        self._period = period
        self._entries: dict[str, _Entry] = {}

    def look_up(self, call: core.Call, now: int) -> Cached | None:
        """Return the cached answer to a call, or None if the service has to be called."""
        if self._mode is Caching.NONE or call.stream is None:
            return None
        entry = self._entries.get(call.stream)
        fresh = entry is not None and bool(entry.endpoint) and now - entry.asked < self._period
        if isinstance(call, core.GetStreamingEndpoint):
            return Cached(entry.endpoint) if entry is not None and fresh else None
        if not fresh and self._mode is not Caching.ENDPOINT_ONLY:
            return None
        if isinstance(call, core.DescribeStream):
            known = None if entry is None else entry.description
            return Cached(known or core.StreamDescription(stream_arn=call.stream))
        return Cached(None) if isinstance(call, core.TagStream) else None

    def keep(self, call: core.Call, answer: object, now: int) -> None:
        """Store the service's answer to a call that was made at `now` (monotonic ticks)."""
        if self._mode is Caching.NONE or call.stream is None:
            return
        entry = self._entries.setdefault(call.stream, _Entry())
        if isinstance(call, core.DescribeStream) and isinstance(answer, core.StreamDescription):
            entry.description = replace(answer)
        elif isinstance(call, core.CreateStream) and isinstance(answer, str):
            entry.description = core.StreamDescription(stream_arn=answer, retention=call.retention)
        elif isinstance(call, core.GetStreamingEndpoint) and isinstance(answer, str):
            entry.endpoint, entry.asked = answer, now

    def upload_ended(self, stream: str, failure: Failure) -> None:
        """Drop a stream's entry if its upload failed for a reason other than its signature."""
        if failure.result != OK and failure.status not in _NOT_ITS_FAULT:
            self.drop(stream)

    def drop(self, stream: str) -> None:
        """Remove a stream's entry."""
        self._entries.pop(stream, None)
