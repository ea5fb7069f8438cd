"""Faults over a plain socket. The endpoint works normally after each."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from kvsproducer.endpoint import Fault, LocalEndpoint, local_endpoint

Serve = Callable[..., LocalEndpoint]
NAME = b'{"StreamName":"door"}'


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function `serve(*faults)` that runs an endpoint with these and a stream "door"."""
    with ExitStack() as stack:

        def start(*faults: Fault) -> LocalEndpoint:
            endpoint = stack.enter_context(local_endpoint(faults=faults))
            assert b"StreamARN" in call(endpoint, "/createStream")
            return endpoint

        yield start


def connect(endpoint: LocalEndpoint) -> socket.socket:
    host, _, port = endpoint.url.removeprefix("http://").partition(":")
    peer = socket.create_connection((host, int(port)))
    peer.settimeout(20)
    return peer


def request(path: str, body: bytes = NAME, **headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: here", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if "Transfer_Encoding" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def rest(peer: socket.socket) -> bytes:
    """Return all bytes until the endpoint closes the connection."""
    found = b""
    while data := peer.recv(65_536):
        found += data
    return found


def call(endpoint: LocalEndpoint, path: str, body: bytes = NAME, **headers: str) -> bytes:
    with connect(endpoint) as peer:
        peer.sendall(request(path, body, **headers))
        return rest(peer)


def upload(endpoint: LocalEndpoint) -> socket.socket:
    """Return the socket of a PutMedia request whose headers are sent."""
    peer = connect(endpoint)
    peer.sendall(
        request(
            "/putMedia",
            b"",
            Transfer_Encoding="chunked",
            x_amzn_stream_name="door",
            x_amzn_fragment_timecode_type="ABSOLUTE",
            x_amzn_producer_start_timestamp="1700000000.000",
        )
    )
    return peer


def until(peer: socket.socket, text: bytes) -> bytes:
    found = b""
    while text not in found:
        data = peer.recv(65_536)
        assert data, found
        found += data
    return found


def test_status_fault(serve: Serve) -> None:
    """The response has the status and the exception's name. The next request succeeds."""
    fault = Fault(on="DescribeStream", do="status", status=400, error="ClientLimitExceeded")
    endpoint = serve(fault)
    refused = call(endpoint, "/describeStream")
    assert refused.startswith(b"HTTP/1.1 400 ")
    assert b"x-amzn-ErrorType: ClientLimitExceeded" in refused
    assert b"ACTIVE" in call(endpoint, "/describeStream")
    assert endpoint.faults.applied == [fault]


@pytest.mark.parametrize("path", ["/describeStream", "/putMedia"])
def test_reset_fault(serve: Serve, path: str) -> None:
    endpoint = serve(Fault(on="*", do="reset", skip=1))
    with connect(endpoint) as peer:
        peer.sendall(
            request(
                path,
                x_amzn_stream_name="door",
                x_amzn_fragment_timecode_type="ABSOLUTE",
                x_amzn_producer_start_timestamp="1700000000.000",
            )
        )
        with pytest.raises(ConnectionResetError):
            rest(peer)
    assert b"ACTIVE" in call(endpoint, "/describeStream")


def test_stall_and_delay_faults(serve: Serve) -> None:
    """Nothing arrives for the given time."""
    endpoint = serve(
        Fault(on="DescribeStream", do="stall"), Fault(on="DescribeStream", do="delay", seconds=0.1)
    )
    with connect(endpoint) as peer:
        peer.sendall(request("/describeStream"))
        peer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.recv(1)
    assert b"ACTIVE" in call(endpoint, "/describeStream")


def test_garbage_fault(serve: Serve) -> None:
    """The garbage replaces the response of a call, and comes between the acks of an upload."""
    endpoint = serve(
        Fault(on="DescribeStream", do="garbage", text="SSH-2.0\r\n"),
        Fault(on="PutMedia", do="garbage", text="nonsense"),
    )
    assert call(endpoint, "/describeStream") == b"SSH-2.0\r\n"
    with upload(endpoint) as peer:
        assert b"nonsense" in until(peer, b"nonsense")


@pytest.mark.parametrize("kind", ["half_close", "end_answer"])
def test_response_that_ends_early(serve: Serve, kind: str) -> None:
    """The response ends with or without its last chunk, and the body is still read."""
    endpoint = serve(Fault(on="PutMedia", do=kind))
    with upload(endpoint) as peer:
        if kind == "half_close":
            assert not rest(peer).endswith(b"0\r\n\r\n")
        else:
            assert until(peer, b"0\r\n\r\n")
        peer.sendall(b"3\r\nabc\r\n")
    assert b"ACTIVE" in call(endpoint, "/describeStream")


def test_silence_fault(serve: Serve) -> None:
    """Not even invalid Matroska gets an ERROR ack."""
    endpoint = serve(Fault(on="PutMedia", do="silence"))
    for said in (b"", b"4009"):
        with upload(endpoint) as peer:
            until(peer, b"\r\n\r\n")
            peer.sendall(b"3\r\nabc\r\n0\r\n\r\n")
            assert (b"ErrorId" in rest(peer)) is bool(said)


def test_slow_read_fault(serve: Serve) -> None:
    """The client blocks while sending."""
    endpoint = serve(Fault(on="PutMedia", do="slow_read", bytes_per_s=10))
    with upload(endpoint) as peer:
        until(peer, b"\r\n\r\n")
        peer.settimeout(0.5)
        peer.sendall(b"c\r\n" + bytes.fromhex("1a45dfa30100000000000023") + b"\r\n")
        with pytest.raises(TimeoutError):
            for _ in range(10_000):
                peer.sendall(b"10000\r\n" + bytes(65_536) + b"\r\n")


def test_continue_faults(serve: Serve) -> None:
    """It is sent without an Expect header, not sent despite one, and sent normally."""
    endpoint = serve(
        Fault(on="DescribeStream", do="continue"), Fault(on="ListStreams", do="no_continue")
    )
    assert call(endpoint, "/describeStream").startswith(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"
    )
    silent = call(endpoint, "/listStreams", b"{}", Expect="100-continue")
    assert silent.startswith(b"HTTP/1.1 200")
    assert json.loads(silent.partition(b"\r\n\r\n")[2])["StreamInfoList"]
    asked = call(endpoint, "/listStreams", b"{}", Expect="100-continue")
    assert asked.startswith(b"HTTP/1.1 100 Continue")
