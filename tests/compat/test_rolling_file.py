"""Numbered files: when a new file begins, which are kept, and restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvsproducer.compat.rolling_file import RollingFile
from kvsproducer.status import KvsError, StatusCode

S = StatusCode
LEAST = 10 * 1024


def rolling(folder: Path, max_files: int = 3) -> RollingFile:
    return RollingFile(folder, "log", "logIndex", LEAST, max_files)


def files(folder: Path) -> dict[str, int]:
    """Return names and sizes, except for the index."""
    return {path.name: path.stat().st_size for path in folder.glob("log.*")}


def test_text_is_collected_until_a_file_is_full(tmp_path: Path) -> None:
    """A text is never split, the newest files are kept, and the index has the next number."""
    one = rolling(tmp_path, max_files=2)
    one.write("a" * 6000)
    one.write("b" * 4000)
    assert files(tmp_path) == {}
    one.write("c" * 6000)
    assert files(tmp_path) == {"log.0": 10_000}
    assert (tmp_path / "logIndex").read_text() == "1"
    one.write("d" * 6000)
    one.write("e" * 6000)
    one.flush()
    assert files(tmp_path) == {"log.2": 6000, "log.3": 6000}
    assert (tmp_path / "log.3").read_text() == "e" * 6000
    assert (tmp_path / "logIndex").read_text() == "4"


def test_flush_appends_to_the_same_file(tmp_path: Path) -> None:
    """It appends while there is space. Flushing nothing creates no file."""
    one = rolling(tmp_path)
    one.flush()
    assert files(tmp_path) == {}
    for text in ("one ", "two ", "three"):
        one.write(text)
        one.flush()
    assert (tmp_path / "log.0").read_text() == "one two three"


def test_too_long_text_is_cut(tmp_path: Path) -> None:
    """It is cut to the size of a file."""
    one = rolling(tmp_path)
    one.write("x" * 50_000)
    one.write("next")
    one.flush()
    assert files(tmp_path) == {"log.0": LEAST, "log.1": 4}


def test_restart_continues_with_the_next_number(tmp_path: Path) -> None:
    """If the index is damaged or missing, the names of the files are used."""
    for number, index in enumerate([None, None, b"", b"not a number", "gone"]):
        if isinstance(index, bytes):
            (tmp_path / "logIndex").write_bytes(index)
        elif index == "gone":
            (tmp_path / "logIndex").unlink()
        one = rolling(tmp_path, max_files=10)
        assert one.number == number
        one.write(f"life {number}")
        one.flush()
    assert (tmp_path / "log.4").read_text() == "life 4"


def test_file_of_an_earlier_run_is_replaced(tmp_path: Path) -> None:
    """If the index was set back, an old file is replaced, not appended to."""
    (tmp_path / "log.5").write_text("old")
    (tmp_path / "logIndex").write_text("5\n")
    one = rolling(tmp_path)
    one.write("new")
    one.flush()
    assert (tmp_path / "log.5").read_text() == "new"


@pytest.mark.parametrize("size", [255, 256, 5000])
def test_too_long_index(tmp_path: Path, size: int) -> None:
    """255 bytes are read (and repaired), 256 are refused."""
    (tmp_path / "logIndex").write_text("7" * size)
    if size < 256:
        assert rolling(tmp_path).number == 0
        return
    with pytest.raises(KvsError) as caught:
        rolling(tmp_path)
    assert caught.value.status is S.FILE_LOGGER_INDEX_FILE_INVALID_SIZE


@pytest.mark.parametrize(
    ("file_bytes", "max_files"), [(LEAST - 1, 3), (100 * 2**20 + 1, 3), (LEAST, 0), (LEAST, 10_241)]
)
def test_out_of_range(tmp_path: Path, file_bytes: int, max_files: int) -> None:
    with pytest.raises(KvsError) as caught:
        RollingFile(tmp_path, "log", "logIndex", file_bytes, max_files)
    assert caught.value.status is S.INVALID_ARG


def test_folders(tmp_path: Path) -> None:
    """A folder is created. A path that cannot be a folder is reported."""
    rolling(tmp_path / "a" / "b").write("x")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for folder, status in (
        (tmp_path / "file", S.OPEN_FILE_FAILED),
        (Path("x" * 4097), S.PATH_TOO_LONG),
    ):
        with pytest.raises(KvsError) as caught:
            rolling(folder)
        assert caught.value.status is status
