"""Bugs of the package: they are found in wrapped exceptions, logged, and fail the streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

import pytest
from tests.waiting import until

import kvsproducer as kvs
from kvsproducer.heap import ReferenceStore
from kvsproducer.producer.bugs import fail_on_error, find_bug
from kvsproducer.producer.engine import Engine
from kvsproducer.service.service import Service
from kvsproducer.status import StatusCode, kvs_error

Frames = Callable[[int], Iterator[kvs.Frame]]


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Return the exception with a traceback."""
    try:
        raise error from cause
    except BaseException as caught:  # noqa: BLE001  whatever it is
        return caught


def failed_check() -> BaseException:
    """Return a failed assertion of the package itself."""
    with pytest.raises(AssertionError) as caught:
        ReferenceStore(1 << 20).release(1)
    return caught.value


@contextmanager
def released_twice(producer: kvs.Producer) -> Iterator[None]:
    """Make the next release of bytes in the block fail an assertion."""
    store, count = producer._engine.core.store, 1_000_000
    assert isinstance(store, ReferenceStore)
    with producer._engine.lock:
        store.used_bytes -= count
    yield
    with producer._engine.lock:
        store.used_bytes += count


def engine_of(endpoint_url: str) -> Engine:
    """On the running loop."""
    service = Service(endpoint_url=endpoint_url)
    return Engine(kvs.DeviceInfo(), service, asyncio.get_running_loop())


def test_failed_assertion_of_the_package_is_a_bug() -> None:
    """Also if a library has wrapped it; assertions of others are not."""
    bug = failed_check()
    assert find_bug(bug) is bug
    assert find_bug(raised(ConnectionError("the body ended"), raised(OSError(), bug))) is bug
    assert find_bug(raised(kvs_error(StatusCode.INVALID_ARG, "raised already"), bug)) is None
    assert find_bug(raised(AssertionError("in a callback of the user"))) is None
    assert find_bug(AssertionError("never raised")) is None
    assert find_bug(raised(ConnectionError("the network"))) is None


@pytest.mark.parametrize("stored", [5, 0], ids=["in an answer", "in a request"])
def test_bug_in_an_upload_is_not_reported_as_a_lost_connection(
    endpoint_url: str,
    info: kvs.StreamInfo,
    frames: Frames,
    caplog: pytest.LogCaptureFixture,
    stored: int,
) -> None:
    """Whether reading acks fails or reading the first bytes to send."""
    seen: list[kvs.Event] = []
    producer = kvs.Producer(endpoint_url=endpoint_url, on_event=seen.append)
    try:
        stream = producer.open_stream("door", info)
        more = frames(100_000)
        for frame in islice(more, stored):
            stream.put_frame(frame)
        assert stream.flush(30).persisted == stored
        with released_twice(producer), pytest.raises(kvs.KvsError, match="more was released"):
            until(lambda: stream.put_frame(next(more)))
        assert stream.failure is not None
        assert stream.failure.status is StatusCode.INTERNAL_ERROR
    finally:
        producer.close(0)
    assert "please report it" in caplog.text
    assert "in release" in caplog.text  # where it was raised
    assert sum(isinstance(event, kvs.UploadStarted) for event in seen) == 1


def test_bug_in_a_timer_ends_all_waits(
    endpoint_url: str, info: kvs.StreamInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timer does not run in a task, so its exception would only be logged."""

    async def work() -> None:
        engine = engine_of(endpoint_url)
        engine.poke()
        stream = engine.open_stream("door", info)
        change = asyncio.ensure_future(engine.changes())
        await asyncio.sleep(0)
        monkeypatch.setattr(
            engine.core, "handle_timer", lambda now: ReferenceStore(1 << 20).release(now)
        )
        engine._on_timer()
        assert stream.failure is not None
        assert await asyncio.wait_for(change, 60)
        await engine.shutdown()

    asyncio.run(work())


def test_pump_that_always_fails_is_not_repeated(
    endpoint_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is reported by one more `_pump`, which is the last one."""

    async def work() -> None:
        engine = engine_of(endpoint_url)
        monkeypatch.setattr(engine.core, "poll_effect", lambda: ReferenceStore(1 << 20).release(1))
        engine.poke()
        for _ in range(10):
            await asyncio.sleep(0)
        await engine.shutdown()

    asyncio.run(work())
    assert caplog.text.count("please report it") == 2


@pytest.mark.parametrize("own", [True, False], ids=["ours", "another's"])
def test_failing_event_handler_fails_the_streams_only_for_a_bug(
    endpoint_url: str, info: kvs.StreamInfo, own: bool
) -> None:
    """Other exceptions go to the loop's exception handler, and uploads continue."""

    def on_events() -> None:
        raise failed_check() if own else ValueError("in a handler")

    async def work() -> None:
        reports_seen: list[BaseException | None] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, what: reports_seen.append(what.get("exception")))
        engine = engine_of(endpoint_url)
        engine.on_events = on_events
        stream = engine.open_stream("door", info)
        assert await engine.wait(lambda: stream.ready or stream.failure is not None, 60)
        assert (stream.failure is not None) is own
        assert [type(error) for error in reports_seen[:1]] == ([] if own else [ValueError])
        await engine.shutdown()

    asyncio.run(work())


def test_fail_on_error_calls_fail() -> None:
    """A step that succeeds does not call it."""

    class Thing:
        failed: BaseException | None = None

        def fail(self, bug: BaseException) -> None:
            self.failed = bug

        @fail_on_error
        def step(self, error: BaseException | None) -> None:
            if error is not None:
                raise error

    thing, bug = Thing(), KeyError("bug")
    thing.step(None)
    assert thing.failed is None
    thing.step(bug)
    assert thing.failed is bug
    with pytest.raises(SystemExit):
        thing.step(SystemExit())
