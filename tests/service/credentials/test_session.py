"""Credentials of botocore: chains, sessions and objects."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import botocore.session
import pytest
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import (
    ConnectTimeoutError,
    EndpointConnectionError,
    MetadataRetrievalError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)

from kvsproducer import (
    ConnectionFailed,
    KvsError,
    NotAuthorized,
    StatusCode,
    Throttled,
    TimedOut,
)
from kvsproducer.duration import TICKS_PER_MINUTE, instant_to_ticks
from kvsproducer.service.clock_skew import ClockSkew
from kvsproducer.service.config import ServiceConfig
from kvsproducer.service.credentials import AwsCredentials
from kvsproducer.service.credentials.own import OwnCredentials
from kvsproducer.service.credentials.session import (
    BotocoreCredentials,
    SessionCredentials,
    credentials_of_botocore,
    to_botocore,
)
from kvsproducer.service.network import Network
from kvsproducer.service.results import failure_of

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
    """Static ones do not expire, refreshable ones have an expiration; "" means no token."""
    assert credentials_of_botocore(Credentials("A", "S", "")) == AwsCredentials("A", "S")
    expiry = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    refreshable = RefreshableCredentials("A", "S", "T", expiry, dict, "test")
    provider = BotocoreCredentials(refreshable)
    assert provider.fetch() == AwsCredentials("A", "S", "T", instant_to_ticks(expiry))
    assert repr(provider) == "BotocoreCredentials(RefreshableCredentials)"


def test_failed_renewal_is_reported_with_its_cause() -> None:
    """The cause is botocore's exception."""

    def renew() -> dict[str, str]:
        raise OSError("the metadata service is gone")

    ended = datetime.now(UTC) - timedelta(hours=1)
    provider = BotocoreCredentials(RefreshableCredentials("A", "S", "T", ended, renew, "test"))
    with pytest.raises(KvsError, match="the metadata service is gone") as caught:
        provider.fetch()
    assert caught.value.status is S.CLIENT_AUTH_CALL_FAILED
    assert isinstance(caught.value.__cause__, OSError)


