"""Build the bytes of stored fragments for responses of GetMedia and GetMediaForFragmentList.

Every fragment is a separate Matroska document, as in responses captured from the service:

1. the producer's header and leading Tags, unchanged, with the Segment's size unknown
2. Tags AWS_KINESISVIDEO_FRAGMENT_NUMBER, _SERVER_TIMESTAMP, _PRODUCER_TIMESTAMP
3. the producer's Cluster and trailing Tags, unchanged
4. Tags AWS_KINESISVIDEO_MILLIS_BEHIND_NOW, _CONTINUATION_TOKEN (the fragment's number)

The sizes in the service's own Tags have four bytes. Times are epoch seconds with three decimals.
GetMediaForFragmentList uses other names for the timestamps and sends no Tags after the Cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kvsproducer import wire
from kvsproducer.duration import TICKS_PER_MS
from kvsproducer.endpoint.fragment import Fragment
from kvsproducer.mkv import elements as el
from kvsproducer.mkv.ebml import element

__all__ = [
    "error_tags",
    "exception_tags",
    "fragment_list_segment",
    "get_media_segment",
    "tags_element",
]

_SIZE_WIDTH: Final = 4

_TAG_LIST_SERVER_TIMESTAMP: Final = "AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP"
_TAG_LIST_PRODUCER_TIMESTAMP: Final = "AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP"

_TAG_EXCEPTION_CODE: Final = "AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE"
_TAG_EXCEPTION_MESSAGE: Final = "AWS_KINESISVIDEO_EXCEPTION_MESSAGE"


def get_media_segment(fragment: Fragment, now: int) -> list[bytes]:
    """Return a fragment in the form of a GetMedia response, as buffers. `now` is in ticks."""
    info = fragment.info
    behind = max(0, now - info.server_timestamp) // TICKS_PER_MS
    return [
        fragment.header,
        fragment.leading,
        tags_element(
            (
                (wire.TAG_FRAGMENT_NUMBER, info.number),
                (wire.TAG_SERVER_TIMESTAMP, _seconds(info.server_timestamp)),
                (wire.TAG_PRODUCER_TIMESTAMP, _seconds(info.producer_timestamp)),
            )
        ),
        fragment.cluster,
        fragment.trailing,
        tags_element(
            (
                (wire.TAG_MILLIS_BEHIND_NOW, str(behind)),
                (wire.TAG_CONTINUATION_TOKEN, info.number),
            )
        ),
    ]


def fragment_list_segment(fragment: Fragment) -> list[bytes]:
    """Return a fragment in the form of a GetMediaForFragmentList response, as buffers."""
    info = fragment.info
    return [
        fragment.header,
        fragment.leading,
        tags_element(
            (
                (wire.TAG_FRAGMENT_NUMBER, info.number),
                (_TAG_LIST_SERVER_TIMESTAMP, _seconds(info.server_timestamp)),
                (_TAG_LIST_PRODUCER_TIMESTAMP, _seconds(info.producer_timestamp)),
            )
        ),
        fragment.cluster,
        fragment.trailing,
    ]


def error_tags(error_id: int, code: str) -> bytes:
    """Return the Tags that are sent last in a GetMedia response if a fragment cannot be read."""
    return tags_element(((wire.TAG_ERROR_ID, str(error_id)), (wire.TAG_ERROR_CODE, code)))


def exception_tags(code: str, message: str) -> bytes:
    """Return the Tags that end a GetMediaForFragmentList response after a read error."""
    return tags_element(((_TAG_EXCEPTION_CODE, code), (_TAG_EXCEPTION_MESSAGE, message)))


def tags_element(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return a Tags element with one Tag, encoded as the service encodes it."""
    simple = b"".join(
        _element(
            el.SIMPLE_TAG,
            _element(el.TAG_NAME, name.encode()) + _element(el.TAG_STRING, value.encode()),
        )
        for name, value in pairs
    )
    return _element(el.TAGS, _element(el.TAG, simple))


def _element(element_id: int, payload: bytes) -> bytes:
    return element(element_id, payload, size_width=_SIZE_WIDTH)


def _seconds(ticks: int) -> str:
    milliseconds = ticks // TICKS_PER_MS
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
