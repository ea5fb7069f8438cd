"""Distinguish bugs of this package from failures of the network and of user code.

This package checks its own state with `assert`. Most exceptions of a call or an upload become a
result that the core retries. A failed assertion must not be retried: it would fail again and again,
and users would read about a network problem. Assertions of other packages (aiohttp, a user's
callback) are ordinary failures.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["fail_on_error", "find_bug", "log_bug", "to_public_error"]

log = logging.getLogger("kvsproducer.bugs")

_PACKAGE: Final = Path(__file__).parents[1]


class Failing(Protocol):
    """The interface of objects that `fail_on_error` can end: their `fail` takes an exception."""

    def fail(self, bug: BaseException) -> None:
        """Fail all streams, so that no caller waits forever."""


P = ParamSpec("P")
F = TypeVar("F", bound=Failing)


def find_bug(error: BaseException) -> AssertionError | None:
    """Return the failed assertion of this package in an exception or its causes, or None.

    An HTTP library wraps exceptions that the body of a request raises, so causes are searched too.
    The search ends at a `KvsError`, because the code that raised the `KvsError` has already checked
    its cause.
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


def to_public_error(bug: BaseException) -> KvsError:
    """Return the `KvsError` that users get for a bug."""
    detail = f"in kvsproducer itself, please report it: {type(bug).__name__}: {bug}"
    return kvs_error(StatusCode.INTERNAL_ERROR, detail)


def log_bug(bug: BaseException) -> None:
    """Log a bug with its traceback."""
    log.error("an error in kvsproducer itself, please report it", exc_info=bug)


def fail_on_error(step: Callable[Concatenate[F, P], None]) -> Callable[Concatenate[F, P], None]:
    """Decorate a method that the event loop calls, so that an exception in it calls `fail`.

    Without this, the event loop would only log them.
    """

    @wraps(step)
    def attempt(self: F, /, *arguments: P.args, **named: P.kwargs) -> None:
        try:
            step(self, *arguments, **named)
        except Exception as bug:  # noqa: BLE001  `fail` reports it
            self.fail(bug)

    return attempt
