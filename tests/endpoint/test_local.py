"""Run the endpoint in the caller's loop, in a thread and as a process; stop and restart it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.endpoints import QUICK

from kvsproducer.endpoint import LocalEndpoint, local_endpoint
from kvsproducer.endpoint.store import open_store

Make = Callable[..., Any]
SERVE = """
import logging
import sys
from kvsproducer.endpoint import EndpointLimits, LocalEndpoint, run_server

def say(url):
    print("listening on", url, flush=True)

logging.basicConfig()
run_server(LocalEndpoint(sys.argv[1], limits=EndpointLimits(get_media_idle=0.2)), say)
"""


class Served:
    """An endpoint in a child process."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:")
        self.url = line.split()[-1]

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def archived(aws: Make, endpoint: Any, stream: str = "door") -> list[bytes]:
    """Return the frames from GetMediaForFragmentList, as one string for each fragment."""
    archive = aws(endpoint, "kinesis-video-archived-media")
    fragments = archive.list_fragments(StreamName=stream)["Fragments"]
    numbers = [item["FragmentNumber"] for item in fragments]
    return [
        archive.get_media_for_fragment_list(StreamName=stream, Fragments=[number])["Payload"].read()
        for number in numbers
    ]


def upload_all(upload: Any, media: Any, count: int) -> list[Any]:
    upload.send(media.header())
    for n in range(1, count + 1):
        upload.send(media.cluster(1000 * n, [media.block(0, b"frame %d." % n)]))
    upload.end()
    upload.head()
    return list(upload.acks())


def test_endpoint_in_the_callers_loop(aws: Make) -> None:
    async def run() -> None:
        async with LocalEndpoint() as endpoint:
            client = aws(endpoint, "kinesisvideo")
            await asyncio.to_thread(client.create_stream, StreamName="door")
            url = endpoint.url
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 1)

    asyncio.run(run())


def test_endpoint_in_a_thread_beside_a_running_loop(aws: Make) -> None:
    async def run() -> None:
        with local_endpoint() as endpoint:
            client = aws(endpoint, "kinesisvideo")
            answer = await asyncio.to_thread(client.list_streams)
            assert answer["StreamInfoList"] == []

    asyncio.run(run())


def test_port_in_use_is_an_os_error() -> None:
    with (
        local_endpoint() as endpoint,
        pytest.raises(OSError, match="in use"),
        local_endpoint(port=int(endpoint.url.rpartition(":")[2])),
    ):
        pass


def test_file_is_not_a_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), local_endpoint(tmp_path / "file"):
        pass


def test_data_survives_a_restart(tmp_path: Path, put_media: Make, media: Any, aws: Make) -> None:
    with local_endpoint(tmp_path, limits=QUICK) as endpoint:
        kvs = aws(endpoint, "kinesisvideo")
        kvs.create_stream(StreamName="door", DataRetentionInHours=1, Tags={"a": "b"})
        before = kvs.describe_stream(StreamName="door")["StreamInfo"]
        first = upload_all(put_media(endpoint, "door"), media, 3)
        stored = archived(aws, endpoint)
    with local_endpoint(tmp_path, limits=QUICK) as endpoint:
        kvs = aws(endpoint, "kinesisvideo")
        assert kvs.describe_stream(StreamName="door")["StreamInfo"] == before
        assert kvs.list_tags_for_stream(StreamName="door")["Tags"] == {"a": "b"}
        assert archived(aws, endpoint) == stored
        second = upload_all(put_media(endpoint, "door"), media, 1)
        assert len(archived(aws, endpoint)) == 4
    numbers = [ack["FragmentNumber"] for ack in (*first, *second) if ack["EventType"] == "RECEIVED"]
    assert numbers == sorted(set(numbers))


def test_a_restart_on_the_same_port(put_media: Make, media: Any, aws: Make, tmp_path: Path) -> None:
    """A client that lost its connection reaches the endpoint at the same address."""
    port = 0
    for _ in range(3):
        with local_endpoint(tmp_path, port=port) as endpoint:
            port = int(endpoint.url.rpartition(":")[2])
            kvs = aws(endpoint, "kinesisvideo")
            if not kvs.list_streams()["StreamInfoList"]:
                kvs.create_stream(StreamName="door", DataRetentionInHours=1)
            upload = put_media(endpoint, "door")
            upload.send(media.header() + media.cluster(1000))
            upload.head()


