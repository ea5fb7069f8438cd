"""The form and the limits of User-Agent."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

import kvsproducer as kvs
from kvsproducer.service.service import Service
from kvsproducer.service.user_agent import user_agent
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
    """Characters that a header may not contain are replaced."""
    monkeypatch.setattr(platform, "release", lambda: "6.1-Türkiş\n")
    assert user_agent().isascii()
    assert "\n" not in user_agent()


def test_the_application_names_itself_as_in_other_sdks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """AWS_SDK_UA_APP_ID precedes sdk_ua_app_id; other characters become hyphens."""
    (tmp_path / "config").write_text("[default]\nsdk_ua_app_id = gate\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    config = kvs.ServiceConfig(user_agent_extra="site/7")
    headers = Service(region_name="us-west-2", config=config).network.headers
    assert headers["User-Agent"].endswith(f" {platform.machine()} app/gate site/7")
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "front door (\udcff)/2")
    headers = Service(region_name="us-west-2").network.headers
    assert headers["User-Agent"].endswith(" app/front-door-----2")


def test_an_id_that_is_too_long_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have been set for other tools, so it is not an error, and it is not cut."""
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "a" * 50)
    headers = Service(region_name="us-west-2").network.headers
    assert headers["User-Agent"].endswith(" app/" + "a" * 50)
    assert caplog.text == ""
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "a" * 220)
    with kvs.Producer(region_name="us-west-2", endpoint_url="http://127.0.0.1:9") as producer:
        assert producer._engine.service.network.headers["User-Agent"] == user_agent()
    logged = [r.getMessage() for r in caplog.records if r.name == "kvsproducer.service"]
    assert len(logged) == 1
    assert "AWS_SDK_UA_APP_ID" in logged[0]
    assert "220 characters" in logged[0]


def test_too_long_user_agent_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes when the producer is created, and has the number of extra characters."""
    config = kvs.ServiceConfig(user_agent_name="n" * 32, user_agent_extra="e" * 128)
    without = len(user_agent("n" * 32, "e" * 128)) - len(platform.release()) + len(" app/")
    monkeypatch.setattr(platform, "release", lambda: "r" * (256 - without - 40))
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "a" * 40)
    assert len(Service(region_name="us-west-2", config=config).network.headers["User-Agent"]) == 256
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "a" * 47)
    with pytest.raises(kvs.KvsError, match=r"AWS_SDK_UA_APP_ID, \d+ characters\) by 7") as caught:
        kvs.Producer(region_name="us-west-2", config=config)
    assert caught.value.status is kvs.StatusCode.INVALID_USER_AGENT_LENGTH
