"""The asyncio surface: the names of `kvsproducer`, with coroutines where those block.

`Producer` and `Stream` run on the caller's loop, and so does `list_fragments`; `get_media` is an
async iterator. `put_media` demuxes a file, which blocks, so it works in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from kvsproducer import reader
from kvsproducer.duration import Instant
from kvsproducer.producer.aio import Producer, Stream
from kvsproducer.service.config import ServiceConfig
from kvsproducer.service.credentials import CredentialsSource
from kvsproducer.service.credentials.source import bound_to
from kvsproducer.service.service import Service
from kvsproducer.service.tls import Verify

if TYPE_CHECKING:
    from botocore.session import Session

    from kvsproducer.sources import PutResult

__all__ = ["Producer", "Stream", "get_media", "list_fragments", "put_media"]

T = TypeVar("T")


def get_media(
    stream_name: str,
    *,
    start: reader.Start = "earliest",
    region_name: str | None = None,
    session: Session | None = None,
    profile_name: str | None = None,
    endpoint_url: str | None = None,
    verify: Verify = True,
    credentials: CredentialsSource | None = None,
    config: ServiceConfig | None = None,
) -> AsyncGenerator[reader.ReadFragment, None]:
    """As `kvsproducer.get_media`, on the running loop: `async for fragment in get_media(...)`."""
    service = Service(
        region_name=region_name,
        session=session,
        profile_name=profile_name,
        endpoint_url=endpoint_url,
        verify=verify,
        credentials=credentials,
        config=config,
    )
    return reader.fragments(service, stream_name, reader.start_selector(start))


async def list_fragments(
    stream_name: str, *, between: tuple[Instant, Instant] | None = None, **options: Any
) -> list[reader.FragmentSummary]:
    """As `kvsproducer.list_fragments`, on the running loop; see there for the options."""
    service = Service(**options)
    return reader.in_order([one async for one in reader.summaries(service, stream_name, between)])


async def put_media(source: str, stream_name: str, **options: Any) -> PutResult:
    """As `kvsproducer.put_media`, in a thread; see there for the options.

    What a coroutine function given as `credentials` awaits runs on the running loop.
    """
    from kvsproducer.sources import put_media as blocking_put_media

    return await _in_thread(blocking_put_media, source, stream_name, **options)


async def _in_thread(work: Callable[..., T], *arguments: str, **options: Any) -> T:
    """Call a blocking function with the user's options in a thread."""
    if options.get("credentials") is not None:
        options["credentials"] = bound_to(asyncio.get_running_loop(), options["credentials"])
    return await asyncio.to_thread(work, *arguments, **options)
