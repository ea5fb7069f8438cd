"""How to watch a command: its log on standard error and in rolling files, its metrics on a port.

Quiet without them. The level of the files is AWS_KVS_LOG_LEVEL's, else INFO; `-vv` means everything
in both places.
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

__all__ = ["LogFile", "MetricsHost", "MetricsPort", "Verbose", "logged"]

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
    """Lines above the progress display, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            err.print(self.format(record), markup=False)
        except Exception:  # noqa: BLE001  as every handler
            self.handleError(record)


@contextmanager
def logged(log_file: Path | None, verbose: int, *, warnings: bool = False) -> Iterator[None]:
    """Log as these options say while the block runs; `warnings` are printed without them too.

    Raises what `FileLogHandler` does for the folder.
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
