"""`ServiceConfig`: endpoint forms, proxies, IP family, caching, User-Agent, extra headers.

It has the role of botocore's `Config`: all fields are optional, checked when the object is created,
and cannot be changed. A field that is None follows the environment and the AWS profile. Sources:
the C producer's environment variables and limits; botocore's names.
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
from kvsproducer.members import check_members
from kvsproducer.service.urls import url_fault
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["TOKEN_CHARACTERS", "Caching", "IpFamily", "ServiceConfig"]

_S = StatusCode
_PROXIED_SCHEMES: Final = frozenset({"http", "https"})
# The characters of a token, such as a header's name (RFC 9110, 5.6.2).
TOKEN_CHARACTERS: Final = frozenset(ascii_letters + digits + "!#$%&'*+-.^_`|~")
# Headers that the requests set themselves; `extra_headers` may not replace them.
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
_OWN_HEADER_COUNT: Final = 16  # the most headers that a request sets itself (PutMedia)


class Caching(StrEnum):
    """Which answers of the control plane are cached, for each stream.

    NONE: every call is made.
    ENDPOINT_ONLY: the data endpoint is cached. DescribeStream, CreateStream and TagStream are never
        called, so the stream must exist and be ACTIVE.
    ALL: the answers of all calls are cached, from the time when the stream has a data endpoint
        until the caching period is over.
    """

    NONE = "none"
    ENDPOINT_ONLY = "endpoint-only"
    ALL = "all"


class IpFamily(StrEnum):
    """The only IP version that connections may use."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """Settings for the access to the service. They are checked when the object is created.

    use_fips_endpoint, use_dualstack_endpoint: whether to use the FIPS 140 or the dual-stack (IPv4
        and IPv6) name of the control plane. None (default): AWS_USE_FIPS_ENDPOINT,
        AWS_USE_DUALSTACK_ENDPOINT or the profile decides.
    ip_family: "ipv4" or "ipv6" to use only that one. None (default): AWS_KVS_USE_IPV4 or
        AWS_KVS_USE_IPV6 decides; if neither or both are set, both versions are used.
    proxies: proxy URLs by the scheme of the request's URL, such as
        {"https": "http://user:password@proxy:3128"}. {}: no proxies. None (default): HTTPS_PROXY,
        HTTP_PROXY and NO_PROXY decide.
    user_agent_name, user_agent_extra: the beginning and the end of User-Agent, at most 32 and 128
        characters. AWS_SDK_UA_APP_ID or the profile's sdk_ua_app_id add the application's id
        between them, as in boto3.
    extra_headers: headers for every request, for example for a gateway; they are not signed.
    caching: which answers of the control plane are cached; see `Caching`. Default: ALL.
    caching_period: for how long: seconds (int or float), a `timedelta` or ISO 8601 text, at most
        24 hours. 0 (default) means 40 minutes. The attribute is a `timedelta`.
    continuous_retry: True (default): a stream that cannot start, for example because there is no
        network, keeps trying and keeps its frames meanwhile; a slow connection is reset. False: a
        stream that cannot start fails after six attempts of a call. An OFFLINE stream that cannot
        start fails with both values. A stream that has been ready once survives an outage with both
        values.

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
        check_members(self)
        for name in ("use_fips_endpoint", "use_dualstack_endpoint"):
            if not isinstance(getattr(self, name), bool | None):
                value = getattr(self, name)
                raise kvs_error(_S.INVALID_ARG, f"{name} is {value!r}; give True, False or None")
        for name in ("proxies", "extra_headers"):
            _check_mapping(name, getattr(self, name) or {})
        _check_proxies(self.proxies or {})
        _check_user_agent(self.user_agent_name, self.user_agent_extra)
        object.__setattr__(self, "extra_headers", self.extra_headers or {})
        _check_headers(self.extra_headers)

    @property
    def caching_ticks(self) -> int:
        """The caching period in ticks, with 0 replaced by the default."""
        return ticks(self.caching_period) or limits.DEFAULT_ENDPOINT_CACHE_PERIOD


def _member(kind: type[StrEnum], name: str, value: str) -> StrEnum:
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(repr(str(member)) for member in kind)
        raise kvs_error(_S.INVALID_ARG, f"{name}={value!r} is not one of {known}") from error


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
        raise kvs_error(_S.INVALID_ARG, f"{name} is of type {type(value).__name__}; give a mapping")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise kvs_error(
            _S.INVALID_ARG, f"{name} is of type {type(value).__name__}; give text (str)"
        )


def _check_proxies(proxies: Mapping[str, str]) -> None:
    """Raise INVALID_ARG for an invalid proxy.

    Messages name the scheme and never show the URL, because it may contain a password.
    """
    for scheme, url in proxies.items():
        if scheme not in _PROXIED_SCHEMES:
            raise kvs_error(
                _S.INVALID_ARG, f"proxies has the key {scheme!r}; it takes 'http' and 'https'"
            )
        if fault := url_fault(url, login=True):
            raise kvs_error(
                _S.INVALID_ARG,
                f"proxies[{scheme!r}] is not a URL such as http://proxy.local:3128: {fault}",
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
        if len(text) > limit:
            raise kvs_error(status, f"{label} has {len(text)} characters, at most {limit} are sent")
        if not (text.isascii() and text.isprintable()):
            raise kvs_error(
                _S.INVALID_ARG, f"{label}={text!r} has other characters than printable ASCII"
            )


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
                _S.MAX_REQUEST_HEADER_NAME_LEN,
                f"extra_headers has a name of {len(name)} characters ({name[:32]!r}...); "
                f"at most {limits.MAX_REQUEST_HEADER_NAME_LEN - 1} are allowed",
            )
        if len(value) >= limits.MAX_REQUEST_HEADER_VALUE_LEN:
            raise kvs_error(
                _S.MAX_REQUEST_HEADER_VALUE_LEN,
                f"extra_headers[{name!r}] has {len(value)} characters; "
                f"at most {limits.MAX_REQUEST_HEADER_VALUE_LEN - 1} are allowed",
            )
        if not name or not TOKEN_CHARACTERS.issuperset(name):
            raise kvs_error(_S.INVALID_ARG, f"extra_headers: {name!r} is not a valid header name")
        if name.lower() in _OWN_HEADERS or name.lower().startswith(_OWN_PREFIX):
            raise kvs_error(
                _S.INVALID_ARG,
                f"extra_headers has {name!r}, which kvsproducer sets itself; leave it out",
            )
        if not (value.isascii() and value.isprintable()):
            raise kvs_error(
                _S.INVALID_ARG,
                f"extra_headers[{name!r}] has characters that are not allowed in a header",
            )
