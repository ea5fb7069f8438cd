"""How connections are made: address family, proxy, trusted certificates, User-Agent.

There is one `Network` for each `Service`. The control plane, PutMedia and GetMedia all connect
through it, with aiohttp. PutMedia and GetMedia have a session and a connection for each request. A
shared connector would block upload 101 (its limit is 100 connections). Separate sockets can be shut
down when the remote host stops reading. Control-plane calls share their connections (`exchange`).

No request follows a redirect, because that would send the session token to another host. No request
asks for compression and no response is decompressed, because a small response could fill the
memory. AWS_KVS_USE_IPV4 and AWS_KVS_USE_IPV6 are variables of the C producer.

After a failure the core delays the next attempt, by up to 20 s after several failures. The delay
reduces the load on an overloaded service. But if this machine has no route (the cable is out, the
modem is connecting), each second of delay costs frames. So `pause` looks for a route twice a second
while there is none. When it finds one, it ends after a random part of a second, because all cameras
of a site get their route back at the same moment. The check sends nothing: it reads the kernel's
routing table. If there is a route but packets are lost, `pause` waits for the whole delay.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import secrets
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kvsproducer.service.config import IpFamily, ServiceConfig
from kvsproducer.service.proxies import Proxies
from kvsproducer.service.threads import in_daemon_thread
from kvsproducer.service.tls import tls_context
from kvsproducer.service.user_agent import user_agent
from kvsproducer.status import KvsError, StatusCode, kvs_error

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Network", "has_route", "load_library", "pause"]

_FAMILIES: Final = {
    None: socket.AF_UNSPEC,
    IpFamily.IPV4: socket.AF_INET,
    IpFamily.IPV6: socket.AF_INET6,
}
_SWITCHES: Final = {"AWS_KVS_USE_IPV4": IpFamily.IPV4, "AWS_KVS_USE_IPV6": IpFamily.IPV6}
_TLS_LIMIT_S: Final = 60  # ours: for reading the roots to trust
_OFF: Final = frozenset({"", "0", "false", "off", "no"})


class Network:
    """Creates the aiohttp sessions for requests; may be used from any thread.

    `verify` is as in boto3: True, False or the path of a CA bundle. `app_id` is the application's
    id for User-Agent. Raises INVALID_USER_AGENT_LENGTH, and what `tls_context` raises for a path.
    """

    def __init__(self, config: ServiceConfig, verify: bool | str, app_id: str = "") -> None:
        self.headers = {
            "User-Agent": user_agent(config.user_agent_name, config.user_agent_extra, app_id),
            "Accept-Encoding": "identity",
            **config.extra_headers,
        }
        self.ip_family = _ip_family(config)
        self.proxies = Proxies(config.proxies)
        self._verify = verify
        self._lock = threading.Lock()
        # Importing aiohttp reads the system's root certificates and holds the interpreter lock for
        # 100 ms. Import it here, before there are frames whose put would wait for that lock.
        with contextlib.suppress(KvsError):  # `prepare` raises it
            load_library()
        # A wrong path raises now. The public roots are read later: that takes a while, and plain
        # HTTP does not need them.
        self._tls = tls_context(verify) if isinstance(verify, str) else None

    def tls(self) -> ssl.SSLContext:
        """Return the TLS context; the first call reads the root certificates from files."""
        with self._lock:
            if self._tls is None:
                self._tls = tls_context(self._verify)
            return self._tls

    async def prepare(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        """Load what `session` needs for `url`: aiohttp, the proxy, and `tls` or the default roots.

        Raises INVALID_ARG for a host whose IP address belongs to the excluded family and for an
        invalid proxy in the environment, CURL_LIBRARY_INIT_FAILED if aiohttp cannot be loaded, and
        what `tls_context` raises.
        """
        load_library()
        found = self.proxies.of(url)
        proxy = None if found is None else found.url
        host = urlsplit(proxy or url).hostname or ""
        if self.ip_family is not None and _family_of(host) not in (None, self.ip_family):
            raise kvs_error(
                StatusCode.INVALID_ARG,
                f"{host} is not an {self.ip_family} address, and ip_family allows no other",
            )
        secure = "https" in (urlsplit(url).scheme, urlsplit(proxy or "").scheme)
        if tls is None and secure and self._tls is None:
            await in_daemon_thread(self.tls, timeout_s=_TLS_LIMIT_S, name="tls")

    def session(
        self,
        url: str,
        sockets: list[socket.socket],
        tls: ssl.SSLContext | None = None,
        *,
        receive_buffer: int | None = None,
        kept_s: float = 0,
    ) -> aiohttp.ClientSession:
        """Return a session for requests to `url`; it appends the sockets it opens to `sockets`.

        tls: the TLS context to use instead of the default one.
        receive_buffer: size of the socket's receive buffer in bytes. It limits how much of a
            response one turn of the event loop has to parse. None: the system's default.
        kept_s: how many seconds an idle connection stays open. A request that uses such a
            connection appends True to the list that was passed as its `trace_request_ctx`.
        """
        import aiohttp

        from kvsproducer.service.http import BoundedResponse, Resolver

        def open_socket(address: aiohttp.AddrInfoType) -> socket.socket:
            made = socket.socket(*address[:3])
            sockets.append(made)
            if receive_buffer is not None:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            return made

        secure = urlsplit(url).scheme == "https"
        connector = aiohttp.TCPConnector(
            ssl=(tls or self.tls()) if secure else True,
            family=_FAMILIES[self.ip_family],
            resolver=Resolver(),
            socket_factory=open_socket,
            **({"keepalive_timeout": kept_s} if kept_s else {"force_close": True}),
        )
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        return aiohttp.ClientSession(
            connector=connector,
            headers=self.headers,
            auto_decompress=False,
            response_class=BoundedResponse,
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[trace] if kept_s else None,
        )

    def request(
        self, session: aiohttp.ClientSession, method: str, url: str, **options: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Return a request on a session, through the proxy if there is one.

        `options` are those of aiohttp's `ClientSession.request`: headers, data and so on.
        """
        proxy = self.proxies.of(url)
        if proxy is None:
            return session.request(method, url, allow_redirects=False, **options)
        if urlsplit(url).scheme == "http":  # the proxy reads the request itself
            options["headers"] = {**options.get("headers", {}), **proxy.headers}
        return session.request(
            method,
            url,
            allow_redirects=False,
            proxy=proxy.url,
            proxy_headers=proxy.headers,
            **options,
        )


