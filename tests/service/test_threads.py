"""Blocking functions in threads that can be abandoned."""

from __future__ import annotations

import asyncio
import inspect
import threading

import pytest
from tests.waiting import until

from kvsproducer.service.threads import in_daemon_thread, in_thread


def test_result_and_failure_come_back() -> None:
    """The result is returned, and an exception is raised."""

    async def main() -> None:
        assert await in_daemon_thread(divmod, 7, 2, timeout_s=30) == (3, 1)
        assert await in_daemon_thread(lambda: None, timeout_s=30) is None
        with pytest.raises(ZeroDivisionError):
            await in_daemon_thread(divmod, 7, 0, timeout_s=30)

    asyncio.run(main())


def test_function_that_hangs_is_abandoned() -> None:
    """The loop can be closed; the thread is a daemon, and its late result is ignored."""
    release, threads = threading.Event(), []

    def hang() -> None:
        threads.append(threading.current_thread())
        release.wait(30)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await in_daemon_thread(hang, timeout_s=0.05)

    asyncio.run(main())
    (thread,) = threads
    assert thread.daemon
    release.set()
    thread.join(30)
    assert not thread.is_alive()


def test_late_coroutine_is_closed() -> None:
    """So Python does not warn that it was never awaited."""
    release, made = threading.Event(), []

    async def late() -> None:
        """Never run."""

    def work() -> object:
        release.wait(30)
        made.append(late())
        return made[0]

    future = in_thread(work)
    assert future.cancel()
    release.set()
    until(lambda: made and inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED)
