"""A copy of what an upload sends, for debugging: KVS_DEBUG_DUMP_DATA_FILE_DIR.

As AWS's C producer, each upload writes `<folder>/<stream>_<upload>.mkv`. `kvs inspect` and players
read it. The copy never disturbs the upload: the first failure is logged and ends it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Final

from kvsproducer.producer.logger import logger
from kvsproducer.status.system import in_words

__all__ = ["VARIABLE", "MediaDump"]

VARIABLE: Final = "KVS_DEBUG_DUMP_DATA_FILE_DIR"

log = logger("kvsproducer.upload")


class MediaDump:
    """The file of one upload; does nothing while the variable is not set."""

    def __init__(self, stream: str, upload: int) -> None:
        self._file: BinaryIO | None = None
        folder = os.environ.get(VARIABLE)
        if not folder:
            return
        self._path = Path(folder) / f"{stream}_{upload}.mkv"
        try:
            self._file = self._path.open("wb")
        except OSError as error:
            self._give_up(error)

    def write(self, data: bytes) -> None:
        """Append what is sent."""
        if self._file is not None:
            try:
                self._file.write(data)
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """End the file."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._file = None
        log.warning("%s: %s cannot be written: %s", VARIABLE, self._path, in_words(error))