async def _note_reuse(_session: object, context: Any, _params: object) -> None:
    context.trace_request_ctx.append(True)


def load_library() -> None:
    """Import aiohttp, which sets up TLS; raise CURL_LIBRARY_INIT_FAILED if that fails."""
    try:
        import aiohttp  # noqa: F401
    except (ImportError, OSError) as error:  # ssl.SSLError is an OSError
        raise kvs_error(
            StatusCode.CURL_LIBRARY_INIT_FAILED, f"aiohttp cannot be loaded: {error}"
        ) from error


def _ip_family(config: ServiceConfig) -> IpFamily | None:
    """Return the only allowed address family, or None if both are allowed.

    `ServiceConfig.ip_family` takes precedence over the environment variables. If both variables are
    set, both families are allowed.
    """
    if config.ip_family is not None:
        return IpFamily(config.ip_family)
    on = [
        family
        for name, family in _SWITCHES.items()
        if os.environ.get(name, "").strip().lower() not in _OFF
    ]
    return on[0] if len(on) == 1 else None


def _family_of(host: str) -> IpFamily | None:
    """Return the family of an IP address, or None if `host` is a name."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    return IpFamily.IPV4 if version == 4 else IpFamily.IPV6


_LOOK_S: Final = 0.5
_SPREAD_MS: Final = 1000
# Documentation addresses (RFC 5737, RFC 3849), which use the default route like the internet does.
_ANYWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_DISCARD: Final = 9


def has_route() -> bool:
    """Return whether this machine has a route to the internet, over IPv4 or IPv6."""
    for family, address in _ANYWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((address, _DISCARD))  # for a UDP socket this sends nothing
        except OSError:
            continue
        return True
    return False


async def pause(seconds: float, *, routed: Callable[[], bool] = has_route) -> None:
    """Wait `seconds`, or less if there is no route at the beginning and one appears later."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    if routed():
        await asyncio.sleep(seconds)
        return
    while (left_s := end - loop.time()) > 0:
        await asyncio.sleep(min(_LOOK_S, left_s))
        if routed():
            spread_s = secrets.randbelow(_SPREAD_MS) / 1000
            await asyncio.sleep(max(0.0, min(spread_s, end - loop.time())))
            return
