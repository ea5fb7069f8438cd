"""AWS IoT against a real TLS server that checks the device's certificate."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.iot import ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, IotEndpoint, answer
from tests.peers import Server

from kvsproducer import KvsError, StatusCode
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.service.clock_skew import ClockSkew
from kvsproducer.service.config import ServiceConfig
from kvsproducer.service.credentials import AwsCredentials, IotCredentials
from kvsproducer.service.credentials.expiration import parse_expiration
from kvsproducer.service.credentials.iot import read_answer
from kvsproducer.service.network import Network

S = StatusCode
END = "2023-11-14T23:13:20Z"  # an hour after NOW
NOW = 17_000_000_000_000_000


def refused(options: dict[str, Any], action: str = "fetch") -> KvsError:
    """Return the error that creating the provider, or fetching with it, raises."""
    if action == "make":
        with pytest.raises(KvsError) as caught:
            IotCredentials(**options)
        return caught.value
    provider = IotCredentials(**options)
    with pytest.raises(KvsError) as caught:
        provider.fetch()
    return caught.value


# --- the way there -------------------------------------------------------------------------------
def test_fetch_returns_credentials(iot: IotEndpoint) -> None:
    """It sends one GET with the thing's name; the lifetime is shortened."""
    iot.reply = lambda: (200, answer(expiration=END))
    found = IotCredentials(**iot.options(clock=lambda: NOW, dice=lambda sides: 0)).fetch()
    assert found == AwsCredentials(
        ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, parse_expiration(END) - 36 * TICKS_PER_SECOND
    )
    [(path, headers)] = iot.requests
    assert path == "/role-aliases/camera-role/credentials"
    assert headers["x-amzn-iot-thingname"] == "front-door-camera"
    assert headers["accept"] == "*/*"
    assert headers["user-agent"].startswith("kvsproducer/")
    assert "authorization" not in headers


def test_endpoint_with_scheme_and_alias_with_a_slash(iot: IotEndpoint) -> None:
    """A URL is accepted as a host name; a slash in the alias is escaped."""
    IotCredentials(**iot.options(endpoint=f"https://{iot.host}/", role_alias="a/../b c")).fetch()
    assert iot.requests[0][0] == "/role-aliases/a%2F..%2Fb%20c/credentials"


