"""Loggers whose lines nothing depends on.

A line is written in the middle of other work: on the event loop, on the thread of events, while a
call is answered. A handler or a filter of the application that raises there, or calls `sys.exit()`,
loses its line and nothing else. It is told as `logging` tells what goes wrong inside a handler: on
standard error, unless `logging.raiseExceptions` is off.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from typing import Any

__all__ = ["Logger", "logger"]


class Logger(logging.LoggerAdapter[logging.Logger]):
    """What `logging.getLogger` gives, and whose methods raise nothing."""

    def log(self, level: int, msg: object, *args: object, **named: Any) -> None:
        """Write a line; all other methods come here."""
        try:
            self.logger.log(level, msg, *args, **{"stacklevel": 2, **named})
        except (Exception, SystemExit):  # noqa: BLE001  the application's
            _tell()


def logger(name: str) -> Logger:
    """The logger of that name."""
    return Logger(logging.getLogger(name))


def _tell() -> None:
    if logging.raiseExceptions and sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # it is closed
            why = traceback.format_exc(chain=False)
            sys.stderr.write(f"kvsproducer: a line of the log is lost\n{why}")
