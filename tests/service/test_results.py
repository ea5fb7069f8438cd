"""Failures become results of the state machines, with a message for the user.

The table has a row for each cause. A local server that misbehaves in that way produces it, for
`get_media` and for the producer.
"""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import create_server, socket

import aiohttp
import pytest
import trustme
from tests.peers import Server
from tests.waiting import until

import kvsproducer as kvs
from kvsproducer import (
    ConnectionFailed,
    KvsError,
    NotAuthorized,
    ServiceError,
    StreamNotFound,
    Throttled,
    TimedOut,
)
from kvsproducer.service.loop import SharedLoop
from kvsproducer.service.results import LIMITED, UNKNOWN, failure_of, failure_of_answer

Peer = Callable[[socket], object]
S = kvs.StatusCode


class Misbehaving(Server):
    """A server that reads the head of a request and passes the connection to `peer`."""

    def __init__(self, peer: Peer, tls: ssl.SSLContext | None) -> None:
        self._peer, self._tls = peer, tls
        super().__init__()
        if tls is not None:
            self.url = self.url.replace("http", "https")

    def talk(self, connection: socket) -> None:
        connection.settimeout(5)
        with suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            connection.recv(65_536)
            self._peer(connection)
        connection.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Misbehaving]]:
    """Return a function `serve(peer, tls=None)` that starts a server with that peer."""
    made: list[Misbehaving] = []

    def make(peer: Peer, tls: ssl.SSLContext | None = None) -> Misbehaving:
        made.append(Misbehaving(peer, tls))
        return made[-1]

    yield make
    for one in made:
        one.end()


