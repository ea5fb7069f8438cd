"""The format of media files: valid records are found between damaged bytes."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from kvsproducer.endpoint import journal
from kvsproducer.endpoint.fragment import Fragment
from kvsproducer.endpoint.journal import Damage, Record, RecordError

ARN = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/door/1"
Make = Callable[..., Fragment]


@pytest.fixture
def file(tmp_path: Path, fragment: Make) -> tuple[Path, bytes, list[int]]:
    """Return a file with ten fragments, its mark, and the positions of its records."""
    head, mark = journal.new_file_head()
    records = [journal.encode(mark, {"streams": []})]
    records += [journal.encode_fragment(mark, ARN, fragment(n, 300 * n)) for n in range(1, 11)]
    path = tmp_path / "file"
    path.write_bytes(b"".join([head, *map(b"".join, records)]))
    starts = [len(head)]
    for record in records:
        starts.append(starts[-1] + len(b"".join(record)))
    return path, mark, starts


def scan(path: Path, mark: bytes, start: int = journal.FILE_HEAD_BYTES) -> list[Record | Damage]:
    with path.open("rb") as stream:
        return list(journal.scan(stream, mark, start))


def test_scan_returns_all_records(file: tuple[Path, bytes, list[int]], fragment: Make) -> None:
    path, mark, starts = file
    data = path.read_bytes()
    assert journal.read_file_head(data) == mark
    found = scan(path, mark)
    assert [item.offset for item in found] == starts[:-1]
    for n, record in enumerate(found[1:], 1):
        assert isinstance(record, Record)
        whole = data[record.offset : record.offset + record.length]
        assert journal.decode_fragment(whole) == fragment(n, 300 * n)
        row = journal.fragment_row(record.head)
        assert row == (ARN, fragment(n, 300 * n).info, fragment(n, 300 * n).sizes)
    assert journal.fragment_row({"deleted": ARN}) is None
    assert scan(path, mark, starts[5]) == found[5:]


def test_damaged_record_loses_only_itself(file: tuple[Path, bytes, list[int]]) -> None:
    path, mark, starts = file
    data = path.read_bytes()
    dice = random.Random(20261130)
    for _ in range(100):
        changed = bytearray(data)
        changed[dice.randrange(starts[5], starts[6])] ^= 1 << dice.randrange(8)
        path.write_bytes(changed)
        found = scan(path, mark)
        assert [item.offset for item in found] == starts[:-1]
        assert found[5] == Damage(starts[5], starts[6], torn=False)
        assert sum(isinstance(item, Damage) for item in found) == 1


def test_an_unfinished_write_is_torn(file: tuple[Path, bytes, list[int]]) -> None:
    path, mark, starts = file
    data = path.read_bytes()
    for size in (starts[-2] + 1, starts[-2] + 40, starts[-1] - 1):
        path.write_bytes(data[:size])
        assert scan(path, mark)[-1] == Damage(starts[-2], size, torn=True)
    path.write_bytes(data + bytes(5000))
    assert scan(path, mark)[-1] == Damage(starts[-1], starts[-1] + 5000, torn=True)


def test_media_is_never_taken_for_a_record(
    file: tuple[Path, bytes, list[int]], fragment: Make
) -> None:
    """This holds for a damaged file too, because clients do not know the file's mark."""
    path, mark, _ = file
    forged = b"".join(journal.encode_fragment(b"m" * 16, ARN, fragment(99)))
    with path.open("ab") as stream:
        stream.write(b"damaged" + forged * 3)
    assert [type(item) for item in scan(path, mark)] == [Record] * 11 + [Damage]


def test_next_record_is_found_across_reads(
    file: tuple[Path, bytes, list[int]], fragment: Make
) -> None:
    """The search reads 1 MiB at a time, and the mark may be across two of these reads."""
    path, mark, starts = file
    for shift in (-20, -16, -15, -8, -1, 0, 1):
        gap = 1024 * 1024 + 1 + shift
        record = b"".join(journal.encode_fragment(mark, ARN, fragment(1)))
        path.write_bytes(path.read_bytes()[: starts[1]] + bytes(gap) + record)
        damage, found = scan(path, mark)[1:]
        assert damage == Damage(starts[1], starts[1] + gap, torn=False)
        assert isinstance(found, Record)
        assert (found.offset, found.length) == (starts[1] + gap, len(record))


@pytest.mark.parametrize("place", [0, 9, 13, 20, 31])
def test_damaged_file_head_is_noticed(place: int) -> None:
    head = bytearray(journal.new_file_head()[0])
    head[place] ^= 1
    with pytest.raises(RecordError):
        journal.read_file_head(bytes(head))
    with pytest.raises(RecordError, match="31 bytes"):
        journal.read_file_head(bytes(head[:31]))


def test_decode_fragment_accepts_only_fragments() -> None:
    mark = b"m" * 16
    with pytest.raises(RecordError, match="not a fragment's"):
        journal.decode_fragment(b"".join(journal.encode(mark, {"deleted": ARN})))
    for cut in (b"", b"short"):
        with pytest.raises(RecordError, match="cut off"):
            journal.decode_fragment(cut)


def test_random_bytes_raise_nothing(tmp_path: Path) -> None:
    dice = random.Random(20261130)
    head, mark = journal.new_file_head()
    path = tmp_path / "file"
    for _ in range(50):
        junk = b"".join(
            dice.choice((dice.randbytes(dice.randrange(60)), mark, mark + bytes(20)))
            for _ in range(20)
        )
        path.write_bytes(head + junk)
        assert all(isinstance(item, Damage) for item in scan(path, mark))
        assert io.BytesIO(head + junk).read(32) == head
