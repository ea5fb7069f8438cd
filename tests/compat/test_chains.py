"""Chains that are told what has happened: order, ends, failures, threads."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

import pytest
from tests.compat.conftest import (
    NOBODY,
    PATIENT,
    Frames,
    provider_of,
    put_all,
)
from tests.waiting import why_not_ready

import kvsproducer as kvs
from kvsproducer import StatusCode, aio

S = StatusCode


@pytest.mark.parametrize(
    ("says", "called"),
    [
        (None, "abc"),
        (S.SUCCESS, "abc"),
        (True, "abc"),
        (S.STOP_CALLBACK_CHAIN, "ab"),
        (S.INVALID_ARG, "ab"),
        (kvs.KvsError(S.STOP_CALLBACK_CHAIN), "ab"),
        (kvs.KvsError(S.NOT_ENOUGH_MEMORY), "ab"),
        (ValueError("a bug"), "ab"),
    ],
    ids=str,
)
def test_order_and_end(
    says: object,
    called: str,
    endpoint_url: str,
    info: kvs.StreamInfo,
    frames: Frames,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Entries are called in the order in which they were added, until one stops or fails."""
    calls: list[str] = []

    def entry(name: str, says: object = None) -> kvs.StreamCallbacks:
        def ready(told: kvs.StreamReady) -> object:
            calls.append(name)
            assert told == kvs.StreamReady("door")
            if isinstance(says, Exception):
                raise says
            return says

        return kvs.StreamCallbacks(stream_ready=ready)

    sets = entry("a"), entry("b", says), kvs.StreamCallbacks(), entry("c")
    put_all(endpoint_url, info, frames(5), *sets)
    assert "".join(calls) == called
    failed = says not in (None, S.SUCCESS, True, S.STOP_CALLBACK_CHAIN) and not (
        isinstance(says, kvs.KvsError) and says.status is S.STOP_CALLBACK_CHAIN
    )
    assert ("STREAM_READY_CALLBACK_FAILED" in caplog.text) == failed
    assert ("StreamCallbacks.stream_ready of entry 2" in caplog.text) == failed


