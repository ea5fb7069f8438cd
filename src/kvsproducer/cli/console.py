"""Output, error messages and exit codes of the commands.

Results go to standard output, everything else to standard error. An error message fits on one
screen: the status with its code, what happened, where, what it means and what to do. A traceback is
never shown.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import Annotated, Final, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from kvsproducer.cli.streams import refusal
from kvsproducer.service.interrupts import interrupt
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = [
    "EXIT_FAILURE",
    "EXIT_HUNG_UP",
    "EXIT_INTERRUPTED",
    "EXIT_TERMINATED",
    "EXIT_USAGE",
    "Json",
    "count_text",
    "end_on_signals",
    "err",
    "out",
    "print_json",
    "print_table",
    "report_errors",
    "escape_control",
    "size_text",
    "writing",
]

Json = Annotated[bool, typer.Option("--json", metavar="", help="Print the result as JSON.")]

P = ParamSpec("P")
R = TypeVar("R")

EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = 2
EXIT_HUNG_UP: Final = 129
EXIT_INTERRUPTED: Final = 130
EXIT_TERMINATED: Final = 143
_INDENT: Final = 8
_MIN_WIDTH, _MAX_WIDTH = 60, 100
_NO_WIDTH: Final = 10_000  # columns; wider than any table


class _Console(Console):
    """A rich console that raises if a pipe is closed, so that `report_errors` can handle it.

    rich itself would exit with 1.
    """

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


# No markup, because file names and tags may contain brackets and colons.
out = _Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = _Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def print_table(table: Table) -> None:
    """Print a table at the width of its contents.

    rich would cut off cells and whole columns to fit a narrow terminal. For a pipe it would assume
    80 columns. A terminal wraps the longer lines.
    """
    table.width = Measurement.get(out, out.options.update(max_width=_NO_WIDTH), table).maximum
    out.print(table)


_S = StatusCode
# Statuses that mean that the command line is wrong; they exit with 2.
_USAGE: Final = {
    _S.INVALID_ARG,
    _S.NOT_IMPLEMENTED,
    _S.INVALID_DURATION_VALUE,
    _S.INVALID_RETENTION_PERIOD,
    _S.INVALID_STREAM_NAME_LENGTH,
    _S.OFFLINE_MODE_WITH_ZERO_RETENTION,
    _S.MAX_TAG_COUNT,
    _S.INVALID_TAG_NAME_LEN,
    _S.INVALID_TAG_VALUE_LEN,
    _S.INVALID_STORAGE_SIZE,
}

# Python arguments in messages, and the command-line option for each.
_OPTIONS: Final = {
    "endpoint_url": "--endpoint-url",
    "frame_rate": "--frame-rate",
    "ip_family": "--ip",
    "kms_key_id": "--kms-key-id",
    "profile_name": "--profile",
    "region_name": "--region",
    "streaming_type": "--mode",
    "use_dualstack_endpoint": "--dualstack",
    "use_fips_endpoint": "--fips",
    "verify": "--ca-bundle",
}
_ARGUMENT: Final = re.compile("\\b(" + "|".join(_OPTIONS) + ")\\b(=?)((?<==)['\"\\w])?")


_PROXY: Final = re.compile(r"\bproxies\['\w+'\]")
_TWICE: Final = re.compile(r"(--[a-z-]+) \(\1\)")
# Errors of writing standard output to a file.
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


class Terminated(KeyboardInterrupt):
    """SIGTERM was received, as from a service manager; the command ends as on Ctrl-C."""


class HungUp(KeyboardInterrupt):
    """SIGHUP was received: the terminal or SSH session closed; the command ends as on Ctrl-C."""


_ENDINGS: Final[dict[type[BaseException], tuple[str, int]]] = {
    Terminated: ("terminated", EXIT_TERMINATED),
    HungUp: ("hung up", EXIT_HUNG_UP),
}


def end_on_signals() -> None:
    """Make SIGTERM and SIGHUP raise `Terminated` and `HungUp`, so that frames can still be stored.

    If SIGHUP is ignored, it stays ignored, so that `nohup kvs put ...` outlives its terminal. This
    must be called in the main thread.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        interrupt(Terminated if number == signal.SIGTERM else HungUp)

    signal.signal(signal.SIGTERM, end)
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        signal.signal(hang_up, end)


