"""Caching modes: which calls are made, how long answers are used, what drops an entry."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

import kvsproducer as kvs
from kvsproducer import client as core
from kvsproducer.service.caching import AnswerCache, Cached
from kvsproducer.service.config import Caching
from kvsproducer.service.results import Failure
from kvsproducer.service.service import Service

Frames = Callable[[int], Iterator[kvs.Frame]]
MINUTE = 600_000_000
URL = "https://s-1.kinesisvideo.us-west-2.amazonaws.com"
BASE: dict[str, Any] = {
    "call_id": 1,
    "stream": "door",
    "not_before": 0,
    "timeout": 0,
    "connection_timeout": 0,
    "auth": None,
}
DESCRIBE = core.DescribeStream(**BASE)
TAG = core.TagStream(**BASE, arn="arn", tags=())
ENDPOINT = core.GetStreamingEndpoint(**BASE)
CREATE = core.CreateStream(
    **BASE, device_name="", content_type="video/h264", kms_key_id="", retention=7, tags=()
)
DESCRIPTION = core.StreamDescription(stream_arn="arn:1", retention=5)


def filled(mode: Caching) -> AnswerCache:
    cache = AnswerCache(mode, 40 * MINUTE)
    cache.keep(DESCRIBE, DESCRIPTION, 0)
    cache.keep(ENDPOINT, URL, 0)
    return cache


def test_mode_none_caches_nothing() -> None:
    """Every look-up misses."""
    cache = filled(Caching.NONE)
    assert [cache.look_up(call, 1) for call in (DESCRIBE, TAG, ENDPOINT)] == [None] * 3


def test_mode_all_caches_from_the_endpoint_to_the_end_of_the_period() -> None:
    """The period begins with the request for the endpoint, and excludes its end."""
    cache = AnswerCache(Caching.ALL, 40 * MINUTE)
    assert cache.look_up(DESCRIBE, 0) is None
    cache.keep(DESCRIBE, DESCRIPTION, 0)
    assert [cache.look_up(call, 0) for call in (DESCRIBE, TAG, ENDPOINT)] == [None] * 3
    cache.keep(ENDPOINT, URL, 0)
    last = 40 * MINUTE - 1
    assert cache.look_up(DESCRIBE, last) == Cached(DESCRIPTION)
    assert cache.look_up(TAG, last) == Cached(None)
    assert cache.look_up(ENDPOINT, last) == Cached(URL)
    assert [cache.look_up(call, last + 1) for call in (DESCRIBE, TAG, ENDPOINT)] == [None] * 3


def test_mode_endpoint_only_never_describes_the_stream() -> None:
    """The stream is assumed to be ACTIVE, with its name as ARN."""
    cache = AnswerCache(Caching.ENDPOINT_ONLY, 40 * MINUTE)
    assumed = cache.look_up(DESCRIBE, 0)
    assert assumed == Cached(core.StreamDescription(stream_arn="door"))
    assert cache.look_up(TAG, 0) == Cached(None)
    assert cache.look_up(ENDPOINT, 0) is None
    cache.keep(ENDPOINT, URL, 0)
    assert cache.look_up(ENDPOINT, 39 * MINUTE) == Cached(URL)
    assert cache.look_up(ENDPOINT, 40 * MINUTE) is None


def test_created_stream_is_cached_with_its_retention() -> None:
    """The ARN comes from the answer of CreateStream, the retention from the request."""
    cache = AnswerCache(Caching.ALL, 40 * MINUTE)
    cache.keep(CREATE, "arn:2", 0)
    cache.keep(ENDPOINT, URL, 0)
    found = cache.look_up(DESCRIBE, 1)
    assert found == Cached(core.StreamDescription(stream_arn="arn:2", retention=7))


@pytest.mark.parametrize(
    ("result", "kept"),
    [(200, True), (401, True), (403, True), (404, False), (10006, False), (599, False)],
)
def test_failed_upload_drops_an_entry(result: int, kept: bool) -> None:
    """Except if it failed because of its credentials."""
    cache = filled(Caching.ALL)
    cache.upload_ended("other", Failure(10006, ""))
    assert cache.look_up(ENDPOINT, 1) == Cached(URL)
    cache.upload_ended("door", Failure(result, ""))
    assert (cache.look_up(ENDPOINT, 1) is not None) is kept


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of operations that are called, in order."""
    made: list[str] = []
    original = Service.call

    async def call(self: Service, operation: str, *arguments: Any) -> dict[str, Any]:
        made.append(operation)
        return await original(self, operation, *arguments)

    monkeypatch.setattr(Service, "call", call)
    return made


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("none", ["DescribeStream", "GetDataEndpoint"]),
        ("endpoint-only", []),
        ("all", []),
    ],
)
def test_calls_of_the_second_session(
    endpoint_url: str, info: kvs.StreamInfo, calls: list[str], mode: str, expected: list[str]
) -> None:
    """After a reset all calls are made, or none."""
    control = boto3.client("kinesisvideo", endpoint_url=endpoint_url)
    control.create_stream(StreamName="door", DataRetentionInHours=1)
    config = kvs.ServiceConfig(caching=mode)
    ready = threading.Semaphore(0)

    def listen(event: kvs.Event) -> None:
        if isinstance(event, kvs.StreamReady):
            ready.release()

    with kvs.Producer(endpoint_url=endpoint_url, config=config, on_event=listen) as producer:
        stream = producer.open_stream("door", info)
        assert ready.acquire(timeout=30)
        first = ["GetDataEndpoint"]
        assert calls == (first if mode == "endpoint-only" else ["DescribeStream", *first])
        calls.clear()
        stream.reset()
        assert ready.acquire(timeout=30)
        assert calls == expected


def test_endpoint_is_fetched_again_after_it_failed(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames, calls: list[str]
) -> None:
    """After the stream was deleted meanwhile, the producer creates it again."""
    seen: list[kvs.StatusCode] = []

    def listen(event: kvs.Event) -> None:
        if isinstance(event, kvs.StreamErrorReported):
            seen.append(event.status)

    control = boto3.client("kinesisvideo", endpoint_url=endpoint_url)
    with kvs.Producer(endpoint_url=endpoint_url, on_event=listen) as producer:
        stream = producer.open_stream("door", info)
        stream.wait_ready()
        arn = control.describe_stream(StreamName="door")["StreamInfo"]["StreamARN"]
        control.delete_stream(StreamARN=arn)
        calls.clear()
        for frame in frames(10):
            stream.put_frame(frame)
        account = stream.flush(timeout=30)
        assert (account.persisted, account.dropped) == (10, 0)
    assert kvs.StatusCode.SERVICE_CALL_RESOURCE_DELETED_ERROR in seen
    assert calls == ["DescribeStream", "CreateStream", "GetDataEndpoint"]
