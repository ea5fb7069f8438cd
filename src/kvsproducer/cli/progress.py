"""The progress of `kvs put`: a live table on a terminal, else a line every 2 s."""

from __future__ import annotations

import contextlib
import textwrap
import threading
import time
from types import TracebackType
from typing import Final

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kvsproducer.cli.console import as_options, count_text, escape_control, size_text
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources import PutProgress

__all__ = ["PutDisplay", "progress_line"]

_LINE_INTERVAL_S: Final = 2.0
_LIVE_INTERVAL_S: Final = 0.1
_TABLE_WIDTH: Final = 76  # a narrower terminal gets plain lines, which can be wrapped


def progress_line(progress: PutProgress) -> str:
    """Return one line of progress.

    For example `50 frames, 1.2 MB, 2.000 s: 2 BUFFERING, 2 RECEIVED, 1 PERSISTED, 31 ms`.
    """
    latency = "" if progress.latency is None else f", {progress.latency / TICKS_PER_MS:.0f} ms"
    return (
        f"{count_text(progress.frames, 'frame')}, {size_text(progress.bytes)},"
        f" {progress.position / TICKS_PER_SECOND:.3f} s: {progress.buffering} BUFFERING,"
        f" {progress.received} RECEIVED, {progress.persisted} PERSISTED{latency}"
    )


class PutDisplay:
    """A display of `PutProgress`; `update` may be called often and from several threads."""

    def __init__(self, console: Console, title: str, *, quiet: bool = False) -> None:
        self._console = console
        self._title = escape_control(title)
        self._quiet = quiet
        self._live: Live | None = None
        self._lock = threading.Lock()
        # A terminal gets its first table at once. Elsewhere a put of less than 2 s prints no line.
        self._shown_at = 0.0 if console.is_terminal else time.monotonic()
        self._latest: PutProgress | None = None
        self._problem = ""

    def __enter__(self) -> PutDisplay:
        if self._console.is_terminal and not self._quiet:
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(OSError):  # the terminal is closed
                if self._latest is not None:
                    live.update(self._picture(self._latest), refresh=True)
                live.stop()

    @property
    def put_any(self) -> bool:
        """Whether at least one frame was put."""
        return self._latest is not None and self._latest.frames > 0

    @property
    def so_far(self) -> str:
        """A text about what was put so far, for the message after Ctrl-C."""
        if self._latest is None or not self._latest.frames:
            return "nothing was put"
        return f"so far {progress_line(self._latest)}"

    def update(self, progress: PutProgress) -> None:
        """Show `progress`, but skip it if the display changed only a moment ago.

        If the terminal is closed, the display stops and the put continues.
        """
        with self._lock:
            self._latest = progress
            if self._quiet:
                return
            try:
                self._show(progress)
            except OSError:
                self._quiet = True

    def _show(self, progress: PutProgress) -> None:
        if progress.problem and progress.problem != self._problem:
            self._problem = progress.problem
            problem = as_options(" ".join(progress.problem.split()))
            self._console.print(f"warning: {problem}", markup=False)
        now = time.monotonic()
        live = self._live
        if now - self._shown_at < (_LIVE_INTERVAL_S if live else _LINE_INTERVAL_S):
            return
        self._shown_at = now
        if live is not None:
            live.update(self._picture(progress), refresh=True)
        elif not self._console.is_terminal:
            self._console.print(progress_line(progress))

    def _picture(self, progress: PutProgress) -> RenderableType:
        if self._console.width < _TABLE_WIDTH:
            lines = textwrap.wrap(progress_line(progress), self._console.width)
            return Text("\n".join([self._title, *lines]))
        return self._table(progress)

    def _table(self, progress: PutProgress) -> Table:
        table = Table(title=Text(self._title), title_justify="left", title_style="bold")
        for name in ("frames", "bytes", "media", "BUFFERING", "RECEIVED", "PERSISTED", "latency"):
            table.add_column(name, justify="right")
        latency = progress.latency
        table.add_row(
            f"{progress.frames:,}",
            size_text(progress.bytes),
            f"{progress.position / TICKS_PER_SECOND:.2f} s",
            str(progress.buffering),
            str(progress.received),
            str(progress.persisted),
            "-" if latency is None else f"{latency / TICKS_PER_MS:.0f} ms",
        )
        return table
