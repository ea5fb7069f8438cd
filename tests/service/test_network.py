"""Connections: proxies, address families, and a TLS library that does not work."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import AF_INET6, create_connection, has_ipv6, socket

import pytest
import trustme
from tests.endpoints import QUICK
from tests.peers import Server, pipe

import kvsproducer as kvs
from kvsproducer.endpoint import LocalEndpoint, local_endpoint
from kvsproducer.service.network import Network

Frames = Callable[[int], Iterator[kvs.Frame]]


class Proxy(Server):
    """A forward proxy: CONNECT for https, whole requests for http."""

    def __init__(self, reply: bytes = b"HTTP/1.1 200 Connected\r\n\r\n") -> None:
        self.heads: list[str] = []
        self._reply = reply
        super().__init__()
        self.place = f"127.0.0.1:{self.port}"

    def talk(self, client: socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                part = client.recv(65_536)
                if not part:
                    return
                head += part
            self._note(head)
            method, target, _ = self.heads[-1].split(" ", 2)
            place = target if method == "CONNECT" else target.split("/")[2]
            if not self._reply.startswith(b"HTTP/1.1 200"):
                client.sendall(self._reply)
                return
            host, _, port = place.rpartition(":")
            with create_connection((host, int(port))) as upstream:
                if method == "CONNECT":
                    client.sendall(self._reply)
                else:
                    upstream.sendall(head)
                back = threading.Thread(target=pipe, args=(upstream, client))
                back.start()
                pipe(client, upstream, self._note)
                back.join()

    def _note(self, data: bytes) -> None:
        """Keep the head of a request; the client begins each request with a new write."""
        if data.startswith((b"CONNECT ", b"POST ")):
            self.heads.append(data.partition(b"\r\n\r\n")[0].decode())


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.end()


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[LocalEndpoint, str]]:
    """Yield an endpoint over TLS and the CA bundle for it."""
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with local_endpoint(ssl_context=context, limits=QUICK) as endpoint:
        yield endpoint, str(tmp_path / "ca.pem")


def put_and_get(
    url: str,
    bundle: str | bool,
    info: kvs.StreamInfo,
    frames: Frames,
    config: kvs.ServiceConfig | None,
) -> None:
    """Put media and read it back."""
    with kvs.Producer(endpoint_url=url, verify=bundle, config=config) as producer:
        with producer.open_stream("door", info) as stream:
            for frame in frames(10):
                stream.put_frame(frame)
    read = kvs.get_media("door", endpoint_url=url, verify=bundle, config=config)
    assert sum(len(fragment.frames) for fragment in read) == 10


@pytest.mark.parametrize("way", ["config", "environment"])
def test_https_goes_through_the_proxy(
    way: str,
    proxy: Proxy,
    secure: tuple[LocalEndpoint, str],
    info: kvs.StreamInfo,
    frames: Frames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All requests use the proxy and its password; TLS is end to end."""
    endpoint, bundle = secure
    url, config = f"http://user:pass%21@{proxy.place}", None
    if way == "config":
        config = kvs.ServiceConfig(proxies={"https": url})
    else:
        monkeypatch.setenv("HTTPS_PROXY", url)
    put_and_get(endpoint.url, bundle, info, frames, config)
    target = endpoint.url.removeprefix("https://")
    assert {head.split("\r\n")[0] for head in proxy.heads} == {f"CONNECT {target} HTTP/1.1"}
    assert len(proxy.heads) == 4  # the producer's calls, PutMedia; the reader's call, GetMedia
    credentials = base64.b64encode(b"user:pass!").decode()
    assert all(f"Proxy-Authorization: Basic {credentials}" in head for head in proxy.heads)


