"""The asyncio API: the names of `kvsproducer`, with coroutines in place of blocking functions.

`Producer`, `Stream` and `list_fragments` run on the caller's loop; `get_media` is an async
iterator. `put_media` runs in a thread, because demuxing a file blocks.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

from kvsproducer import reader
from kvsproducer.duration import Duration, Instant
from kvsproducer.producer.aio import Producer, Stream
from kvsproducer.service.connection import (
    Connection,
    ConnectionOptions,
    check_stream_name,
    connection_from,
)
from kvsproducer.service.credentials.source import bind_to_loop
from kvsproducer.service.service import Service

if TYPE_CHECKING:
    from kvsproducer.client import DeviceInfo, StreamingType
    from kvsproducer.client.stream_info import StreamOptions
    from kvsproducer.producer.facade import Timeout
    from kvsproducer.sources import PutProgress, PutResult, Source, TrackChoice

__all__ = ["Producer", "Stream", "get_media", "list_fragments", "put_media"]


def get_media(
    stream_name: str,
    *,
    start: reader.Start = "earliest",
    connection: Connection | None = None,
    **options: Unpack[ConnectionOptions],
) -> AsyncGenerator[reader.ReadFragment, None]:
    """Yield the fragments of a stream: `async for fragment in aio.get_media("front-door")`.

    Arguments and errors are those of `kvsproducer.get_media`. The generator uses the running loop.
    """
    check_stream_name(stream_name)
    service = Service(connection_from(connection, options, get_media))
    return reader.fragments(service, stream_name, reader.start_selector(start))


async def list_fragments(
    stream_name: str,
    *,
    between: tuple[Instant, Instant] | None = None,
    connection: Connection | None = None,
    **options: Unpack[ConnectionOptions],
) -> list[reader.FragmentSummary]:
    """Return the stored fragments of a stream, ordered by number.

    Arguments and errors are those of `kvsproducer.list_fragments`. The coroutine uses the running
    loop.
    """
    check_stream_name(stream_name)
    service = Service(connection_from(connection, options, list_fragments))
    return reader.in_order([one async for one in reader.summaries(service, stream_name, between)])


async def put_media(
    source: str | os.PathLike[str] | Source,
    stream_name: str,
    *,
    streaming_type: StreamingType | None = None,
    retention: Duration | None = None,
    tracks: TrackChoice = "all",
    frame_rate: float | None = None,
    start: Instant | None = None,
    any_codec: bool = False,
    stream_options: StreamOptions | None = None,
    progress: Callable[[PutProgress], object] | None = None,
    timeout: Timeout | None = None,
    resume: bool = False,
    metrics_port: int | None = None,
    metrics_host: str = "127.0.0.1",
    device_info: DeviceInfo | None = None,
    connection: Connection | None = None,
    **options: Unpack[ConnectionOptions],
) -> PutResult:
    """Put the frames of a source into a stream, in a thread. Return when all frames are stored.

    Arguments and errors are those of `kvsproducer.put_media`, without `producer`. `progress` is
    called from other threads. A coroutine function given as `credentials` runs on the running loop.
    """
    from kvsproducer.sources import put_media as blocking_put_media

    reached = connection_from(connection, options, put_media)
    if reached.credentials is not None:
        own = bind_to_loop(asyncio.get_running_loop(), reached.credentials)
        reached = replace(reached, credentials=own)
    return await asyncio.to_thread(
        blocking_put_media,
        source,
        stream_name,
        streaming_type=streaming_type,
        retention=retention,
        tracks=tracks,
        frame_rate=frame_rate,
        start=start,
        any_codec=any_codec,
        stream_options=stream_options,
        progress=progress,
        timeout=timeout,
        resume=resume,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
        device_info=device_info,
        connection=reached,
    )
