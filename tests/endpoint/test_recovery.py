"""Start with a data folder that was damaged, moved or truncated: no media is deleted."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kvsproducer.endpoint.fragment import Fragment
from kvsproducer.endpoint.index import Axis, Span
from kvsproducer.endpoint.store import INDEX_NAME, Store, open_store
from kvsproducer.endpoint.streams import StreamRecord

ARN = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/door/1"
OTHER = ARN.replace("door", "gate")
RECORD = StreamRecord(name="door", arn=ARN, version="v1", created=1, retention_hours=1)
OTHER_RECORD = replace(RECORD, name="gate", arn=OTHER)
ALL = Span(Axis.SERVER, 0, 2**62)
HOUR = 3600 * 10_000_000
NOW = 100 * 10_000_000  # fragment(n) arrived at n seconds: none has expired
Make = Callable[..., Fragment]


def fill(folder: Path, make: Make, *numbers: int, file_size: int = 2**30) -> None:
    store = open_store(folder, NOW, file_size=file_size)
    if not store.streams():
        store.save_stream(RECORD).result()
    for n in numbers:
        store.append(ARN, make(n)).result()
    store.close()


def opened(folder: Path, file_size: int = 2**30) -> Store:
    return open_store(folder, NOW, file_size=file_size)


def found(store: Store, make: Make, arn: str = ARN) -> list[int]:
    """Return the fragments that the store lists, and check the content of each."""
    listed = [int(info.number) for info in store.page(arn, 0, ALL, "", 10_000)]
    for n in listed:
        assert store.read(arn, 0, f"{n:047d}") == make(n)
    return listed


def after(folder: Path, make: Make) -> list[int]:
    """Start a store, return the fragments that it lists, and check that it can be written to."""
    store = opened(folder)
    listed = found(store, make)
    store.append(ARN, make(99)).result()
    store.close()
    again = opened(folder)
    assert found(again, make) == [*listed, 99]
    again.close()
    return listed


def media(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "fragments").glob("*.mkvs")}


def first_file(folder: Path) -> Path:
    return folder / "fragments" / "00000001.mkvs"


def delete_index(folder: Path) -> None:
    for path in folder.glob("index*"):
        path.unlink()


def empty_index(folder: Path) -> None:
    os.truncate(folder / INDEX_NAME, 0)


def cut_index(folder: Path) -> None:
    os.truncate(folder / INDEX_NAME, (folder / INDEX_NAME).stat().st_size // 2)


def overwrite_index(folder: Path) -> None:
    (folder / INDEX_NAME).write_bytes(b"this is not a database" * 1000)


def sql(statement: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        with sqlite3.connect(folder / INDEX_NAME) as database:
            database.execute(statement)
        database.close()

    run.__name__ = statement.replace(" ", "_")
    return run


@pytest.mark.parametrize("file_size", [2**30, 700])
@pytest.mark.parametrize(
    "hurt",
    [
        delete_index,
        empty_index,
        cut_index,
        overwrite_index,
        sql("DROP TABLE fragments"),
        sql("UPDATE streams SET record = 'nonsense'"),
        sql("UPDATE fragments SET offset = -5"),
    ],
)
def test_lost_or_damaged_index_is_rebuilt(
    tmp_path: Path, fragment: Make, hurt: Callable[[Path], None], file_size: int
) -> None:
    fill(tmp_path, fragment, *range(1, 11), file_size=file_size)
    before = media(tmp_path)
    hurt(tmp_path)
    store = opened(tmp_path, file_size)
    assert store.streams() == [RECORD]
    assert found(store, fragment) == list(range(1, 11))
    assert store.last_number(ARN) == fragment(10).info.number
    store.expire([(ARN, NOW - HOUR)]).result()
    store.close()
    assert all(media(tmp_path)[name].startswith(data) for name, data in before.items())
    assert after(tmp_path, fragment) == list(range(1, 11))


def test_damaged_index_is_renamed(
    tmp_path: Path, fragment: Make, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, fragment, 1)
    for count in (1, 2):
        overwrite_index(tmp_path)
        opened(tmp_path).close()
        assert (tmp_path / f"{INDEX_NAME}.damaged-{count}").exists()
    assert "it was renamed to index.sqlite3.damaged-2" in caplog.text


def test_older_index_gets_later_fragments(tmp_path: Path, fragment: Make) -> None:
    fill(tmp_path, fragment, 1, 2, 3)
    older = (tmp_path / INDEX_NAME).read_bytes()
    store = opened(tmp_path)
    store.save_stream(replace(RECORD, version="v2", retention_hours=7)).result()
    store.save_stream(OTHER_RECORD).result()
    store.append(OTHER, fragment(5)).result()
    store.append(ARN, fragment(4)).result()
    store.close()
    (tmp_path / INDEX_NAME).write_bytes(older)
    store = opened(tmp_path)
    assert found(store, fragment) == [1, 2, 3, 4]
    assert found(store, fragment, OTHER) == [5]
    assert [record.retention_hours for record in store.streams()] == [7, 1]
    store.close()


def test_older_index_does_not_restore_a_deleted_stream(tmp_path: Path, fragment: Make) -> None:
    fill(tmp_path, fragment, 1, 2, 3, file_size=700)
    older = (tmp_path / INDEX_NAME).read_bytes()
    store = opened(tmp_path, 700)
    store.save_stream(OTHER_RECORD).result()
    store.delete_stream(ARN).result()
    store.close()
    (tmp_path / INDEX_NAME).write_bytes(older)
    for _ in range(2):
        store = opened(tmp_path, 700)
        assert store.streams() == [OTHER_RECORD]
        assert found(store, fragment) == []
        store.close()
        delete_index(tmp_path)


def test_unmounted_media_folder_refuses_the_start(tmp_path: Path, fragment: Make) -> None:
    fill(tmp_path, fragment, *range(1, 6))
    (tmp_path / "fragments").rename(tmp_path / "aside")
    for _ in range(2):
        with pytest.raises(OSError, match="the file is missing, and the index lists 5 fragments"):
            opened(tmp_path)
    shutil.rmtree(tmp_path / "fragments")
    (tmp_path / "aside").rename(tmp_path / "fragments")
    assert after(tmp_path, fragment) == [1, 2, 3, 4, 5]


def test_lost_file_refuses_the_start_until_the_index_is_deleted(
    tmp_path: Path, fragment: Make
) -> None:
    fill(tmp_path, fragment, *range(1, 6), file_size=700)
    (tmp_path / "fragments" / "00000002.mkvs").unlink()
    with pytest.raises(OSError, match=r"or delete index\.sqlite3 beside it") as caught:
        opened(tmp_path)
    assert caught.value.filename == str(tmp_path / "fragments" / "00000002.mkvs")
    delete_index(tmp_path)
    left = after(tmp_path, fragment)
    assert 0 < len(left) < 5


def test_index_of_another_folder_is_noticed(
    tmp_path: Path, fragment: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The index is from a backup, but the folder was created again: the numbers are the same."""
    for name, numbers in (("a", range(1, 4)), ("b", range(11, 18))):
        (tmp_path / name).mkdir()
        fill(tmp_path / name, fragment, *numbers)
    shutil.copy(tmp_path / "a" / INDEX_NAME, tmp_path / "b" / INDEX_NAME)
    assert after(tmp_path / "b", fragment) == list(range(11, 18))
    assert "was replaced by another file" in caplog.text


