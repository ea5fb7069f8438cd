"""Provocations for the statuses of the profiler, the content view, and durations."""

from __future__ import annotations

from tests.status_codes.place import Place, Provocation, Table

from kvsproducer import Frame, Producer, StatusCode, StreamInfo
from kvsproducer.client.buffer.view import ContentView, ViewItem
from kvsproducer.trace import Profiler

_S = StatusCode
SECOND = 10_000_000
NO_SERVER = "http://127.0.0.1:9"  # a port without a server


def stream(*frames: Frame, **members: float) -> Provocation:
    """Open a stream with these members, and put frames into it."""

    def provoke(_: Place) -> None:
        producer = Producer(region_name="us-west-2", endpoint_url=NO_SERVER)
        try:
            opened = producer.open_stream("door", StreamInfo.video("h264", **members))
            for frame in frames:
                opened.put_frame(frame)
        finally:
            producer.close(0)

    return provoke


def item(length: int) -> ViewItem:
    return ViewItem(0, 0, 100, 0, b"h", 0, (b"payload",), length, length, 0)


START = 17_000_000_000_000_000  # in 2023

TABLE: Table = {
    _S.MIN_PROFILER_BUFFER: lambda _: Profiler(99, clock=lambda: 0),
    _S.MIN_CONTENT_VIEW_ITEMS: stream(frame_rate=1, buffer_duration=10),
    _S.CONTENT_VIEW_NO_MORE_ITEMS: stream(Frame.end_of_fragment()),
    _S.CONTENT_VIEW_INVALID_TIMESTAMP: stream(
        Frame(b"\0\0\0\1\x65", START + SECOND, key_frame=True),
        Frame(b"\0\0\0\1\x65", START, key_frame=True),
    ),
    _S.INVALID_CONTENT_VIEW_DURATION: lambda _: ContentView(11, 0),
    _S.CONTENT_VIEW_INVALID_INDEX: lambda _: ContentView(11, 1)[0],
    _S.INVALID_CONTENT_VIEW_LENGTH: lambda _: ContentView(11, 1).append(item(0)),
    _S.INVALID_DURATION_VALUE: lambda _: StreamInfo.video("h264", retention="PT2X") and None,
}
