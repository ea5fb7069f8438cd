"""The use of botocore: regions, sessions, credentials and signatures."""

from __future__ import annotations

import asyncio
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
import trustme
from botocore.credentials import RefreshableCredentials

from kvsproducer.duration import instant_to_ticks
from kvsproducer.service.clock import now
from kvsproducer.service.config import ServiceConfig
from kvsproducer.service.credentials import AwsCredentials
from kvsproducer.service.service import Service
from kvsproducer.status import KvsError, StatusCode

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@pytest.fixture(autouse=True)
def _no_aws_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Remove the AWS configuration of this machine."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/credentials")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def session_with_keys(token: str | None = None) -> botocore.session.Session:
    session = botocore.session.Session()
    session.set_credentials(KEY, SECRET, token)
    return session


def called(service: Service, operation: str, parameters: dict[str, object]) -> dict[str, Any]:
    """Make a call, close its connection, and return the answer."""

    async def call() -> dict[str, Any]:
        try:
            return await service.call(operation, parameters)
        finally:
            await service.disconnect()

    return asyncio.run(call())


def test_no_region_is_explained() -> None:
    """The error says how to set a region."""
    with pytest.raises(KvsError) as caught:
        Service()
    assert caught.value.status is StatusCode.INVALID_ARG
    assert "AWS_DEFAULT_REGION" in str(caught.value)


def test_region_from_argument_environment_or_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument precedes the environment; with an endpoint there is a default."""
    assert Service(endpoint_url="http://127.0.0.1:1").region_name == "us-west-2"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert Service().region_name == "eu-west-1"
    assert Service(region_name="eu-central-1").region_name == "eu-central-1"


def test_unknown_profile_is_explained() -> None:
    """The error is INVALID_ARG and has the name of the profile."""
    with pytest.raises(KvsError) as caught:
        Service(region_name="us-west-2", profile_name="missing")
    assert caught.value.status is StatusCode.INVALID_ARG
    assert "missing" in str(caught.value)


@pytest.mark.parametrize("content", [b"[default\nregion", b"\x00\xff\xfe"])
def test_invalid_configuration_file_is_reported(content: bytes, tmp_path: Path) -> None:
    """The error has its path, also for a session of the caller."""
    (tmp_path / "config").write_bytes(content)
    for session in (None, botocore.session.Session()):
        with pytest.raises(KvsError, match="config") as caught:
            Service(region_name="us-west-2", session=session)
        assert caught.value.status is StatusCode.INVALID_ARG


def test_unknown_profile_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error does not name an argument, because none was given."""
    monkeypatch.setenv("AWS_PROFILE", "missing")
    with pytest.raises(KvsError, match="missing") as caught:
        Service(region_name="us-west-2")
    assert "profile_name" not in caught.value.detail


def test_boto3_session_is_taken() -> None:
    """A boto3 session's credentials and region are used."""
    session = boto3.Session(KEY, SECRET, region_name="eu-north-1")
    service = Service(session=session)
    assert service.region_name == "eu-north-1"
    assert service.credentials().access_key_id == KEY


def test_missing_credentials_error_lists_where_they_were_searched() -> None:
    """The error is a PermissionError."""
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
    """Printing credentials shows no secret."""
    service = Service(region_name="us-west-2", session=session_with_keys("sessiontoken"))
    shown = repr(service.credentials())
    assert SECRET not in shown
    assert "sessiontoken" not in shown


def test_sign_adds_sigv4_and_the_token() -> None:
    """The given headers are kept and signed; date, token and signature are added."""
    service = Service(region_name="us-west-2", session=session_with_keys("sessiontoken"))
    keys = service.credentials()
    signed = service.sign("http://127.0.0.1:8080/putMedia", {"x-amzn-stream-name": "door"}, keys)
    assert signed["x-amzn-stream-name"] == "door"
    assert signed["X-Amz-Security-Token"] == "sessiontoken"
    assert (
        "SignedHeaders=host;x-amz-date;x-amz-security-token;x-amzn-stream-name"
        in (signed["Authorization"])
    )


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


