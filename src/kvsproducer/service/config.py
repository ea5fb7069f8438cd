"""How the service is reached: endpoint forms, proxies, addresses, caching, who asks.

`ServiceConfig` is to `Producer`, `get_media`, `list_fragments` and `put_media` what botocore's
`Config` is to a client: all of it optional, checked when it is made, never changed. What stays None
is as the environment and the AWS profile say. Facts: the C producer's environment variables and
limits, botocore's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from string import ascii_letters, digits
from typing import Final

from kvsproducer import limits
from kvsproducer.duration import (
    Duration,
    DurationField,
    as_timedelta,
    default_duration,
    ticks,
    to_timedelta,
)
from kvsproducer.service.urls import url_fault
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["TOKEN_CHARACTERS", "Caching", "IpFamily", "ServiceConfig"]

_S = StatusCode
_PROXIED_SCHEMES: Final = frozenset({"http", "https"})
# RFC 9110, 5.6.2: what a word of a header and a header's name may hold.
TOKEN_CHARACTERS: Final = frozenset(ascii_letters + digits + "!#$%&'*+-.^_`|~")
# Headers that make the request what it is; a gateway's own headers have other names.
_OWN_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "transfer-encoding",
        "user-agent",
    }
)
_OWN_PREFIX: Final = "x-amz"  # x-amz-date ..., x-amzn-stream-name ...
_OWN_HEADER_COUNT: Final = 16  # the most that a request has by itself; PutMedia is the largest


class Caching(StrEnum):
    """Which answers of the control plane are used again, for each stream.

    NONE: every call is made. ENDPOINT_ONLY: the data endpoint is fetched once; DescribeStream,
    CreateStream and TagStream are never called, so the stream must exist and be ACTIVE. ALL: they
    are called until the stream has a data endpoint, then not again until the period is over.
    """

    NONE = "none"
    ENDPOINT_ONLY = "endpoint-only"
    ALL = "all"


class IpFamily(StrEnum):
    """The one version of the internet protocol that connections may use."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """How to reach the service; see each field. All checks are made at once.

    use_fips_endpoint, use_dualstack_endpoint: the FIPS 140 or the IPv4-and-IPv6 form of the
        control plane's name; None: as AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT or the
        profile say.
    ip_family: "ipv4" or "ipv6" and nothing else; None: as AWS_KVS_USE_IPV4 and AWS_KVS_USE_IPV6
        say, else whichever connects.
    proxies: {"https": "http://user:password@proxy:3128"}, by the scheme of what is asked for; {}:
        none; None: as HTTPS_PROXY, HTTP_PROXY and NO_PROXY say.
    user_agent_name, user_agent_extra: what User-Agent begins and ends with (32, 128 characters);
        between, AWS_SDK_UA_APP_ID or the profile's sdk_ua_app_id name the application, as in boto3.
    extra_headers: headers that a gateway on the way wants with every request; not signed.
    caching, caching_period: which answers are used again, and for how long: seconds (int or float),
        a `timedelta` or ISO 8601 text; at most 24 hours; 0: 40 minutes. Read as a `timedelta`.
    continuous_retry: whether a stream that cannot begin, for want of a network say, keeps trying
        and holds its frames meanwhile (never when OFFLINE), and a connection that does badly is
        reset. False: it fails after six attempts of a call. A stream that has been ready once
        outlives an outage either way.

    Raises INVALID_ARG, MAX_USER_AGENT_NAME_POSTFIX_LEN_EXCEEDED,
    MAX_CUSTOM_USER_AGENT_LEN_EXCEEDED, MAX_REQUEST_HEADER_COUNT, MAX_REQUEST_HEADER_NAME_LEN,
    MAX_REQUEST_HEADER_VALUE_LEN, INVALID_ENDPOINT_CACHING_PERIOD, INVALID_DURATION_VALUE.
    """

    use_fips_endpoint: bool | None = None
    use_dualstack_endpoint: bool | None = None
    ip_family: IpFamily | str | None = None
    proxies: Mapping[str, str] | None = field(default=None, repr=False)  # may hold a password
    user_agent_name: str = ""
    user_agent_extra: str = ""
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    caching: Caching | str = Caching.ALL
    caching_period: DurationField = default_duration(0)
    continuous_retry: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "caching", _member(Caching, "caching", self.caching))
        if self.ip_family is not None:
            object.__setattr__(self, "ip_family", _member(IpFamily, "ip_family", self.ip_family))
        object.__setattr__(self, "caching_period", _period(self.caching_period))
        for name in ("proxies", "extra_headers"):
            _check_mapping(name, getattr(self, name) or {})
        _check_proxies(self.proxies or {})
        _check_user_agent(self.user_agent_name, self.user_agent_extra)
        object.__setattr__(self, "extra_headers", self.extra_headers or {})
        _check_headers(self.extra_headers)

    @property
    def caching_ticks(self) -> int:
        """How long a cached answer is used, in ticks."""
        return ticks(self.caching_period) or limits.DEFAULT_ENDPOINT_CACHE_PERIOD


def _member(kind: type[StrEnum], name: str, value: str) -> StrEnum:
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(repr(str(member)) for member in kind)
        raise kvs_error(_S.INVALID_ARG, f"{name}={value!r} is none of {known}") from error


def _period(value: Duration) -> timedelta:
    period = to_timedelta(value, "caching_period")
    if period > as_timedelta(limits.MAX_ENDPOINT_CACHE_PERIOD):
        raise kvs_error(
            _S.INVALID_ENDPOINT_CACHING_PERIOD,
            f"caching_period={value!r} is {period.total_seconds() / 3600:g} hours; the most is 24",
        )
    return period


def _check_mapping(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise kvs_error(_S.INVALID_ARG, f"{name} is {type(value).__name__}: give a mapping")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise kvs_error(_S.INVALID_ARG, f"{name} is {type(value).__name__}: give text")


def _check_proxies(proxies: Mapping[str, str]) -> None:
    """Messages name the scheme and never the URL: it may hold a password."""
    for scheme, url in proxies.items():
        if scheme not in _PROXIED_SCHEMES:
            raise kvs_error(
                _S.INVALID_ARG, f"proxies has the key {scheme!r}; it takes 'http' and 'https'"
            )
        if fault := url_fault(url, login=True):
            raise kvs_error(
                _S.INVALID_ARG,
                f"proxies[{scheme!r}] is no URL such as http://proxy.local:3128: {fault}",
            )


def _check_user_agent(name: str, extra: str) -> None:
    for label, text, limit, status in (
        (
            "user_agent_name",
            name,
            limits.MAX_USER_AGENT_POSTFIX_LEN,
            _S.MAX_USER_AGENT_NAME_POSTFIX_LEN_EXCEEDED,
        ),
        (
            "user_agent_extra",
            extra,
            limits.MAX_CUSTOM_USER_AGENT_LEN,
            _S.MAX_CUSTOM_USER_AGENT_LEN_EXCEEDED,
        ),
    ):
        _check_text(label, text)
        if len(text) > limit:
            raise kvs_error(status, f"{label} has {len(text)} characters, at most {limit} are sent")
        if not (text.isascii() and text.isprintable()):
            raise kvs_error(_S.INVALID_ARG, f"{label}={text!r}: printable ASCII only")


def _check_headers(headers: Mapping[str, str]) -> None:
    allowed = limits.MAX_REQUEST_HEADER_COUNT - _OWN_HEADER_COUNT
    if len(headers) > allowed:
        raise kvs_error(
            _S.MAX_REQUEST_HEADER_COUNT,
            f"extra_headers has {len(headers)}, at most {allowed} fit beside the request's own",
        )
    for name, value in headers.items():
        _check_text("extra_headers: a name", name)
        _check_text(f"extra_headers[{name!r}]", value)
        if len(name) >= limits.MAX_REQUEST_HEADER_NAME_LEN:
            raise kvs_error(
                _S.MAX_REQUEST_HEADER_NAME_LEN, f"extra_headers: a name of {len(name)} characters"
            )
        if len(value) >= limits.MAX_REQUEST_HEADER_VALUE_LEN:
            raise kvs_error(
                _S.MAX_REQUEST_HEADER_VALUE_LEN,
                f"extra_headers[{name!r}] has {len(value)} characters",
            )
        if not name or not TOKEN_CHARACTERS.issuperset(name):
            raise kvs_error(_S.INVALID_ARG, f"extra_headers: {name!r} is no header's name")
        if name.lower() in _OWN_HEADERS or name.lower().startswith(_OWN_PREFIX):
            raise kvs_error(
                _S.INVALID_ARG, f"extra_headers: {name!r} is one of the request's own headers"
            )
        if not (value.isascii() and value.isprintable()):
            raise kvs_error(
                _S.INVALID_ARG, f"extra_headers[{name!r}] has characters that no header may have"
            )
