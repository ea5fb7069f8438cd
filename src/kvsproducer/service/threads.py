"""Blocking functions, of the user's and others, in threads that nobody has to wait for.

A pool's threads are joined when the interpreter exits, and a pool that is full keeps others
waiting; a function that hangs may do neither. So each runs in a daemon thread of its own. One that
calls `sys.exit()` ends neither its thread's waiter nor an event loop: that is a RuntimeError. Those
that hang add up, for they are tried again: so there is a bound, after which no more are begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import Final, TypeVar

from kvsproducer.service.loop import started
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["in_daemon_thread", "in_thread", "raised"]

T = TypeVar("T")
MAX_AT_WORK: Final = 500  # ours, of one name: many cameras at once, or one that hangs for hours

_at_work: Counter[str] = Counter()
_counting = threading.Lock()


def in_thread(work: Callable[..., T], *arguments: object, name: str = "callback") -> Future[T]:
    """What `work` returns or raises; cancelled, it is left behind.

    A coroutine that nobody waits for any more is closed. Raises CREATE_THREAD_FAILED, also when
    `MAX_AT_WORK` of that name have not returned.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            finish()
        finally:
            _count(name, -1)

    def finish() -> None:
        found: object = None
        try:
            found = returned = work(*arguments)
            apply = partial(done.set_result, returned)
        except (StopIteration, StopAsyncIteration) as error:  # ends a coroutine that is told so
            apply = partial(done.set_exception, _as_error(error))
        except Exception as error:  # noqa: BLE001  handed over to whoever waits
            apply = partial(done.set_exception, error)
        except BaseException as error:  # noqa: BLE001  sys.exit() in it is no reason to leave
            apply = partial(done.set_exception, _as_error(error))
        try:
            apply()
        except InvalidStateError:  # nobody waits any more
            if inspect.iscoroutine(found):
                found.close()

    _count(name, 1)
    try:
        started(run, f"kvsproducer-{name}")
    except BaseException:
        _count(name, -1)
        raise
    return done


def _count(name: str, change: int) -> None:
    with _counting:
        if change > 0 and _at_work[name] >= MAX_AT_WORK:
            raise kvs_error(
                StatusCode.CREATE_THREAD_FAILED,
                f"kvsproducer-{name}: {MAX_AT_WORK} threads of that name have not returned: "
                "what they wait for hangs",
            )
        _at_work[name] += change


def _forget() -> None:
    """In a forked child none of them is there."""
    global _counting  # noqa: PLW0603  it may be held by a thread of the parent
    _counting = threading.Lock()
    _at_work.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


async def in_daemon_thread(
    work: Callable[..., T], *arguments: object, timeout_s: float, name: str = "callback"
) -> T:
    """What `work` returns or raises; TimeoutError when it takes longer, and is left behind.

    Raises CREATE_THREAD_FAILED.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: Future[T]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(ended.set)

    future = in_thread(work, *arguments, name=name)
    future.add_done_callback(wake)
    try:
        async with asyncio.timeout(timeout_s):
            await ended.wait()
    finally:
        future.cancel()  # if nobody waits any more
    return future.result()


class _Stood(RuntimeError):
    """Stands for what would lead others to end; its cause is that."""


def _as_error(error: BaseException) -> RuntimeError:
    """What leads others to end as an error that does not."""
    told = _Stood(type(error).__name__)
    told.__cause__ = error
    return told


def raised(error: BaseException) -> BaseException:
    """What a function in a thread raised, for the error that was handed over."""
    return (isinstance(error, _Stood) and error.__cause__) or error
