"""A camera that starts with no network keeps its frames, and streams when the network comes.

An offline source, a refusal, and a producer without continuous retry do not wait.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.peers import Server

import kvsproducer as kvs
from kvsproducer import aio
from kvsproducer.endpoint import Fault, local_endpoint

S = kvs.StatusCode

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture(autouse=True)
def brief_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest pause between two attempts is a tenth of a second."""
    monkeypatch.setattr("kvsproducer.client.backoff.MAX_BACKOFF", 500_000)


def film(stream: kvs.Stream, media: Any, count: int) -> None:
    for frame in media.frames(count):
        stream.put_frame(frame)


def begun_anew(told: list[kvs.Event]) -> bool:
    """Whether the stream has run out of attempts, twice."""
    errors = [event.status for event in told if isinstance(event, kvs.StreamErrorReported)]
    return S.CONTINUOUS_RETRY_RESET_FAILED in errors


def test_nothing_listens_at_first(kit: Any) -> None:
    """After more than six attempts every frame is stored."""
    port, told, media = kit.free_port(), [], kit.Media()
    with kvs.Producer(endpoint_url=f"http://127.0.0.1:{port}", on_event=told.append) as producer:
        stream = producer.open_stream("door", kit.info())
        film(stream, media, 40)
        kit.until(lambda: begun_anew(told), 40)
        film(stream, media, 20)
        assert stream.failure is None
        assert stream.account() == kvs.FrameAccount(60, 0, 0, 0, 60)
        with local_endpoint(port=port) as endpoint:
            stream.wait_ready(timeout=30)
            film(stream, media, 20)
            assert stream.close(timeout=30) == kvs.FrameAccount(80, 80, 0, 0, 0)
            kit.assert_stored(endpoint.url, "door", media.put)
    first = next(event for event in told if isinstance(event, kvs.StreamErrorReported))
    assert (first.status, first.fatal) == (S.DESCRIBE_STREAM_CALL_FAILED, False)
    assert "127.0.0.1" in first.detail


