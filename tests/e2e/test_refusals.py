"""Setups that cannot work: each fails with its status, cause and action, in a limited time.

Through `Producer` and through `kvs put`, whose error takes one screen and has an exit code.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.endpoints import QUICK
from tests.peers import Server
from typer.testing import CliRunner

import kvsproducer as kvs
from kvsproducer.cli.app import app
from kvsproducer.endpoint import Credentials, local_endpoint

S = kvs.StatusCode
LIMIT_S = 20
AT_ONCE = kvs.ServiceConfig(continuous_retry=False)  # a missing network is a failure, raised soon

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture
def refused(kit: Any) -> Callable[..., kvs.KvsError]:
    """refused(**producer options): what `wait_ready` raises, within the limit."""

    def attempt(**options: Any) -> kvs.KvsError:
        began = time.monotonic()
        with pytest.raises(kvs.KvsError) as caught, kvs.Producer(**options) as producer:
            stream = producer.open_stream("door", kit.info())
            stream.put_frame(kit.Media().frame())
            stream.wait_ready(timeout=LIMIT_S)
        assert time.monotonic() - began < LIMIT_S
        assert caught.value.action
        return caught.value

    return attempt


@pytest.fixture
def kvs_put(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """kvs_put(url, *options, **environment): a second of test picture; None unsets a variable."""

    def run(url: str, *options: str, **changes: str | None) -> Any:
        if url:
            options += ("--endpoint-url", url)
        return CliRunner(env={"COLUMNS": "100", **changes}).invoke(
            app, ["put", "testsrc:duration=1,size=64x48", "door", "-q", *options], prog_name="kvs"
        )

    return run


class OtherServer(Server):
    """Yield the URL of an HTTP server that is not KVS."""

    def talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65_536)
            connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")


@pytest.fixture
def other_server() -> Iterator[str]:
    server = OtherServer()
    yield server.url
    server.end()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def https_url(authority: trustme.CA) -> Iterator[str]:
    """A local endpoint over TLS, with a certificate of the test's own authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with local_endpoint(ssl_context=context, limits=QUICK) as endpoint:
        yield endpoint.url


