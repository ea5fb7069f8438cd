"""`kvs explain`: any spelling of a code, and a helpful answer to an unknown one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kvsproducer.status.catalogue import Entry, entries

SPELLINGS = ["0x5200000E", "1375731726", "STATUS_INVALID_STREAM_STATE", "invalid_stream_state"]


@pytest.mark.parametrize("code", SPELLINGS)
def test_any_spelling(kvs: Any, code: str) -> None:
    """Hexadecimal, decimal, and names in any case."""
    ran = kvs("explain", code)
    assert ran.exit_code == 0
    assert "STATUS_INVALID_STREAM_STATE  0x5200000e" in ran.stdout
    assert "what to do" in ran.stdout


def test_json(kvs: Any) -> None:
    """--json carries everything under fixed names."""
    found = json.loads(kvs("explain", "--json", "STATUS_OPEN_FILE_FAILED").stdout)
    assert found["hex"] == "0x00000009"
    assert found["action"]


def test_unknown_code(kvs: Any) -> None:
    """An unknown name exits 2 and suggests its neighbours."""
    ran = kvs("explain", "STATUS_INVALID_STREAM_STAT")
    assert ran.exit_code == 2
    assert "INVALID_STREAM_STATE" in ran.text


def test_an_unknown_code_as_json(kvs: Any) -> None:
    """A script gets the suggestions too."""
    ran = kvs("explain", "--json", "STATUS_INVALID_STREAM_STAT")
    assert ran.exit_code == 2
    answer = json.loads(ran.stdout)
    assert (answer["error"], answer["code"]) == ("STATUS_NOT_FOUND", "STATUS_INVALID_STREAM_STAT")
    assert answer["near"][0] == "INVALID_STREAM_STATE"


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.status.name)
def test_each_code_by_each_of_its_spellings(kvs: Any, entry: Entry) -> None:
    """Value, printed value, name and bare name give the same screen of at most 80 columns."""
    spellings = {entry.name, entry.status.name, entry.status.hex}
    if entry.printed is not None:
        spellings.add(f"0x{entry.printed:08x}")
    (screen,) = {kvs("explain", spelling).stdout for spelling in spellings}
    assert max(map(len, screen.splitlines())) <= 80
    assert f"reference/status/{entry.status.hex}" in screen