def says(status: str, body: bytes = b"", **headers: str) -> Peer:
    """Return a peer that sends a valid response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return lambda connection: connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)


def refuses(status: str, name: str, message: str = "why") -> Peer:
    """Return a peer that refuses like the service."""
    return says(status, b'{"Message":"%s"}' % message.encode(), x_amzn_ErrorType=name)


def no(name: str, status: int = 400) -> Peer:
    """Return a peer that refuses with the exception of that name, without its suffix."""
    return refuses(f"{status} No", f"{name}Exception")


def read(url: str, verify: bool | str = True) -> kvs.KvsError:
    """Return the error that `get_media` raises."""
    with pytest.raises(kvs.KvsError) as caught:
        next(kvs.get_media("door", endpoint_url=url, verify=verify))
    assert caught.value.stream == "door"
    return caught.value


UNREACHED = S.GET_STREAMING_ENDPOINT_CALL_FAILED
NO_JSON = S.INVALID_API_CALL_RETURN_JSON
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"
BAD_BYTES = says("400 Bad", b'{"Message": "\xff"}', x_amzn_ErrorType="InvalidArgumentException")
MISSING = S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR
LIMIT, DENIED = S.SERVICE_CALL_CLIENT_LIMIT_ERROR, S.SERVICE_CALL_NOT_AUTHORIZED_ERROR
TABLE: list[tuple[str, Peer, kvs.StatusCode, str]] = [
    ("throttled", no("ClientLimitExceeded"), LIMIT, "ClientLimit"),
    ("throttled-429", says("429 Slow down"), LIMIT, "HTTP 429"),
    ("front-end-throttled", no("Throttling"), LIMIT, "Throttling"),
    ("connections", no("ConnectionLimitExceeded"), LIMIT, "Connection"),
    ("account-limit", no("AccountStreamLimitExceeded"), S.SERVICE_CALL_STREAM_LIMIT_ERROR, ""),
    ("device-limit", no("DeviceStreamLimitExceeded"), S.SERVICE_CALL_DEVICE_LIMIT_ERROR, "Device"),
    ("not-authorized", no("NotAuthorized", 401), DENIED, "NotAuthorized"),
    ("access-denied", no("AccessDenied", 403), DENIED, "AccessDenied"),
    ("expired", no("ExpiredToken", 403), DENIED, "ExpiredToken"),
    ("bare-403", says("403 No"), DENIED, "HTTP 403"),
    ("not-found", no("ResourceNotFound", 404), MISSING, "reading does not create streams"),
    ("in-use", no("ResourceInUse"), S.SERVICE_CALL_RESOURCE_IN_USE_ERROR, "InUse"),
    ("device", no("InvalidDevice"), S.SERVICE_CALL_DEVICE_NOT_FOND_ERROR, "InvalidDevice"),
    ("argument", no("InvalidArgument"), S.SERVICE_CALL_INVALID_ARG_ERROR, "InvalidArgument"),
    ("broken-service", says("500 Oops"), UNREACHED, "HTTP 500"),
    ("overloaded", says("503 Later"), UNREACHED, "HTTP 503"),
    ("gateway-time-out", says("504 Later"), UNREACHED, "HTTP 504"),
    ("portal", says("200 OK", b"<html>log in</html>"), NO_JSON, "a JSON object: '<html>log in"),
    ("list", says("200 OK", b"[]"), NO_JSON, "return a JSON object: '[]'"),
    ("deep", says("200 OK", b"[" * 100_000), NO_JSON, "return a JSON object"),
    ("empty", says("200 OK"), NO_JSON, "no DataEndpoint"),
    ("nothing-in-it", says("200 OK", b"{}"), NO_JSON, "no DataEndpoint"),
    ("wrong-type", says("200 OK", b'{"DataEndpoint": 5}'), NO_JSON, "no DataEndpoint"),
    ("huge", says("200 OK", b'{"DataEndpoint": "%s"}' % bytes(5 << 20)), NO_JSON, "more than"),
    ("hangs-up", lambda connection: None, UNREACHED, "closed the connection"),
    ("breaks-off", lambda c: c.sendall(CUT), UNREACHED, "response is incomplete"),
    ("no-http", lambda c: c.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), UNREACHED, "SSH"),
    ("redirects", says("301 Moved", Location="http://127.0.0.1:1/"), UNREACHED, "HTTP 301"),
    ("gateway", says("502 Bad", b"<html>no upstream</html>"), UNREACHED, "HTTP 502 '<html>no up"),
    ("refusal-list", says("400 Bad", b"[1]"), UNREACHED, "HTTP 400 '[1]'"),
    ("refusal-deep", says("400 Bad", b"[" * 100_000), UNREACHED, "HTTP 400 '[[["),
    ("refusal-types", says("400 Bad", b'{"message": 5, "code": [1]}'), UNREACHED, "no message"),
    ("refusal-bytes", BAD_BYTES, S.SERVICE_CALL_INVALID_ARG_ERROR, "InvalidArgumentException: '{"),
    ("plain-proxy", says("407 Who"), UNREACHED, "requires a user and a password (HTTP 407)"),
    ("compressed", says("200 OK", gzip.compress(bytes(99)), Content_Encoding="gzip"), NO_JSON, ""),
    *(
        (f"endpoint-{n}", says("200 OK", b'{"DataEndpoint": "%s"}' % url), NO_JSON, "is not a URL")
        for n, url in enumerate(
            (b"file:///etc/passwd", b"//h", b"http://a b", b"http://h:99999", b"http://u:p@h", b" ")
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("peer", "status", "text"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_get_media_raises_the_status_of_each_cause(
    serve: Callable[..., Misbehaving], peer: Peer, status: kvs.StatusCode, text: str
) -> None:
    """Each cause has its status, and the message names it."""
    error = read(serve(peer).url)
    assert (error.status, text in error.detail) == (status, True), error
    assert "STATUS_" not in error.detail


def test_long_message_is_cut(serve: Callable[..., Misbehaving]) -> None:
    """It must fit into a log line and an event."""
    error = read(serve(refuses("400 Bad", "InvalidArgumentException", "m" * 100_000)).url)
    assert 500 < len(error.detail) < 600


def test_no_redirect_is_followed(serve: Callable[..., Misbehaving], info: kvs.StreamInfo) -> None:
    """Neither calls nor media: the session token would be sent to the other host."""
    elsewhere = serve(says("200 OK", b"{}"))
    media = serve(says("307 Moved", Location=f"{elsewhere.url}/there"))
    known = b'{"StreamInfo": {"StreamARN": "arn"}, "DataEndpoint": "%s"}' % media.url.encode()
    control = serve(says("200 OK", known))
    with pytest.raises(kvs.KvsError, match="HTTP 307"):
        next(kvs.get_media("door", endpoint_url=control.url))
    producer = kvs.Producer(endpoint_url=control.url)
    try:
        producer.open_stream("door", info).put_frame(kvs.Frame(b"x", kvs.now(), key_frame=True))
        until(lambda: media.connections >= 3)
    finally:
        producer.close(timeout=0)
    assert elsewhere.connections == 0


def test_refused_connection_is_explained() -> None:
    """The error has the address, the reason and what to check, and is a ConnectionError."""
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = read(f"http://127.0.0.1:{port}")
    assert error.status is UNREACHED
    assert isinstance(error, ConnectionError)
    assert f"could not connect to http://127.0.0.1:{port}: Connection refused" in error.detail
    assert "check endpoint_url" in error.detail


def test_unknown_host_name_is_reported() -> None:
    """The message has the name; `.invalid` never resolves (RFC 6761)."""
    error = read("http://kinesisvideo.invalid:8080")
    assert error.status is UNREACHED
    assert "http://kinesisvideo.invalid:8080: the name cannot be resolved" in error.detail


def service_limits(connection_s: int, completion_s: int) -> kvs.DeviceInfo:
    return kvs.DeviceInfo(
        client_info=kvs.ClientInfo(
            service_call_connection_timeout=connection_s,
            service_call_completion_timeout=completion_s,
        )
    )


def drips(server: list[Server]) -> Peer:
    """Return a peer that sends one byte after the other without an end."""

    def drip(connection: socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not server[0].ended.wait(0.05):
            connection.sendall(b"{")

    return drip


@pytest.mark.parametrize("kind", ["silent", "dripping"])
def test_completion_has_a_limit(
    serve: Callable[..., Misbehaving], info: kvs.StreamInfo, kind: str
) -> None:
    """The limit of ClientInfo is for the whole response; single bytes do not extend it."""
    servers: list[Server] = []
    silent: Peer = lambda _: servers[0].ended.wait(30)  # noqa: E731
    servers.append(serve(silent if kind == "silent" else drips(servers)))
    producer = kvs.Producer(endpoint_url=servers[0].url, device_info=service_limits(1, 1))
    try:
        stream = producer.open_stream("door", info)
        said, deadline = "", time.monotonic() + 30
        while "did not answer within 1 s" not in said:
            assert time.monotonic() < deadline, said
            with pytest.raises(kvs.KvsError) as caught:
                stream.wait_ready(timeout=0.5)
            said = str(caught.value)
    finally:
        began = time.monotonic()
        producer.close(timeout=0)
    assert time.monotonic() - began < 10


def first_report(
    url: str, info: kvs.StreamInfo, verify: bool | str = True
) -> kvs.StreamErrorReported:
    """Return the first error that a producer reports for a stream of that service."""
    seen: list[kvs.StreamErrorReported] = []
    reported = threading.Event()

    def listen(event: kvs.Event) -> None:
        if isinstance(event, kvs.StreamErrorReported):
            seen.append(event)
            reported.set()

    producer = kvs.Producer(endpoint_url=url, on_event=listen)
    try:
        producer.open_stream("door", info)
        assert reported.wait(20)
    finally:
        producer.close(timeout=0)
    return seen[0]


@pytest.mark.parametrize(
    ("peer", "status", "fatal"),
    [
        (says("200 OK", b"<html>log in</html>"), NO_JSON, False),
        (says("200 OK", b"{}"), S.INVALID_DESCRIBE_STREAM_RETURN_JSON, False),
        (
            says("200 OK", b'{"StreamInfo": {"Status": "ACTIVE", "StreamARN": 5}}'),
            S.INVALID_DESCRIBE_STREAM_RETURN_JSON,
            False,
        ),
        (says("200 OK", b'{"StreamInfo": [1]}'), S.INVALID_DESCRIBE_STREAM_RETURN_JSON, False),
        (
            says("200 OK", b'{"StreamInfo": {"CreationTime": "soon"}}'),
            S.INVALID_DESCRIBE_STREAM_RETURN_JSON,
            False,
        ),
        (
            says("200 OK", b'{"StreamInfo": {"Status": "%s"}}' % (b"A" * 33)),
            NO_JSON,
            False,
        ),
        (
            refuses("400 Bad", "ClientLimitExceededException"),
            S.SERVICE_CALL_CLIENT_LIMIT_ERROR,
            False,
        ),
        (no("InvalidArgument"), S.SERVICE_CALL_INVALID_ARG_ERROR, True),
    ],
    ids=["portal", "no-description", "arn", "list", "time", "huge-field", "throttled", "argument"],
)
def test_producer_reports_the_status_of_each_cause(
    serve: Callable[..., Misbehaving],
    info: kvs.StreamInfo,
    peer: Peer,
    status: kvs.StatusCode,
    fatal: bool,
) -> None:
    """The error has its own status; causes that may disappear are retried."""
    report = first_report(serve(peer).url, info)
    assert (report.status, report.fatal) == (status, fatal), report


# --- TLS --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def bundle(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


FOUND_NOTHING = no("ResourceNotFound", 404)


def test_tls_with_an_own_authority(
    serve: Callable[..., Misbehaving], authority: trustme.CA, bundle: str
) -> None:
    """Only a CA bundle with the server's authority is accepted."""
    good = serve(FOUND_NOTHING, server_context(authority, "127.0.0.1"))
    assert read(good.url, bundle).status is S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR
    unknown = read(good.url)
    assert unknown.status is S.SERVICE_CALL_NOT_AUTHORIZED_ERROR
    assert f"the certificate of {good.url} is not accepted" in unknown.detail
    assert "verify=" in unknown.detail
    assert read(good.url, verify=False).status is S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR


