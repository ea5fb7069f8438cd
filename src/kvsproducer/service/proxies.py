"""Find the proxy that a request goes through, and the proxy's user and password.

The proxies come from `ServiceConfig.proxies`, else from the environment (HTTPS_PROXY, HTTP_PROXY,
NO_PROXY) as Python's standard library, and therefore botocore, reads them. NO_PROXY may also
contain networks (`10.0.0.0/8,fd00::/8`), as in curl and requests.

User and password are removed from the proxy's URL at once, because aiohttp puts URLs into its
exceptions.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from kvsproducer.service.urls import url_fault
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["Proxies", "Proxy"]


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's URL without user and password, and the headers that send them."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


class Proxies:
    """The configured proxies.

    `given` is `ServiceConfig.proxies`: URLs by scheme, {} for no proxies, None to use the
    environment.
    """

    def __init__(self, given: Mapping[str, str] | None) -> None:
        self._given = given

    def of(self, url: str) -> Proxy | None:
        """Return the proxy for a request to `url`, or None if it connects directly.

        Raises INVALID_ARG if the environment variable does not contain a URL; the message names the
        variable.
        """
        parts = urlsplit(url)
        if self._given is not None:
            found = self._given.get(parts.scheme)
            return None if found is None else _split(found)
        found = getproxies().get(parts.scheme)
        if not found or _bypassed(parts):
            return None
        if "://" not in found:
            found = f"http://{found}"
        if fault := url_fault(found, login=True):
            raise kvs_error(
                StatusCode.INVALID_ARG,
                f"the environment's {parts.scheme.upper()}_PROXY is not a URL such as"
                f" http://proxy.local:3128: {fault}",
            )
        return _split(found)


def _split(url: str) -> Proxy:
    """Convert the URL of a proxy to a `Proxy`: its user and password become a header."""
    parts = urlsplit(url)
    login, _, place = parts.netloc.rpartition("@")
    headers = {}
    if login:
        user, _, password = login.partition(":")
        pair = f"{unquote(user)}:{unquote(password)}".encode()
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return Proxy(f"{parts.scheme}://{place}", headers)


def _bypassed(parts: SplitResult) -> bool:
    """Return whether the environment or the system's settings exclude this host from proxying."""
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return True
    try:
        address = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return False
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    return any(_contains(entry.strip(), address) for entry in listed.split(","))


def _contains(entry: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an entry of NO_PROXY is `address`, or a network that contains it."""
    try:
        return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
