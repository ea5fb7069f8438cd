"""Tests of conversions and path checks: each kind of mistake has its own status."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsproducer.status import KvsError, StatusCode, StorageError
from kvsproducer.utils import (
    base64_decode,
    base64_encode,
    check_directory,
    check_exists,
    check_path,
    format_int,
    format_timestamp,
    hex_decode,
    hex_encode,
    parse_int,
)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(2, 36))
def test_parse_int_reverses_format_int(value: int, base: int) -> None:
    """Conversion to text and back keeps a number, in every base and with letters in both cases."""
    text = format_int(value, base)
    assert parse_int(text, base, signed=True) == value
    assert parse_int(text.upper(), base, signed=True) == value


@pytest.mark.parametrize(
    ("text", "options", "number"),
    [
        ("0", {}, 0),
        ("000017", {}, 17),
        ("+17", {}, 17),
        ("-0017", {"signed": True}, -17),
        ("fF", {"base": 16}, 255),
        ("11111111", {"base": 2}, 255),
        ("z", {"base": 36}, 35),
        ("18446744073709551615", {}, 2**64 - 1),
        ("9223372036854775807", {"signed": True}, 2**63 - 1),
        ("-9223372036854775808", {"signed": True}, -(2**63)),
        ("4294967295", {"bits": 32}, 2**32 - 1),
        ("0" * 500 + "1", {}, 1),
    ],
)
def test_parse_int(text: str, options: dict[str, int], number: int) -> None:
    """Leading zeros and a sign are accepted, and the limits of each type are exact."""
    assert parse_int(text, **options) == number  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "options", "status"),
    [
        ("", {}, StatusCode.EMPTY_STRING),
        ("+", {}, StatusCode.EMPTY_STRING),
        ("-", {"signed": True}, StatusCode.EMPTY_STRING),
        ("-5", {}, StatusCode.INVALID_DIGIT),
        ("-0", {}, StatusCode.INVALID_DIGIT),
        ("--1", {"signed": True}, StatusCode.INVALID_DIGIT),
        ("++1", {}, StatusCode.INVALID_DIGIT),
        ("1-2", {"signed": True}, StatusCode.INVALID_DIGIT),
        (" ", {}, StatusCode.INVALID_DIGIT),
        ("1 ", {}, StatusCode.INVALID_DIGIT),
        ("1.5", {}, StatusCode.INVALID_DIGIT),
        ("1_000", {}, StatusCode.INVALID_DIGIT),
        ("\N{ARABIC-INDIC DIGIT ONE}", {}, StatusCode.INVALID_DIGIT),
        ("12a", {}, StatusCode.INVALID_BASE),
        ("2", {"base": 2}, StatusCode.INVALID_BASE),
        ("1", {"base": 1}, StatusCode.INVALID_BASE),
        ("1", {"base": 37}, StatusCode.INVALID_BASE),
        ("18446744073709551616", {}, StatusCode.INT_OVERFLOW),
        ("9223372036854775808", {"signed": True}, StatusCode.INT_OVERFLOW),
        ("-9223372036854775809", {"signed": True}, StatusCode.INT_OVERFLOW),
        ("4294967296", {"bits": 32}, StatusCode.INT_OVERFLOW),
        ("9" * 10_000, {}, StatusCode.INT_OVERFLOW),
    ],
)
def test_invalid_numbers_are_refused(
    text: str, options: dict[str, int], status: StatusCode
) -> None:
    """Each mistake has its own status, and a long text is cut in the message."""
    with pytest.raises(KvsError) as caught:
        parse_int(text, **options)  # type: ignore[arg-type]
    assert caught.value.status is status
    assert len(caught.value.detail) < 120


@pytest.mark.parametrize("base", [0, 1, 37, -10])
def test_format_int_refuses_other_bases(base: int) -> None:
    """A base outside 2 to 36 raises INVALID_BASE."""
    with pytest.raises(KvsError) as caught:
        format_int(1, base)
    assert caught.value.status is StatusCode.INVALID_BASE


@given(st.binary(min_size=1, max_size=200))
def test_decoding_reverses_encoding(data: bytes) -> None:
    """Base64 is decoded with and without padding, hexadecimal in upper and lower case."""
    text = base64_encode(data)
    assert text == base64.b64encode(data).decode()
    assert base64_decode(text) == base64_decode(text.rstrip("=")) == data
    assert hex_decode(hex_encode(data)) == hex_decode(hex_encode(data).upper()) == data


@pytest.mark.parametrize("text", ["A", "AAAAA", "A===", "AA==AA==", "A A=", "=", "A-__", "\xe9A=="])
def test_invalid_base64_is_refused(text: str) -> None:
    """It raises INVALID_BASE64_ENCODE; the text, which may be secret, is not in the message."""
    with pytest.raises(KvsError) as caught:
        base64_decode(text)
    assert caught.value.status is StatusCode.INVALID_BASE64_ENCODE
    assert repr(text) not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", StatusCode.INVALID_ARG_LEN),
        ("abc", StatusCode.INVALID_ARG_LEN),
        ("zz", StatusCode.INVALID_BASE),
        ("a ", StatusCode.INVALID_DIGIT),
    ],
)
def test_invalid_hexadecimal_is_refused(text: str, status: StatusCode) -> None:
    """The length is checked first, then the digits."""
    with pytest.raises(KvsError) as caught:
        hex_decode(text)
    assert caught.value.status is status


def test_empty_input_is_refused() -> None:
    """Empty input raises INVALID_ARG_LEN, as in AWS's functions."""
    for call in (lambda: base64_encode(b""), lambda: base64_decode(""), lambda: hex_encode(b"")):
        with pytest.raises(KvsError) as caught:
            call()
        assert caught.value.status is StatusCode.INVALID_ARG_LEN