def test_verify_none_means_the_default(tmp_path: Path) -> None:
    """As in boto3, where `verify=os.environ.get(...)` may be None; other types are refused."""
    assert Service(region_name="us-west-2", verify=None).network.tls().check_hostname
    bundle = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(bundle))
    assert len(Service(region_name="us-west-2", verify=bundle).network.tls().get_ca_certs()) == 1
    for wrong in (0, 1, b"ca.pem"):
        with pytest.raises(KvsError, match="verify= is "):
            Service(region_name="us-west-2", verify=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8080", "http://a b", "http://u:hunter2@h", "http://h?x=1", "http://\u00fc"],
)
def test_invalid_endpoint_url_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes at once and shows no password; also for the environment's URL."""
    with pytest.raises(KvsError, match="is not a URL") as caught:
        Service(endpoint_url=url)
    assert caught.value.status is StatusCode.INVALID_ARG
    assert "hunter2" not in str(caught.value)
    if url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(KvsError, match="is not a URL"):
            Service()


def test_invalid_proxy_of_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes when the service is created."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy:1080")
    with pytest.raises(KvsError, match="HTTPS_PROXY is not a URL"):
        Service(region_name="us-west-2")
    Service(endpoint_url="http://127.0.0.1:1")


def test_invalid_bundle_is_refused_at_once(tmp_path: Path) -> None:
    """The error comes when the service is created, not with the first call."""
    with pytest.raises(KvsError) as caught:
        Service(region_name="us-west-2", verify=str(tmp_path / "nothing.pem"))
    assert caught.value.status is StatusCode.INVALID_CA_CERT_PATH


