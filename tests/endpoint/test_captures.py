"""Recordings of AWS's C producer and GStreamer sink, replayed unchanged over a raw socket."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvsproducer.endpoint import EndpointLimits, LocalEndpoint, local_endpoint

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
TIMEOUT_S = 20.0
STREAMS = ("demo-stream", "demo-sink")  # streams that existed when the clients were recorded
UPLOADS = sorted(
    path.stem
    for path in CAPTURES.glob("*.json")
    if json.loads(path.read_text())["requests"][0].get("media", {}).get("clusters")
)


def recording(name: str) -> tuple[dict[str, Any], bytes]:
    """Return the request as JSON, and all bytes that the client sent."""
    request = json.loads((CAPTURES / f"{name}.json").read_text())["requests"][0]
    return request, (CAPTURES / f"{name}.client.bin").read_bytes()


def exchange(endpoint: LocalEndpoint, data: bytes, end: bytes = b"") -> bytes:
    """Send a recording and read until `end`, or up to the length in the response's headers."""
    host, port = endpoint.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
        connection.sendall(data)
        answer = b""
        while not (answer.endswith(end) if end else _is_whole(answer)):
            more = connection.recv(65536)
            assert more, f"closed after {answer!r}"
            answer += more
    return answer


def _is_whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    return bool(found) and length is not None and len(body) >= int(length[1])


@pytest.fixture
def aws_streams(endpoint: LocalEndpoint, aws: Callable[..., Any]) -> LocalEndpoint:
    """Return an endpoint with the streams that existed during the recording."""
    for name in (*STREAMS, "new-stream"):
        aws(endpoint, "kinesisvideo").create_stream(StreamName=name, DataRetentionInHours=2)
    return endpoint


@pytest.mark.parametrize("name", UPLOADS)
def test_an_upload_gets_the_acks_of_its_clusters(name: str, aws_streams: LocalEndpoint) -> None:
    """The client gets 100 Continue, 200, and each fragment's three acks, one in each HTTP chunk."""
    request, data = recording(name)
    interim, head, body = exchange(aws_streams, data, b"\r\n0\r\n\r\n").split(b"\r\n\r\n", 2)
    assert interim == b"HTTP/1.1 100 Continue"
    assert head.startswith(b"HTTP/1.1 200 OK")
    chunks = re.findall(rb"([0-9a-f]+)\r\n(\{[^\n]*\}\n)\r\n", body)
    assert all(int(size, 16) == len(ack) for size, ack in chunks)
    acks = [json.loads(ack) for _, ack in chunks]
    for cluster in request["media"]["clusters"]:
        mine = [ack for ack in acks if ack["FragmentTimecode"] == cluster]
        assert [ack["EventType"] for ack in mine] == ["BUFFERING", "RECEIVED", "PERSISTED"]
        assert len({ack["FragmentNumber"] for ack in mine}) == 1
    assert len(acks) == 3 * len(request["media"]["clusters"])


def test_duplicates_from_a_retry_are_accepted(
    aws_streams: LocalEndpoint, aws: Callable[..., Any]
) -> None:
    """After an injected error, the C producer opened a second upload and repeated a fragment."""
    clusters = []
    for name in ("c_error_ack_retriable-03", "c_error_ack_retriable-04"):
        request, data = recording(name)
        exchange(aws_streams, data, b"\r\n0\r\n\r\n")
        clusters += request["media"]["clusters"]
    stored = aws(aws_streams, "kinesis-video-archived-media").list_fragments(
        StreamName="demo-stream"
    )["Fragments"]
    times = [round(item["ProducerTimestamp"].timestamp() * 1000) for item in stored]
    assert times == clusters
    assert len(set(times)) < len(times)


def test_describe_and_get_data_endpoint(aws_streams: LocalEndpoint) -> None:
    """Host has no port, but the response must have one: the client uses the address unchanged."""
    for name in ("c_offline_h264-01", "k_h264_avc-01"):
        answer = exchange(aws_streams, recording(name)[1])
        info = json.loads(answer.partition(b"\r\n\r\n")[2])["StreamInfo"]
        assert info["Status"] == "ACTIVE"
        assert info["StreamARN"].startswith("arn:aws:kinesisvideo:")
    for name in ("c_offline_h264-02", "k_h264_avc-02"):
        answer = exchange(aws_streams, recording(name)[1])
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"DataEndpoint": aws_streams.url}


@pytest.mark.parametrize("scenario", ["c_offline_h264_create", "k_h264_create_tags"])
def test_a_missing_stream_is_created_by_the_client(scenario: str) -> None:
    """The client calls DescribeStream (404), CreateStream, TagStream, GetDataEndpoint, PutMedia."""
    with local_endpoint(limits=EndpointLimits()) as endpoint:
        missing = exchange(endpoint, recording(f"{scenario}-01")[1])
        assert missing.startswith(b"HTTP/1.1 404 ")
        assert b"ResourceNotFoundException" in missing
        created = exchange(endpoint, recording(f"{scenario}-02")[1])
        arn = json.loads(created.partition(b"\r\n\r\n")[2])["StreamARN"]
        for name in sorted(path.stem for path in CAPTURES.glob(f"{scenario}-*.json"))[2:]:
            request, data = recording(name)
            if request["request_line"].startswith("POST /tagStream"):
                # The recording contains the ARN of a stream on the recorded server.
                old = re.search(rb'"StreamARN":\t?\s*"([^"]+)"', data)
                assert old is not None
                length = len(data.partition(b"\r\n\r\n")[2])
                data = data.replace(old[1], arn.encode()).replace(
                    b"content-length: %d" % length,
                    b"content-length: %d" % (length + len(arn) - len(old[1])),
                )
            streaming = b"/putMedia" in data[:20]
            answer = exchange(endpoint, data, b"\r\n0\r\n\r\n" if streaming else b"")
            assert b"HTTP/1.1 200 OK" in answer
            assert (b"PERSISTED" in answer) == streaming
