"""The C producer's credentials file: both forms, without its misreading, and every error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvsproducer import KvsError, StatusCode
from kvsproducer.duration import TICKS_PER_MINUTE
from kvsproducer.service.clock_skew import ClockSkew
from kvsproducer.service.config import ServiceConfig
from kvsproducer.service.credentials import AwsCredentials, FileCredentials
from kvsproducer.service.credentials.expiration import parse_expiration
from kvsproducer.service.credentials.file import parse_credentials_file
from kvsproducer.service.network import Network

S = StatusCode
SOON = "2023-11-14T22:30:00Z"  # 16 min 40 s after the clock's time
NOW = 17_000_000_000_000_000
LATEST = NOW + 40 * TICKS_PER_MINUTE


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("CREDENTIALS key secret", ("key", "secret", None, LATEST)),
        ("  CREDENTIALS\tkey\n secret \n", ("key", "secret", None, LATEST)),
        # AWS's producer takes this secret for an expiration, and fails with 0x16000005.
        ("CREDENTIALS key secret token", ("key", "secret", "token", LATEST)),
        (f"CREDENTIALS key {SOON} secret", ("key", "secret", None, parse_expiration(SOON))),
        (
            f"CREDENTIALS key {SOON} secret token",
            ("key", "secret", "token", parse_expiration(SOON)),
        ),
        ("CREDENTIALS key 2200-01-01T00:00:00Z secret token", ("key", "secret", "token", LATEST)),
        (
            f"CREDENTIALS {'k' * 128} {'s' * 128} {'t' * 2048}",
            ("k" * 128, "s" * 128, "t" * 2048, LATEST),
        ),
    ],
)
def test_forms(line: str, wanted: tuple[str, str, str | None, int]) -> None:
    """Credentials are valid for at most 40 minutes."""
    assert parse_credentials_file(line.encode(), NOW) == AwsCredentials(*wanted)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_FORMAT),
        (b"[default]\naws_access_key_id = x", S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_FORMAT),
        (b"CREDENTIALS key", S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_FORMAT),
        (b"CREDENTIALS 1 2 3 4 5", S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_FORMAT),
        (b"CREDENTIALS key s\xff\xff", S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_FORMAT),
        (b"CREDENTIALS %s s" % (b"k" * 129), S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_FORMAT),
        (b"CREDENTIALS k s %s" % (b"t" * 2049), S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_FORMAT),
        (b"CREDENTIALS k s " + b"t" * 9_984, S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_LENGTH),
        (b"CREDENTIALS k 2022-01-01T00:00:00Z s t", S.IOT_EXPIRATION_OCCURS_IN_PAST),
        (b"CREDENTIALS k 2030-13-01T00:00:00Z s t", S.IOT_EXPIRATION_PARSING_FAILED),
        (b"CREDENTIALS k 2030-13-01T00:00:00Z s", S.IOT_EXPIRATION_PARSING_FAILED),
        (b"CREDENTIALS k 2030-12-01 s t", S.TIMESTAMP_STRING_UNRECOGNIZED_FORMAT),
    ],
)
def test_errors(content: bytes, status: StatusCode, tmp_path: Path) -> None:
    """An invalid file is reported with its path when the provider is created."""
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(KvsError) as caught:
        FileCredentials(path, clock=lambda: NOW)
    assert caught.value.status is status
    assert str(path) in caught.value.detail


def test_a_missing_file_and_an_over_long_path(tmp_path: Path) -> None:
    """The error has the system's reason."""
    with pytest.raises(OSError, match="No such file") as caught:
        FileCredentials(tmp_path / "nowhere")
    assert isinstance(caught.value, KvsError)
    assert caught.value.status is S.FILE_CREDENTIAL_PROVIDER_OPEN_FILE_FAILED
    with pytest.raises(KvsError) as too_long:
        FileCredentials("x" * 4097)
    assert too_long.value.status is S.PATH_TOO_LONG
    with pytest.raises(KvsError) as nothing:
        FileCredentials(None)  # type: ignore[arg-type]
    assert nothing.value.status is S.NULL_ARG
    with pytest.raises(KvsError, match="null byte") as no_path:
        FileCredentials("keys\0")
    assert no_path.value.status is S.FILE_CREDENTIAL_PROVIDER_OPEN_FILE_FAILED


def test_it_is_read_anew(tmp_path: Path, clock: Callable[[], int]) -> None:
    """Each fetch reads the file again, and reports a file that is invalid now."""
    path = tmp_path / "keys"
    path.write_text("CREDENTIALS one secret")
    provider = FileCredentials(str(path), clock=clock)
    path.write_text("CREDENTIALS two secret")
    assert provider.fetch().access_key_id == "two"
    path.write_text("two secret")
    with pytest.raises(KvsError):
        provider.fetch()
    assert repr(provider) == f"FileCredentials({str(path)!r})"


def test_the_service_s_time_counts_with_a_producer(
    tmp_path: Path, clock: Callable[[], int]
) -> None:
    """Expirations are compared with the service's time, because this clock may be wrong."""
    path = tmp_path / "keys"
    path.write_text(f"CREDENTIALS key {SOON} secret token")
    provider = FileCredentials(path, clock=clock)
    network, skew = Network(ServiceConfig(), True), ClockSkew()
    skew.ticks = -30 * TICKS_PER_MINUTE
    assert provider.fetch_in(network, skew).expiration == LATEST - 30 * TICKS_PER_MINUTE
    skew.ticks = 30 * TICKS_PER_MINUTE
    with pytest.raises(KvsError) as caught:
        provider.fetch_in(network, skew)
    assert caught.value.status is S.IOT_EXPIRATION_OCCURS_IN_PAST
