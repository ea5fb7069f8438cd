"""Chains that observe events: order, ends, failures, threads."""

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
        def ready(observed: kvs.StreamReady) -> object:
            calls.append(name)
            assert observed == kvs.StreamReady("door")
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


def test_events_of_a_normal_stream(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """The events of a normal stream arrive on a separate thread, as for event handlers."""
    observed: list[Any] = []
    threads: set[str] = set()

    def observe(record: Any) -> None:
        observed.append(record)
        threads.add(threading.current_thread().name)

    heard: list[kvs.Event] = []
    provider = provider_of(
        kvs.ProducerCallbacks(client_ready=observe, client_shutdown=observe),
        kvs.StreamCallbacks(
            stream_ready=observe,
            fragment_ack_received=observe,
            stream_closed=observe,
            stream_shutdown=observe,
            stream_error_report=observe,
            dropped_frame_report=observe,
        ),
    )
    with kvs.Producer(
        endpoint_url=endpoint_url, callbacks=provider, on_event=heard.append
    ) as producer:
        with producer.open_stream("door", info) as stream:
            for frame in frames(5):
                stream.put_frame(frame)
    kinds = [kind.__name__ for kind, _ in itertools.groupby(observed, key=type)]
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
        one for one in observed if isinstance(one, kvs.FragmentAcked)
    ]


def test_drops_are_reported(info: kvs.StreamInfo, frames: Frames) -> None:
    """The stream is reset during an outage."""
    observed: list[Any] = []
    provider = provider_of(
        kvs.StreamCallbacks(
            dropped_frame_report=observed.append, dropped_fragment_report=observed.append
        )
    )
    producer = kvs.Producer(endpoint_url=NOBODY, callbacks=provider)
    stream = producer.open_stream("door", info)
    for frame in frames(3):
        stream.put_frame(frame)
    stream.reset()
    producer.close(0)
    assert sum(one.count for one in observed if isinstance(one, kvs.FrameDropped)) == 3


def test_blocking_callback_does_not_delay_the_upload(
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


def test_failing_callback_does_not_affect_the_upload(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failure is logged with its traceback, and everything is stored."""
    put_all(
        endpoint_url,
        info,
        frames(10),
        kvs.StreamCallbacks(fragment_ack_received=lambda ack: {}["a bug"]),
    )
    assert "INTERNAL_ERROR: StreamCallbacks.fragment_ack_received of entry 1 raised" in caplog.text
    assert "Traceback" in caplog.text


def test_failing_callback_ends_only_its_chain(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """Other functions are still called, and all sets are freed."""
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
    """Blocking callbacks delay neither the loop nor the upload, and events still arrive."""
    entered, release = threading.Event(), threading.Event()
    observed: list[kvs.FragmentAcked] = []
    sizes: list[int] = []

    def block(ack: kvs.FragmentAcked) -> None:
        observed.append(ack)
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
                assert len(observed) == 1
            release.set()
        await listener

    asyncio.run(main())
    assert len(sizes) == 20
    assert observed == [event for event in heard if isinstance(event, kvs.FragmentAcked)]
    assert isinstance(heard[-1], kvs.StreamShutdown | kvs.StreamEnded | kvs.StreamStateChanged)