def test_tls_checks_the_host(
    serve: Callable[..., Misbehaving], authority: trustme.CA, bundle: str
) -> None:
    """A certificate for another host is refused."""
    other = serve(FOUND_NOTHING, server_context(authority, "kinesisvideo.example"))
    error = read(other.url, bundle)
    assert error.status is S.SERVICE_CALL_NOT_AUTHORIZED_ERROR
    assert "127.0.0.1" in error.detail


@pytest.mark.parametrize(
    ("dates", "text"), [((2, 9), "certificate is not yet valid"), ((-9, -2), "has expired")]
)
def test_certificate_outside_its_dates_is_retried(
    serve: Callable[..., Misbehaving],
    authority: trustme.CA,
    bundle: str,
    dates: tuple[int, int],
    text: str,
) -> None:
    """The clock may be wrong, so the message has its time, and the call is retried."""
    begins, ends = (datetime.now(UTC) + timedelta(days=days) for days in dates)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = authority.issue_cert("127.0.0.1", not_before=begins, not_after=ends)
    issued.configure_cert(context)
    error = read(serve(FOUND_NOTHING, context).url, bundle)
    assert error.status is UNREACHED, error
    assert text in error.detail
    assert "this machine's clock says 2" in error.detail


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_tls_1_1_is_refused(
    serve: Callable[..., Misbehaving], authority: trustme.CA, bundle: str
) -> None:
    """A server without TLS 1.2 is refused, with and without verification."""
    old = server_context(authority, "127.0.0.1")
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1_1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    server = serve(FOUND_NOTHING, old)
    for verify in (bundle, False):
        error = read(server.url, verify)
        assert error.status is S.SERVICE_CALL_NOT_AUTHORIZED_ERROR
        assert "TLS 1.2 or newer" in error.detail


