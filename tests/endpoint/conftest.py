"""Shared by the endpoint's tests: Matroska streams, raw PutMedia connections, boto3 clients."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from tests.endpoints import QUICK

from kvsproducer.endpoint import LocalEndpoint, local_endpoint
from kvsproducer.endpoint.fragment import Fragment, FragmentInfo
from kvsproducer.mkv import MkvGenerator, TrackInfo, TrackType, end_of_fragment_tag, tags

ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REGION = "us-west-2"
CAPTURES = Path(__file__).parents[1] / "data" / "captures"
TIMEOUT_S = 20.0


class Media:
    """Make the bytes that a producer would send, with milliseconds as timecodes."""

    end_of_fragment = staticmethod(end_of_fragment_tag)
    tags = staticmethod(tags)

    @staticmethod
    def header(tracks: int = 1) -> bytes:
        """Return the elements from the EBML header to Tracks."""
        types = [TrackType.VIDEO, *[TrackType.AUDIO] * (tracks - 1)]
        infos = [
            TrackInfo(number, kind, "V_TEST" if number == 1 else "A_TEST", f"track {number}")
            for number, kind in enumerate(types, 1)
        ]
        return MkvGenerator(infos, content_type="video/test").header()

    @staticmethod
    def block(
        relative: int, payload: bytes = b"frame", *, track: int = 1, key: bool = False
    ) -> bytes:
        """Return a SimpleBlock."""
        body = struct.pack(">BhB", 0x80 | track, relative, 0x80 if key else 0) + payload
        return b"\xa3" + ((1 << 56) + len(body)).to_bytes(8, "big") + body

    @classmethod
    def cluster(cls, timecode: int, blocks: Iterable[bytes] | None = None) -> bytes:
        """Return a Cluster of unknown size; by default with two frames, at 0 and 500 ms."""
        if blocks is None:
            blocks = (cls.block(0, b"key %d" % timecode, key=True), cls.block(500, b"delta"))
        return b"".join(
            (b"\x1f\x43\xb6\x75\xff\xe7\x88", timecode.to_bytes(8, "big"), b"\xa7\x81\x00", *blocks)
        )


class PutMedia:
    """A PutMedia request over a raw socket."""

    def __init__(self, url: str, stream: str, **headers: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), TIMEOUT_S)
        self._received = b""
        fields = {
            "Host": host,
            "x-amzn-stream-name": stream,
            "x-amzn-fragment-timecode-type": "ABSOLUTE",
            "x-amzn-producer-start-timestamp": "1700000000.5",
            "transfer-encoding": "chunked",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.socket.sendall(f"POST /putMedia HTTP/1.1\r\n{lines}\r\n".encode())

    def send(self, data: bytes) -> None:
        """Send one HTTP chunk."""
        self.socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """Send the chunk that ends the body."""
        self.socket.sendall(b"0\r\n\r\n")

    def head(self) -> bytes:
        """Return the status line and the headers of the response."""
        return self._until(b"\r\n\r\n")

    def ack(self) -> dict[str, Any] | None:
        """Return the next ack, or None at the end. A chunk must contain exactly one ack."""
        size = int(self._until(b"\r\n"), 16)
        chunk = self._exactly(size)
        assert self._exactly(2) == b"\r\n"
        if not size:
            return None
        assert chunk.endswith(b"\n")
        assert chunk.count(b"\n") == 1
        return dict(json.loads(chunk))

    def acks(self) -> list[dict[str, Any]]:
        """Return all acks up to the end."""
        return list(iter(self.ack, None))

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            self._more()
        found, _, self._received = self._received.partition(mark)
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            self._more()
        found, self._received = self._received[:count], self._received[count:]
        return found

    def _more(self) -> None:
        data = self.socket.recv(65536)
        assert data, f"the connection was closed after {self._received!r}"
        self._received += data


@pytest.fixture(scope="session")
def media() -> type[Media]:
    """The maker of producer streams."""
    return Media


@pytest.fixture
def endpoint() -> Iterator[LocalEndpoint]:
    """Run an endpoint in memory, whose GetMedia ends soon."""
    with local_endpoint(limits=QUICK) as running:
        yield running


@pytest.fixture(scope="session")
def aws() -> Callable[..., Any]:
    """Return a function `aws(endpoint, service name)` that creates a boto3 client."""

    def make(endpoint: LocalEndpoint, service: str, secret_key: str = SECRET_KEY) -> Any:
        return boto3.client(
            service,
            endpoint_url=endpoint.url,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=secret_key,
            config=Config(retries={"max_attempts": 1}, read_timeout=TIMEOUT_S),
        )

    return make


@pytest.fixture
def put_media() -> Iterator[Callable[..., PutMedia]]:
    """Return a function `put_media(endpoint, stream, **headers)` that opens a PutMedia request."""
    opened = []

    def connect(endpoint: LocalEndpoint, stream: str, **headers: str) -> PutMedia:
        opened.append(PutMedia(endpoint.url, stream, **headers))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder with recorded requests of AWS's own clients."""
    return CAPTURES


@pytest.fixture(scope="session")
def fragment() -> Callable[..., Fragment]:
    """Return a function `fragment(n)` that makes the n-th of consecutive one-second fragments."""

    def make(number: int, size: int = 100) -> Fragment:
        cluster = bytes([number % 256]) * size
        parts = (b"header", b"leading", cluster, b"trailing")
        start = number * 10_000_000
        info = FragmentInfo(f"{number:047d}", start, start + 5, 10_000_000, sum(map(len, parts)))
        return Fragment(info, *parts)

    return make