def test_chain_is_searched_again_if_it_found_nothing(
    session: botocore.session.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next search finds credentials that were added meanwhile."""
    provider = SessionCredentials(session)
    with pytest.raises(PermissionError, match="no AWS credentials were found"):
        provider.fetch()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S")
    assert provider.fetch() == AwsCredentials("A", "S")
    assert repr(provider) == "SessionCredentials()"


def test_failing_credential_process_is_reported(
    session: botocore.session.Session, tmp_path: Path
) -> None:
    """The error does not say that there are no credentials."""
    (tmp_path / "config").write_text("[default]\ncredential_process = /nonexistent/process\n")
    with pytest.raises(KvsError, match="nonexistent") as caught:
        SessionCredentials(session).fetch()
    assert caught.value.status is S.CLIENT_AUTH_CALL_FAILED


WRAPPED = MetadataRetrievalError(error_msg="no answer")
WRAPPED.__cause__ = ConnectTimeoutError(endpoint_url="http://169.254.170.2")


@pytest.mark.parametrize(
    ("error", "cls"),
    [
        (ConnectTimeoutError(endpoint_url="https://sso"), TimedOut),
        (ReadTimeoutError(endpoint_url="https://sso"), TimedOut),
        (TimeoutError("slow"), TimedOut),
        (WRAPPED, TimedOut),
        (EndpointConnectionError(endpoint_url="https://sso"), ConnectionFailed),
        (ProxyConnectionError(proxy_url="http://proxy"), ConnectionFailed),
        (ConnectionRefusedError("refused"), ConnectionFailed),
        (socket.gaierror("no such name"), ConnectionFailed),
        (aiohttp.ServerDisconnectedError(), ConnectionFailed),
        (SSLError(endpoint_url="https://sso", error="self-signed"), NotAuthorized),
        (MetadataRetrievalError(error_msg="HTTP 404"), NotAuthorized),
        (FileNotFoundError("no such process"), NotAuthorized),
        (LookupError("no entry"), NotAuthorized),
        (Throttled(S.SERVICE_CALL_CLIENT_LIMIT_ERROR), Throttled),
        (KvsError(S.SERVICE_CALL_NOT_AUTHORIZED_ERROR), NotAuthorized),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_exception_class_shows_why_there_are_no_credentials(
    error: Exception, cls: type[KvsError]
) -> None:
    """A network failure is not reported as a missing permission."""

    def renew() -> dict[str, str]:
        raise error

    ended = datetime.now(UTC) - timedelta(hours=1)
    botocore_s = BotocoreCredentials(RefreshableCredentials("A", "S", "T", ended, renew, "test"))
    for provider in (botocore_s, OwnCredentials(renew)):
        with pytest.raises(KvsError) as caught:
            provider.fetch()
        assert (type(caught.value), caught.value.status) == (cls, S.CLIENT_AUTH_CALL_FAILED)
        assert failure_of(caught.value).error_class is cls


# --- an instance's metadata -----------------------------------------------------------------------
NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("environment", "vendor", "expected"),
    [
        ({}, "LENOVO", ""),
        ({}, None, ""),
        ({}, "Amazon EC2\n", "this is an EC2 instance"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": NOBODY}, "LENOVO", "names a metadata service"),
        ({"AWS_EC2_METADATA_DISABLED": "TRUE"}, "Amazon EC2\n", ""),
    ],
)
def test_expected_metadata_without_credentials_is_retried(
    session: botocore.session.Session,
    environment: dict[str, str],
    vendor: str | None,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """If metadata should have credentials, the call is retried; otherwise it is refused."""
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if vendor is not None:
        (tmp_path / "vendor").write_text(vendor)
    marks = ((str(tmp_path / "vendor"), "Amazon EC2"),)
    monkeypatch.setattr("kvsproducer.service.credentials.session._EC2_MARKS", marks)
    monkeypatch.setattr(session, "get_credentials", lambda: None)  # it would ask the network
    with pytest.raises(KvsError, match="no AWS credentials were found") as caught:
        SessionCredentials(session).fetch()
    waited = caught.value.status is S.CLIENT_AUTH_CALL_FAILED
    assert waited is bool(expected)
    assert waited or caught.value.status is S.SERVICE_CALL_NOT_AUTHORIZED_ERROR
    assert expected in caught.value.detail


# --- the service's time ---------------------------------------------------------------------------
def renewed(life: timedelta) -> RefreshableCredentials:
    """Return credentials whose renewal gives that lifetime by this machine's clock."""

    def renew() -> dict[str, str]:
        end = datetime.now(UTC) + life
        return {
            "access_key": "A", "secret_key": "S", "token": "T", "expiry_time": end.isoformat()
        }  # fmt: skip

    return RefreshableCredentials("A", "S", "T", datetime.now(UTC), renew, "test")


def test_renewed_credentials_that_look_expired(session: botocore.session.Session) -> None:
    """They have a status of their own; with the service's time they are valid."""
    network, skew = Network(ServiceConfig(), True), ClockSkew()
    for provider in (
        BotocoreCredentials(renewed(timedelta(minutes=-10))),
        SessionCredentials(session),
    ):
        if isinstance(provider, SessionCredentials):
            session._credentials = renewed(timedelta(minutes=-10))
        skew.ticks = 0
        with pytest.raises(KvsError) as caught:
            provider.fetch_in(network, skew)
        assert caught.value.status is S.IOT_EXPIRATION_OCCURS_IN_PAST
        skew.ticks = -70 * TICKS_PER_MINUTE
        assert provider.fetch_in(network, skew).access_key_id == "A"


def test_to_botocore_returns_what_the_signer_expects() -> None:
    """Key, secret and token are passed on."""
    keys = to_botocore(AwsCredentials("A", "S", "T"))
    assert (keys.access_key, keys.secret_key, keys.token) == ("A", "S", "T")
    assert to_botocore(AwsCredentials("A", "S")).token is None


# --- credentials that the service refuses ---------------------------------------------------------
def write_profile(folder: Path, key: str) -> None:
    (folder / "credentials").write_text(
        f"[default]\naws_access_key_id = {key}\naws_secret_access_key = S\n"
    )


def write_config(folder: Path, key: str) -> None:
    (folder / "config").write_text(
        f"[default]\naws_access_key_id = {key}\naws_secret_access_key = S\n"
    )


def write_process(folder: Path, key: str) -> None:
    answer = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": "S"}
    (folder / "answer").write_text(json.dumps(answer))
    (folder / "config").write_text(f"[default]\ncredential_process = cat {folder / 'answer'}\n")


@pytest.mark.parametrize("write", [write_profile, write_config, write_process])
def test_static_credentials_of_a_profile_are_read_anew(
    session: botocore.session.Session, tmp_path: Path, write: Callable[[Path, str], None]
) -> None:
    """`renew` reads the profile again; if that has no credentials now, the old ones stay."""
    write(tmp_path, "OLD")
    provider = SessionCredentials(session)
    assert provider.fetch().access_key_id == "OLD"
    write(tmp_path, "NEW")
    assert provider.fetch().access_key_id == "OLD"
    provider.renew()
    assert provider.fetch().access_key_id == "NEW"
    for name in ("credentials", "answer"):
        (tmp_path / name).unlink(missing_ok=True)
    with contextlib.suppress(KvsError):
        provider.renew()
    assert provider.fetch().access_key_id == "NEW"


def test_credentials_that_were_set_on_a_session_stay(
    session: botocore.session.Session, tmp_path: Path
) -> None:
    """The chain could find other credentials."""
    session.set_credentials("MINE", "S")
    write_profile(tmp_path, "OTHER")
    provider = SessionCredentials(session)
    provider.renew()
    assert provider.fetch().access_key_id == "MINE"


def test_renew_clears_the_cache_of_assumed_roles(
    session: botocore.session.Session,
) -> None:
    """Otherwise it would return the refused session until that expires."""

    class Role:
        METHOD = "assume-role"
        cache: ClassVar[dict[str, str]] = {"role": "old session"}

        def load(self) -> Credentials:
            return Credentials("OLD" if self.cache else "NEW", "S", method=self.METHOD)

    session.get_component("credential_provider").providers = [Role()]
    provider = SessionCredentials(session)
    assert provider.fetch().access_key_id == "OLD"
    provider.renew()
    assert provider.fetch().access_key_id == "NEW"


def test_a_refreshable_object_is_refreshed() -> None:
    """Even if it does not look expired; a static object is not changed."""
    expiry = datetime.now(UTC) + timedelta(hours=1)

    def refresh() -> dict[str, str]:
        return {
            "access_key": "NEW", "secret_key": "S", "token": "T", "expiry_time": expiry.isoformat()
        }  # fmt: skip

    provider = BotocoreCredentials(RefreshableCredentials("OLD", "S", "T", expiry, refresh, "test"))
    assert provider.fetch().access_key_id == "OLD"
    provider.renew()
    assert provider.fetch().access_key_id == "NEW"
    static = BotocoreCredentials(Credentials("A", "S"))
    static.renew()
    assert static.fetch().access_key_id == "A"


def test_a_refresh_that_fails_is_explained() -> None:
    def refresh() -> dict[str, str]:
        raise OSError("no route")

    expiry = datetime.now(UTC) + timedelta(hours=1)
    provider = BotocoreCredentials(RefreshableCredentials("A", "S", "T", expiry, refresh, "test"))
    with pytest.raises(KvsError, match="no route") as caught:
        provider.renew()
    assert caught.value.status is S.CLIENT_AUTH_CALL_FAILED


def holding(life: timedelta) -> RefreshableCredentials:
    """Return refreshable credentials with that lifetime."""
    return RefreshableCredentials("A", "S", "T", datetime.now(UTC) + life, dict, "test")


def test_get_nowait_of_botocore_credentials(session: botocore.session.Session) -> None:
    """Static keys always; refreshable ones until their renewal; a chain's after its search."""
    skew = ClockSkew()
    keys = Credentials("AKIDEXAMPLE", "secretsecret")
    found = BotocoreCredentials(keys).get_nowait(skew)
    assert found is not None
    assert found.access_key_id == "AKIDEXAMPLE"
    assert BotocoreCredentials(holding(timedelta(minutes=30))).get_nowait(skew) is not None
    assert BotocoreCredentials(holding(timedelta(minutes=14))).get_nowait(skew) is None

    class Own:
        def get_frozen_credentials(self) -> Any:
            raise AssertionError("it may block")

    assert BotocoreCredentials(Own()).get_nowait(skew) is None
    session.set_credentials("AKIDEXAMPLE", "secretsecret")
    chain = SessionCredentials(session)
    assert chain.get_nowait(skew) is None
    assert chain.fetch() == chain.get_nowait(skew)


def test_get_nowait_uses_the_service_time() -> None:
    """Otherwise botocore would renew on the event loop, which blocks."""
    skew = ClockSkew()
    skew.ticks = 3600 * 10_000_000
    assert BotocoreCredentials(holding(timedelta(minutes=30))).get_nowait(skew) is None
