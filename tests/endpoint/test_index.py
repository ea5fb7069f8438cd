"""The index in SQLite: transactions, and readers beside the writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvsproducer.endpoint.fragment import Fragment
from kvsproducer.endpoint.index import Axis, DamagedIndex, Index, Location, Span, Written
from kvsproducer.endpoint.streams import StreamRecord

ARN = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/door/1"
OTHER = ARN.replace("door", "gate")
ALL = Span(Axis.PRODUCER, 0, 2**62)
Make = Callable[[int], Fragment]


@pytest.fixture(params=["memory", "file"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    opened = Index(None if request.param == "memory" else tmp_path / "index.sqlite3")
    for arn in (ARN, OTHER):
        opened.save_stream(StreamRecord(name="x", arn=arn, version="v", created=1))
    yield opened
    opened.close()


def add(index: Index, make: Make, *numbers: int, arn: str = ARN, file: int = 1) -> None:
    index.add_fragments(
        (arn, make(n).info, Location(file, 100 * n, 100, (10, 20, 30, 40))) for n in numbers
    )


def numbers(index: Index, arn: str = ARN) -> list[int]:
    return [int(info.number) for info in index.page(arn, 0, ALL, "", 100)]


def test_streams_have_separate_fragments(index: Index, fragment: Make) -> None:
    add(index, fragment, 1, 2)
    add(index, fragment, 2, 3, arn=OTHER)
    assert (numbers(index), numbers(index, OTHER)) == ([1, 2], [2, 3])
    index.delete_stream(ARN)
    assert (numbers(index), numbers(index, OTHER)) == ([], [2, 3])


def test_group_is_added_completely_or_not_at_all(index: Index, fragment: Make) -> None:
    add(index, fragment, 1)
    with pytest.raises(sqlite3.IntegrityError):
        add(index, fragment, 2, 3, 1)
    assert numbers(index) == [1]
    assert index.last_number(ARN) == fragment(1).info.number


def test_last_number_stays_when_fragments_expire(index: Index, fragment: Make) -> None:
    add(index, fragment, 5, 4)
    assert index.expire([(ARN, 2**62), (OTHER, 2**62)]) == 2
    assert numbers(index) == []
    assert index.last_number(ARN) == fragment(5).info.number


def test_media_files_and_their_ends(index: Index, fragment: Make) -> None:
    add(index, fragment, 1, 2, file=7)
    add(index, fragment, 3, arn=OTHER, file=8)
    assert index.files() == {7, 8}
    assert (index.fragments_in_file(7), index.fragments_in_file(9)) == (2, 0)
    assert index.drop_file_tail(7, 299) == 1
    assert numbers(index) == [1]
    index.forget_files([7])
    assert numbers(index) == []
    assert index.files() == {8}


def test_index_has_the_size_of_each_file(index: Index, fragment: Make) -> None:
    index.add_fragments(
        [(ARN, fragment(1).info, Location(3, 10, 90, (1, 2, 3, 4)))], Written(3, 100)
    )
    index.save_stream(
        StreamRecord(name="x", arn=ARN, version="v2", created=1), Written(3, 150, "m")
    )
    assert index.written() == {3: Written(3, 150, "m")}
    index.save_damaged(Written(4, 7))
    index.add_fragments((), Written(4, 9))
    assert index.written() == {3: Written(3, 150, "m"), 4: Written(4, 9)}
    assert index.files() == {3, 4}, "a damaged file stays"
    assert index.count_in_file(3, ARN, fragment(1).info.server_timestamp) == 1
    assert index.count_in_file(3, ARN, fragment(1).info.server_timestamp + 1) == 0
    assert index.count_in_file(3, OTHER, 0) == 0


def test_fragment_is_found_with_its_location(index: Index, fragment: Make) -> None:
    add(index, fragment, 4)
    found = index.find(ARN, 0, fragment(4).info.number)
    assert found is not None
    info, location = found
    assert location == Location(1, 400, 100, (10, 20, 30, 40))
    assert (info.number, info.size) == (fragment(4).info.number, 100)
    assert index.find(ARN, info.server_timestamp + 1, info.number) is None


def test_replace_streams_replaces_all_streams(index: Index, fragment: Make) -> None:
    add(index, fragment, 1)
    add(index, fragment, 2, arn=OTHER)
    record = StreamRecord(name="x", arn=ARN, version="v9", created=1).to_json()
    index.replace_streams({ARN: (record, f"{7:047d}")})
    assert (numbers(index), numbers(index, OTHER)) == ([1], [])
    assert index.streams_with_numbers() == [(ARN, record, f"{7:047d}")]


DAMAGE = [
    "UPDATE streams SET record = 'nonsense'",
    "UPDATE streams SET arn = 'other'",
    "UPDATE streams SET record = json_set(record, '$.created', 'x')",
    "UPDATE fragments SET offset = -5",
    "UPDATE fragments SET cluster = 1000000000000000",
    "UPDATE fragments SET offset = 'abc'",
    "UPDATE fragments SET duration = 0.5",
    "DELETE FROM files",
    "DROP TABLE fragments",
    "DROP TABLE files",
]


@pytest.mark.parametrize("statement", DAMAGE)
def test_contradictory_index_is_damaged(tmp_path: Path, fragment: Make, statement: str) -> None:
    path = tmp_path / "index.sqlite3"
    index = Index(path)
    index.save_stream(StreamRecord(name="x", arn=ARN, version="v", created=1))
    place = Location(1, 100, 100, (10, 20, 30, 40))
    index.add_fragments([(ARN, fragment(1).info, place)], Written(1, 200))
    index.close()
    Index(path).close()
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()
    with pytest.raises(DamagedIndex):
        Index(path)


def test_the_index_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    Index(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(OSError, match="has format 7, but this version needs"):
        Index(path)


def test_file_that_is_not_a_database_is_a_damaged_index(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(DamagedIndex):
        Index(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="unable to open"):
        Index(path)


def test_a_read_that_fails_is_an_os_error(index: Index) -> None:
    index.close()
    with pytest.raises(OSError, match="the index cannot be read"):
        index.streams()