def test_file_with_expired_fragments_may_be_missing(tmp_path: Path, fragment: Make) -> None:
    fill(tmp_path, fragment, 1)
    first_file(tmp_path).unlink()
    store = open_store(tmp_path, fragment(1).info.server_timestamp + HOUR + 1)
    assert found(store, fragment) == []
    store.close()


def test_truncated_file_is_used_again_when_restored(
    tmp_path: Path, fragment: Make, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, fragment, *range(1, 6))
    whole = first_file(tmp_path).read_bytes()
    os.truncate(first_file(tmp_path), len(whole) - 1)
    assert after(tmp_path, fragment) == [1, 2, 3, 4]
    assert "became 1 bytes shorter: of its 5 fragments" in caplog.text
    assert first_file(tmp_path).read_bytes() == whole[:-1]
    first_file(tmp_path).write_bytes(whole)
    store = opened(tmp_path)
    assert found(store, fragment) == [1, 2, 3, 4, 5, 99]
    store.close()


def test_truncated_file_loses_no_streams(tmp_path: Path, fragment: Make) -> None:
    fill(tmp_path, fragment, 1, 2)
    store = opened(tmp_path)
    store.save_stream(replace(RECORD, retention_hours=9)).result()
    store.save_stream(OTHER_RECORD).result()
    store.close()
    os.truncate(first_file(tmp_path), first_file(tmp_path).stat().st_size - 500)
    store = opened(tmp_path)
    assert [record.retention_hours for record in store.streams()] == [9, 1]
    assert found(store, fragment) == [1, 2]
    store.close()


