"""Which proxy is used, and how its password is separated from its URL."""

from __future__ import annotations

import base64

import pytest

from kvsproducer.service.proxies import Proxies
from kvsproducer.status import KvsError, StatusCode

URL = "https://kinesisvideo.us-west-2.amazonaws.com"


def environment(patch: pytest.MonkeyPatch, **variables: str) -> Proxies:
    for name, value in variables.items():
        patch.setenv(name, value)
    return Proxies(None)


def test_proxy_is_chosen_by_the_scheme_of_the_url() -> None:
    proxies = Proxies({"https": "http://proxy:3128"})
    found = proxies.of(URL)
    assert found is not None
    assert (found.url, found.headers) == ("http://proxy:3128", {})
    assert proxies.of("http://plain.example") is None
    assert Proxies({}).of(URL) is None


def test_a_login_goes_into_a_header() -> None:
    """The URL and the repr, which errors may show, do not contain it."""
    found = Proxies({"https": "http://us%40er:p%3Ass@[::1]:3128/"}).of(URL)
    assert found is not None
    assert found.url == "http://[::1]:3128"
    assert base64.b64decode(found.headers["Proxy-Authorization"].split()[1]) == b"us@er:p:ss"
    assert "Basic" not in repr(found)


def test_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable may omit the scheme."""
    proxies = environment(monkeypatch, HTTPS_PROXY="user:pass@proxy:3128")
    found = proxies.of(URL)
    assert found is not None
    assert found.url == "http://proxy:3128"
    assert proxies.of("http://plain.example") is None


@pytest.mark.parametrize(
    ("listed", "host", "bypassed"),
    [
        ("amazonaws.com", "kinesisvideo.us-west-2.amazonaws.com", True),
        ("10.0.0.0/8, 192.168.7.0/24", "10.99.1.2", True),
        ("10.0.0.0/8,192.168.7.0/24", "192.168.7.200", True),
        ("10.0.0.0/8,192.168.7.0/24", "192.168.8.1", False),
        ("10.0.0.0/8", "10.example.com", False),
        ("fd00::/8", "[fd12::1]", True),
        ("[::1],::2", "[::1]", True),
        ("[::1],::2", "[::2]", True),
        ("::/0", "127.0.0.1", False),
        ("10.0.0.0/99,,nonsense/8", "10.0.0.1", False),
        ("*", "10.0.0.1", True),
    ],
)
def test_no_proxy(listed: str, host: str, bypassed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has names, addresses and networks."""
    proxies = environment(monkeypatch, HTTPS_PROXY="http://proxy:3128", NO_PROXY=listed)
    assert (proxies.of(f"https://{host}:8443/path") is None) is bypassed


@pytest.mark.parametrize(
    "value",
    [
        "socks5://user:hunter2@proxy:1080",
        "http://user:hunter2@",
        "http://user:hunter2@[::1",
        "http://user:hunter2@proxy:70000",
        "://hunter2",
    ],
)
def test_invalid_proxy_of_the_environment(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable and does not show its value, which may be a password."""
    with pytest.raises(KvsError, match="environment's HTTPS_PROXY is not a URL") as caught:
        environment(monkeypatch, HTTPS_PROXY=value).of(URL)
    assert caught.value.status is StatusCode.INVALID_ARG
    assert "hunter2" not in str(caught.value)
