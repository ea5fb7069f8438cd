"""Media files of fragments: failed writes, and reading."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kvsproducer.endpoint import journal
from kvsproducer.endpoint.fragment import Fragment
from kvsproducer.endpoint.index import Location
from kvsproducer.endpoint.payloads import DamagedFragment, FilePayloads, MemoryPayloads, Payloads

ARN = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/door/1"
Make = Callable[[int], Fragment]


@pytest.fixture(params=["memory", "files"])
def payloads(request: pytest.FixtureRequest, tmp_path: Path) -> Payloads:
    return MemoryPayloads() if request.param == "memory" else FilePayloads(tmp_path)


def first_file(folder: Path) -> Path:
    return folder / "fragments" / "00000001.mkvs"


def test_fragments_can_be_read(payloads: Payloads, fragment: Make) -> None:
    payloads.append_change({"stream": "{}"})
    location = payloads.append(ARN, fragment(1))
    payloads.sync()
    payloads.keep()
    assert payloads.read(location) == fragment(1)


def test_rollback_removes_writes_that_were_not_kept(payloads: Payloads, fragment: Make) -> None:
    kept = payloads.append(ARN, fragment(1))
    payloads.keep()
    payloads.append(ARN, fragment(2))
    payloads.rollback()
    again = payloads.append(ARN, fragment(3))
    assert payloads.read(kept) == fragment(1)
    assert payloads.read(again) == fragment(3)


def test_after_a_rollback_the_file_has_no_gap(tmp_path: Path, fragment: Make) -> None:
    payloads = FilePayloads(tmp_path)
    first = payloads.append(ARN, fragment(1))
    payloads.keep()
    payloads.append(ARN, fragment(2))
    payloads.rollback()
    assert payloads.append(ARN, fragment(2)).offset == first.end
    payloads.close()


def test_rollback_of_the_first_write_leaves_the_file_head(tmp_path: Path, fragment: Make) -> None:
    payloads = FilePayloads(tmp_path)
    payloads.append(ARN, fragment(1))
    payloads.rollback()
    location = payloads.append(ARN, fragment(2))
    assert payloads.read(location) == fragment(2)
    file, mark = payloads.open_file(1)
    with file:
        found = list(journal.scan(file, mark, journal.FILE_HEAD_BYTES))
    assert [type(item) for item in found] == [journal.Record, journal.Record]
    payloads.close()


def test_incomplete_file_head_is_removed(
    tmp_path: Path, fragment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = FilePayloads(tmp_path)

    def full_disk(descriptor: int, _buffers: object, _offset: int) -> int:
        os.write(descriptor, b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full_disk)
        with pytest.raises(OSError, match="No space left"):
            payloads.append(ARN, fragment(1))
    payloads.rollback()
    assert first_file(tmp_path).stat().st_size == 0
    assert payloads.read(payloads.append(ARN, fragment(1))) == fragment(1)
    payloads.close()


def test_deleted_fragment_is_missing_and_damaged_one_raises(tmp_path: Path, fragment: Make) -> None:
    payloads = FilePayloads(tmp_path)
    location = payloads.append(ARN, fragment(1))
    assert payloads.read(Location(99, 0, 1, (1, 0, 0, 0))) is None
    data = first_file(tmp_path).read_bytes()
    for place in (location.offset + 20, location.offset + 50, location.end - 1):
        changed = bytearray(data)
        changed[place] ^= 1
        first_file(tmp_path).write_bytes(changed)
        with pytest.raises(DamagedFragment, match="damaged"):
            payloads.read(location)
    first_file(tmp_path).write_bytes(data[:-1])
    with pytest.raises(DamagedFragment, match="damaged"):
        payloads.read(location)
    payloads.close()


def test_files_of_an_older_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "fragments").mkdir()
    first_file(tmp_path).write_bytes(bytes.fromhex("1a45dfa3") + b"media")
    with pytest.raises(OSError, match="written by an older version"):
        FilePayloads(tmp_path)


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_unreadable_media_file_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "fragments").mkdir()
    if kind == "folder":
        first_file(tmp_path).mkdir()
    else:
        first_file(tmp_path).symlink_to("/nonexistent/x")
    with pytest.raises(OSError, match="not a readable file"):
        FilePayloads(tmp_path)


def test_other_files_in_the_folder_stay(tmp_path: Path) -> None:
    payloads = FilePayloads(tmp_path)
    for name in ("x.txt", "\u0661.mkvs", "0000001.mkvs", "00000001.mkvs.bak"):
        (payloads.folder / name).write_bytes(b"q")
    assert payloads.sizes() == {}
    assert payloads.keep_only(()) == []
    payloads.close()
