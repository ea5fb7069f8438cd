"""The border to botocore: regions, sessions, credentials and signatures."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import botocore.session
import pytest
import trustme
from botocore.credentials import RefreshableCredentials

from kvsproducer.duration import instant_to_ticks
from kvsproducer.producer.service import Service
from kvsproducer.status import KvsError, StatusCode

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@pytest.fixture(autouse=True)
def _no_aws_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Nothing of the machine's own AWS configuration counts here."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/credentials")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def session_with_keys(token: str | None = None) -> botocore.session.Session:
    session = botocore.session.Session()
    session.set_credentials(KEY, SECRET, token)
    return session


def test_no_region_is_explained() -> None:
    """Without a region there is nowhere to send media to."""
    with pytest.raises(KvsError) as caught:
        Service()
    assert caught.value.status is StatusCode.INVALID_ARG
    assert "AWS_DEFAULT_REGION" in str(caught.value)


def test_region_from_argument_environment_or_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument wins over the environment; with an endpoint a default signs."""
    assert Service(endpoint_url="http://127.0.0.1:1").region_name == "us-west-2"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert Service().region_name == "eu-west-1"
    assert Service(region_name="eu-central-1").region_name == "eu-central-1"


def test_unknown_profile_is_explained() -> None:
    """A profile that is nowhere is an argument's fault, named."""
    with pytest.raises(KvsError) as caught:
        Service(region_name="us-west-2", profile_name="nobody")
    assert caught.value.status is StatusCode.INVALID_ARG
    assert "nobody" in str(caught.value)


def test_boto3_session_is_taken() -> None:
    """A boto3 session's credentials and region are used."""
    session = boto3.Session(KEY, SECRET, region_name="eu-north-1")
    service = Service(session=session)
    assert service.region_name == "eu-north-1"
    assert service.credentials().access_key_id == KEY


def test_no_credentials_say_where_was_looked() -> None:
    """An error that lists the places."""
    service = Service(region_name="us-west-2")
    with pytest.raises(PermissionError) as caught:
        service.credentials()
    assert "environment" in str(caught.value)


def test_static_keys_do_not_expire_and_refreshable_ones_say_when() -> None:
    """The expiration comes from botocore's refreshable credentials, in ticks."""
    assert (
        Service(region_name="us-west-2", session=session_with_keys()).credentials().expiration
        is None
    )
    expiry = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    session = botocore.session.Session()
    session._credentials = RefreshableCredentials(KEY, SECRET, "token", expiry, dict, "test")
    found = Service(region_name="us-west-2", session=session).credentials()
    assert found.expiration == instant_to_ticks(expiry)
    assert found.session_token == "token"


def test_secrets_do_not_show_in_a_repr() -> None:
    """Whoever prints credentials sees none."""
    service = Service(region_name="us-west-2", session=session_with_keys("sessiontoken"))
    shown = repr(service.credentials())
    assert SECRET not in shown
    assert "sessiontoken" not in shown


def test_sign_adds_sigv4_and_the_token() -> None:
    """Our headers stay, the date, token and signature come; the x-amzn headers are signed."""
    service = Service(region_name="us-west-2", session=session_with_keys("sessiontoken"))
    keys = service.credentials()
    signed = service.sign("http://127.0.0.1:8080/putMedia", {"x-amzn-stream-name": "door"}, keys)
    assert signed["x-amzn-stream-name"] == "door"
    assert signed["X-Amz-Security-Token"] == "sessiontoken"
    assert (
        "SignedHeaders=host;x-amz-date;x-amz-security-token;x-amzn-stream-name"
        in (signed["Authorization"])
    )


def test_clients_do_not_retry() -> None:
    """botocore's own retries are off; the state machine retries."""
    service = Service(region_name="us-west-2", session=session_with_keys())
    config = service.client("kinesisvideo").meta.config
    assert config.retries["total_max_attempts"] == 1


def test_ca_bundle_of_the_environment_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """AWS_CA_BUNDLE is used for uploads as boto3 uses it for calls; an explicit choice wins."""
    bundle = str(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(bundle)
    monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
    assert len(Service(region_name="us-west-2").network.tls().get_ca_certs()) == 1
    lax = Service(region_name="us-west-2", verify=False).network.tls()
    assert lax.verify_mode is ssl.CERT_NONE


def test_bad_bundle_is_told_at_once(tmp_path: Path) -> None:
    """Not at the first call."""
    with pytest.raises(KvsError) as caught:
        Service(region_name="us-west-2", verify=str(tmp_path / "nothing.pem"))
    assert caught.value.status is StatusCode.INVALID_CA_CERT_PATH