def test_paths_have_1_to_4096_characters() -> None:
    """Both limits are allowed; a path is a str or a PathLike of str."""
    assert check_path("x" * 4096) == Path("x" * 4096)
    for path, status in (
        ("x" * 4097, StatusCode.PATH_TOO_LONG),
        ("", StatusCode.INVALID_ARG_LEN),
        (None, StatusCode.NULL_ARG),
        (b"keys", StatusCode.INVALID_ARG),
        (5, StatusCode.INVALID_ARG),
    ):
        with pytest.raises(KvsError) as caught:
            check_path(path)  # type: ignore[arg-type]
        assert caught.value.status is status


def test_check_exists_finds_files_and_directories(tmp_path: Path) -> None:
    """A missing file and a dangling link cannot be examined."""
    file = tmp_path / "ca.pem"
    file.touch()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nothing")
    assert check_exists(file) == file
    assert check_exists(str(tmp_path)) == tmp_path
    for missing in (link, tmp_path / "nothing", "nul\0character"):
        with pytest.raises(OSError, match="cannot be examined") as caught:
            check_exists(missing)
        assert isinstance(caught.value, KvsError)
        assert caught.value.status is StatusCode.DIRECTORY_ENTRY_STAT_ERROR
        assert caught.value.__cause__ is not None


def test_check_directory_has_a_status_for_each_reason(tmp_path: Path) -> None:
    """A directory is accepted; a missing path, a file and an invalid path each have a status."""
    file = tmp_path / "file"
    file.touch()
    assert check_directory(tmp_path) == tmp_path
    for path, status in (
        (tmp_path / "nothing", StatusCode.DIRECTORY_MISSING_PATH),
        (file, StatusCode.DIRECTORY_OPEN_FAILED),
        ("nul\0character", StatusCode.DIRECTORY_OPEN_FAILED),
    ):
        with pytest.raises(OSError, match=r".") as caught:
            check_directory(path)
        assert isinstance(caught.value, KvsError)
        assert caught.value.status is status


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every directory")
def test_check_directory_without_permission(tmp_path: Path) -> None:
    """A directory that may not be read is DIRECTORY_ACCESS_DENIED, a StorageError."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        with pytest.raises(StorageError) as caught:
            check_directory(closed)
    finally:
        closed.chmod(0o700)
    assert caught.value.status is StatusCode.DIRECTORY_ACCESS_DENIED


def test_check_directory_maps_a_permission_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with a simulated PermissionError, because root can read every directory."""

    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(StorageError) as caught:
        check_directory(tmp_path)
    assert caught.value.status is StatusCode.DIRECTORY_ACCESS_DENIED


def test_format_timestamp() -> None:
    """Times are formatted in UTC; impossible formats and times have a status."""
    assert format_timestamp(10_000_000, "%Y-%m-%d %H:%M:%S") == "1970-01-01 00:00:01"
    assert format_timestamp(0, "%Y" * 13) == "1970" * 13
    for ticks, text, status in (
        (0, "x" * 27, StatusCode.MAX_TIMESTAMP_FORMAT_STR_LEN_EXCEEDED),
        (0, "", StatusCode.STRFTIME_FALIED),
        (2**63, "%Y", StatusCode.STRFTIME_FALIED),
    ):
        with pytest.raises(KvsError) as caught:
            format_timestamp(ticks, text)
        assert caught.value.status is status