@pytest.mark.parametrize("lost_index", [False, True])
def test_unfinished_write_stays_and_a_new_file_begins(
    tmp_path: Path, fragment: Make, caplog: pytest.LogCaptureFixture, lost_index: bool
) -> None:
    fill(tmp_path, fragment, 1, 2)
    with first_file(tmp_path).open("ab") as file:
        file.write(b"half a fragment")
    before = first_file(tmp_path).read_bytes()
    if lost_index:
        delete_index(tmp_path)
    assert after(tmp_path, fragment) == [1, 2]
    assert "(an unfinished write)" in caplog.text
    assert first_file(tmp_path).read_bytes() == before
    store = opened(tmp_path)
    store.expire([(ARN, NOW)]).result()
    store.close()
    assert not first_file(tmp_path).exists(), "it goes with its last fragment"


def test_file_damaged_in_the_middle_is_never_deleted(
    tmp_path: Path, fragment: Make, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, fragment, *range(1, 6))
    data = bytearray(first_file(tmp_path).read_bytes())
    data[len(data) // 2] ^= 1
    first_file(tmp_path).write_bytes(data)
    delete_index(tmp_path)
    left = after(tmp_path, fragment)
    assert len(left) == 4
    assert "the file will not be deleted" in caplog.text
    store = opened(tmp_path)
    store.expire([(ARN, 2**62)]).result()
    store.close()
    assert first_file(tmp_path).read_bytes() == data


def test_media_stays_in_a_file_with_a_damaged_head(tmp_path: Path, fragment: Make) -> None:
    """With the index, the fragments can still be read; without it, the store does not start."""
    fill(tmp_path, fragment, 1, 2, 3)
    data = bytearray(first_file(tmp_path).read_bytes())
    data[3] ^= 1
    first_file(tmp_path).write_bytes(data)
    store = opened(tmp_path)
    assert found(store, fragment) == [1, 2, 3]
    store.close()
    delete_index(tmp_path)
    for _ in range(2):
        with pytest.raises(OSError, match="restore it from a copy"):
            opened(tmp_path)
    assert first_file(tmp_path).read_bytes() == data


@pytest.mark.parametrize("content", [b"", b"KVSM", bytes(5000)])
def test_empty_new_file_is_skipped(tmp_path: Path, fragment: Make, content: bytes) -> None:
    """The power failed after the file was created. Nothing in it was acknowledged."""
    fill(tmp_path, fragment, 1, 2)
    (tmp_path / "fragments" / "00000002.mkvs").write_bytes(content)
    assert after(tmp_path, fragment) == [1, 2]


def test_streams_are_read_from_the_last_complete_list(tmp_path: Path, fragment: Make) -> None:
    """The power failed while a new file's list of streams was written."""
    fill(tmp_path, fragment, 1, 2)
    (tmp_path / "fragments" / "00000002.mkvs").write_bytes(first_file(tmp_path).read_bytes()[:45])
    delete_index(tmp_path)
    assert after(tmp_path, fragment) == [1, 2]


def test_start_is_refused_without_a_list_of_streams(tmp_path: Path, fragment: Make) -> None:
    fill(tmp_path, fragment, 1, 2)
    data = bytearray(first_file(tmp_path).read_bytes())
    data[40] ^= 1
    first_file(tmp_path).write_bytes(data)
    delete_index(tmp_path)
    with pytest.raises(OSError, match="no media file has a list of streams"):
        opened(tmp_path)
    assert first_file(tmp_path).read_bytes() == data


def test_record_of_a_newer_version_is_reported(tmp_path: Path, fragment: Make) -> None:
    store = opened(tmp_path)
    store.save_stream(replace(RECORD, created="x")).result()  # type: ignore[arg-type]
    store.close()
    delete_index(tmp_path)
    with pytest.raises(OSError, match="its created is 'x'"):
        opened(tmp_path)


def test_newest_file_truncated_anywhere_keeps_complete_fragments(
    tmp_path: Path, fragment: Make
) -> None:
    """Power failures: the index may be older or missing, and the file may end anywhere."""
    fill(tmp_path, fragment, 1, 2)
    older = (tmp_path / INDEX_NAME).read_bytes()
    known = first_file(tmp_path).stat().st_size
    fill(tmp_path, fragment, 3, 4)
    data = first_file(tmp_path).read_bytes()
    for size in range(known, len(data), 23):
        for index in (older, None):
            first_file(tmp_path).write_bytes(data[:size])
            for path in (tmp_path / "fragments").glob("*[2-9].mkvs"):
                path.unlink()
            delete_index(tmp_path)
            if index is not None:
                (tmp_path / INDEX_NAME).write_bytes(index)
            store = opened(tmp_path)
            expected = [1, 2, 3] if size >= known + (len(data) - known) // 2 else [1, 2]
            assert found(store, fragment) == expected, (size, index is None)
            store.close()
            assert first_file(tmp_path).read_bytes() == data[:size]
