"""Log levels and log files like those of AWS's producers, implemented with Python's `logging`.

The loggers are "kvsproducer" and those below it ("kvsproducer.engine", "kvsproducer.upload" ...).
They print nothing unless the application adds handlers, a `FileLogHandler`,
`PlatformCallbacks(log_print=...)` or `kvs ... --verbose`. Source: the levels of AWS's
platform-independent client (1 verbose to 7 silent).
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kvsproducer import limits
from kvsproducer.compat.rolling_file import RollingFile
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.status import KvsError, StatusCode, kvs_error
from kvsproducer.status.system import in_words
from kvsproducer.utils import format_timestamp

__all__ = ["FileLogHandler", "attach", "environment_level", "log_level"]

LEVEL_VARIABLE: Final = "AWS_KVS_LOG_LEVEL"
SILENT: Final = logging.CRITICAL + 10
# AWS's number -> Python's level.
_LEVELS: Final = {
    1: 5,  # verbose
    2: logging.DEBUG,
    3: logging.INFO,
    4: logging.WARNING,
    5: logging.ERROR,
    6: logging.CRITICAL,  # fatal
    7: SILENT,
    8: 5,  # profile: everything
}


_attaching = threading.Lock()
_attached: list[logging.Handler] = []
_level_before = [logging.NOTSET]  # before the first handler was attached


def log_level(number: int) -> int:
    """Convert AWS's log level to Python's. An unknown level becomes WARNING."""
    return _LEVELS.get(number, logging.WARNING)


def environment_level() -> int:
    """Return the level that the variable AWS_KVS_LOG_LEVEL (1 to 7) sets; WARNING if it is not set.

    A number outside 1 to 7 is replaced by the nearest one.
    """
    text = os.environ.get(LEVEL_VARIABLE, "").strip()
    if not text.isascii() or not text.isdigit():
        return logging.WARNING
    return log_level(min(max(int(text), 1), 7))


class FileLogHandler(logging.Handler):
    """Write log lines to numbered files as AWS's file logger does: `kvsFileLog.0`, `.1` ...

    `directory` is created if it does not exist. A file has at most `file_bytes` bytes, and the
    newest `max_files` files are kept. The file `kvsFileLogIndex` contains the next number, so that
    a restarted program continues with it. Lines are collected in memory until a file is full. A
    line of level ERROR or above, `flush` and `close` write all collected lines.

    With `filter_level`, lines of exactly that level go to `kvsFileLogFilter.0` ... instead. The
    other lines are then written to the main files only if `all_levels` is true. The handler's
    level is `level`, or that of AWS_KVS_LOG_LEVEL if `level` is not given. `time_format` is a
    format for `strftime`, in UTC.

        logging.getLogger("kvsproducer").addHandler(kvs.FileLogHandler("/var/log/camera"))

    Raises INVALID_ARG for a size or count out of range or an unknown level, OPEN_FILE_FAILED,
    PATH_TOO_LONG, FILE_LOGGER_INDEX_FILE_TOO_LARGE, MAX_TIMESTAMP_FORMAT_STR_LEN_EXCEEDED,
    STRFTIME_FALIED. If the disk becomes full later, lines are lost and the error is printed to
    standard error, as in `logging`. Source: the file logger of AWS's C producer.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] = ".",
        *,
        file_bytes: int = limits.DEFAULT_LOG_FILE_BYTES,
        max_files: int = limits.DEFAULT_LOG_FILES,
        level: int | str | None = None,
        filter_level: int | None = None,
        all_levels: bool = True,
        time_format: str = "%Y-%m-%d %H:%M:%S",
    ) -> None:
        try:
            super().__init__(environment_level() if level is None else level)
        except (TypeError, ValueError) as error:
            detail = f"level={level!r} is not a level of logging, as a number or a name"
            raise kvs_error(StatusCode.INVALID_ARG, detail) from error
        self._main = self._filtered = None
        self.setFormatter(_LineFormatter(time_format))
        self._filter_level = filter_level
        try:
            if filter_level is None or all_levels:
                self._main = RollingFile(
                    directory, "kvsFileLog", "kvsFileLogIndex", file_bytes, max_files
                )
            if filter_level is not None:
                self._filtered = RollingFile(
                    directory, "kvsFileLogFilter", "kvsFileFilterLogIndex", file_bytes, max_files
                )
        except KvsError as error:
            if error.status is not StatusCode.FILE_LOGGER_INDEX_FILE_INVALID_SIZE:
                raise
            raise kvs_error(StatusCode.FILE_LOGGER_INDEX_FILE_TOO_LARGE, error.detail) from error

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        file = self._filtered if record.levelno == self._filter_level else self._main
        if file is None:
            return
        try:
            file.write(self.format(record) + "\n")
            if record.levelno >= logging.ERROR:
                file.flush()
        except Exception:  # noqa: BLE001  reported on standard error, as by every handler
            self.handleError(record)

    def flush(self) -> None:
        """Write the collected lines. A failure is reported on standard error."""
        self.acquire()
        try:
            for file in (self._main, self._filtered):
                if file is not None:
                    file.flush()
        except OSError as error:
            _report_error(error)
        finally:
            self.release()

    def close(self) -> None:
        """Write the collected lines and close the handler."""
        self.flush()
        super().close()


class _LineFormatter(logging.Formatter):
    """Format a line: `2026-01-02 03:04:05.678 WARNING kvsproducer.upload - text`."""

    def __init__(self, time_format: str) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s - %(message)s")
        self._time_format = time_format
        format_timestamp(
            0, time_format
        )  # raises for an invalid format now, not with the first line

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        return format_timestamp(int(record.created) * TICKS_PER_SECOND, self._time_format)


def _report_error(error: OSError) -> None:
    if logging.raiseExceptions and sys.stderr is not None:
        sys.stderr.write(f"kvsproducer: cannot write the log file: {in_words(error)}\n")


@contextmanager
def attach(handler: logging.Handler) -> Iterator[None]:
    """Add a handler to the package's logger for the duration of the block, then close the handler.

    The logger's level is lowered to the handler's level if necessary. So other handlers of the
    application that have no level get the additional lines too.
    """
    logger = logging.getLogger("kvsproducer")
    with _attaching:
        if not _attached:
            _level_before[0] = logger.level
        _attached.append(handler)
        if logger.getEffectiveLevel() > handler.level:
            logger.setLevel(handler.level)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        with _attaching:
            _attached.remove(handler)
            if not _attached:  # handlers may be removed in any order
                logger.setLevel(_level_before[0])
        handler.close()
