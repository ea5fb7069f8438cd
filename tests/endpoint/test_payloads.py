"""Files of fragments: what a failed write leaves behind, and what a reader sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvsproducer.endpoint.index import Location
from kvsproducer.endpoint.payloads import FilePayloads, MemoryPayloads, Payloads

PARTS = (b"header", b"", b"cluster", b"trailing")


@pytest.fixture(params=["memory", "files"])
def payloads(request: pytest.FixtureRequest, tmp_path: Path) -> Payloads:
    return MemoryPayloads() if request.param == "memory" else FilePayloads(tmp_path)


def test_parts_come_back(payloads: Payloads) -> None:
    location = payloads.append(PARTS)
    payloads.sync()
    payloads.keep()
    assert payloads.read(location) == list(PARTS)


def test_a_rollback_takes_back_what_was_not_kept(payloads: Payloads) -> None:
    kept = payloads.append(PARTS)
    payloads.keep()
    payloads.append((b"1", b"2", b"3", b"4"))
    payloads.rollback()
    again = payloads.append((b"5", b"6", b"7", b"8"))
    assert payloads.read(kept) == list(PARTS)
    assert payloads.read(again) == [b"5", b"6", b"7", b"8"]


def test_after_a_rollback_the_file_has_no_gap(tmp_path: Path) -> None:
    payloads = FilePayloads(tmp_path)
    first = payloads.append(PARTS)
    payloads.keep()
    payloads.append(PARTS)
    payloads.rollback()
    assert payloads.append(PARTS).offset == first.end
    payloads.close()


def test_a_deleted_or_short_file_gives_nothing(tmp_path: Path) -> None:
    payloads = FilePayloads(tmp_path)
    location = payloads.append(PARTS)
    past_the_end = Location(location.file, location.offset + 1, location.sizes)
    assert payloads.read(past_the_end) is None
    assert payloads.read(Location(99, 0, (1, 1, 1, 1))) is None
    payloads.close()


def test_recovery_cuts_tails_and_names_short_files(tmp_path: Path) -> None:
    payloads = FilePayloads(tmp_path)
    location = payloads.append(PARTS)
    payloads.append(PARTS)
    payloads.close()
    again = FilePayloads(tmp_path)
    assert again.recover({location.file: location.end}) == {}
    assert (tmp_path / "fragments" / "00000001.mkvs").stat().st_size == location.end
    assert again.recover({1: location.end + 5, 7: 3}) == {1: location.end, 7: 0}
