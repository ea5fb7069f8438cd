"""Options for logs and metrics: a log on standard error, rolling log files, a metrics port.

Without these options nothing is logged. The files have the level of AWS_KVS_LOG_LEVEL, else INFO;
with `-vv` both logs contain everything.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from kvsproducer.cli.console import err
from kvsproducer.compat.logs import (
    LEVEL_VARIABLE,
    FileLogHandler,
    attach,
    environment_level,
)

__all__ = ["LogFile", "MetricsHost", "MetricsPort", "Verbose", "log_to"]

_PANEL: Final = "Watch"
LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        metavar="DIR",
        help="Write a log into this folder, in rolling files kvsFileLog.0, kvsFileLog.1 ...",
        rich_help_panel=_PANEL,
    ),
]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        metavar="",
        show_default=False,
        help="Log main steps to standard error; -vv logs everything.",
        rich_help_panel=_PANEL,
    ),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        metavar="PORT",
        help="Serve Prometheus metrics at /metrics and a health check at /health on this port.",
        rich_help_panel=_PANEL,
    ),
]
MetricsHost = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="Address for --metrics-port; 0.0.0.0 lets other machines read the metrics.",
        rich_help_panel=_PANEL,
    ),
]
_LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG)


class _Console(logging.Handler):
    """A log handler that prints lines on standard error, above the progress display."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            err.print(self.format(record), markup=False)
        except Exception:  # noqa: BLE001  as every handler
            self.handleError(record)


@contextmanager
def log_to(log_file: Path | None, verbose: int, *, warnings: bool = False) -> Iterator[None]:
    """Write logs to the given places while the block runs.

    log_file: folder of the rolling log files, or None.

    verbose: 0, 1 (INFO) or 2 (DEBUG) on standard error.

    warnings: whether to print warnings even if `verbose` is 0.

    Raises the errors of `FileLogHandler` for the folder.
    """
    level = _LEVELS[min(verbose, 2)]
    with ExitStack() as stack:
        if verbose or warnings:
            console = _Console(level)
            console.setFormatter(
                logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
            )
            stack.enter_context(attach(console))
        if log_file is not None:
            usual = environment_level() if LEVEL_VARIABLE in os.environ else logging.INFO
            file = FileLogHandler(log_file, level=min(usual, level) if verbose else usual)
            stack.enter_context(attach(file))
        yield
