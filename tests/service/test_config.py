"""`ServiceConfig` is checked when it is created, and cannot be changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

import kvsproducer as kvs

HOUR = 36_000_000_000


def test_everything_is_optional() -> None:
    """The defaults follow the environment; answers are cached for 40 minutes."""
    config = kvs.ServiceConfig()
    assert config.use_fips_endpoint is None
    assert config.proxies is None
    assert config.caching is kvs.Caching.ALL
    assert config.caching_ticks == 40 * 60 * 10_000_000


def test_it_never_changes() -> None:
    """It may be shared, like botocore's Config."""
    with pytest.raises(AttributeError):
        kvs.ServiceConfig().caching = "none"  # type: ignore[misc]


def test_names_are_taken_as_text() -> None:
    """An enum member and its text mean the same."""
    config = kvs.ServiceConfig(caching="endpoint-only", ip_family="ipv6")
    assert config == kvs.ServiceConfig(
        caching=kvs.Caching.ENDPOINT_ONLY, ip_family=kvs.IpFamily.IPV6
    )


@pytest.mark.parametrize("period", [24 * 3600, timedelta(hours=24), "PT24H", "P1D"])
def test_period_of_exactly_24_hours_is_accepted(period: Any) -> None:
    """In seconds, as a timedelta, and in ISO 8601."""
    assert kvs.ServiceConfig(caching_period=period).caching_ticks == 24 * HOUR


TOO_MANY = {f"x-gateway-{number}": "1" for number in range(200)}


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"caching_period": 24 * 3600 + 1}, kvs.StatusCode.INVALID_ENDPOINT_CACHING_PERIOD),
        ({"caching_period": "PT25H"}, kvs.StatusCode.INVALID_ENDPOINT_CACHING_PERIOD),
        ({"caching_period": "often"}, kvs.StatusCode.INVALID_DURATION_VALUE),
        ({"caching": "some"}, kvs.StatusCode.INVALID_ARG),
        ({"ip_family": "ipv5"}, kvs.StatusCode.INVALID_ARG),
        (
            {"user_agent_name": "n" * 33},
            kvs.StatusCode.MAX_USER_AGENT_NAME_POSTFIX_LEN_EXCEEDED,
        ),
        ({"user_agent_extra": "e" * 129}, kvs.StatusCode.MAX_CUSTOM_USER_AGENT_LEN_EXCEEDED),
        ({"user_agent_extra": "a\r\nb: c"}, kvs.StatusCode.INVALID_ARG),
        ({"user_agent_name": "Türkamera"}, kvs.StatusCode.INVALID_ARG),
        ({"extra_headers": TOO_MANY}, kvs.StatusCode.MAX_REQUEST_HEADER_COUNT),
        ({"extra_headers": {"x" * 128: "1"}}, kvs.StatusCode.MAX_REQUEST_HEADER_NAME_LEN),
        ({"extra_headers": {"x-a": "1" * 2048}}, kvs.StatusCode.MAX_REQUEST_HEADER_VALUE_LEN),
        ({"extra_headers": {"x-a": "1\r\nhost: b"}}, kvs.StatusCode.INVALID_ARG),
        ({"extra_headers": {"x a": "1"}}, kvs.StatusCode.INVALID_ARG),
        ({"extra_headers": {"": "1"}}, kvs.StatusCode.INVALID_ARG),
        ({"extra_headers": {"Authorization": "1"}}, kvs.StatusCode.INVALID_ARG),
        ({"extra_headers": {"X-Amz-Date": "1"}}, kvs.StatusCode.INVALID_ARG),
        ({"proxies": {"socks": "http://proxy:1"}}, kvs.StatusCode.INVALID_ARG),
        ({"proxies": {"https": "proxy"}}, kvs.StatusCode.INVALID_ARG),
        ({"proxies": {"https": "http://proxy:99999"}}, kvs.StatusCode.INVALID_ARG),
        ({"proxies": {"https": "socks5://proxy:1"}}, kvs.StatusCode.INVALID_ARG),
        ({"proxies": "http://proxy:1"}, kvs.StatusCode.INVALID_ARG),
        ({"user_agent_name": 5}, kvs.StatusCode.INVALID_ARG),
        ({"user_agent_extra": None}, kvs.StatusCode.INVALID_ARG),
        ({"extra_headers": [("x-a", "1")]}, kvs.StatusCode.INVALID_ARG),
        ({"extra_headers": {"x-a": 5}}, kvs.StatusCode.INVALID_ARG),
        ({"extra_headers": {5: "1"}}, kvs.StatusCode.INVALID_ARG),
    ],
)
def test_invalid_values_are_refused_at_once(
    options: Mapping[str, Any], status: kvs.StatusCode
) -> None:
    """The error has the status of the limit and names the field."""
    with pytest.raises(kvs.KvsError) as caught:
        kvs.ServiceConfig(**options)
    assert caught.value.status is status
    if status is not kvs.StatusCode.INVALID_DURATION_VALUE:
        assert next(iter(options)) in str(caught.value)


def test_limits_themselves_are_accepted() -> None:
    """Values of exactly the maximum length are accepted, and so is None."""
    assert kvs.ServiceConfig(extra_headers=None).extra_headers == {}  # type: ignore[arg-type]
    kvs.ServiceConfig(
        user_agent_name="n" * 32,
        user_agent_extra="e" * 128,
        extra_headers={"x" * 127: "1" * 2047, **dict(list(TOO_MANY.items())[:183])},
        proxies={"http": "http://proxy:3128", "https": "https://user:pass@proxy.local:1"},
    )


def test_secrets_show_in_no_repr_and_no_message() -> None:
    """Neither a proxy's password nor a gateway's key is shown."""
    config = kvs.ServiceConfig(
        proxies={"https": "http://user:hunter2@proxy:1"}, extra_headers={"x-api-key": "k3y"}
    )
    assert "hunter2" not in repr(config)
    assert "k3y" not in repr(config)
    with pytest.raises(kvs.KvsError) as caught:
        kvs.ServiceConfig(proxies={"https": "user:hunter2@proxy"})
    assert "hunter2" not in str(caught.value)
