"""One request and its whole answer: limits of size and time, and what is no JSON object."""

from __future__ import annotations

import asyncio

import pytest

import kvsproducer as kvs
from kvsproducer.service.exchange import Reply, TimeLimits, checked_json, post
from kvsproducer.service.network import Network

URL = "https://kinesisvideo.us-west-2.amazonaws.com/describeStream"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"StreamInfo": null}'])
def test_objects_and_nothing_pass(body: bytes) -> None:
    """An empty body is how the service says "done"."""
    checked_json(URL, Reply(200, {}, body))


@pytest.mark.parametrize("body", [b"<html>", b"5", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_object(body: bytes) -> None:
    """The beginning of it is shown; in a refusal botocore may read what it likes."""
    with pytest.raises(kvs.KvsError) as caught:
        checked_json(URL, Reply(200, {}, body))
    assert caught.value.status is kvs.StatusCode.INVALID_API_CALL_RETURN_JSON
    assert "kinesisvideo.us-west-2.amazonaws.com:443" in caught.value.detail
    assert len(caught.value.detail) < 500
    checked_json(URL, Reply(403, {}, body))


def test_a_whole_answer(endpoint_url: str) -> None:
    """Status, headers and body of a real endpoint; the default limits are the C producer's."""
    limits = TimeLimits()
    assert (limits.connection_s, limits.completion_s) == (5, 10)
    network = Network(kvs.ServiceConfig(), True)
    reply = asyncio.run(post(network, f"{endpoint_url}/listStreams", {}, b"{}", limits))
    assert reply.status == 200
    assert reply.headers["x-amzn-RequestId"]
    assert b"StreamInfoList" in reply.body
