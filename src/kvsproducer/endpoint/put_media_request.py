"""Parse the headers of a PutMedia request.

Source: Kinesis Video Streams, PutMedia, request syntax. AWS's C producer writes the milliseconds of
its start time without leading zeros, so 5 ms is written as ".5". This cannot be distinguished from
500 ms, so the value is parsed as a normal decimal number.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

from kvsproducer import wire
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.endpoint.errors import invalid_argument
from kvsproducer.endpoint.members import Members
from kvsproducer.endpoint.put_media import PutMediaRequest

__all__ = ["parse_put_media_headers"]

_MAX_EPOCH_S: Final = 253_402_300_799  # the year 9999


def parse_put_media_headers(headers: Mapping[str, str]) -> tuple[Members, PutMediaRequest]:
    """Return the stream that the request names (by StreamName or StreamARN), and its options.

    `headers` must ignore the case of names. Raises ServiceError InvalidArgumentException.
    """
    timecode_type = headers.get(wire.HEADER_TIMECODE_TYPE)
    if timecode_type not in {wire.TIMECODE_ABSOLUTE, wire.TIMECODE_RELATIVE}:
        raise invalid_argument(f"{wire.HEADER_TIMECODE_TYPE} must be ABSOLUTE or RELATIVE.")
    absolute = timecode_type == wire.TIMECODE_ABSOLUTE
    start = headers.get(wire.HEADER_PRODUCER_START)
    if start is None and not absolute:
        raise invalid_argument(f"{wire.HEADER_PRODUCER_START} is required when RELATIVE.")
    if wire.HEADER_STREAM_NAME in headers and wire.HEADER_STREAM_ARN in headers:
        raise invalid_argument("Give either the stream's name or its ARN, not both.")
    stream = Members(
        {
            "StreamName": headers.get(wire.HEADER_STREAM_NAME),
            "StreamARN": headers.get(wire.HEADER_STREAM_ARN),
        }
    )
    acks = headers.get(wire.HEADER_ACK_REQUIRED, "1").strip().lower() not in {"0", "false"}
    return stream, PutMediaRequest(absolute, _instant("0" if start is None else start), acks)


def _instant(text: str) -> int:
    try:
        seconds = Decimal(text.strip())
    except InvalidOperation:
        seconds = Decimal(-1)
    if not seconds.is_finite() or not 0 <= seconds <= _MAX_EPOCH_S:
        raise invalid_argument(f"{wire.HEADER_PRODUCER_START} must be epoch seconds.")
    return int(seconds * TICKS_PER_SECOND)
