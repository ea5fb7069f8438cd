"""Errors of our own, told from those of the world.

Bugs assert, the world raises. Where every exception becomes a result that is tried again (a lost
connection, a failed call), a failed check of this package's own state may not: it would fail again
and again, and be told as the network's. Assertions of others (aiohttp's, a user's callback's) are
failures like any other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["guarded", "own_bug", "report", "told"]

log = logging.getLogger("kvsproducer.bugs")

_PACKAGE: Final = Path(__file__).parents[1]


class Failing(Protocol):
    """What ends when an error of our own happens in it."""

    def fail(self, bug: BaseException) -> None:
        """Fail all streams, so that no caller waits for what cannot come any more."""


P = ParamSpec("P")
F = TypeVar("F", bound=Failing)


def own_bug(error: BaseException) -> AssertionError | None:
    """The failed check of this package that an exception is, or that led to it.

    An HTTP library wraps what the body of a request raises. What a `KvsError` was caused by has
    been judged already, where that was raised.
    """
    found: BaseException | None = error
    while found is not None and not isinstance(found, KvsError):
        if isinstance(found, AssertionError) and _raised_here(found):
            return found
        found = found.__cause__
    return None


def _raised_here(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and _PACKAGE in Path(trace.tb_frame.f_code.co_filename).parents


def told(bug: BaseException) -> KvsError:
    """Return the error that users get for an error of our own."""
    detail = f"in kvsproducer itself, please report it: {type(bug).__name__}: {bug}"
    return kvs_error(StatusCode.INTERNAL_ERROR, detail)


def report(bug: BaseException) -> None:
    """Have the log say where an error of our own was raised."""
    log.error("an error in kvsproducer itself, please report it", exc_info=bug)


def guarded(step: Callable[Concatenate[F, P], None]) -> Callable[Concatenate[F, P], None]:
    """Wrap a step that an event loop calls, which would only log its errors."""

    @wraps(step)
    def attempt(self: F, /, *arguments: P.args, **named: P.kwargs) -> None:
        try:
            step(self, *arguments, **named)
        except Exception as bug:  # noqa: BLE001  reported, as that of a task is
            self.fail(bug)

    return attempt