def test_no_proxy_excludes_hosts(
    proxy: Proxy, secure: tuple[LocalEndpoint, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_PROXY and an empty ServiceConfig.proxies bypass the proxy."""
    endpoint, bundle = secure
    monkeypatch.setenv("HTTPS_PROXY", proxy.place)
    for config in (None, kvs.ServiceConfig(proxies={})):
        if config is None:
            monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
        else:
            monkeypatch.delenv("NO_PROXY")
        with pytest.raises(LookupError):
            next(kvs.get_media("door", endpoint_url=endpoint.url, verify=bundle, config=config))
    assert proxy.heads == []
    with pytest.raises(LookupError):
        next(kvs.get_media("door", endpoint_url=endpoint.url, verify=bundle))
    assert len(proxy.heads) == 1


def test_http_goes_through_its_own_proxy(
    proxy: Proxy, endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """The request line has the whole URL."""
    config = kvs.ServiceConfig(proxies={"http": f"http://{proxy.place}"})
    with pytest.raises(LookupError):
        next(kvs.get_media("door", endpoint_url=endpoint_url, config=config))
    assert proxy.heads[0].startswith(f"POST {endpoint_url}/getDataEndpoint HTTP/1.1")


def test_a_proxy_that_refuses_or_is_not_there(secure: tuple[LocalEndpoint, str]) -> None:
    """The error names the proxy and does not show its password."""
    endpoint, bundle = secure
    refusing = Proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    try:
        for place, text in (
            (refusing.place, "the proxy refused to connect to the service: HTTP 407"),
            ("127.0.0.1:9", "could not connect to the proxy: Connection refused"),
        ):
            config = kvs.ServiceConfig(proxies={"https": f"http://user:hunter2@{place}"})
            with pytest.raises(ConnectionError, match=text) as caught:
                next(kvs.get_media("door", endpoint_url=endpoint.url, verify=bundle, config=config))
            assert "hunter2" not in str(caught.value)
    finally:
        refusing.end()


def test_every_request_has_the_user_agent_and_extra_headers(
    proxy: Proxy, endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """Calls and media requests have them; they are not signed."""
    config = kvs.ServiceConfig(
        user_agent_name="gate-camera",
        user_agent_extra="site/7",
        extra_headers={"X-Gateway-Key": "k3y"},
        proxies={"http": f"http://{proxy.place}"},
    )
    with kvs.Producer(endpoint_url=endpoint_url, config=config) as producer:
        with producer.open_stream("door", info) as stream:
            for frame in frames(5):
                stream.put_frame(frame)
    assert {head.split(" ")[1].rpartition("/")[2] for head in proxy.heads} == {
        "describeStream",
        "createStream",
        "getDataEndpoint",
        "putMedia",
    }
    for head in proxy.heads:
        assert "User-Agent: gate-camera/" in head
        assert " site/7\r\n" in head
        assert "X-Gateway-Key: k3y" in head
        signed = head.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        assert not {"user-agent", "x-gateway-key", "connection"} & set(signed)


# --- address families -------------------------------------------------------------------------


def listens_on_ipv6() -> bool:
    try:
        with socket(AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(
    not (has_ipv6 and listens_on_ipv6()), reason="this machine has no IPv6 loopback"
)


def resolves_to_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a host name resolve to an address in each family."""
    import socket as module

    original = module.getaddrinfo

    def both(host: str, port: object, family: int = 0, *rest: object, **named: object) -> object:
        if host != "both.test":
            return original(host, port, family, *rest, **named)  # type: ignore[arg-type]
        found = []
        for kind, address in ((module.AF_INET6, "::1"), (module.AF_INET, "127.0.0.1")):
            if family in (0, kind):
                found += original(address, port, kind, *rest, **named)  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(module, "getaddrinfo", both)


@needs_ipv6
@pytest.mark.parametrize("way", ["config", "environment"])
@pytest.mark.parametrize(("family", "host"), [("ipv4", "127.0.0.1"), ("ipv6", "::1")])
def test_only_one_family_is_used(
    way: str,
    family: str,
    host: str,
    info: kvs.StreamInfo,
    frames: Frames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Put and get use the allowed family of a name that has both."""
    resolves_to_both(monkeypatch)
    config = kvs.ServiceConfig(ip_family=family) if way == "config" else None
    if config is None:
        monkeypatch.setenv(f"AWS_KVS_USE_{family.upper()}", "TRUE")
    other = "::1" if family == "ipv4" else "127.0.0.1"
    with local_endpoint(host=host, limits=QUICK) as endpoint:
        port = int(endpoint.url.rpartition(":")[2])
        put_and_get(f"http://both.test:{port}", True, info, frames, config)
    with local_endpoint(host=other, limits=QUICK) as endpoint:
        port = int(endpoint.url.rpartition(":")[2])
        with pytest.raises(ConnectionError):
            kvs.list_fragments("door", endpoint_url=f"http://both.test:{port}", config=config)


def test_an_address_of_the_other_family_is_refused(endpoint_url: str) -> None:
    """The error comes without an attempt to connect."""
    config = kvs.ServiceConfig(ip_family="ipv6")
    with pytest.raises(kvs.KvsError, match=r"127\.0\.0\.1 is not an ipv6 address") as caught:
        kvs.list_fragments("door", endpoint_url=endpoint_url, config=config)
    assert caught.value.status is kvs.StatusCode.INVALID_ARG


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({}, None),
        ({"AWS_KVS_USE_IPV4": "true"}, "ipv4"),
        ({"AWS_KVS_USE_IPV6": "1"}, "ipv6"),
        ({"AWS_KVS_USE_IPV6": "false"}, None),
        ({"AWS_KVS_USE_IPV4": "1", "AWS_KVS_USE_IPV6": "1"}, None),
    ],
)
def test_switches_of_the_environment(
    names: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables are those of the C producer; both together allow both families."""
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert Network(kvs.ServiceConfig(), True).ip_family == expected
    assert Network(kvs.ServiceConfig(ip_family="ipv4"), True).ip_family == "ipv4"


# --- set-up -----------------------------------------------------------------------------------

NO_PROVIDER = """
openssl_conf = conf
[conf]
providers = providers
[providers]
null = null
[null]
activate = 1
"""


def test_a_tls_library_that_cannot_be_set_up(tmp_path: Path) -> None:
    """With an OpenSSL without providers the error is CURL_LIBRARY_INIT_FAILED."""
    (tmp_path / "openssl.cnf").write_text(NO_PROVIDER)
    code = """if True:
        import kvsproducer as kvs
        try:
            kvs.list_fragments("door", endpoint_url="https://127.0.0.1:9")
        except kvs.KvsError as error:
            print(error.status.name)
    """
    kept = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "OPENSSL_CONF": str(tmp_path / "openssl.cnf"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    if "NOT_AUTHORIZED" in done.stdout or "CALL_FAILED" in done.stdout:
        pytest.skip("this Python's OpenSSL does not read OPENSSL_CONF")
    assert done.stdout.strip() == "CURL_LIBRARY_INIT_FAILED", done.stderr
