"""`--trace FILE`: write how long each step of a frame takes, for chrome://tracing and Perfetto."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer

from kvsproducer.cli.console import writing
from kvsproducer.observe.tracing import traced
from kvsproducer.sources import Source
from kvsproducer.trace import Profiler

__all__ = ["TraceFile", "tracing"]

TraceFile = Annotated[
    str | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="Write a trace of where each frame spends time, for chrome://tracing.",
    ),
]

_RECORDS: Final = 200_000  # how many spans are kept: about 30,000 frames, 25 MB of JSON


@contextmanager
def tracing(path: str | None) -> Iterator[None]:
    """Trace the frames that are put in the block, and write the trace to `path`.

    If `path` is None, nothing is traced. The file is written when the block ends, even after an
    exception. Raises WRITE_TO_FILE_FAILED. If the file cannot be opened, the error is raised before
    the block begins.
    """
    if path is None:
        yield
        return
    _write(path, "")
    profiler = Profiler(_RECORDS, clock=lambda: time.monotonic_ns() // 100)
    try:
        with traced(profiler, [(Source, "frames", "read source")]):
            yield
    finally:
        _write(path, profiler.to_chrome_trace())


def _write(path: str, text: str) -> None:
    with writing(path), open(path, "w", encoding="utf-8") as file:
        file.write(text)
