"""Streams and frames for the shell's tests, against a real endpoint on this machine."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

import kvsproducer as kvs

TICK = 400_000  # 25 frames a second
GOP = 5


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A peer that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def info() -> kvs.StreamInfo:
    """A real-time stream of opaque frames (no NAL adaptation), retention one hour."""
    return kvs.StreamInfo.video(
        "h264", retention="PT1H", frame_rate=25, nal_adaptation=kvs.NalAdaptation.NONE
    )


@pytest.fixture
def offline_info() -> kvs.StreamInfo:
    """The same, offline: `put_frame` waits instead of dropping."""
    return kvs.StreamInfo.video(
        "h264",
        streaming_type=kvs.StreamingType.OFFLINE,
        retention="PT1H",
        frame_rate=25,
        nal_adaptation=kvs.NalAdaptation.NONE,
    )


@pytest.fixture
def frames() -> Callable[[int], Iterator[kvs.Frame]]:
    """`frames(n)`: n frames with different content, a key frame every GOP."""

    def make(count: int) -> Iterator[kvs.Frame]:
        start = kvs.now()
        for number in range(count):
            yield kvs.Frame(
                b"frame %06d " % number * 20,
                start + number * TICK,
                duration=TICK,
                key_frame=number % GOP == 0,
            )

    return make