# --- endpoint forms ---------------------------------------------------------------------------
FORMS = [
    # region, plain, FIPS, dual stack: the C producer's table of suffixes
    ("us-west-2", "amazonaws.com", "api.aws"),
    ("cn-north-1", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("us-gov-west-1", "amazonaws.com", "api.aws"),
    ("us-iso-east-1", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isob-east-1", "sc2s.sgov.gov", "api.aws.scloud"),
]


def control_plane(region: str, config: ServiceConfig | None = None) -> str:
    """Return the URL that a request would be sent to."""
    return Service(region_name=region, config=config).control_plane()


@pytest.mark.parametrize(("region", "suffix", "dualstack"), FORMS)
def test_forms_of_the_endpoint(
    region: str, suffix: str, dualstack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By configuration and by environment, in each partition."""
    both = ServiceConfig(use_fips_endpoint=True, use_dualstack_endpoint=True)
    expected = {
        f"https://kinesisvideo.{region}.{suffix}": ServiceConfig(),
        f"https://kinesisvideo-fips.{region}.{suffix}": ServiceConfig(use_fips_endpoint=True),
        f"https://kinesisvideo.{region}.{dualstack}": ServiceConfig(use_dualstack_endpoint=True),
        f"https://kinesisvideo-fips.{region}.{dualstack}": both,
    }
    for url, config in expected.items():
        assert control_plane(region, config) == url
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    assert control_plane(region) == f"https://kinesisvideo.{region}.{dualstack}"
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "TRUE")
    assert control_plane(region) == f"https://kinesisvideo-fips.{region}.{dualstack}"
    plain = ServiceConfig(use_fips_endpoint=False, use_dualstack_endpoint=False)
    assert control_plane(region, plain) == f"https://kinesisvideo.{region}.{suffix}"


@pytest.mark.parametrize(
    "name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KINESIS_VIDEO", "CONTROL_PLANE_URI"]
)
def test_endpoint_of_the_environment(
    name: str, endpoint_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An argument precedes the variables; with a URL no region is needed and forms are ignored."""
    monkeypatch.setenv(name, endpoint_url)
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    service = Service(session=session_with_keys())
    assert service.endpoint_url == endpoint_url
    assert called(service, "ListStreams", {})["StreamInfoList"] == []
    assert Service(endpoint_url="http://127.0.0.1:1").endpoint_url == "http://127.0.0.1:1"
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert Service(region_name="us-west-2").endpoint_url is None


def test_control_plane_uri_of_the_c_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """They put https:// before an address without a scheme; botocore's variables come first."""
    monkeypatch.setenv("CONTROL_PLANE_URI", "kvs.example.com:8443")
    assert Service().endpoint_url == "https://kvs.example.com:8443"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert Service().endpoint_url == "http://127.0.0.1:1"


@pytest.mark.parametrize("form", ["use_fips_endpoint", "use_dualstack_endpoint"])
def test_a_form_and_an_own_url_exclude_each_other(form: str) -> None:
    """The caller gave both, so one of them is a mistake."""
    with pytest.raises(KvsError, match="is one already") as caught:
        Service(endpoint_url="http://127.0.0.1:1", config=ServiceConfig(**{form: True}))  # type: ignore[arg-type]
    assert caught.value.status is StatusCode.INVALID_ARG


def test_a_form_that_a_partition_does_not_have() -> None:
    """The error is INVALID_ARG."""
    with pytest.raises(KvsError, match="us-isof-south-1 does not have that form") as caught:
        control_plane("us-isof-south-1", ServiceConfig(use_dualstack_endpoint=True))
    assert caught.value.status is StatusCode.INVALID_ARG


def test_invalid_region_is_refused() -> None:
    """botocore checks it; the error is ours."""
    with pytest.raises(KvsError, match="is not an AWS region") as caught:
        Service(region_name="us west")
    assert caught.value.status is StatusCode.INVALID_ARG


def test_ca_bundle_of_the_c_producer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """AWS_KVS_CACERT_PATH names the trusted roots too."""
    bundle = str(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(bundle)
    monkeypatch.setenv("AWS_KVS_CACERT_PATH", bundle)
    assert len(Service(region_name="us-west-2").network.tls().get_ca_certs()) == 1


def test_botocore_without_its_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A bundled application without botocore's models gets CURL_LIBRARY_INIT_FAILED."""
    session = session_with_keys()
    session.get_component("data_loader").search_paths[:] = [str(tmp_path)]
    with pytest.raises(KvsError) as caught:
        Service(region_name="us-west-2", session=session).control_plane()
    assert caught.value.status is StatusCode.CURL_LIBRARY_INIT_FAILED


def test_no_calls_after_closing(endpoint_url: str) -> None:
    """Later calls are refused and open no connection."""
    service = Service(endpoint_url=endpoint_url, session=session_with_keys())
    assert called(service, "ListStreams", {})["StreamInfoList"] == []
    service.close()
    with pytest.raises(KvsError) as caught:
        called(service, "ListStreams", {})
    assert caught.value.status is StatusCode.CLIENT_BEING_SHUTDOWN


def test_threads_for_keys_only_when_they_must_be_fetched(
    endpoint_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call searches botocore's chain in a thread; the following ones use no thread."""
    service = Service(endpoint_url=endpoint_url, session=session_with_keys())
    names: list[str] = []
    real = threading.Thread.start
    monkeypatch.setattr(
        threading.Thread, "start", lambda thread: (names.append(thread.name), real(thread))
    )

    async def calls() -> None:
        for _ in range(5):
            await service.call("ListStreams", {})
        await service.disconnect()

    asyncio.run(calls())
    assert names.count("kvsproducer-call") == 1


@pytest.mark.parametrize("step", [864_000_000_000, -864_000_000_000])
def test_service_is_asked_for_its_time_after_our_clock_was_set(
    endpoint_url: str, step: int
) -> None:
    """Otherwise new credentials would look expired after the clock was set a day ahead."""
    ahead = 0

    def credentials() -> AwsCredentials:
        return AwsCredentials(KEY, SECRET, "token", now() + 36_000_000_000)

    async def work() -> None:
        nonlocal ahead
        service = Service(endpoint_url=endpoint_url, credentials=credentials)
        service.run_on(asyncio.get_running_loop(), lambda: now() + ahead)
        try:
            await service.call("CreateStream", {"StreamName": "door"})
            assert service.skew.ticks == 0
            ahead = step
            await asyncio.to_thread(service.credentials)
            if step > 0:
                assert abs(service.skew.ticks + step) < 100_000_000
        finally:
            await service.disconnect()
            service.close()

    asyncio.run(work())