def test_names_do_not_resolve_at_first(
    endpoint_url: str, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no DNS, and then there is."""
    host, port = "kvs.camera.invalid", endpoint_url.rpartition(":")[2]
    real, told, media = socket.getaddrinfo, [], kit.Media()
    connected = False

    def getaddrinfo(name: Any, *rest: Any, **named: Any) -> Any:
        if name == host and not connected:
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return real("127.0.0.1" if name == host else name, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with kvs.Producer(endpoint_url=f"http://{host}:{port}", on_event=told.append) as producer:
        stream = producer.open_stream("door", kit.info())
        film(stream, media, 30)
        kit.until(lambda: begun_anew(told), 40)
        connected = True
        film(stream, media, 10)
        assert stream.close(timeout=30) == kvs.FrameAccount(40, 40, 0, 0, 0)
    kit.assert_stored(endpoint_url, "door", media.put)


def test_the_certificate_is_of_another_time_at_first(kit: Any, tmp_path: Path) -> None:
    """A camera whose clock is in the past: it streams once the certificate's time has come."""
    authority, told, media = trustme.CA(), [], kit.Media()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    authority.issue_cert("127.0.0.1", not_before=tomorrow).configure_cert(context)
    options: dict[str, Any] = {"verify": str(tmp_path / "ca.pem"), "on_event": told.append}
    with local_endpoint(ssl_context=context) as endpoint:
        with kvs.Producer(endpoint_url=endpoint.url, **options) as producer:
            stream = producer.open_stream("door", kit.info())
            film(stream, media, 30)
            kit.until(lambda: begun_anew(told), 40)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            assert stream.close(timeout=30) == kvs.FrameAccount(30, 30, 0, 0, 0)
    first = next(event for event in told if isinstance(event, kvs.StreamErrorReported))
    assert (first.status, first.fatal) == (S.DESCRIBE_STREAM_CALL_FAILED, False)
    assert "this machine's clock says 2" in first.detail


def test_credentials_cannot_be_fetched_at_first(endpoint_url: str, kit: Any) -> None:
    """They come over the same network."""
    told: list[kvs.Event] = []
    connected = False

    def credentials() -> kvs.AwsCredentials:
        if not connected:
            raise ConnectionError("no route to host")
        return kvs.AwsCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")

    def client_begins_anew() -> bool:
        return any(isinstance(event, kvs.ClientErrorReported) and not event.fatal for event in told)

    media = kit.Media()
    with kvs.Producer(
        endpoint_url=endpoint_url, credentials=credentials, on_event=told.append
    ) as producer:
        stream = producer.open_stream("door", kit.info())
        film(stream, media, 30)
        kit.until(client_begins_anew, 40)
        connected = True
        assert stream.close(timeout=30) == kvs.FrameAccount(30, 30, 0, 0, 0)


class Metadata(Server):
    """The metadata of a container or an instance: credentials once it is `up`, HTTP 503 before."""

    up = False

    def talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(20)
            path = connection.recv(65_536).split()[1]
            body = b"a-token-or-a-role"
            if path.endswith((b"/a-token-or-a-role", b"/container")):
                found = {
                    "AccessKeyId": "AKIDEXAMPLE",
                    "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                    "Token": "token",
                    "Expiration": "2200-01-01T00:00:00Z",
                }
                body = json.dumps({"Code": "Success", **found}).encode()
            status = b"200 OK" if self.up else b"503 Later"
            length = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
            connection.sendall(b"HTTP/1.1 %s\r\n%s%s" % (status, length, body))


@pytest.mark.parametrize("first", ["refused", "HTTP 503"])
@pytest.mark.parametrize("kind", ["container", "instance"])
def test_metadata_are_not_there_at_first(
    kind: str, first: str, endpoint_url: str, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metadata service starts after the camera; the cause is reported, no frame is lost."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0.01)
    told: list[kvs.Event] = []
    media, port = kit.Media(), kit.free_port()
    variable, path = {
        "container": ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/container"),
        "instance": ("AWS_EC2_METADATA_SERVICE_ENDPOINT", ""),
    }[kind]
    monkeypatch.setenv(variable, f"http://127.0.0.1:{port}{path}")
    servers = [] if first == "refused" else [Metadata(port)]

    def client_begins_anew() -> bool:
        errors = [event for event in told if isinstance(event, kvs.ClientErrorReported)]
        assert not any(event.fatal for event in errors), errors
        return any(event.status is S.CONTINUOUS_RETRY_RESET_FAILED for event in errors)

    try:
        with kvs.Producer(endpoint_url=endpoint_url, on_event=told.append) as producer:
            stream = producer.open_stream("door", kit.info())
            film(stream, media, 30)
            kit.until(client_begins_anew, 60)
            servers = servers or [Metadata(port)]
            servers[0].up = True
            assert stream.close(timeout=60) == kvs.FrameAccount(30, 30, 0, 0, 0)
    finally:
        for server in servers:
            server.end()
    causes = [event.detail for event in told if isinstance(event, kvs.ClientErrorReported)]
    cause = "container-role" if kind == "container" else "names a metadata service"
    assert all(cause in detail for detail in causes), causes


def test_frames_that_no_longer_fit_are_reported(kit: Any) -> None:
    """The oldest fragments are dropped; the newest are stored when the network comes."""
    port, media = kit.free_port(), kit.Media(size=40_000)
    small = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
    producer = kvs.Producer(endpoint_url=f"http://127.0.0.1:{port}", device_info=small)
    with pytest.raises(kvs.KvsError, match="20 of 60") as caught, producer:
        stream = producer.open_stream("door", kit.info())
        film(stream, media, 60)
        account = stream.account()
        assert account == kvs.FrameAccount(60, 0, 40, 0, 20)
        with local_endpoint(port=port) as endpoint:
            assert stream.close(timeout=30) == kvs.FrameAccount(60, 20, 40, 0, 0)
            kit.assert_stored(endpoint.url, "door", media.put[40:])
    assert isinstance(caught.value, kvs.BufferFull)
    assert "40 overflow" in caught.value.detail


def test_asyncio(kit: Any) -> None:
    """The same on a loop of the caller's."""
    import asyncio

    port, told, media = kit.free_port(), [], kit.Media()

    async def work() -> None:
        url = f"http://127.0.0.1:{port}"
        async with aio.Producer(endpoint_url=url, on_event=told.append) as producer:
            async with producer.open_stream("door", kit.info()) as stream:
                for frame in media.frames(20):
                    await stream.put_frame(frame)
                async with asyncio.timeout(40):
                    while not begun_anew(told):
                        await asyncio.sleep(0.05)
                from kvsproducer.endpoint import LocalEndpoint

                async with LocalEndpoint(port=port):
                    assert (await stream.close(timeout=30)).persisted == 20

    asyncio.run(work())


# --- what does not wait -------------------------------------------------------------------------
def offline_failure(kit: Any, **options: Any) -> kvs.KvsError:
    with pytest.raises(kvs.KvsError) as caught, kvs.Producer(**options) as producer:
        stream = producer.open_stream("door", kit.info(streaming_type=kvs.StreamingType.OFFLINE))
        stream.wait_ready(timeout=30)
    return caught.value


def test_an_offline_stream_fails_soon(kit: Any) -> None:
    """The waiting caller gets the cause."""
    url = f"http://127.0.0.1:{kit.free_port()}"
    error = offline_failure(kit, endpoint_url=url)
    assert error.status is S.DESCRIBE_STREAM_CALL_FAILED
    assert "127.0.0.1" in error.detail


def test_waiting_offline_put_gets_the_cause(
    endpoint_url: str, proxy: Callable[[str], Any], kit: Any
) -> None:
    """The network fails while frames are put, for longer than the put may wait."""
    link, media = proxy(endpoint_url), kit.Media(size=40_000)
    device = kvs.DeviceInfo(
        storage_info=kvs.StorageInfo(storage_size=1 << 20),
        client_info=kvs.ClientInfo(offline_buffer_availability_timeout=2.0),
    )
    producer = kvs.Producer(endpoint_url=link.url, device_info=device)
    stream = producer.open_stream("door", kit.info(streaming_type=kvs.StreamingType.OFFLINE))
    film(stream, media, 10)
    kit.until(lambda: stream.account().persisted)
    link.refuse()
    with pytest.raises(kvs.KvsError) as caught:
        film(stream, media, 100)
    assert caught.value.status is S.OPERATION_TIMED_OUT
    assert "the last call" in caught.value.detail
    assert "127.0.0.1" in caught.value.detail
    producer.close(timeout=0)


def test_waiting_for_a_network_is_bounded_and_explained(kit: Any) -> None:
    url = f"http://127.0.0.1:{kit.free_port()}"
    producer = kvs.Producer(endpoint_url=url)
    stream = producer.open_stream("door", kit.info())
    film(stream, kit.Media(), 5)
    told: list[kvs.KvsError] = []

    def explained() -> bool:
        """Once the first attempt has failed, which takes its time on a busy machine."""
        with pytest.raises(kvs.KvsError) as caught:
            stream.wait_ready(timeout=0.2)
        told.append(caught.value)
        return "127.0.0.1" in caught.value.detail

    kit.until(explained)
    assert {error.status for error in told} == {S.OPERATION_TIMED_OUT}
    began = time.monotonic()
    assert producer.close(timeout=0.2)["door"] == kvs.FrameAccount(5, 0, 5, 0, 0)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (
            Fault(on="DescribeStream", do="status", status=403, error="AccessDeniedException"),
            S.DESCRIBE_STREAM_CALL_FAILED,
        ),
        (
            Fault(on="DescribeStream", do="status", status=400, error="InvalidArgumentException"),
            S.SERVICE_CALL_INVALID_ARG_ERROR,
        ),
    ],
    ids=["access denied", "invalid argument"],
)
def test_refusal_is_not_retried(fault: Fault, status: S, kit: Any) -> None:
    """Retrying would not help."""
    from dataclasses import replace

    with local_endpoint(faults=[replace(fault, times=None)]) as endpoint:
        with pytest.raises(kvs.KvsError) as caught:
            with kvs.Producer(endpoint_url=endpoint.url) as producer:
                producer.open_stream("door", kit.info()).wait_ready(timeout=30)
    assert caught.value.status is status
    assert fault.error in caught.value.detail


def test_a_stream_that_must_exist(endpoint_url: str, kit: Any) -> None:
    with pytest.raises(kvs.KvsError) as caught:
        with kvs.Producer(endpoint_url=endpoint_url) as producer:
            info = kit.info(allow_stream_creation=False)
            producer.open_stream("door", info).wait_ready(timeout=30)
    assert caught.value.status is S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR


def test_closing_ends_wait_ready_in_another_thread(kit: Any) -> None:
    """`wait_ready` raises."""
    import threading

    url = f"http://127.0.0.1:{kit.free_port()}"
    producer = kvs.Producer(endpoint_url=url)
    stream = producer.open_stream("door", kit.info())
    told: list[kvs.KvsError] = []

    def wait() -> None:
        try:
            stream.wait_ready(timeout=60)
        except kvs.KvsError as error:
            told.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    producer.close(timeout=0)
    thread.join(20)
    assert [error.status for error in told] == [S.STREAM_BEING_SHUTDOWN]
