"""A user's own provider: a function, a coroutine function, or an object with such a `fetch`.

A function runs in a thread of its own; what a coroutine function awaits runs on the producer's
loop, in asyncio the caller's own. Either has 30 s. It gives `AwsCredentials`, the same as a mapping
(such as what Security Token Service answers), or a botocore credentials object.

What it raises is told by its kind and place only, for its text may hold a secret; the exception
itself is the cause.
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

_OURS = {StatusCode.OPERATION_TIMED_OUT, StatusCode.CLIENT_BEING_SHUTDOWN}
_FIRST, _LAST = 0x15000000, 0x16FFFFFF  # the statuses of credentials and requests
_TIMEOUT_S = limits.OWN_CREDENTIALS_TIMEOUT / TICKS_PER_SECOND


class OwnCredentials:
    """Makes a provider of a user's function; `loop` is where its coroutines run.

    Without a loop, neither here nor from `run_on`, they run on one of their own.
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
        """Run coroutines on this loop, unless another was given already."""
        self._loop = self._loop or loop

    def fetch(self) -> AwsCredentials:
        """Call the function; blocks, never on the loop that its coroutines run on.

        Raises CLIENT_AUTH_CALL_FAILED for what the function raises (a status of credentials,
        0x15000001 to 0x16ffffff, as it is), OPERATION_TIMED_OUT when it takes more than 30 s,
        NULL_ARG for None, INVALID_ARG for what are no credentials, CLIENT_BEING_SHUTDOWN when the
        producer was closed meanwhile, and as `AwsCredentials.from_dict` does.
        """
        try:
            found = self._answer(in_thread(self._function, name="credentials"))
            if inspect.isawaitable(found):
                found = self._answer(self._scheduled(found))
        except KvsError as error:
            if error.status in _OURS or _FIRST <= error.status <= _LAST:
                raise
            # Taken for the service's word, another status could end the stream for good.
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
        """Let nobody wait for the function any more; a coroutine of it is cancelled."""
        with self._lock:
            self._closed = True
            if self._running is not None:
                self._running.cancel()

    def _scheduled(self, awaitable: Awaitable[object]) -> Future[object]:
        # A coroutine goes as it is: cancelled before its first step, it is closed.
        work = awaitable if inspect.iscoroutine(awaitable) else _coroutine(awaitable)
        if self._loop is None:
            return in_thread(lambda: asyncio.run(work), name="credentials")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _answer(self, future: Future[object]) -> object:
        """Wait for it, not for ever."""
        with self._lock:
            self._running = future
            if self._closed:
                future.cancel()
        try:
            return future.result(_TIMEOUT_S)
        except CancelledError:
            raise kvs_error(
                StatusCode.CLIENT_BEING_SHUTDOWN, "the credentials provider was cut off"
            ) from None
        except TimeoutError as error:
            if future.done():  # its own
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
    """Where it was raised, as far as that is known: ` at vault.py:31`."""
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
