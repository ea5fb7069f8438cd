"""Answers of the control plane that are used again: the caching modes of the C producer.

An entry for each stream: what DescribeStream (or CreateStream) and GetDataEndpoint said, good for
the period from when the endpoint was asked for. It goes when the stream is closed, and when an
upload to the endpoint fails other than by a refused signature: then the stream is described and its
endpoint fetched anew (the C producer tries the dead endpoint again until the period is over). A
reset of the stream keeps it.
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

# After these the endpoint is as good as before.
_NOT_ITS_FAULT: Final = frozenset({StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR})


@dataclass(frozen=True, slots=True)
class Cached:
    """An answer that was given before, or that needs no asking."""

    answer: Answer


@dataclass(slots=True)
class _Entry:
    """What is known of a stream; `asked` is when its endpoint was asked for, in monotonic ticks."""

    description: core.StreamDescription | None = None
    endpoint: str = ""
    asked: int = 0


class AnswerCache:
    """What was answered, by stream; lives on the engine's loop. `period` in ticks."""

    def __init__(self, mode: Caching, period: int) -> None:
        self._mode = mode
        self._period = period
        self._entries: dict[str, _Entry] = {}

    def look_up(self, call: core.Call, now: int) -> Cached | None:
        """The answer to a call, None when the service is to be asked."""
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
        """Remember what the service answered to a call that was made at `now`."""
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
        """An upload is over; one that failed takes its endpoint along."""
        if failure.result != OK and failure.status not in _NOT_ITS_FAULT:
            self.drop(stream)

    def drop(self, stream: str) -> None:
        """Forget a stream."""
        self._entries.pop(stream, None)
