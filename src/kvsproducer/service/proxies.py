"""Which proxy a request goes through, and how it is logged in to.

The configuration's, else those of the environment as Python's standard library (and so botocore)
understands it: HTTPS_PROXY, HTTP_PROXY, NO_PROXY. NO_PROXY may have networks too
(`10.0.0.0/8,fd00::/8`), as curl and requests take them.

User and password are taken out of the URL at once: what connects puts URLs into its errors.
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
    """Where it is, and the headers that log in to it."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


class Proxies:
    """`given` as in `ServiceConfig.proxies`: by scheme, {} for none, None for the environment's."""

    def __init__(self, given: Mapping[str, str] | None) -> None:
        self._given = given

    def of(self, url: str) -> Proxy | None:
        """The proxy that a request to `url` goes through, None for none.

        Raises INVALID_ARG that names the environment's variable if that holds no URL.
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
                f"the environment's {parts.scheme.upper()}_PROXY is no URL such as"
                f" http://proxy.local:3128: {fault}",
            )
        return _split(found)


def _split(url: str) -> Proxy:
    """A proxy's address and its login."""
    parts = urlsplit(url)
    login, _, place = parts.netloc.rpartition("@")
    headers = {}
    if login:
        user, _, password = login.partition(":")
        pair = f"{unquote(user)}:{unquote(password)}".encode()
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return Proxy(f"{parts.scheme}://{place}", headers)


def _bypassed(parts: SplitResult) -> bool:
    """Whether the environment (or the system's settings) wants no proxy for that host."""
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return True
    try:
        address = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return False
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    return any(_contains(entry.strip(), address) for entry in listed.split(","))


def _contains(entry: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an entry of NO_PROXY is that address, or a network that it is of."""
    try:
        return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
