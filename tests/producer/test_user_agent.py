"""Who asks: form and limits of User-Agent."""

from __future__ import annotations

import platform
import re

import pytest

import kvsproducer as kvs
from kvsproducer.producer.user_agent import user_agent
from kvsproducer.version import VERSION

FORM = r"kvsproducer/\S+ \S+/\S+ \S+/\S+ \S+"


def test_the_default_names_package_python_and_system() -> None:
    """`<name>/<version> <Python>/<version> <system>/<release> <machine>`."""
    text = user_agent()
    assert re.fullmatch(FORM, text)
    assert text.startswith(f"kvsproducer/{VERSION} {platform.python_implementation()}/")


def test_a_name_replaces_ours_and_an_extra_follows() -> None:
    """The version stays ours."""
    text = user_agent("gate-camera", "site/7 lane/2")
    assert text.startswith(f"gate-camera/{VERSION} ")
    assert text.endswith(" site/7 lane/2")


def test_a_system_may_call_itself_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no header may hold is replaced."""
    monkeypatch.setattr(platform, "release", lambda: "6.1-Türkiş\n")
    assert user_agent().isascii()
    assert "\n" not in user_agent()


def test_a_long_system_leaves_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told when the producer is made, with how much is too much."""
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-" + "x" * 58)
    config = kvs.ServiceConfig(user_agent_name="n" * 32, user_agent_extra="e" * 128)
    with pytest.raises(kvs.KvsError, match=r"shorten user_agent_name .* by \d+") as caught:
        kvs.Producer("us-west-2", config=config)
    assert caught.value.status is kvs.StatusCode.INVALID_USER_AGENT_LENGTH