def test_what_is_told(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """A life without trouble, on a thread of its own; listeners hear the same."""
    told: list[Any] = []
    threads: set[str] = set()

    def tell(record: Any) -> None:
        told.append(record)
        threads.add(threading.current_thread().name)

    heard: list[kvs.Event] = []
    provider = provider_of(
        kvs.ProducerCallbacks(client_ready=tell, client_shutdown=tell),
        kvs.StreamCallbacks(
            stream_ready=tell,
            fragment_ack_received=tell,
            stream_closed=tell,
            stream_shutdown=tell,
            stream_error_report=tell,
            dropped_frame_report=tell,
        ),
    )
    with kvs.Producer(
        endpoint_url=endpoint_url, callbacks=provider, on_event=heard.append
    ) as producer:
        with producer.open_stream("door", info) as stream:
            for frame in frames(5):
                stream.put_frame(frame)
    kinds = [kind.__name__ for kind, _ in itertools.groupby(told, key=type)]
    assert kinds == [
        "ClientReady",
        "StreamReady",
        "FragmentAcked",
        "StreamEnded",
        "StreamShutdown",
        "ClientShutdown",
    ]
    assert threads == {"kvsproducer-events"}
    assert [one for one in heard if isinstance(one, kvs.FragmentAcked)] == [
        one for one in told if isinstance(one, kvs.FragmentAcked)
    ]


def test_drops_are_told(info: kvs.StreamInfo, frames: Frames) -> None:
    """A reset in an outage."""
    told: list[Any] = []
    provider = provider_of(
        kvs.StreamCallbacks(dropped_frame_report=told.append, dropped_fragment_report=told.append)
    )
    producer = kvs.Producer(endpoint_url=NOBODY, callbacks=provider)
    stream = producer.open_stream("door", info)
    for frame in frames(3):
        stream.put_frame(frame)
    stream.reset()
    producer.close(0)
    assert sum(one.count for one in told if isinstance(one, kvs.FrameDropped)) == 3


def test_one_that_blocks_stalls_no_upload(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """Every ack arrives while the first one's callback still waits."""
    entered, release = threading.Event(), threading.Event()

    def block(_: kvs.FragmentAcked) -> None:
        entered.set()
        assert release.wait(PATIENT)

    provider = provider_of(kvs.StreamCallbacks(fragment_ack_received=block))
    with kvs.Producer(endpoint_url=endpoint_url, callbacks=provider) as producer:
        with producer.open_stream("door", info) as stream:
            some = frames(50)
            for frame in itertools.islice(some, 10):
                stream.put_frame(frame)
            assert stream.flush().held == 0
            assert entered.wait(PATIENT)
            for frame in some:
                stream.put_frame(frame)
            account = stream.flush()
            assert (account.persisted, account.held, account.dropped) == (50, 0, 0)
            assert not release.is_set()
            release.set()


def test_one_that_raises_stalls_no_upload(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failure is logged with its traceback; everything is stored."""
    put_all(
        endpoint_url,
        info,
        frames(10),
        kvs.StreamCallbacks(fragment_ack_received=lambda ack: {}["a bug"]),
    )
    assert "INTERNAL_ERROR: StreamCallbacks.fragment_ack_received of entry 1 raised" in caplog.text
    assert "Traceback" in caplog.text


def test_a_callback_that_fails_ends_only_itself(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """Others go on, the next are called, all is freed."""
    called: list[str] = []

    def fail(record: object) -> None:
        called.append(type(record).__name__)
        raise LookupError(3)

    def free(_: int = 0) -> None:
        called.append("free")
        raise LookupError(3)

    asked = provider_of(
        kvs.ApiCallbacks(describe_stream=fail, free=free),
        kvs.StreamCallbacks(stream_closed=fail, stream_shutdown=fail, free=lambda: free(1)),
    )
    with kvs.Producer(endpoint_url=endpoint_url) as other:
        stream = other.open_stream("other", info)
        producer = kvs.Producer(endpoint_url=endpoint_url, callbacks=asked)
        door = producer.open_stream("door", info)
        why_not_ready(door, "LookupError")
        producer.close(0)
        for frame in frames(5):
            stream.put_frame(frame)
    assert {"DescribeStream", "StreamShutdown"} <= set(called)
    assert called.count("free") == 2


def test_asyncio(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """Callbacks that block stall neither the loop nor the upload; events come beside them."""
    entered, release = threading.Event(), threading.Event()
    told: list[kvs.FragmentAcked] = []
    sizes: list[int] = []

    def block(ack: kvs.FragmentAcked) -> None:
        told.append(ack)
        entered.set()
        assert release.wait(PATIENT)

    provider = provider_of(
        kvs.StreamCallbacks(
            fragment_ack_received=block,
            stream_data_available=lambda record: sizes.append(record.size),
        )
    )
    heard: list[kvs.Event] = []

    async def listen(producer: aio.Producer) -> None:
        heard.extend([event async for event in producer.events()])

    async def main() -> None:
        async with aio.Producer(endpoint_url=endpoint_url, callbacks=provider) as producer:
            listener = asyncio.ensure_future(listen(producer))
            async with producer.open_stream("door", info) as stream:
                for frame in frames(20):
                    await stream.put_frame(frame)
                assert (await stream.flush()).held == 0
                assert await asyncio.to_thread(entered.wait, PATIENT)
                assert len(told) == 1
            release.set()
        await listener

    asyncio.run(main())
    assert len(sizes) == 20
    assert told == [event for event in heard if isinstance(event, kvs.FragmentAcked)]
    assert isinstance(heard[-1], kvs.StreamShutdown | kvs.StreamEnded | kvs.StreamStateChanged)
