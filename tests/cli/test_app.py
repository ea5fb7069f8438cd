"""The command as a whole: help, version, speed of starting."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from typing import Any

import pytest
from tests.program import KVS

from kvsproducer.version import VERSION

COMMANDS = ["put", "get", "serve", "inspect", "explain", "demo"]


def test_version(kvs: Any) -> None:
    """`kvs --version` prints it and nothing else."""
    assert kvs("--version").stdout == f"kvs {VERSION}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(kvs: Any, command: str) -> None:
    """--help says what it does and shows a line to copy."""
    shown = kvs(command, "--help")
    assert shown.exit_code == 0
    assert f"Example: kvs {command}" in shown.stdout


def test_help_loses_no_brackets_and_breaks_no_lines(kvs: Any) -> None:
    """Brackets are markup to rich; docstrings have line breaks of their own."""
    shown = " ".join(kvs("put", "--help").stdout.replace("│", " ").split())
    assert "testsrc:[OPTIONS]" in shown
    assert "SOURCE is MP4" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_narrow_terminal(kvs: Any, command: str, monkeypatch: Any) -> None:
    """No word is cut off."""
    monkeypatch.setenv("COLUMNS", "72")
    shown = kvs(command, "--help").stdout
    assert "…" not in shown
    assert "<str>" not in shown.partition("Options")[2]


BAD_USAGE = ["put", "put a", "fly", "put a b --mode fast", "serve --port x", "get s --nope"]


@pytest.mark.parametrize("arguments", BAD_USAGE)
def test_bad_usage_exits_2(kvs: Any, arguments: str) -> None:
    """The error has no traceback."""
    ran = kvs(*arguments.split())
    assert ran.exit_code == 2
    assert "Traceback" not in ran.stderr


def test_help_and_explain_load_nothing_heavy() -> None:
    """Neither PyAV nor botocore nor aiohttp is imported for them."""
    program = (
        "import sys\n"
        "from kvsproducer.cli.app import app\n"
        "app(['explain', '0x5200000e'], standalone_mode=False)\n"
        "print([m for m in ('av', 'aiohttp', 'botocore') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_command_is_loaded_when_it_is_named() -> None:
    """`kvs --version` and `kvs explain` start without the producer and its libraries."""
    program = (
        "import sys\n"
        "from kvsproducer.cli.app import app\n"
        "app({arguments}, standalone_mode=False)\n"
        "print([m for m in sys.modules if m.startswith('kvsproducer.') and m.count('.') == 1])"
    )
    for arguments in (["--version"], ["explain", "4009"]):
        command = [sys.executable, "-c", program.replace("{arguments}", str(arguments))]
        done = subprocess.run(command, capture_output=True, text=True)
        loaded = done.stdout.splitlines()[-1]
        assert "kvsproducer.cli" in loaded, done.stderr
        for heavy in ("producer", "client", "sources", "endpoint", "mkv"):
            assert f"'kvsproducer.{heavy}'" not in loaded


@pytest.mark.parametrize("command", ["put", "get", "serve", "inspect", "explain", "demo"])
def test_help_is_in_words(kvs: Any, command: str) -> None:
    """Neither Python types nor ranges; defaults are all in brackets."""
    ran = kvs(command, "--help")
    assert ran.exit_code == 0
    assert not re.search(r"<\w+>|<=|>=|\(default", ran.stdout)
    text = " ".join(ran.stdout.replace("\u2502", " ").split())
    if command == "put":
        assert "local time without a zone. [default: now]" in text
        assert "[default: 120; offline: no limit]" in text


def test_version_is_quick() -> None:
    """Below 0.3 s of CPU, with room for a slow machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*KVS, "--version"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
