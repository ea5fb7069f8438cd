"""Archived media: ListFragments and GetMediaForFragmentList.

Source: Kinesis Video Streams archived media API 2017-09-30. Both operations return a fragment as
soon as it is stored (the service needs up to a second).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kvsproducer import limits
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.endpoint.errors import ServiceError, invalid_argument
from kvsproducer.endpoint.fragment import FRAGMENT_NUMBER_DIGITS, FragmentInfo
from kvsproducer.endpoint.index import Axis, Span
from kvsproducer.endpoint.layout import fragment_list_segment
from kvsproducer.endpoint.members import JsonObject, JsonValue, Members, next_token
from kvsproducer.endpoint.store import Store
from kvsproducer.endpoint.streams import StreamRecord

__all__ = ["FragmentList", "list_fragments"]

_AXES: Final = {"PRODUCER_TIMESTAMP": Axis.PRODUCER, "SERVER_TIMESTAMP": Axis.SERVER}
_DEFAULT_PAGE: Final = 100
_ALL_TIME: Final = Span(Axis.SERVER, 0, 2**63 - 1)


def list_fragments(store: Store, record: StreamRecord, members: Members, now: int) -> JsonObject:
    """Handle ListFragments: return a page of fragments, ordered by number. Raises ServiceError."""
    count = members.integer("MaxResults", 1, limits.SERVICE_MAX_LIST_FRAGMENTS, _DEFAULT_PAGE)
    token = members.position()
    span, after = _from_token(token) if token else (_selected(members), "")
    found = store.page(record.arn, now - record.retention, span, after, count + 1)
    page = found[:count]
    return {
        "Fragments": [_describe(info) for info in page],
        "NextToken": _to_token(span, page[-1].number) if len(found) > count else None,
    }


class FragmentList:
    """The fragments that a GetMediaForFragmentList request names."""

    def __init__(self, store: Store, record: StreamRecord, members: Members, now: int) -> None:
        """Check the request, and that all its fragments exist.

        Raises ServiceError: InvalidArgument, or ResourceNotFound for an unknown fragment.
        """
        self._store = store
        self._arn = record.arn
        self._oldest = now - record.retention
        self._numbers = [
            number.zfill(FRAGMENT_NUMBER_DIGITS)
            for number in members.texts("Fragments", "Fragments", limits.SERVICE_MAX_LIST_FRAGMENTS)
        ]
        for number in self._numbers:
            if not store.has(self._arn, self._oldest, number):
                raise ServiceError(
                    "ResourceNotFoundException", f"The stream has no fragment {number}."
                )

    def segments(self) -> Iterator[list[bytes]]:
        """Yield the bytes of each fragment, as buffers, in the requested order. Raises OSError."""
        for number in self._numbers:
            fragment = self._store.read(self._arn, self._oldest, number)
            if fragment is not None:  # None: it has expired in the meantime
                yield fragment_list_segment(fragment)


def _selected(members: Members) -> Span:
    selector = members.object("FragmentSelector")
    if selector is None:
        return _ALL_TIME
    axis = _AXES[selector.choice("FragmentSelectorType", tuple(_AXES))]
    limits_of_range = selector.required_object("TimestampRange")
    start = limits_of_range.instant("StartTimestamp")
    end = limits_of_range.instant("EndTimestamp")
    if end < start:
        raise invalid_argument("EndTimestamp must not be before StartTimestamp.")
    return Span(axis, start, end)


def _describe(info: FragmentInfo) -> JsonValue:
    return {
        "FragmentNumber": info.number,
        "FragmentSizeInBytes": info.size,
        "ProducerTimestamp": _seconds(info.producer_timestamp),
        "ServerTimestamp": _seconds(info.server_timestamp),
        "FragmentLengthInMilliseconds": info.duration // TICKS_PER_MS,
    }


def _seconds(ticks: int) -> float:
    return ticks // TICKS_PER_MS * TICKS_PER_MS / TICKS_PER_SECOND


def _to_token(span: Span, number: str) -> str:
    return next_token(f"{span.axis.value} {span.start} {span.end} {number}")


def _from_token(token: str) -> tuple[Span, str]:
    try:
        axis, start, end, number = token.split(" ")
        span = Span(Axis(axis), int(start), int(end))
    except ValueError:
        span = None
    if span is None or not 0 <= span.start <= span.end <= _ALL_TIME.end:
        raise invalid_argument(
            "NextToken was not returned by this endpoint; repeat the request without it."
        )
    return span, number
