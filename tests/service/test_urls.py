"""Which URLs are accepted, and how messages show them."""

from __future__ import annotations

import pytest

from kvsproducer.service.urls import url_fault, url_for_message


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080",
        "https://kinesisvideo.us-west-2.amazonaws.com",
        "HTTPS://s-1.kinesisvideo.us-west-2.amazonaws.com./",
        "http://[::1]:8080/prefix/",
        "http://[fe80::1%25eth0]",
        "http://localhost",
        "http://xn--bcher-kva.example",
    ],
)
def test_valid_urls(url: str) -> None:
    """Names, addresses, ports and a path are accepted."""
    assert url_fault(url) == ""


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("127.0.0.1:8080", "begin"),
        ("", "begin"),
        ("ftp://host", "begin"),
        ("http:///path", "begin"),
        ("//host", "begin"),
        ("http://host:0", "port"),
        ("http://host:65536", "port"),
        ("http://host:http", "port"),
        ("http://[::1", "bracket"),
        ("http://ho st", "blank"),
        (" http://host", "blank"),
        ("http://host\n", "blank"),
        ("http://host/\r\nX: y", "blank"),
        ("http://user@host", "user name"),
        ("http://host?x=1", "query"),
        ("http://host/#part", "fragment"),
        ("http://b\u00fccher.example", "its host"),
        ("http://under_score.example", "its host"),
        ("http://a..b", "its host"),
        ("http://-a.example", "its host"),
        ("http://127.1", "its host"),
        ("http://300.1.1.1", "its host"),
        (f"http://{'a' * 64}.example", "its host"),
        (f"http://{'abc.' * 64}example", "its host"),
        ("http://host/\udcff", "bytes that are not UTF-8"),
        (b"http://host", "bytes"),
        (None, "NoneType"),
    ],
)
def test_invalid_urls(url: object, why: str) -> None:
    """The text names the fault."""
    assert why in url_fault(url)


def test_user_and_password_are_accepted_for_proxies() -> None:
    """`login=True` allows them."""
    assert url_fault("http://user:pass@host:3128", login=True) == ""


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://host:80", "'http://host:80'"),
        ("http://user:secret@host:80/x", "'http://...@host:80/x'"),
        ("user:secret@host:80", "'...@host:80'"),
        ("http://user:sec@ret@host", "'http://...@host'"),
        ("x" * 500, repr("x" * 120 + "...")),
        (5, "'5'"),
    ],
)
def test_no_login_is_shown(url: object, text: str) -> None:
    """Long URLs are cut."""
    assert url_for_message(url) == text
