"""Check the URLs that come from outside: of an endpoint, a proxy, a credentials provider.

An invalid URL is refused as soon as it is given; otherwise the producer would retry it without a
limit. A URL may contain a password, so messages show it with `url_for_message`, which removes user
and password. Source: RFC 3986; host names as botocore accepts them (RFC 1123, in ASCII).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

__all__ = ["url_for_message", "url_fault"]

_SCHEMES: Final = frozenset({"http", "https"})
_LONGEST_NAME: Final = 253
_LONGEST_SHOWN: Final = 120
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_LOGIN: Final = re.compile(r"//[^/?#]*@|^[^/?#]*@")


def url_fault(url: object, *, login: bool = False) -> str:
    """Return why `url` is not a usable http or https URL, or "" if it is one.

    `login`: whether the URL may contain a user and a password, as that of a proxy may.
    """
    if not isinstance(url, str):
        return f"it is {type(url).__name__}"
    if any(character <= " " or character == "\x7f" for character in url):
        return "it has a blank or a line break"
    # os.environ gives bytes that are not UTF-8 as lone surrogates.
    if any("\ud800" <= character <= "\udfff" for character in url):
        return "it contains bytes that are not UTF-8 text"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # an invalid port, or an opening bracket without a closing one
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
        return "its host is neither an IP address nor a name of ASCII letters, digits, - and dots"
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


def url_for_message(url: object) -> str:
    """Return a URL for a message: in quotes, at most 120 characters, without user and password."""
    text = url if isinstance(url, str) else repr(url)
    text = _LOGIN.sub(lambda found: "//...@" if found[0].startswith("//") else "...@", text)
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")