@pytest.mark.parametrize("lost", ["", "index*", "index*-*"])
def test_persisted_fragments_survive_kill_9(
    tmp_path: Path, put_media: Make, media: Any, aws: Make, lost: str
) -> None:
    """Kill the process during an upload: every PERSISTED fragment is there and complete.

    This also holds if the index, or the files that SQLite keeps beside it, are deleted after that.
    """
    served = Served(tmp_path)
    aws(served, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
    upload = put_media(served, "door")
    upload.send(media.header())
    upload.head()
    persisted: list[int] = []
    for n in range(1, 40):
        upload.send(media.cluster(1000 * n, [media.block(0, b"frame %d." % n + bytes(5000))]))
        while n > 1 and len(persisted) < n - 1:
            ack = upload.ack()
            if ack["EventType"] == "PERSISTED":
                persisted.append(ack["FragmentTimecode"])
    upload.send(media.cluster(50_000, [media.block(0, b"cut" + bytes(20_000))])[:9000])
    assert served.end(signal.SIGKILL) == -signal.SIGKILL
    for path in tmp_path.glob(lost) if lost else ():
        path.unlink()
    with local_endpoint(tmp_path, limits=QUICK) as endpoint:
        stored = archived(aws, endpoint)
        assert len(persisted) == 38
        for n in range(1, 39):
            assert b"frame %d." % n in stored[n - 1]
        upload_all(put_media(endpoint, "door"), media, 1)
        assert len(archived(aws, endpoint)) == len(stored) + 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_the_server_cleanly(
    number: int, tmp_path: Path, put_media: Make, media: Any, aws: Make
) -> None:
    """Uploads end with the fragments received, all acknowledged ones are stored, exit code 0."""
    served = Served(tmp_path)
    aws(served, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
    upload = put_media(served, "door")
    upload.send(media.header() + media.cluster(1000) + media.cluster(3000))
    upload.head()
    while upload.ack()["EventType"] != "RECEIVED":
        pass
    served.process.send_signal(number)
    rest = [ack["EventType"] for ack in upload.acks()]
    assert "PERSISTED" in rest
    upload.close()
    assert served.end(number) == 0
    with local_endpoint(tmp_path, limits=QUICK) as endpoint:
        assert len(archived(aws, endpoint)) == 1


def test_stop_is_fast_and_ends_readers(aws: Make, put_media: Make, media: Any) -> None:
    """A waiting reader and an idle upload do not delay the stop."""
    answers: list[bytes] = []
    with local_endpoint() as endpoint:
        aws(endpoint, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
        upload = put_media(endpoint, "door")
        upload.send(media.header() + media.cluster(1000) + media.end_of_fragment())
        upload.head()
        while upload.ack()["EventType"] != "PERSISTED":
            pass
        payload = aws(endpoint, "kinesis-video-media").get_media(
            StreamName="door", StartSelector={"StartSelectorType": "EARLIEST"}
        )["Payload"]
        reader = threading.Thread(target=lambda: answers.append(payload.read()))
        reader.start()
    reader.join(10)
    assert upload.acks() == []
    assert len(answers) == 1
    assert b"delta" in answers[0]


def test_https(tmp_path: Path, media: Any, aws: Make) -> None:
    """Frames are stored and read over TLS, with a certificate of the test's own authority."""
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    with local_endpoint(ssl_context=server_context) as endpoint:
        assert endpoint.url.startswith("https://127.0.0.1:")
        port = int(endpoint.url.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            client_context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            for path, body in (
                ("/createStream", {"StreamName": "door"}),
                ("/getDataEndpoint", {"StreamName": "door", "APIName": "GET_MEDIA"}),
            ):
                text = json.dumps(body).encode()
                secure.sendall(
                    b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b"
                    % (path.encode(), len(text), text)
                )
                answer = b""
                while not answer.endswith(b"}"):
                    answer += secure.recv(65536)
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"DataEndpoint": endpoint.url}


def test_failing_disk_writes(tmp_path: Path, put_media: Make, media: Any, aws: Make) -> None:
    """In a child process, a file size limit of the operating system acts as a full disk."""
    limited = SERVE.replace(
        "import sys\n",
        "import sys, resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", limited, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stdout is not None
    served = type("Served", (), {"url": process.stdout.readline().split()[-1]})
    aws(served, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
    upload = put_media(served, "door")
    upload.send(media.header())
    for n in range(1, 5):
        upload.send(media.cluster(1000 * n, [media.block(0, bytes([n]) * 300_000)]))
    upload.end()
    upload.head()
    acks = upload.acks()
    assert acks[-1]["EventType"] == "ERROR"
    assert acks[-1]["ErrorId"] == 5001
    assert acks[-1]["FragmentTimecode"] > 1000 * sum(
        ack["EventType"] == "PERSISTED" for ack in acks
    )
    small = upload_all(put_media(served, "door"), media, 1)
    assert small[-1]["EventType"] == "PERSISTED"
    stored = len(archived(aws, served))
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "cannot store" in log
    with local_endpoint(tmp_path, limits=QUICK) as endpoint:
        assert len(archived(aws, endpoint)) == stored


@pytest.mark.parametrize("turns", range(5))
def test_connection_accepted_during_stop_is_closed(turns: int) -> None:
    """A stop at any step of accepting closes the connection.

    A forgotten one would fail this test.
    """

    async def run() -> list[socket.socket]:
        endpoint = LocalEndpoint()
        await endpoint.start()
        address = ("127.0.0.1", int(endpoint.url.rpartition(":")[2]))
        clients = [socket.create_connection(address) for _ in range(8)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await endpoint.stop()
        return clients

    clients = asyncio.run(run())
    gc.collect()
    for client in clients:
        client.close()


def test_a_request_that_is_not_http_is_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with local_endpoint() as endpoint:
        host, port = endpoint.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as peer:
            peer.sendall(b"POST / HTTP/1.1\r\nHost: \0\r\n\r\n")
            assert peer.recv(1000).startswith(b"HTTP/1.0 400 ")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.exc_info is None
    assert "a request that is not HTTP was refused" in caplog.text


class DeafPeer:
    """Sends what it is given, and reads nothing of the answers to it."""

    def __init__(self, url: str) -> None:
        host, port = url.rpartition("/")[2].split(":")
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(20)
        self.socket.connect((host, int(port)))
        if url.startswith("https"):
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            self.socket = trusting.wrap_socket(self.socket)

    def call(self, path: str, **members: object) -> None:
        body = json.dumps(members).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n"
        self.socket.sendall(head.encode() + body)

    def upload(self, parts: Iterable[bytes]) -> None:
        """Begin a PutMedia request, and send its body in a thread for as long as it is taken."""
        head = (
            "POST /putMedia HTTP/1.1\r\nHost: h\r\nx-amzn-stream-name: door\r\n"
            "x-amzn-fragment-timecode-type: ABSOLUTE\r\nx-amzn-producer-start-timestamp: 1.5\r\n"
            "transfer-encoding: chunked\r\n\r\n"
        )
        self.socket.sendall(head.encode())

        def send() -> None:
            with contextlib.suppress(OSError):
                for part in parts:
                    self.socket.sendall(b"%x\r\n%b\r\n" % (len(part), part))

        self._thread = threading.Thread(target=send, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def unsent(endpoint: LocalEndpoint) -> int:
    """Bytes that wait in the endpoint for peers to read."""
    assert endpoint._runner is not None
    assert endpoint._runner.server is not None
    transports = [one.transport for one in endpoint._runner.server.connections]
    return sum(one.get_write_buffer_size() for one in transports if one is not None)


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("kind", ["acks", "media"])
def test_stops_soon_beside_a_peer_that_reads_nothing(
    media: Any, tmp_path: Path, *, secure: bool, kind: str
) -> None:
    """Neither acks nor media: its connection is aborted after a grace, and no socket is left."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    store = open_store(None, 0)

    async def run() -> float:
        endpoint = LocalEndpoint(ssl_context=context if secure else None, store=store)
        await endpoint.start()
        loop = asyncio.get_running_loop()
        maker = await asyncio.to_thread(DeafPeer, endpoint.url)
        maker.call("/createStream", StreamName="door", DataRetentionInHours=1)
        while not store.streams():
            await asyncio.sleep(0.01)
        peer = await asyncio.to_thread(DeafPeer, endpoint.url)
        size = 20 if kind == "acks" else 4_000_000
        clusters = (
            media.cluster(1000 * n, [media.block(0, bytes(size), key=True)])
            for n in range(1, 100_000 if kind == "acks" else 7)
        )
        peer.upload(
            [media.header(), *clusters] if kind == "media" else chain([media.header()], clusters)
        )
        if kind == "media":
            reader = await asyncio.to_thread(DeafPeer, endpoint.url)
            reader.call(
                "/getMedia", StreamName="door", StartSelector={"StartSelectorType": "EARLIEST"}
            )
        while unsent(endpoint) <= 1 << 16:  # asyncio's limit: then the endpoint waits to write
            await asyncio.sleep(0.01)
        began = loop.time()
        await endpoint.stop()
        took_s = loop.time() - began
        for one in (maker, peer, *([reader] if kind == "media" else [])):
            one.close()
        return took_s

    assert asyncio.run(run()) < 2
    gc.collect()  # a socket that is still open is reported here
