"""Addresses at the door: of an endpoint, a proxy, a credentials provider.

What cannot be connected to is told where it comes in, and not tried again for ever. A URL may hold
a password, so no message shows one whole: `shown` leaves out who is to be logged in.
Facts: RFC 3986; host names as botocore takes them (RFC 1123, in ASCII).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

__all__ = ["shown", "url_fault"]

_SCHEMES: Final = frozenset({"http", "https"})
_LONGEST_NAME: Final = 253
_LONGEST_SHOWN: Final = 120
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_LOGIN: Final = re.compile(r"//[^/?#]*@|^[^/?#]*@")


def url_fault(url: object, *, login: bool = False) -> str:
    """Why `url` is none of http or https to connect to, "" when it is one.

    `login`: whether it may hold a user and a password, as a proxy's does.
    """
    if not isinstance(url, str):
        return f"it is {type(url).__name__}"
    if any(character <= " " or character == "\x7f" for character in url):
        return "it has a blank or a line break"
    if any("\ud800" <= character <= "\udfff" for character in url):  # as the environment has them
        return "it holds bytes that are no text"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a port that is none, a bracket without the other
        return "it has no port from 1 to 65535, or half of a bracket"
    if parts.scheme not in _SCHEMES or not parts.netloc:
        return "it does not begin with http:// or https://"
    if port == 0:
        return "it has no port from 1 to 65535, or half of a bracket"
    return _fault_of_parts(parts, login)


def _fault_of_parts(parts: SplitResult, login: bool) -> str:
    if "@" in parts.netloc and not login:
        return "it holds a user name"
    if parts.query or parts.fragment:
        return "it has a query or a fragment"
    if not _is_host(parts.hostname or ""):
        return "its host is no address, and no name of ASCII letters, digits, hyphens and dots"
    return ""


def _is_host(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    if ":" not in host and not labels[-1].isdigit():
        return len(host) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, labels))
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def shown(url: object) -> str:
    """A URL for a message: in quotes, not too long, without user and password."""
    text = url if isinstance(url, str) else repr(url)
    text = _LOGIN.sub(lambda found: "//...@" if found[0].startswith("//") else "...@", text)
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")
