"""Write text to numbered files and keep only the newest files, as AWS's file logger does.

Text is collected in memory and written to `<folder>/<name>.<n>`. When file n - 1 would exceed
`file_bytes`, file n begins, and file n - `max_files` is deleted. An index file in the same folder
contains the next number, so that a restarted program continues with it. Not thread-safe.

Source: the file logger of AWS's utilities. That logger writes a file once, when it is full; here
`flush` may append to a file several times.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from kvsproducer import limits
from kvsproducer.status import KvsError, StatusCode, kvs_error
from kvsproducer.status.system import in_words
from kvsproducer.utils import check_path

__all__ = ["RollingFile"]

_S = StatusCode


class RollingFile:
    """Write the files `<name>.0`, `<name>.1` ... in a folder. Create the folder if necessary.

    `index_name` is the name of the file that contains the next number. If its content is damaged,
    the number is derived from the names of the files.

    Raises INVALID_ARG for sizes and counts out
    of range, PATH_TOO_LONG, INVALID_ARG_LEN for an empty path, OPEN_FILE_FAILED if the folder
    cannot be used, and FILE_LOGGER_INDEX_FILE_INVALID_SIZE if the index has 256 bytes or more.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        name: str,
        index_name: str,
        file_bytes: int = limits.DEFAULT_LOG_FILE_BYTES,
        max_files: int = limits.DEFAULT_LOG_FILES,
    ) -> None:
        _check_range("file_bytes", file_bytes, limits.MIN_LOG_FILE_BYTES, limits.MAX_LOG_FILE_BYTES)
        _check_range("max_files", max_files, 1, limits.MAX_LOG_FILES)
        self._folder = check_path(folder)
        self._name = name
        self._index = self._folder / index_name
        self._file_bytes = file_bytes
        self._max_files = max_files
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.number = self._next_number()
        except KvsError:
            raise  # of the index file; it is an OSError too
        except OSError as error:
            raise kvs_error(
                _S.OPEN_FILE_FAILED, f"cannot use {self._folder}: {in_words(error)}"
            ) from error
        self._gathered: list[bytes] = []
        self._size = 0  # of the file, including the collected text
        self._begun = False  # whether the file exists

    def write(self, text: str) -> None:
        """Add text. Text longer than a file is cut; text is never split between two files.

        Raises OSError.
        """
        data = text.encode(errors="replace")[: self._file_bytes]
        if self._size + len(data) > self._file_bytes:
            self.flush()
            self.number += 1
            self._size, self._begun = 0, False
        self._gathered.append(data)
        self._size += len(data)

    def flush(self) -> None:
        """Write the collected text. Raises OSError; text that could not be written is lost."""
        data, self._gathered = b"".join(self._gathered), []
        if not data:
            return
        if not self._begun:
            self._begin()
        with open(self._path(self.number), "ab") as file:
            file.write(data)

    def _begin(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path(self.number - self._max_files).unlink()
        with contextlib.suppress(FileNotFoundError):  # of an earlier program whose index was lost
            self._path(self.number).unlink()
        whole = self._index.with_name(self._index.name + ".new")
        whole.write_text(str(self.number + 1))
        whole.replace(self._index)
        self._begun = True

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._name}.{number}"

    def _next_number(self) -> int:
        try:
            with open(self._index, "rb") as file:
                text = file.read(limits.MAX_LOG_INDEX_BYTES)
        except FileNotFoundError:
            text = b""
        if len(text) >= limits.MAX_LOG_INDEX_BYTES:
            raise kvs_error(
                _S.FILE_LOGGER_INDEX_FILE_INVALID_SIZE,
                f"{self._index} has {limits.MAX_LOG_INDEX_BYTES} bytes or more",
            )
        if re.fullmatch(rb"\d{1,18}\s*", text):
            return int(text)
        pattern = re.compile(re.escape(self._name) + r"\.(\d{1,18})")
        found = (pattern.fullmatch(path.name) for path in self._folder.iterdir())
        return max((int(match[1]) + 1 for match in found if match), default=0)


def _check_range(name: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise kvs_error(_S.INVALID_ARG, f"{name}={value} must be {lowest} to {highest}")