def test_https_to_a_plain_port(serve: Callable[..., Misbehaving], bundle: str) -> None:
    """A server without TLS is reported as a TLS failure."""
    server = serve(lambda c: c.sendall(b"HTTP/1.1 400 Bad\r\n\r\n"))
    error = read(server.url.replace("http:", "https:"), bundle)
    assert error.status is S.SERVICE_CALL_NOT_AUTHORIZED_ERROR
    assert "TLS failure" in error.detail


# --- the functions ----------------------------------------------------------------------------


def test_names_of_other_namespaces_and_bodies() -> None:
    """The exception's name may come with a namespace and a URL."""
    url = "https://kinesisvideo.amazonaws.com/doc/2017-09-30/"
    assert failure_of_answer(404, f"ResourceNotFoundException:{url}", "").result == 404
    assert failure_of_answer(400, "com.amazonaws#ResourceInUseException", "").result == 10003
    assert failure_of_answer(400, "", "").result == UNKNOWN


def test_a_throttled_call_is_tried_again() -> None:
    """AWS's client would fail the stream with this result, but its producer never returns it."""
    failure = failure_of_answer(400, "ClientLimitExceededException", "slow down")
    assert failure.result == LIMITED
    assert failure.of_call().result == 429
    assert failure.of_call().status is S.SERVICE_CALL_CLIENT_LIMIT_ERROR
    assert failure.of_call().error_class is Throttled


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (500, ServiceError),
        (503, ServiceError),
        (511, ServiceError),
        (504, TimedOut),
        (401, NotAuthorized),
        (403, NotAuthorized),
        (404, StreamNotFound),
        (429, Throttled),
    ],
)
def test_exception_class_of_an_http_status(status: int, cls: type[KvsError]) -> None:
    """HTTP 5xx is a fault of the service, whose status is that of a lost connection."""
    assert failure_of_answer(status, "", "no").error_class is cls
    assert failure_of(ConnectionResetError(104, "reset")).error_class is ConnectionFailed


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (TimeoutError("slow"), 599),
        (ConnectionResetError(104, "reset"), UNKNOWN),
        (RuntimeError("what"), UNKNOWN),
    ],
)
def test_failures_without_an_answer(error: Exception, result: int) -> None:
    """Exceptions of any kind have a result."""
    failure = failure_of(error)
    assert failure.result == result
    assert failure.detail


