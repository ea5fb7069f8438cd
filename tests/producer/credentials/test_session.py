"""botocore's credentials: chains, sessions and objects, and what signs with ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import botocore.session
import pytest
from botocore.credentials import Credentials, RefreshableCredentials

from kvsproducer import KvsError, StatusCode
from kvsproducer.duration import instant_to_ticks
from kvsproducer.producer.credentials import AwsCredentials
from kvsproducer.producer.credentials.session import (
    BotocoreCredentials,
    SessionCredentials,
    credentials_of_botocore,
    frozen,
)

S = StatusCode


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> botocore.session.Session:
    """A session whose chain finds nothing."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return botocore.session.Session()


def test_objects_of_botocore_are_read() -> None:
    """Static ones do not expire, refreshable ones say when; "" is no token."""
    assert credentials_of_botocore(Credentials("A", "S", "")) == AwsCredentials("A", "S")
    expiry = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    refreshable = RefreshableCredentials("A", "S", "T", expiry, dict, "test")
    provider = BotocoreCredentials(refreshable)
    assert provider.fetch() == AwsCredentials("A", "S", "T", instant_to_ticks(expiry))
    assert repr(provider) == "BotocoreCredentials(RefreshableCredentials)"


def test_what_cannot_be_renewed_is_told_with_its_cause() -> None:
    """botocore's own exception is the cause."""

    def renew() -> dict[str, str]:
        raise OSError("the metadata service is gone")

    ended = datetime.now(UTC) - timedelta(hours=1)
    provider = BotocoreCredentials(RefreshableCredentials("A", "S", "T", ended, renew, "test"))
    with pytest.raises(KvsError, match="the metadata service is gone") as caught:
        provider.fetch()
    assert caught.value.status is S.CLIENT_AUTH_CALL_FAILED
    assert isinstance(caught.value.__cause__, OSError)


def test_the_chain_finds_what_comes_later(
    session: botocore.session.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None at first is no end: the next look finds what is there by then."""
    provider = SessionCredentials(session)
    with pytest.raises(PermissionError, match="no AWS credentials were found"):
        provider.fetch()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S")
    assert provider.fetch() == AwsCredentials("A", "S")
    assert repr(provider) == "SessionCredentials()"


def test_a_place_that_should_have_them_and_fails(
    session: botocore.session.Session, tmp_path: Path
) -> None:
    """A profile whose credential process fails is told as such, not as "none were found"."""
    (tmp_path / "config").write_text("[default]\ncredential_process = /nonexistent/process\n")
    with pytest.raises(KvsError, match="nonexistent") as caught:
        SessionCredentials(session).fetch()
    assert caught.value.status is S.CLIENT_AUTH_CALL_FAILED


def test_frozen_is_what_botocore_signs_with() -> None:
    """Key, secret and token at their places."""
    keys = frozen(AwsCredentials("A", "S", "T"))
    assert (keys.access_key, keys.secret_key, keys.token) == ("A", "S", "T")
    assert frozen(AwsCredentials("A", "S")).token is None
