"""The index in SQLite: all or nothing, and unbothered by readers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvsproducer.endpoint.fragment import Fragment
from kvsproducer.endpoint.index import Axis, Index, Location, Span
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
        (arn, make(n).info, Location(file, 100 * n, (10, 20, 30, 40))) for n in numbers
    )


def numbers(index: Index, arn: str = ARN) -> list[int]:
    return [int(info.number) for info in index.page(arn, 0, ALL, "", 100)]


def test_streams_do_not_see_one_another_s_fragments(index: Index, fragment: Make) -> None:
    add(index, fragment, 1, 2)
    add(index, fragment, 2, 3, arn=OTHER)
    assert (numbers(index), numbers(index, OTHER)) == ([1, 2], [2, 3])
    index.delete_stream(ARN)
    assert (numbers(index), numbers(index, OTHER)) == ([], [2, 3])


def test_a_group_is_added_whole_or_not_at_all(index: Index, fragment: Make) -> None:
    add(index, fragment, 1)
    with pytest.raises(sqlite3.IntegrityError):
        add(index, fragment, 2, 3, 1)
    assert numbers(index) == [1]
    assert index.last_number(ARN) == fragment(1).info.number


def test_the_last_number_outlives_the_fragments(index: Index, fragment: Make) -> None:
    add(index, fragment, 5, 4)
    assert index.expire([(ARN, 2**62), (OTHER, 2**62)]) == 2
    assert numbers(index) == []
    assert index.last_number(ARN) == fragment(5).info.number


def test_files_and_where_they_end(index: Index, fragment: Make) -> None:
    add(index, fragment, 1, 2, file=7)
    add(index, fragment, 3, arn=OTHER, file=8)
    assert index.files() == {7, 8}
    assert index.file_ends() == {7: 300, 8: 400}
    assert index.drop_file_tail(7, 299) == 1
    assert numbers(index) == [1]


def test_a_fragment_is_found_with_its_place(index: Index, fragment: Make) -> None:
    add(index, fragment, 4)
    found = index.find(ARN, 0, fragment(4).info.number)
    assert found is not None
    info, location = found
    assert location == Location(1, 400, (10, 20, 30, 40))
    assert (info.number, info.size) == (fragment(4).info.number, 100)
    assert index.find(ARN, info.server_timestamp + 1, info.number) is None