def test_the_environment_of_aws_s_samples(
    iot: IotEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the missing variables."""
    for name, value in iot.environment().items():
        monkeypatch.setenv(name, value)
    provider = IotCredentials.from_environment(ca=str(iot.ca))
    assert provider.fetch().access_key_id == ACCESS_KEY
    assert repr(provider) == (
        f"IotCredentials('https://{iot.host}/role-aliases/camera-role/credentials',"
        " thing_name='front-door-camera')"
    )
    monkeypatch.delenv("AWS_IOT_CORE_CERT")
    monkeypatch.setenv("AWS_IOT_CORE_THING_NAME", "")
    with pytest.raises(KvsError, match="AWS_IOT_CORE_CERT, AWS_IOT_CORE_THING_NAME") as caught:
        IotCredentials.from_environment()
    assert caught.value.status is S.INVALID_ARG


def test_changed_files_are_used(iot: IotEndpoint) -> None:
    """The next fetch uses a certificate that was renewed on disk."""
    provider = IotCredentials(**iot.options())
    iot.certificate.write_bytes(iot.wrong_certificate.read_bytes())
    with pytest.raises(KvsError) as caught:
        provider.fetch()
    assert caught.value.status is S.IOT_CREATE_LWS_CONTEXT_FAILED
    iot.private_key.write_bytes(iot.wrong_key.read_bytes())
    # With TLS 1.3 the server's reset may overtake its alert.
    assert refused(iot.options()).status in {S.IOT_FAILED, S.CURL_PERFORM_FAILED}
    assert iot.requests == []


# --- what goes wrong -----------------------------------------------------------------------------
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_that_is_not_accepted(tmp_path: Path, newest: ssl.TLSVersion) -> None:
    """The error has the server's TLS alert; no request was sent."""
    with IotEndpoint(tmp_path, newest) as iot:
        error = refused(
            iot.options(certificate=str(iot.wrong_certificate), private_key=str(iot.wrong_key))
        )
        # With TLS 1.3 the server's reset may overtake its alert.
        early = newest is ssl.TLSVersion.TLSv1_3
        assert error.status in ({S.IOT_FAILED, S.CURL_PERFORM_FAILED} if early else {S.IOT_FAILED})
        if error.status is S.IOT_FAILED:
            assert "alert unknown ca" in error.detail
            assert str(iot.wrong_certificate) in error.detail
        assert iot.requests == []


def test_a_server_that_is_not_trusted(iot: IotEndpoint) -> None:
    """The device's certificate is not sent to a server with an unknown CA."""
    error = refused(iot.options(ca=None))
    assert error.status is S.CURL_PERFORM_FAILED
    assert "certificate is not accepted: self-signed certificate" in error.detail
    assert "ca=" in error.detail
    assert isinstance(error.__cause__, Exception)
    assert iot.requests == []


@pytest.mark.parametrize("status", [301, 403, 404, 500])
def test_any_other_status_than_200(iot: IotEndpoint, status: int) -> None:
    """The error has alias and thing, which are the most frequent mistakes."""
    iot.reply = lambda: (status, b'{"message":"Access Denied"}')
    error = refused(iot.options())
    assert error.status is S.CURL_PERFORM_FAILED
    assert f"HTTP {status}" in error.detail
    assert "camera-role" in error.detail
    assert "front-door-camera" in error.detail


def test_unreachable_endpoint(iot: IotEndpoint) -> None:
    """A refused connection and an unknown host name are failed transfers."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{unused.getsockname()[1]}"
        assert refused(iot.options(endpoint=closed)).status is S.CURL_PERFORM_FAILED
    error = refused(iot.options(endpoint="credentials.iot.invalid"))
    assert error.status is S.CURL_PERFORM_FAILED
    assert "credentials.iot.invalid" in error.detail


def test_an_endpoint_that_does_not_answer(iot: IotEndpoint) -> None:
    """The request fails after the completion time-out."""
    iot.stalled.set()
    limits = {"connection_timeout": 0.3, "completion_timeout": 0.3}
    error = refused(iot.options(**limits))
    assert error.status is S.CURL_PERFORM_FAILED
    assert isinstance(error.__cause__, TimeoutError)


def test_inconsistent_time_outs_are_replaced_by_the_defaults(iot: IotEndpoint) -> None:
    """A completion time-out below the connection time-out, and 0, cannot be meant."""
    for connection, completion in ((3, 0.001), (0, 0), (0, 0.001)):
        options = iot.options(connection_timeout=connection, completion_timeout=completion)
        assert IotCredentials(**options).fetch().access_key_id == ACCESS_KEY


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", S.IOT_INVALID_RESPONSE_LENGTH),
        (b"<html>", S.INVALID_API_CALL_RETURN_JSON),
        (b"\xff\xfe", S.INVALID_API_CALL_RETURN_JSON),
        (b"[" * 9_000, S.INVALID_API_CALL_RETURN_JSON),
        (b'["credentials"]', S.INVALID_API_CALL_RETURN_JSON),
        (b'{"credentials": "none"}', S.INVALID_API_CALL_RETURN_JSON),
        (b" " * 10_001, S.INVALID_API_CALL_RETURN_JSON),
        (answer(accessKeyId="k" * 129), S.INVALID_API_CALL_RETURN_JSON),
        (answer(sessionToken="t" * 2_049), S.INVALID_API_CALL_RETURN_JSON),
        (answer(secretAccessKey=7), S.INVALID_API_CALL_RETURN_JSON),
        (answer(secretAccessKey="two\nlines"), S.INVALID_API_CALL_RETURN_JSON),
        (b"{}", S.IOT_NULL_AWS_CREDS),
        (b'{"credentials": {}}', S.IOT_NULL_AWS_CREDS),
        (answer(accessKeyId=None), S.IOT_NULL_AWS_CREDS),
        (answer(secretAccessKey=""), S.IOT_NULL_AWS_CREDS),
        (answer(sessionToken=None), S.IOT_NULL_AWS_CREDS),
        (answer(expiration=None), S.TIMESTAMP_STRING_UNRECOGNIZED_FORMAT),
        (answer(expiration="2030-01-01"), S.TIMESTAMP_STRING_UNRECOGNIZED_FORMAT),
        (answer(expiration="2030-13-01T00:00:00Z"), S.IOT_EXPIRATION_PARSING_FAILED),
        (answer(timedelta(hours=-1)), S.IOT_EXPIRATION_OCCURS_IN_PAST),
    ],
)
def test_invalid_responses(iot: IotEndpoint, body: bytes, status: StatusCode) -> None:
    """Each has its status, and no error shows the response."""
    iot.reply = lambda: (200, body)
    error = refused(iot.options())
    assert error.status is status
    for secret in (SECRET_KEY, SESSION_TOKEN, "two"):
        assert secret not in f"{error!r} {error} {error.__cause__!r} {error.__context__!r}"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"role_alias": "a" * 129}, S.MAX_ROLE_ALIAS_LEN_EXCEEDED),
        ({"thing_name": "t" * 129}, S.MAX_IOT_THING_NAME_LENGTH),
        ({"endpoint": "e" * 9_990}, S.IOT_INVALID_URI_LEN),
        ({"endpoint": "http://127.0.0.1"}, S.INVALID_ARG),
        ({"endpoint": "user@127.0.0.1"}, S.INVALID_ARG),
        ({"endpoint": "127.0.0.1:70000"}, S.INVALID_ARG),
        ({"endpoint": "127.0.0.1?x="}, S.INVALID_ARG),
        ({"endpoint": "credentials iot"}, S.INVALID_ARG),
        ({"endpoint": "credentials_iot"}, S.INVALID_ARG),
        ({"thing_name": "a\r\nb: c"}, S.INVALID_ARG),
        ({"role_alias": "camera-\udcff"}, S.INVALID_ARG),
        ({"role_alias": ""}, S.INVALID_ARG),
        ({"thing_name": None}, S.NULL_ARG),
        ({"certificate": "c" * 4_097}, S.PATH_TOO_LONG),
        ({"ca": "c" * 4_097}, S.PATH_TOO_LONG),
        ({"private_key": "/nonexistent/key"}, S.DIRECTORY_ENTRY_STAT_ERROR),
        ({"certificate": os.devnull}, S.IOT_CREATE_LWS_CONTEXT_FAILED),
        ({"ca": os.devnull}, S.INVALID_CA_CERT_PATH),
    ],
)
def test_arguments_are_checked_at_once(
    iot: IotEndpoint, changes: dict[str, object], status: StatusCode
) -> None:
    """They are checked when the provider is created, without the network."""
    assert refused(iot.options(**changes), "make").status is status
    assert iot.requests == []


def test_128_characters_are_allowed(iot: IotEndpoint) -> None:
    """The limits are those of AWS's producer."""
    IotCredentials(**iot.options(role_alias="a" * 128, thing_name="t" * 128)).fetch()


def test_a_key_of_another_certificate_and_one_with_a_password(
    iot: IotEndpoint, tmp_path: Path
) -> None:
    """Both are refused at once, and OpenSSL does not ask for a password."""
    other = iot.options(private_key=str(iot.wrong_key))
    assert refused(other, "make").status is S.IOT_CREATE_LWS_CONTEXT_FAILED
    locked = tmp_path / "locked.key"
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = serialization.load_pem_private_key(iot.private_key.read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    error = refused(iot.options(private_key=str(locked)), "make")
    assert error.status is S.IOT_CREATE_LWS_CONTEXT_FAILED
    assert "password" in error.detail


# --- with a producer -----------------------------------------------------------------------------
def test_the_service_s_time_counts_with_a_producer(iot: IotEndpoint) -> None:
    """With the service's time known, a wrong clock does not make credentials look expired."""
    iot.reply = lambda: (200, answer(expiration=END))
    ahead = NOW + 7200 * TICKS_PER_SECOND
    provider = IotCredentials(**iot.options(clock=lambda: ahead, dice=lambda sides: 0))
    network, skew = Network(ServiceConfig(), True), ClockSkew()
    with pytest.raises(KvsError) as caught:
        provider.fetch_in(network, skew)
    assert caught.value.status is S.IOT_EXPIRATION_OCCURS_IN_PAST
    skew.ticks = -7200 * TICKS_PER_SECOND
    end = parse_expiration(END) - 36 * TICKS_PER_SECOND
    assert provider.fetch_in(network, skew).expiration == end


def test_the_producer_s_network(iot: IotEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fetch_in` uses the producer's proxy, IP family and user agent, `fetch` the environment."""
    proxy, asked = PlainProxy(), IotCredentials(**iot.options())
    try:
        place = {"https": f"http://user:pass@127.0.0.1:{proxy.port}"}
        config = ServiceConfig(proxies=place, user_agent_name="gate-camera")
        asked.fetch_in(Network(config, True), ClockSkew())
        assert proxy.connections == 1
        assert iot.requests[-1][1]["user-agent"].startswith("gate-camera/")
        assert "proxy-authorization" not in iot.requests[-1][1]
        monkeypatch.setenv("HTTPS_PROXY", place["https"])
        asked.fetch()
        assert proxy.connections == 2
        asked.fetch_in(Network(ServiceConfig(proxies={}), True), ClockSkew())
        assert proxy.connections == 2
    finally:
        proxy.end()
    with pytest.raises(KvsError, match="is not an ipv6 address"):
        asked.fetch_in(Network(ServiceConfig(ip_family="ipv6", proxies={}), True), ClockSkew())


class PlainProxy(Server):
    """A proxy that connects to the requested host and passes on the bytes."""

    def talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(20)
            host, port = connection.recv(65_536).split()[1].decode().split(":")
            with socket.create_connection((host, int(port)), 20) as upstream:
                connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                back = threading.Thread(target=hand_on, args=(upstream, connection))
                back.start()
                hand_on(connection, upstream)
                back.join()


def hand_on(source: socket.socket, sink: socket.socket) -> None:
    """Copy all bytes, then close both sockets."""
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


# --- the shortened life --------------------------------------------------------------------------
def test_life_is_shortened_by_1_to_20_percent() -> None:
    """The dice choose a whole number of percent with equal probability."""
    asked: list[int] = []

    def dice(sides: int) -> int:
        asked.append(sides)
        return len(asked) - 1

    whole = parse_expiration(END) - NOW
    for percent in range(1, 21):
        found = read_answer(answer(expiration=END), NOW, dice)
        assert found.expiration is not None
        assert (found.expiration - NOW) * 100 == whole * (100 - percent)
    assert set(asked) == {20}


def test_it_is_a_provider_for_threads(iot: IotEndpoint) -> None:
    """Several threads may fetch at the same time, also while a loop runs in another thread."""
    provider = IotCredentials(**iot.options())
    found: list[AwsCredentials] = []
    threads = [threading.Thread(target=lambda: found.append(provider.fetch())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    async def beside_a_loop() -> AwsCredentials:
        return await asyncio.to_thread(provider.fetch)

    found.append(asyncio.run(beside_a_loop()))
    assert [one.access_key_id for one in found] == [ACCESS_KEY] * 4
    assert json.loads(answer())["credentials"]["accessKeyId"] == ACCESS_KEY
