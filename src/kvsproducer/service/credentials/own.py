"""A user's own provider: a function, a coroutine function, or an object with such a `fetch`.

A function runs in a thread of its own. A coroutine runs on the producer's event loop (for asyncio
producers the caller's loop). Both have a time limit of 30 s. The result may be `AwsCredentials`, a
mapping (such as the answer of Security Token Service), or a botocore credentials object.

If the function raises, our message gives only the type of the exception and the line that raised
it, because the exception's text may contain a secret. The exception itself is chained.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import CancelledError, Future

from kvsproducer import limits
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.service.credentials.credentials import AwsCredentials
from kvsproducer.service.credentials.session import (
    FrozenCredentials,
    cause_class,
    credentials_of_botocore,
)
from kvsproducer.service.threads import in_thread
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["OwnCredentials"]

# Statuses that `fetch` passes on unchanged: two of its own, and those of credentials and requests.
_OURS = {StatusCode.OPERATION_TIMED_OUT, StatusCode.CLIENT_BEING_SHUTDOWN}
_FIRST, _LAST = 0x15000000, 0x16FFFFFF
_TIMEOUT_S = limits.OWN_CREDENTIALS_TIMEOUT / TICKS_PER_SECOND


class OwnCredentials:
    """A provider that calls a user's function.

    `loop` runs the function's coroutines. If neither this argument nor `run_on` gives a loop, each
    coroutine runs on a new loop.
    """

    def __init__(
        self, function: Callable[[], object], *, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._function = function
        self._loop = loop
        self._running: Future[object] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def run_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run coroutines on this loop, unless another one was given before."""
        self._loop = self._loop or loop

    def fetch(self) -> AwsCredentials:
        """Call the function and return its credentials.

        Blocks, so it must not be called on the loop that runs the function's coroutines. Raises
        CLIENT_AUTH_CALL_FAILED if the function raises (a KvsError with a status of credentials,
        0x15000001 to 0x16ffffff, is raised unchanged); OPERATION_TIMED_OUT if it takes more than
        30 s; NULL_ARG if it returns None; INVALID_ARG if it returns another type;
        CLIENT_BEING_SHUTDOWN if the producer is closed meanwhile; and what
        `AwsCredentials.from_dict` raises.
        """
        try:
            found = self._answer(in_thread(self._function, name="credentials"))
            if inspect.isawaitable(found):
                found = self._answer(self._scheduled(found))
        except KvsError as error:
            if error.status in _OURS or _FIRST <= error.status <= _LAST:
                raise
            # Replace other statuses: the core would take some of them for a permanent refusal by
            # the service and fail the stream.
            raise cause_class(error)(
                StatusCode.CLIENT_AUTH_CALL_FAILED,
                f"the credentials provider raised {error.name}: {error.detail}",
            ) from error
        except Exception as error:
            raise cause_class(error)(
                StatusCode.CLIENT_AUTH_CALL_FAILED,
                f"the credentials provider raised {type(error).__name__}{_place(error)}",
            ) from error
        return _credentials(found)

    def close(self) -> None:
        """Cancel a running coroutine. Calls of `fetch` that wait now, and later ones, raise."""
        with self._lock:
            self._closed = True
            if self._running is not None:
                self._running.cancel()

    def _scheduled(self, awaitable: Awaitable[object]) -> Future[object]:
        # Do not wrap a coroutine: if it is cancelled before its first step, asyncio closes it and
        # Python does not warn that it was never awaited.
        work = awaitable if inspect.iscoroutine(awaitable) else _coroutine(awaitable)
        if self._loop is None:
            return in_thread(lambda: asyncio.run(work), name="credentials")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _answer(self, future: Future[object]) -> object:
        """Wait for the future for at most 30 s and return its result."""
        with self._lock:
            self._running = future
            if self._closed:
                future.cancel()
        try:
            return future.result(_TIMEOUT_S)
        except CancelledError:
            raise kvs_error(
                StatusCode.CLIENT_BEING_SHUTDOWN, "the credentials provider was cancelled"
            ) from None
        except TimeoutError as error:
            if future.done():  # the function itself raised TimeoutError
                raise
            future.cancel()
            raise kvs_error(
                StatusCode.OPERATION_TIMED_OUT,
                f"the credentials provider took more than {_TIMEOUT_S:g} s",
            ) from error

    def __repr__(self) -> str:
        return f"OwnCredentials({getattr(self._function, '__qualname__', '...')})"


async def _coroutine(awaitable: Awaitable[object]) -> object:
    return await awaitable


def _place(error: BaseException) -> str:
    """Return where an exception was raised, as ` at vault.py:31`, or "" if that is unknown."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__]
    return f" at {os.path.basename(own[-1].filename)}:{own[-1].lineno}" if own else ""


def _credentials(found: object) -> AwsCredentials:
    if isinstance(found, AwsCredentials):
        return found
    if isinstance(found, Mapping):
        return AwsCredentials.from_dict(found)
    if isinstance(found, FrozenCredentials):
        return credentials_of_botocore(found)
    if found is None:
        raise kvs_error(StatusCode.NULL_ARG, "the credentials provider returned None")
    raise kvs_error(
        StatusCode.INVALID_ARG,
        f"the credentials provider returned {type(found).__name__}: return AwsCredentials",
    )
