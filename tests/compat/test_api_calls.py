"""Chains before a service call: they observe it, answer it, or fail it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
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
from kvsproducer import StatusCode
from kvsproducer import client as core

S = StatusCode


def test_api_calls_are_observed(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """Each function gets the call before it is made, in its own thread. The service answers."""
    seen: list[core.Call] = []
    threads: set[str] = set()

    def see(call: Any) -> None:
        seen.append(call)
        threads.add(threading.current_thread().name)

    entry = kvs.ApiCallbacks(
        describe_stream=see,
        create_stream=see,
        tag_resource=see,
        get_streaming_endpoint=see,
        put_stream=see,
    )
    info = kvs.StreamInfo.video(
        "h264", retention="PT1H", nal_adaptation=kvs.NalAdaptation.NONE, tags={"room": "hall"}
    )
    put_all(endpoint_url, info, frames(5), entry)
    assert [type(call) for call in seen] == [
        core.DescribeStream,
        core.CreateStream,
        core.TagStream,
        core.GetStreamingEndpoint,
        core.PutStream,
    ]
    assert threads == {"kvsproducer-callback"}


def test_entries_answer_api_calls(quick_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """The first answer ends the chain, and no request is sent."""
    asked: list[str] = []
    found = core.StreamDescription("arn:none", retention=3600.0)
    with kvs.Producer(endpoint_url=quick_url) as other:  # the stream exists already
        other.open_stream("door", info).wait_ready()
    first = kvs.ApiCallbacks(
        describe_stream=lambda call: found,
        tag_resource=lambda call: S.SUCCESS,
        get_streaming_endpoint=lambda call: quick_url,
    )
    second = kvs.ApiCallbacks(
        describe_stream=lambda call: asked.append("describe"),
        tag_resource=lambda call: asked.append("tag"),
        get_streaming_endpoint=lambda call: asked.append("endpoint"),
    )
    tagged = kvs.StreamInfo.video(
        "h264", retention="PT1H", nal_adaptation=kvs.NalAdaptation.NONE, tags={"room": "hall"}
    )
    provider = provider_of(first, second)
    # Only PutMedia has an endpoint; callbacks answer all calls of the control plane.
    with kvs.Producer(endpoint_url=NOBODY, callbacks=provider) as producer:
        with producer.open_stream("door", tagged) as stream:
            for frame in frames(10):
                stream.put_frame(frame)
    assert asked == []
    assert len(list(kvs.get_media("door", endpoint_url=quick_url))) == 2


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (S.SERVICE_CALL_NOT_AUTHORIZED_ERROR, S.SERVICE_CALL_NOT_AUTHORIZED_ERROR),
        (kvs.KvsError(S.SERVICE_CALL_INVALID_ARG_ERROR), S.SERVICE_CALL_INVALID_ARG_ERROR),
        ("no description", S.INVALID_ARG),
        (ZeroDivisionError(), S.INTERNAL_ERROR),
    ],
    ids=str,
)
def test_entries_fail_api_calls(
    said: object, status: StatusCode, endpoint_url: str, info: kvs.StreamInfo
) -> None:
    """A failure is the result of the call, and the error of waiting for the stream names it."""

    def fail(call: core.DescribeStream) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    provider = provider_of(kvs.ApiCallbacks(describe_stream=fail))
    with kvs.Producer(endpoint_url=endpoint_url, callbacks=provider) as producer:
        stream = producer.open_stream("door", info)
        observed = str(why_not_ready(stream, "ApiCallbacks.describe_stream of entry 1"))
        assert status.name in observed


@pytest.mark.parametrize(
    ("member", "said", "why"),
    [
        ("get_streaming_endpoint", "kvs.local:8080", "'kvs.local:8080'"),
        ("get_streaming_endpoint", "", "does not begin with http"),
        ("describe_stream", core.StreamDescription(None), "a stream_arn that is NoneType"),  # type: ignore[arg-type]
        ("describe_stream", core.StreamDescription("a", "ACTIVE"), "not a StreamStatus"),  # type: ignore[arg-type]
    ],
)
def test_invalid_answers(
    member: str, said: object, why: str, endpoint_url: str, info: kvs.StreamInfo
) -> None:
    """The error names the function and the answer, not the network or an internal error."""
    provider = provider_of(kvs.ApiCallbacks(**{member: lambda call: said}))  # type: ignore[arg-type]
    with kvs.Producer(endpoint_url=endpoint_url, callbacks=provider) as producer:
        observed = str(why_not_ready(producer.open_stream("door", info), why))
        assert f"ApiCallbacks.{member} of entry 1 returned" in observed
        assert "INVALID_ARG" in observed


def test_wait_reports_a_stream_that_is_not_active(endpoint_url: str, info: kvs.StreamInfo) -> None:
    """The wait reports the stream's status, because the calls succeed."""
    updating = core.StreamDescription("arn", core.StreamStatus.UPDATING)
    provider = provider_of(kvs.ApiCallbacks(describe_stream=lambda call: updating))
    with kvs.Producer(endpoint_url=endpoint_url, callbacks=provider) as producer:
        why_not_ready(producer.open_stream("door", info), "the stream is UPDATING")


def test_refused_upload_is_repeated(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """`put_stream` fails the first upload, returns an invalid answer for the second, then None."""
    says: Iterator[Any] = iter([S.SERVICE_CALL_TIMEOUT_ERROR, S.SERVICE_CALL_UNKOWN_ERROR])
    uploads: list[int] = []

    def put_stream(call: core.PutStream) -> Any:
        uploads.append(call.upload)
        return next(says, None)

    put_all(endpoint_url, info, frames(10), kvs.ApiCallbacks(put_stream=put_stream))
    assert len(uploads) == len(set(uploads)) >= 3


def test_hanging_entry_fails_only_its_call(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts as timed out after the time of a call. Other calls and closing continue."""
    release = threading.Event()
    hung: list[str | None] = []

    def hang(call: core.DescribeStream) -> None:
        if call.stream == "hangs":
            hung.append(call.stream)
            release.wait(PATIENT)

    short = kvs.ClientInfo(service_call_connection_timeout=0.5, service_call_completion_timeout=0.5)
    producer = kvs.Producer(
        endpoint_url=endpoint_url,
        device_info=kvs.DeviceInfo(client_info=short),
        callbacks=provider_of(kvs.ApiCallbacks(describe_stream=hang)),
    )
    stuck = producer.open_stream("hangs", info)
    with caplog.at_level(logging.INFO, "kvsproducer"):
        with producer.open_stream("door", info) as stream:
            for frame in frames(10):
                stream.put_frame(frame)
        why_not_ready(stuck, "a callback that was asked about DescribeStream took over 0.5 s")
    producer.close(0)
    release.set()
    assert hung


def test_timeout_error_of_a_callback_is_not_a_timed_out_call(
    endpoint_url: str, info: kvs.StreamInfo
) -> None:
    """The callback raised TimeoutError within milliseconds, which must not count as our timeout."""

    def give_up(call: core.Call) -> None:
        raise kvs.KvsError(S.OPERATION_TIMED_OUT, "the vault is slow")

    asked = provider_of(kvs.ApiCallbacks(describe_stream=give_up))
    with kvs.Producer(endpoint_url=endpoint_url, callbacks=asked) as producer:
        stream = producer.open_stream("door", info)
        assert "the vault is slow" in str(why_not_ready(stream, "the last call"))
