"""Logging as AWS's producers know it: their levels, on Python's `logging`.

The loggers are "kvsproducer" and those below it ("kvsproducer.engine", "kvsproducer.upload" ...).
Quiet unless the application asks: with handlers of its own, with `FileLogHandler`, with
`PlatformCallbacks(log_print=...)`, or with `kvs ... --verbose`. Source: the levels of AWS's
platform-independent client (1 verbose to 7 silent).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["attached", "environment_level", "log_level"]

LEVEL_VARIABLE: Final = "AWS_KVS_LOG_LEVEL"
SILENT: Final = logging.CRITICAL + 10
# AWS's number -> Python's.
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


def log_level(number: int) -> int:
    """Python's level for AWS's, such as `ClientInfo.log_level`; WARNING for one that is none."""
    return _LEVELS.get(number, logging.WARNING)


def environment_level() -> int:
    """The level that AWS_KVS_LOG_LEVEL asks for, brought into 1 to 7; WARNING without it."""
    text = os.environ.get(LEVEL_VARIABLE, "").strip()
    if not text.isascii() or not text.isdigit():
        return logging.WARNING
    return log_level(min(max(int(text), 1), 7))


@contextmanager
def attached(handler: logging.Handler) -> Iterator[None]:
    """Let a handler have the package's lines in the block, down to its level; then close it.

    The package's logger is opened to that level, so handlers of the application's own that have no
    level see those lines too.
    """
    logger = logging.getLogger("kvsproducer")
    before = logger.level
    if logger.getEffectiveLevel() > handler.level:
        logger.setLevel(handler.level)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()
