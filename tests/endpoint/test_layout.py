"""The bytes of a fragment in GetMedia's response."""

from __future__ import annotations

from collections.abc import Callable

from kvsproducer.endpoint.fragment import Fragment, FragmentInfo
from kvsproducer.endpoint.layout import (
    error_tags,
    exception_tags,
    fragment_list_segment,
    get_media_segment,
)
from kvsproducer.mkv.events import Tags
from kvsproducer.mkv.parser import MkvParser

NUMBER = "91343852333181432392682062607743920146264085515"
INFO = FragmentInfo(NUMBER, 15_118_521_085_130_000, 15_118_521_091_260_000, 0, 4)
FRAGMENT = Fragment(INFO, b"H", b"L", b"C", b"T")
NOW = INFO.server_timestamp + 158_580_000


def pairs(data: bytes) -> list[tuple[str, str]]:
    """Parse a Tags element within a Segment and return its tags."""
    parser = MkvParser()
    parser.receive_data(bytes.fromhex("1a45dfa380"))
    parser.receive_data(bytes.fromhex("18538067ff") + data)
    events = iter(parser.next_event, None)
    return [pair for event in events if isinstance(event, Tags) for pair in event.pairs]


def test_get_media_encloses_the_producers_bytes() -> None:
    header, leading, before, cluster, trailing, after = get_media_segment(FRAGMENT, NOW)
    assert (header, leading, cluster, trailing) == (b"H", b"L", b"C", b"T")
    assert pairs(before) == [
        ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", NUMBER),
        ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "1511852109.126"),
        ("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", "1511852108.513"),
    ]
    assert pairs(after) == [
        ("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "15858"),
        ("AWS_KINESISVIDEO_CONTINUATION_TOKEN", NUMBER),
    ]


def test_sizes_of_service_tags_have_four_bytes() -> None:
    assert error_tags(1, "")[:16].hex(" ") == "12 54 c3 67 10 00 00 5f 73 73 10 00 00 59 67 c8"


def test_fragment_list_uses_other_timestamp_names() -> None:
    segment: Callable[[Fragment], list[bytes]] = fragment_list_segment
    assert [name for name, _ in pairs(segment(FRAGMENT)[2])] == [
        "AWS_KINESISVIDEO_FRAGMENT_NUMBER",
        "AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP",
        "AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP",
    ]


def test_error_tags_have_id_and_code() -> None:
    assert pairs(error_tags(5000, "INTERNAL_ERROR")) == [
        ("AWS_KINESISVIDEO_ERROR_ID", "5000"),
        ("AWS_KINESISVIDEO_ERROR_CODE", "INTERNAL_ERROR"),
    ]


def test_fragment_list_errors_use_other_names() -> None:
    assert pairs(exception_tags("InternalFailure", "why")) == [
        ("AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE", "InternalFailure"),
        ("AWS_KINESISVIDEO_EXCEPTION_MESSAGE", "why"),
    ]
