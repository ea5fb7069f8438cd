"""Options for durations, times and the access to the service."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest
import trustme
from tests.iot import IotEndpoint
from tests.program import KVS

from kvsproducer.cli.options import (
    connection,
    duration_option,
    instant_option,
    seconds_option,
    service_config,
)
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.endpoint import local_endpoint
from kvsproducer.service.config import IpFamily, ServiceConfig
from kvsproducer.service.credentials import FileCredentials, IotCredentials
from kvsproducer.status import KvsError, StatusCode

HOUR = 3600 * TICKS_PER_SECOND


@pytest.mark.parametrize(
    ("text", "ticks"),
    [("0", 0), ("90s", 90 * TICKS_PER_SECOND), ("15m", HOUR // 4), ("24h", 24 * HOUR),
     ("7d", 168 * HOUR), ("PT2H", 2 * HOUR), ("pt2h", 2 * HOUR),
     ("1.5h", HOUR * 3 // 2), ("24H", 24 * HOUR), ("0.1s", TICKS_PER_SECOND // 10)],
)  # fmt: skip
def test_durations(text: str, ticks: int) -> None:
    """Short forms and ISO 8601."""
    assert duration_option("--idle", text) == ticks


@pytest.mark.parametrize(
    "text", ["", "24", "h", "1.5.2h", "-1h", "PT", "two days", "²h", "99999999999d"]
)
def test_bad_durations(text: str) -> None:
    """A bare number is refused: it leaves the unit open."""
    with pytest.raises(KvsError) as caught:
        duration_option("--idle", text)
    assert caught.value.status is StatusCode.INVALID_ARG
    assert caught.value.detail.startswith(f"--idle {text}" if text == "24" else f"--idle {text!r}")
    assert "ticks" not in caught.value.detail


def test_a_number_without_a_unit_asks_for_it() -> None:
    """The error names the option and says what to write."""
    with pytest.raises(KvsError) as caught:
        duration_option("--retention", "24")
    assert caught.value.detail == (
        "--retention 24 has no unit: write 24s for seconds, 24m for minutes, 24h for hours or 24d"
        " for days"
    )


@pytest.mark.parametrize("text", ["2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00", "1700000000",
                                  "1700000000.000"])  # fmt: skip
def test_instants(text: str) -> None:
    """ISO 8601 with a zone, or seconds since 1970."""
    assert instant_option(text) == 1_700_000_000 * TICKS_PER_SECOND


def test_now_is_between_2025_and_the_far_future() -> None:
    """`now` reads the clock."""
    assert instant_option("now") > 1_735_689_600 * TICKS_PER_SECOND


@pytest.mark.parametrize("text", ["yesterday", "", "12:00", "1969-01-01T00:00:00Z"])
def test_bad_instants(text: str) -> None:
    """Other texts, and times before 1970."""
    with pytest.raises(KvsError) as caught:
        instant_option(text)
    assert caught.value.status is StatusCode.INVALID_ARG


def test_connection_options() -> None:
    """TLS options become boto3's `verify`, and exclude each other."""
    assert connection(None, None, None, None, False).verify is True
    assert connection(None, None, None, None, True).verify is False
    assert connection(None, None, None, "ca.pem", False).verify == "ca.pem"
    with pytest.raises(KvsError):
        connection(None, None, None, "ca.pem", True)


def test_credentials_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, or AWS IoT as the environment says, not both; without them the chain's."""
    file = tmp_path / "keys"
    file.write_text("CREDENTIALS key secret")
    place = (None, None, None, None, False)
    assert connection(*place).credentials is None
    chosen = connection(*place, str(file)).credentials
    assert isinstance(chosen, FileCredentials)
    assert chosen.fetch().access_key_id == "key"
    with pytest.raises(KvsError, match="--iot"):
        connection(*place, str(file), True)
    monkeypatch.delenv("AWS_IOT_CORE_CERT", raising=False)
    with pytest.raises(KvsError, match="AWS_IOT_CORE_CERT"):
        connection(*place, None, True)
    with IotEndpoint(tmp_path) as iot:
        for name, value in iot.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_KVS_CACERT_PATH")
        trusting = connection(None, None, None, str(iot.ca), False, None, True).credentials
        assert isinstance(trusting, IotCredentials)
        assert trusting.fetch().session_token


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5.0), ("0.5", 0.5), ("90s", 90.0), ("2m", 120.0), ("PT1.5S", 1.5)]
)
def test_seconds_are_numbers_or_durations(text: str, seconds: float) -> None:
    """--timeout and --idle take what every duration takes, and a plain number of seconds."""
    assert seconds_option("--idle", text) == seconds


@pytest.mark.parametrize("text", ["", ".", "soon", "-1", "1.2.3"])
def test_invalid_seconds_are_refused(text: str) -> None:
    """The error is the same as for durations."""
    with pytest.raises(KvsError) as caught:
        seconds_option("--idle", text)
    assert caught.value.status is StatusCode.INVALID_ARG


def test_network_options() -> None:
    """What is not given stays as the environment says."""
    assert service_config(False, False, None, None) == ServiceConfig()
    config = service_config(True, True, IpFamily.IPV6, "http://user:hunter2@proxy:3128")
    assert config.use_fips_endpoint
    assert config.use_dualstack_endpoint
    assert config.ip_family is IpFamily.IPV6
    assert config.proxies is not None
    assert set(config.proxies) == {"http", "https"}
    with pytest.raises(KvsError) as caught:
        service_config(False, False, None, "proxy:3128")
    assert caught.value.status is StatusCode.INVALID_ARG


def test_no_verify_ssl_is_one_line(tmp_path: Path) -> None:
    """With an unknown certificate the media is stored, and there is one warning of ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with local_endpoint(ssl_context=context) as endpoint:
        there = ("--endpoint-url", endpoint.url, "--no-verify-ssl")
        command = [*KVS, "put", "testsrc:duration=1,size=64x64", "door", "--mode", "offline"]
        done = subprocess.run([*command, *there], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("arning") == 1
    assert "TLS certificates are not verified" in " ".join(done.stderr.split())
