"""How commands end and what they print when something is wrong."""

from __future__ import annotations

import os
import subprocess
from typing import TextIO

import pytest
import typer
from tests.program import KVS

from kvsproducer.cli import console
from kvsproducer.status import KvsError, StatusCode, kvs_error


def ended(error: BaseException) -> int:
    @console.report_errors
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit) as caught:
        command()
    return caught.value.exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (kvs_error(StatusCode.READ_FILE_FAILED, "disk"), 1),
        (kvs_error(StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR, "no"), 1),
        (kvs_error(StatusCode.NOT_IMPLEMENTED, "later"), 2),
        (kvs_error(StatusCode.INVALID_RETENTION_PERIOD, "1 s"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(error: BaseException, code: int) -> None:
    """1 for a failure, 2 for bad usage, 130 for Ctrl-C."""
    assert ended(error) == code


def test_an_error_takes_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """Status with its code, what, where, notes, meaning, action: on standard error only."""
    error = kvs_error(StatusCode.OPEN_FILE_FAILED, "x.mp4: [there] does not exist", stream="door")
    error.add_note("0 of 0 frames were put")
    ended(error)
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert lines[0] == "error STATUS_OPEN_FILE_FAILED 0x00000009"
    assert [line.split()[0] for line in lines[1:5]] == ["what", "where", "also", "means"]
    assert "[there] does not exist" in lines[1]
    assert any(line.strip().startswith("do ") for line in lines)
    assert len(lines) < 24


def test_a_failed_write_names_the_file() -> None:
    """An OSError while writing becomes WRITE_TO_FILE_FAILED; other errors pass."""
    with pytest.raises(KvsError, match=r"out\.mkv: No space") as caught, console.writing("out.mkv"):
        raise OSError(28, "No space left on device")
    assert caught.value.status is StatusCode.WRITE_TO_FILE_FAILED
    with pytest.raises(BrokenPipeError), console.writing("-"):
        raise BrokenPipeError
    with console.writing("x"):
        pass


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (12_345_678, "12.3 MB")],
)
def test_sizes(size: int, text: str) -> None:
    """Sizes as people read them."""
    assert console.size_text(size) == text


def test_json_goes_where_media_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON is on standard output, unless that is taken."""
    console.print_json({"a": 1})
    console.print_json({"b": 2}, to_stderr=True)
    shown = capsys.readouterr()
    assert '"a": 1' in shown.out
    assert '"b": 2' in shown.err


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("profile_name='me': not found", "--profile 'me': not found"),
        ("pass region_name=, set AWS_REGION", "pass --region, set AWS_REGION"),
        ("check region_name and endpoint_url; then", "check --region and --endpoint-url; then"),
        ("verify='/ca.pem' is wrong", "--ca-bundle '/ca.pem' is wrong"),
        ("use_fips_endpoint and proxies['http']", "--fips and --proxy"),
        ("pass verify= (--ca-bundle).", "pass --ca-bundle."),
        ("verify it, and the region_names", "verify it, and the region_names"),
    ],
)
def test_arguments_are_shown_as_options(message: str, shown: str) -> None:
    """Python arguments in messages become options; English words do not change."""
    assert console.as_options(message) == shown


def test_error_escapes_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    """A detail may quote text of the remote host."""
    ended(kvs_error(StatusCode.READ_FILE_FAILED, "it said\n\x1b[2J [/b] :fire:"))
    assert "it said \\x1b[2J [/b] :fire:" in capsys.readouterr().err


def test_counts() -> None:
    """One frame, two frames."""
    assert [console.count_text(n, "frame") for n in (0, 1, 2)] == [
        "0 frames",
        "1 frame",
        "2 frames",
    ]


def explained(stdout: TextIO) -> subprocess.CompletedProcess[str]:
    """`kvs explain NULL_ARG` in a process of its own."""
    command = [*KVS, "explain", "NULL_ARG"]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60)


def test_full_disk_behind_standard_output_is_reported() -> None:
    """`kvs explain X > /dev/full`: what happened, no traceback, exit code 1."""
    with open("/dev/full", "w") as full:
        ran = explained(full)
    assert ran.returncode == 1
    assert "standard output: No space left" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_closed_pipe_gives_exit_code_0() -> None:
    """Also for rich's output, which would exit with 1."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as closed:
        ran = explained(closed)
    assert (ran.returncode, ran.stderr) == (0, "")
