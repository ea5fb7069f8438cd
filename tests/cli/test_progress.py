"""The progress of a put: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import errno
import io

import pytest
from rich.console import Console

from kvsproducer.cli import progress
from kvsproducer.cli.progress import PutDisplay, progress_line
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources import PutProgress

PROGRESS = PutProgress(50, 1_234_567, 2 * TICKS_PER_SECOND, 2, 2, 1, 31 * TICKS_PER_MS)


def test_progress_line() -> None:
    """It has frames, bytes, media time, fragments by ack, and latency."""
    expected = "50 frames, 1.2 MB, 2.000 s: 2 BUFFERING, 2 RECEIVED, 1 PERSISTED, 31 ms"
    assert progress_line(PROGRESS) == expected


def test_a_terminal_gets_a_table() -> None:
    """The last state is left on the screen."""
    file = io.StringIO()
    with PutDisplay(Console(file=file, force_terminal=True, width=100), "a -> b") as display:
        display.update(PROGRESS)
    shown = file.getvalue()
    assert "PERSISTED" in shown
    assert "31 ms" in shown


def test_what_was_put_so_far() -> None:
    """ "nothing was put" is only reported if no frame was put."""
    display = PutDisplay(Console(file=io.StringIO()), "a -> b", quiet=True)
    assert display.so_far == "nothing was put"
    display.update(PROGRESS)
    assert display.so_far == f"so far {progress_line(PROGRESS)}"


def test_a_narrow_terminal_gets_whole_words() -> None:
    """The table would break its headings."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=40, soft_wrap=True, highlight=False)
    with PutDisplay(console, "a -> b") as display:
        display.update(PROGRESS)
    shown = file.getvalue()
    assert all(word in shown for word in ("BUFFERING", "RECEIVED", "PERSISTED", "31 ms"))


def test_lines_are_printed_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning at once, in the words of the options; lines after a while; with quiet nothing."""
    file = io.StringIO()
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    problem = PutProgress(1, 1, 1, problem="SOMETHING (0x1):\ncheck endpoint_url")
    with PutDisplay(Console(file=file), "a -> b") as display:
        display.update(problem)
        assert len(file.getvalue().splitlines()) == 1
        clock[0] += 2.1
        display.update(problem)
    warning, line = file.getvalue().splitlines()
    assert warning == "warning: SOMETHING (0x1): check --endpoint-url"
    assert line == progress_line(problem)
    with PutDisplay(Console(file=file), "a -> b", quiet=True) as display:
        display.update(problem)
    assert len(file.getvalue().splitlines()) == 2


def test_a_file_may_have_any_name() -> None:
    """Brackets are not markup, and control characters are escaped."""
    file = io.StringIO()
    with PutDisplay(Console(file=file, force_terminal=True, width=100), "a[/b]\x1b[2J -> c") as it:
        it.update(PROGRESS)
    assert "a[/b]\\x1b[2J -> c" in file.getvalue()


def test_closed_terminal_does_not_end_the_put() -> None:
    """The put continues without output."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "gone")

    for terminal in (False, True):
        console = Console(file=Gone(), force_terminal=terminal, width=100)
        display = PutDisplay(console, "clip.mp4 -> door")
        display._shown_at = -10.0
        with contextlib.suppress(OSError):  # the live table's own beginning
            display.__enter__()
        display.update(PutProgress(frames=1))
        display.update(PutProgress(frames=2))
        assert display.put_any
        display.__exit__(None, None, None)