def as_options(text: str) -> str:
    """Replace Python arguments in `text` by options: `region_name=` by `--region`."""
    return _TWICE.sub(r"\1", _ARGUMENT.sub(_option, _PROXY.sub("--proxy", text)))


def _option(found: re.Match[str]) -> str:
    name, equals, value = found.groups()
    if "_" not in name and not equals:
        return found[0]  # an English word, such as "verify"
    return _OPTIONS[name] + (f" {value}" if value else "")


def escape_control(text: str) -> str:
    """Escape control characters in `text`, which may come from a file or the network."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def print_error(error: KvsError) -> None:
    """Print an error message of at most one screen on standard error."""
    err.print(Text.assemble(("error ", "bold red"), (f"{error.name} {error.status.hex}", "bold")))
    lines = [("what", error.detail or error.description), ("where", error.context)]
    lines += [("also", note) for note in getattr(error, "__notes__", [])]
    if error.status is not _S.INVALID_ARG or not error.detail:  # its detail is enough
        if error.detail:
            lines.append(("means", error.description))
        lines.append(("do", error.action))
    width = max(_MIN_WIDTH, min(err.width, _MAX_WIDTH))
    for label, line in lines:
        # Never break a path or a URL, so that they can be copied.
        wrapped = textwrap.wrap(
            escape_control(as_options(" ".join(line.split()))),
            width - _INDENT,
            break_on_hyphens=False,
            break_long_words=False,
        )
        for number, part in enumerate(wrapped):
            head = f"  {'' if number else label:<{_INDENT - 2}}"
            err.print(Text.assemble((head, "bold"), part))


def report_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command: print the error that it raises, and exit with the right code.

    KvsError: print it; exit code 2 for wrong usage, else 1. Ctrl-C: 130, SIGTERM: 143, SIGHUP: 129.
    If standard output is a pipe whose reader has closed it: 0, without a message. If standard
    output cannot be written for another reason: as for a KvsError.
    """

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            result = command(*args, **kwargs)
            sys.stdout.flush()
            return result
        except KvsError as error:
            print_error(error)
            try:
                sys.stdout.flush()
            except OSError:
                _discard_output()
            usage = error.status in _USAGE
            raise typer.Exit(EXIT_USAGE if usage else EXIT_FAILURE) from error
        except KeyboardInterrupt as interrupt:
            notes = getattr(interrupt, "__notes__", [])
            word, code = _ENDINGS.get(type(interrupt), ("interrupted", EXIT_INTERRUPTED))
            with contextlib.suppress(OSError):  # the terminal is closed
                err.print(word + "".join(f": {note}" for note in notes))
            raise typer.Exit(code) from interrupt
        except BrokenPipeError as closed:
            _discard_output()
            raise typer.Exit(0) from closed
        except OSError as full:
            if full.errno not in _FULL:
                raise
            _discard_output()
            failed = kvs_error(_S.WRITE_TO_FILE_FAILED, f"standard output: {refusal(full)}")
            for note in getattr(full, "__notes__", []):
                failed.add_note(note)
            print_error(failed)
            raise typer.Exit(EXIT_FAILURE) from full

    return run


def _discard_output() -> None:
    """Redirect standard output to the null device, so that Python's flush at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class writing:  # noqa: N801  reads as `with writing(path):`
    """Convert an OSError in the block into WRITE_TO_FILE_FAILED.

    `path` is the file that the block writes; "-" is standard output.
    """

    def __init__(self, path: str) -> None:
        self._path = "standard output" if path == "-" else path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError | KvsError):
            detail = f"{self._path}: {refusal(error)}"
            raise kvs_error(_S.WRITE_TO_FILE_FAILED, detail) from error


def print_json(value: object, *, to_stderr: bool = False) -> None:
    """Print `value` as one JSON document."""
    print(json.dumps(value, indent=2), file=sys.stderr if to_stderr else sys.stdout)


def count_text(count: int, noun: str) -> str:
    """Return a count with its noun: `1 frame`, `2 frames`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size_text(size_bytes: int) -> str:
    """Return a size with its unit: `12.3 MB`."""
    size, units = float(size_bytes), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
