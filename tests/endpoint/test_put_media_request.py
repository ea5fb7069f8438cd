"""The headers of PutMedia."""

from __future__ import annotations

import pytest

from kvsproducer.endpoint.errors import ServiceError
from kvsproducer.endpoint.put_media import PutMediaRequest
from kvsproducer.endpoint.put_media_request import parse_put_media_headers

NAMED = {"x-amzn-stream-name": "door", "x-amzn-fragment-timecode-type": "ABSOLUTE"}


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("1795372736.348", 17_953_727_363_480_000),
        (
            "1795372758.37",
            17_953_727_583_700_000,
        ),  # AWS's C producer means 37 ms, but this cannot be distinguished
        ("1700000000", 17_000_000_000_000_000),
        ("0", 0),
    ],
)
def test_start_times_are_parsed_to_the_tick(text: str, ticks: int) -> None:
    stream, request = parse_put_media_headers({**NAMED, "x-amzn-producer-start-timestamp": text})
    assert stream.text("StreamName") == "door"
    assert request == PutMediaRequest(absolute=True, start=ticks, acks=True)


def test_relative_and_without_acks() -> None:
    _, request = parse_put_media_headers(
        {
            "x-amzn-stream-arn": "arn:aws:kinesisvideo:us-west-2:1:stream/door/1",
            "x-amzn-fragment-timecode-type": "RELATIVE",
            "x-amzn-producer-start-timestamp": "2",
            "x-amzn-fragment-acknowledgment-required": "0",
        }
    )
    assert request == PutMediaRequest(absolute=False, start=20_000_000, acks=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"x-amzn-fragment-timecode-type": "SIDEWAYS"},
        {
            "x-amzn-stream-arn": "arn:aws:kinesisvideo:us-west-2:1:stream/door/1"
        },  # together with a name
        {"x-amzn-fragment-timecode-type": "RELATIVE"},  # without a start
        *(
            {"x-amzn-producer-start-timestamp": text}
            for text in ("", "soon", "-1", "NaN", "Infinity", "1e30")
        ),
    ],
)
def test_invalid_requests(wrong: dict[str, str]) -> None:
    with pytest.raises(ServiceError) as caught:
        parse_put_media_headers({**NAMED, **wrong})
    assert caught.value.http_status == 400
    assert caught.value.name == "InvalidArgumentException"
