"""What users write, and every type checker has to accept. It is checked, never run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import kvsproducer as kvs


def describe() -> list[kvs.StreamInfo]:
    """Options in each form; lengths of time are read as a timedelta."""
    info = kvs.StreamInfo.video("h265", retention=86_400, buffer_duration=2.5, name="door")
    length: timedelta = info.buffer_duration + timedelta(seconds=1)
    kvs.ClientInfo(stop_stream_timeout="PT30S", reserved_callback_period=length)
    kvs.ServiceConfig(caching_period=timedelta(hours=1))
    return [
        info,
        kvs.StreamInfo.audio("alaw", retention="PT24H", tags={"site": "north"}),
        kvs.StreamInfo.audio_video(
            "h264", "aac", streaming_type=kvs.StreamingType.OFFLINE, frame_rate=30
        ),
    ]


def put(stream: kvs.Stream, data: bytes) -> None:
    """Times in ticks, as a datetime, and in units of a time base."""
    pts: int = kvs.now() + kvs.ticks(0.04) + kvs.ticks(timedelta(seconds=1))
    stream.put_frame(kvs.Frame(data, pts, duration=400_000, key_frame=True))
    stream.put_frame(kvs.Frame(memoryview(data), datetime.now(UTC), duration="PT0.04S"))
    stream.put_frame(kvs.Frame(bytearray(data), pts=3000, time_base=Fraction(1, 90_000)))
    frame = kvs.Frame(data, pts=3000, dts=0, time_base=(1, 90_000))
    first: int = frame.pts - frame.dts + frame.duration
    instant: datetime = kvs.to_datetime(first)
    stream.flush(timedelta(minutes=1))
    stream.close(timeout=30)
    assert instant.tzinfo is UTC