def test_no_sockets_left(endpoint_url: str) -> None:
    """The error says that file descriptors are missing, not that the service is unreachable."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    kvs.list_fragments  # noqa: B018  its modules are loaded while files can be opened
    with pytest.raises(kvs.KvsError):
        next(kvs.get_media("door", endpoint_url=endpoint_url))
    SharedLoop.acquire()
    held = [socket() for _ in range(2)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[-1].fileno() + 1, hard))
        while True:
            held.append(socket())
    except OSError:
        pass
    try:
        error = failure_of_reading(endpoint_url)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for one in held:
            one.close()
        SharedLoop.release()
    assert error.status is S.CURL_INIT_FAILED, error


def failure_of_reading(url: str) -> kvs.KvsError:
    with pytest.raises(kvs.KvsError) as caught:
        kvs.list_fragments("door", endpoint_url=url)
    return caught.value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"Message": "no"}', "no"),
        ('{"message": "no", "Message": "yes"}', "no"),
        ('{"Message": 3}', '{"Message": 3}'),
        ('["no"]', '["no"]'),
        ("[" * 100_000, "[" * 500 + "..."),
        ("<html>", "<html>"),
    ],
)
def test_refusal_has_the_message_of_its_json(body: str, message: str) -> None:
    """PutMedia and GetMedia refuse with JSON; the error has its message."""
    assert failure_of_answer(403, "AccessDeniedException", body).detail == (
        f"HTTP 403 AccessDeniedException: {message}"
    )


@pytest.mark.parametrize(
    ("cause", "reason"),
    [(ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer")]
    + [(cause, "its end is missing") for cause in (None, ValueError("chunk"))],
)
def test_incomplete_response_is_explained(cause: Exception | None, reason: str) -> None:
    """The message does not have the words of the HTTP parser."""
    error = aiohttp.ClientPayloadError("Response payload is not completed: <TransferEncodingError>")
    error.__cause__ = cause
    assert failure_of(error).detail == f"the service's response is incomplete: {reason}"
