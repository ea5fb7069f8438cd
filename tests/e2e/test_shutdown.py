"""Closing in any state: in a limited time, with a complete account, without leftovers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

import kvsproducer as kvs
from kvsproducer import aio
from kvsproducer.endpoint import Fault, local_endpoint

pytestmark = pytest.mark.usefixtures("quick_retries")

LIMIT_S = 20  # for what takes no longer than a second or two on an idle machine


class State(NamedTuple):
    """Where the producer is when it is closed: how to get there, and how to know."""

    name: str
    faults: tuple[Fault, ...]
    reached: Callable[[Any], object]


def struck(endpoint: Any) -> bool:
    """The (one) fault has been met."""
    return bool(endpoint.faults.applied)


STATES = (
    State("at once", (), lambda endpoint: True),
    State("refused", (Fault(on="DescribeStream", do="status", times=None),), struck),
    State("a call is not answered", (Fault(on="DescribeStream", do="stall"),), struck),
    State("a later call is not answered", (Fault(on="GetDataEndpoint", do="stall"),), struck),
    State("an upload is not answered", (Fault(on="PutMedia", do="stall"),), struck),
    State("the upload stalls", (Fault(on="PutMedia", do="stall", after_bytes=5000),), struck),
    State("no ack comes", (Fault(on="PutMedia", do="silence"),), struck),
    State("the service reads slowly", (Fault(on="PutMedia", do="slow_read"),), struck),
    State("uploads are reset", (Fault(on="PutMedia", do="reset", times=None),), struck),
)


@pytest.fixture
def endpoint_at() -> Iterator[Callable[[State], Any]]:
    with contextlib.ExitStack() as stack:
        yield lambda state: stack.enter_context(local_endpoint(faults=state.faults))


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_blocking(
    state: State,
    endpoint_at: Callable[[State], Any],
    kit: Any,
    our_threads: Callable[[], list[str]],
    sockets: Callable[[], int],
) -> None:
    """No thread and no socket is left; every frame is accounted for."""
    endpoint, media, told = endpoint_at(state), kit.Media(), list[kvs.Event]()
    before = sockets()
    producer = kvs.Producer(endpoint_url=endpoint.url, on_event=told.append)
    stream = producer.open_stream("door", kit.info())
    for frame in media.frames(30):
        stream.put_frame(frame)
    kit.until(lambda: state.reached(endpoint), LIMIT_S)
    with kit.bounded(LIMIT_S):
        account = producer.close(timeout=0.3)["door"]
    assert account.accepted == 30 == account.persisted + account.dropped + account.held
    kit.until(lambda: our_threads() == [], LIMIT_S)
    kit.until(lambda: sockets() <= before + 1, LIMIT_S)  # asyncio's child watcher may open one
    with pytest.raises(kvs.KvsError) as caught:
        stream.put_frame(media.frame())
    assert caught.value.status is kvs.StatusCode.STREAM_HAS_BEEN_STOPPED


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_asyncio(
    state: State,
    endpoint_at: Callable[[State], Any],
    kit: Any,
    our_threads: Callable[[], list[str]],
    sockets: Callable[[], int],
) -> None:
    """No task is left on the caller's loop, either."""
    endpoint, media = endpoint_at(state), kit.Media()
    before = sockets()

    async def work() -> kvs.FrameAccount:
        producer = aio.Producer(endpoint_url=endpoint.url)
        stream = producer.open_stream("door", kit.info())
        for frame in media.frames(30):
            await stream.put_frame(frame)
        async with asyncio.timeout(LIMIT_S):
            while not state.reached(endpoint):
                await asyncio.sleep(0.01)
            accounts = await producer.close(timeout=0.3)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return accounts["door"]

    account = asyncio.run(work())
    assert account.accepted == 30 == account.persisted + account.dropped + account.held
    kit.until(lambda: our_threads() == [], LIMIT_S)
    kit.until(lambda: sockets() <= before + 1, LIMIT_S)


def test_a_listener_that_hangs(
    endpoint_url: str, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread is abandoned; closing does not wait for it."""
    monkeypatch.setattr("kvsproducer.producer.producer.LISTENER_LIMIT_S", 0.2)
    hang = threading.Event()
    producer = kvs.Producer(endpoint_url=endpoint_url, on_event=lambda event: hang.wait(60))
    stream = producer.open_stream("door", kit.info())
    for frame in kit.Media().frames(10):
        stream.put_frame(frame)
    with kit.bounded(LIMIT_S):
        assert producer.close(timeout=10)["door"].persisted == 10
    hang.set()


def test_streams_that_come_and_go(endpoint_url: str, kit: Any) -> None:
    """A producer keeps no stream that is closed, only its account."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        for number in range(20):
            with producer.open_stream(f"door-{number % 4}", kit.info()) as stream:
                for frame in kit.Media(start=kvs.now()).frames(5):
                    stream.put_frame(frame)
        assert repr(producer).endswith("streams=[]>")
        accounts = producer.close()
    assert accounts == {f"door-{number}": kvs.FrameAccount(25, 25, 0, 0, 0) for number in range(4)}
    assert len(producer._streams) == len(producer._engine._streams) == 0
