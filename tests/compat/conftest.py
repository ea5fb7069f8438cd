"""Providers of callbacks, and streams that use them, with a real endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import kvsproducer as kvs

Frames = Callable[[int], Iterator[kvs.Frame]]
NOBODY = "http://127.0.0.1:9"
SECOND = 10_000_000
PATIENT = 30


def provider_of(*sets: Any, platform: kvs.PlatformCallbacks | None = None) -> kvs.CallbacksProvider:
    provider = kvs.CallbacksProvider()
    for one in sets:
        provider.add(one)
    if platform is not None:
        provider.set_platform(platform)
    return provider


def put_all(url: str, info: kvs.StreamInfo, frames: Iterator[kvs.Frame], *sets: Any) -> None:
    """Put the frames with these callbacks. Leaving the blocks raises unless all are stored."""
    with kvs.Producer(endpoint_url=url, callbacks=provider_of(*sets)) as producer:
        with producer.open_stream("door", info) as stream:
            for frame in frames:
                stream.put_frame(frame)
