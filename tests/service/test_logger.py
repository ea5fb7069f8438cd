"""Lines of the log, and handlers of the application that fail."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator

import pytest
from tests.waiting import until

import kvsproducer as kvs
from kvsproducer import aio
from kvsproducer.service.logger import logger

Frames = Callable[[int], Iterator[kvs.Frame]]
NAME = "kvsproducer.of_a_test"


class Failing(logging.Handler):
    """Raises `error` at each line."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(logging.DEBUG)
        self.error = error
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        raise self.error


@pytest.fixture
def failing(request: pytest.FixtureRequest) -> Iterator[Failing]:
    """One for all lines of the package; a ValueError, if the test names no other."""
    handler = Failing(getattr(request, "param", ValueError("the application's handler")))
    package = logging.getLogger("kvsproducer")
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        package.removeHandler(handler)
        package.setLevel(level)


def test_a_line_is_that_of_logging(caplog: pytest.LogCaptureFixture) -> None:
    """With the place that it was written at, and with what was raised."""
    caplog.set_level(logging.INFO, NAME)
    log = logger(NAME)
    log.debug("not %s", "wanted")
    log.info("%d frames", 5)
    try:
        raise ValueError("the reason")
    except ValueError:
        log.exception("it failed")
    assert [record.getMessage() for record in caplog.records] == ["5 frames", "it failed"]
    assert {(record.name, record.pathname) for record in caplog.records} == {(NAME, __file__)}
    assert {record.funcName for record in caplog.records} == {"test_a_line_is_that_of_logging"}
    assert "the reason" in caplog.text


@pytest.mark.parametrize("failing", [ValueError("v"), SystemExit(2)], indirect=True, ids=repr)
def test_what_a_handler_raises_goes_no_further(
    failing: Failing, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told on standard error, when there is one that can be written to."""
    log = logger(NAME)
    log.warning("first")
    assert type(failing.error).__name__ in capsys.readouterr().err
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.warning("second")
    assert capsys.readouterr().err == ""
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", None)
        log.warning("third")
    assert failing.lines == ["first", "second", "third"]


@pytest.mark.parametrize("failing", [KeyboardInterrupt()], indirect=True)
def test_ctrl_c_in_a_line_is_no_failure_of_its_handler(failing: Failing) -> None:
    """It passes, as anywhere else."""
    with pytest.raises(KeyboardInterrupt):
        logger(NAME).warning("interrupted")


@pytest.mark.usefixtures("failing")
def test_a_handler_that_fails_ends_no_stream(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """It is called on the event loop; what is raised there would be taken for an error of ours."""
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        stream = producer.open_stream("door", info)
        for frame in frames(10):
            stream.put_frame(frame)
        assert stream.close(60).persisted == 10


@pytest.mark.usefixtures("failing")
def test_a_handler_that_fails_costs_the_listener_nothing(
    endpoint_url: str, info: kvs.StreamInfo
) -> None:
    """Each event is logged before it is delivered, and the next one is."""
    seen: list[kvs.Event] = []
    with kvs.Producer(endpoint_url=endpoint_url, on_event=seen.append) as producer:
        producer.open_stream("door", info)
        until(lambda: any(isinstance(event, kvs.StreamReady) for event in seen))


@pytest.mark.usefixtures("failing")
def test_a_handler_that_fails_costs_a_coroutine_nothing(
    endpoint_url: str, info: kvs.StreamInfo
) -> None:
    """Events arrive, through `on_event` and through `events()`."""

    async def work() -> None:
        seen: list[kvs.Event] = []
        async with aio.Producer(endpoint_url=endpoint_url, on_event=seen.append) as producer:
            stream = producer.open_stream("door", info)
            await stream.wait_ready(60)
        assert any(isinstance(event, kvs.StreamReady) for event in seen)
        async with aio.Producer(endpoint_url=endpoint_url) as producer:
            producer.open_stream("gate", info)
            async for event in producer.events():
                if isinstance(event, kvs.StreamReady):
                    break

    asyncio.run(asyncio.wait_for(work(), 120))


@pytest.mark.usefixtures("failing")
def test_a_call_that_fails_is_made_again_though_its_line_is_lost(info: kvs.StreamInfo) -> None:
    """Nobody listens at that address: that is the network's fault, not ours."""
    with kvs.Producer(endpoint_url="http://127.0.0.1:9") as producer:
        stream = producer.open_stream("door", info)
        until(lambda: stream.met_with)
        assert stream.failure is None
        assert producer._engine.core.failure is None