@pytest.fixture
def verifying_url() -> Iterator[str]:
    """A local endpoint that checks signatures, also of a temporary key."""
    known = {
        "AKIDEXAMPLE": Credentials("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None),
        "ASIAEXAMPLE": Credentials("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "fresh"),
    }
    with local_endpoint(verify_signatures=known) as endpoint:
        yield endpoint.url


def test_right_signature(verifying_url: str, kit: Any) -> None:
    """With the right secret everything is stored."""
    media = kit.Media()
    with kvs.Producer(endpoint_url=verifying_url) as producer:
        with producer.open_stream("door", kit.info()) as stream:
            for frame in media.frames(10):
                stream.put_frame(frame)
    kit.assert_stored(verifying_url, "door", media.put)


def test_wrong_secret(
    verifying_url: str,
    refused: Callable[..., kvs.KvsError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not the secret")
    error = refused(endpoint_url=verifying_url)
    assert error.status is S.DESCRIBE_STREAM_CALL_FAILED
    assert "signature" in error.detail.lower()
    assert "not the secret" not in f"{error} {error!r}"


def test_expired_token(
    verifying_url: str, refused: Callable[..., kvs.KvsError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "stale")
    error = refused(endpoint_url=verifying_url)
    assert error.status is S.DESCRIBE_STREAM_CALL_FAILED
    assert "token" in error.detail.lower()


def test_no_credentials(
    endpoint_url: str,
    refused: Callable[..., kvs.KvsError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = refused(endpoint_url=endpoint_url)
    assert error.status is S.SERVICE_CALL_NOT_AUTHORIZED_ERROR
    assert "no AWS credentials were found" in error.detail


def test_no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(kvs.KvsError) as caught:
        kvs.Producer()
    assert caught.value.status is S.INVALID_ARG


def test_refused_connection(kit: Any, refused: Callable[..., kvs.KvsError]) -> None:
    url = f"http://127.0.0.1:{kit.free_port()}"
    error = refused(endpoint_url=url, config=AT_ONCE)
    assert error.status is S.DESCRIBE_STREAM_CALL_FAILED
    assert url in error.detail


def test_name_that_does_not_resolve(refused: Callable[..., kvs.KvsError]) -> None:
    """As with a region that does not exist."""
    error = refused(endpoint_url="http://kinesisvideo.nowhere.invalid", config=AT_ONCE)
    assert error.status is S.DESCRIBE_STREAM_CALL_FAILED
    assert "kinesisvideo.nowhere.invalid" in error.detail


def test_invalid_endpoint_url(kit: Any) -> None:
    """An address without a scheme is refused at once."""
    with pytest.raises(kvs.KvsError) as caught:
        kvs.Producer(endpoint_url="127.0.0.1:8080")
    assert caught.value.status is S.INVALID_ARG


def test_endpoint_that_is_not_kvs(other_server: str, refused: Callable[..., kvs.KvsError]) -> None:
    error = refused(endpoint_url=other_server, config=AT_ONCE)
    assert error.status is S.DESCRIBE_STREAM_CALL_FAILED


def test_tls_with_an_unknown_authority(
    https_url: str, refused: Callable[..., kvs.KvsError]
) -> None:
    error = refused(endpoint_url=https_url)
    assert error.status is S.DESCRIBE_STREAM_CALL_FAILED
    assert "TLS" in error.detail
    assert "certificate" in error.detail


@pytest.mark.parametrize("how", ["bundle", "environment", "no check"])
def test_tls_that_works(
    how: str,
    https_url: str,
    authority: trustme.CA,
    kit: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    """With one's own bundle, as an argument or as boto3's variable, or without any check."""
    bundle = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(bundle)
    verify: bool | str = {"bundle": bundle, "environment": True, "no check": False}[how]
    if how == "environment":
        monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
    media = kit.Media()
    with kvs.Producer(endpoint_url=https_url, verify=verify) as producer:
        with producer.open_stream("door", kit.info()) as stream:
            for frame in media.frames(10):
                stream.put_frame(frame)
    assert stream.account().persisted == 10
    read = [
        bytes(frame.data)
        for fragment in kvs.get_media("door", endpoint_url=https_url, verify=verify)
        for frame in fragment.frames
    ]
    assert read == [frame.data for frame in media.put]


def test_kvs_put_reports_each_cause(
    endpoint_url: str,
    verifying_url: str,
    https_url: str,
    other_server: str,
    kit: Any,
    tmp_path: Path,
    kvs_put: Callable[..., Any],
    recwarn: pytest.WarningsRecorder,
) -> None:
    """The command line shows one screen without a traceback, and has the exit code."""
    nobody = f"http://127.0.0.1:{kit.free_port()}"
    unset = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    nowhere = "http://kinesisvideo.nowhere.invalid"
    missing = str(tmp_path / "missing.pem")
    runs = [
        # how it ended, its exit code, what it must say
        (kvs_put(verifying_url, AWS_SECRET_ACCESS_KEY="not the secret"), 1, "signature"),
        (kvs_put(endpoint_url, **unset), 1, "no AWS credentials were found"),
        (kvs_put("", AWS_DEFAULT_REGION=None), 2, "region"),
        (kvs_put("127.0.0.1:8080"), 2, "http://"),
        (kvs_put(nobody), 1, nobody),
        (kvs_put(nowhere), 1, "nowhere.invalid"),
        (kvs_put(other_server), 1, other_server),
        (kvs_put(https_url), 1, "certificate"),
        (kvs_put(https_url, "--ca-bundle", missing), 1, "missing.pem"),
        (kvs_put(https_url, "--no-verify-ssl"), 0, ""),
    ]
    for ran, code, text in runs:
        assert isinstance(ran.exception, SystemExit | None), ran.exception
        assert ran.exit_code == code, ran.stderr
        assert text in " ".join(ran.stderr.split())
        assert "not the secret" not in ran.stderr
        assert len(ran.stderr.splitlines()) < 24, ran.stderr


def test_kvs_put_in_a_process_of_its_own(kit: Any) -> None:
    """With its real pauses between attempts, and everything that Python prints at its end."""
    url = f"http://127.0.0.1:{kit.free_port()}"
    command = [*kit.KVS, "put", "testsrc:duration=1,size=64x48", "door", "--endpoint-url", url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=40)
    assert ran.returncode == 1
    assert "DESCRIBE_STREAM_CALL_FAILED" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.splitlines()) < 24, ran.stderr
