"""Tests of `kvsproducer.aio`, which has the names of the blocking surface for asyncio."""

from __future__ import annotations

import asyncio

import pytest

import kvsproducer as kvs
from kvsproducer import aio
from kvsproducer.endpoint import local_endpoint

INFO = kvs.StreamInfo.video("h264", retention="PT1H", nal_adaptation=kvs.NalAdaptation.NONE)
START = 17_000_000_000_000_000


@pytest.fixture
def endpoint_url(quick_url: str) -> str:
    """Use an endpoint whose GetMedia ends soon: the tests here read to the end."""
    return quick_url


async def put(endpoint_url: str, count: int) -> list[bytes]:
    data = [b"frame %d" % number for number in range(count)]
    async with aio.Producer(endpoint_url=endpoint_url) as producer:
        async with producer.open_stream("door", INFO) as stream:
            for number, payload in enumerate(data):
                await stream.put_frame(
                    kvs.Frame(payload, START + number * 400_000, key_frame=number % 5 == 0)
                )
    return data


def test_put_and_get(endpoint_url: str) -> None:
    """Reading returns the frames that were put, in order."""

    async def work() -> None:
        data = await put(endpoint_url, 12)
        read = [
            bytes(frame.data)
            async for fragment in aio.get_media("door", endpoint_url=endpoint_url)
            for frame in fragment.frames
        ]
        assert read == data

    asyncio.run(work())


def test_reading_may_stop_early_or_be_cancelled() -> None:
    """Reading that is stopped or cancelled leaves no task behind."""

    async def work(endpoint_url: str) -> None:
        await put(endpoint_url, 12)
        source = aio.get_media("door", endpoint_url=endpoint_url)
        first = await anext(source)
        assert len(first.frames) == 5
        await source.aclose()

        async def read_all() -> int:
            source = aio.get_media("door", endpoint_url=endpoint_url, start="now")
            return len([fragment async for fragment in source])

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read_all(), 0.3)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with local_endpoint() as endpoint:  # its GetMedia waits for more media
        asyncio.run(work(endpoint.url))


def test_missing_stream_raises(endpoint_url: str) -> None:
    """Reading a missing stream raises the same status as on the blocking surface."""

    async def work() -> None:
        with pytest.raises(kvs.KvsError) as caught:
            await anext(aio.get_media("nowhere", endpoint_url=endpoint_url))
        status = kvs.StatusCode.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR
        assert caught.value.status is status

    asyncio.run(work())


def test_put_media_in_a_thread(endpoint_url: str) -> None:
    """`await aio.put_media` returns when all is stored; `list_fragments` then lists it."""

    async def work() -> None:
        result = await aio.put_media(
            "testsrc:duration=1,size=64x48,rate=25,gop=10", "door", endpoint_url=endpoint_url
        )
        assert result.frames == 25
        listed = await aio.list_fragments("door", endpoint_url=endpoint_url)
        assert listed == kvs.list_fragments("door", endpoint_url=endpoint_url)
        assert len(listed) == result.fragments

    asyncio.run(work())
