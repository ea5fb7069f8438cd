"""Commands with closed or full standard streams, as real processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.program import KVS

from kvsproducer.endpoint import LocalEndpoint


def run(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`kvs ARGUMENTS REDIRECTION` in a shell."""
    return subprocess.run(
        ["bash", "-c", f'"$0" "$@" {redirection}', *KVS, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("redirection", "reason"), [(">&-", "it is closed"), ("> /dev/full", "No space left on device")]
)
@pytest.mark.parametrize("arguments", [["explain", "1"], ["serve", "--port", "0"]])
def test_standard_output_that_cannot_be_written(
    redirection: str, reason: str, arguments: list[str]
) -> None:
    """The error is in words, with exit code 1, and Python prints nothing."""
    ended = run(redirection, *arguments)
    assert ended.returncode == 1
    assert f"what  standard output: {reason}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


@pytest.mark.parametrize(
    "redirection", ["2>&-", "2> /dev/full", "2> >(exec true)", "<&- 2>&-"], ids=str
)
def test_standard_error_changes_nothing(
    redirection: str, environment: dict[str, str], endpoint: LocalEndpoint
) -> None:
    """A put whose progress cannot be printed stores all frames."""
    ended = run(redirection, "put", "testsrc:duration=2.4,size=64x64", "unread", "-v")
    assert ended.returncode == 0
    assert ended.stdout.startswith("stored: 60 frames")


def test_stored_frames_are_reported_if_the_result_cannot_be_printed(
    environment: dict[str, str], endpoint: LocalEndpoint
) -> None:
    """Only the output has failed."""
    ended = run("> /dev/full", "put", "testsrc:duration=0.4,size=64x64", "unsaid")
    assert ended.returncode == 1
    assert "also  all 10 frames of unsaid are stored" in ended.stderr


def test_closed_standard_input_is_reported(environment: dict[str, str]) -> None:
    """`kvs put - STREAM <&-` has nothing to read."""
    ended = run("<&-", "put", "-", "unfed")
    assert ended.returncode == 1
    assert "standard input is closed" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_file_name_that_is_not_text_is_printed(tmp_path: Path) -> None:
    """A file name may contain any bytes."""
    ended = run("", "inspect", str(tmp_path / "bad\udcff.mkv"))
    assert ended.returncode == 1
    assert "\\udcff.mkv" in ended.stderr
