"""A user's function in a thread of its own: awaited, bounded, left behind when it hangs."""

from __future__ import annotations

import asyncio
import inspect
import threading

import pytest
from tests.waiting import until

from kvsproducer.service.threads import in_daemon_thread, in_thread


def test_result_and_failure_come_back() -> None:
    """What it returns, and what it raises."""

    async def main() -> None:
        assert await in_daemon_thread(divmod, 7, 2, timeout_s=30) == (3, 1)
        assert await in_daemon_thread(lambda: None, timeout_s=30) is None
        with pytest.raises(ZeroDivisionError):
            await in_daemon_thread(divmod, 7, 0, timeout_s=30)

    asyncio.run(main())


def test_one_that_hangs_is_left_behind() -> None:
    """The loop goes on and may even close; the thread is a daemon, and its late answer is lost."""
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


def test_a_coroutine_that_comes_too_late_is_closed() -> None:
    """Nobody will run it, and nothing complains about that."""
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
