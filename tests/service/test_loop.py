"""All blocking producers share one loop, which runs while it has users."""

from __future__ import annotations

import asyncio
import errno
import sys
import threading
from types import SimpleNamespace

import pytest

from kvsproducer.service.loop import SharedLoop
from kvsproducer.status import KvsError, StatusCode


async def thread_name() -> str:
    return threading.current_thread().name


def said(loop: asyncio.AbstractEventLoop, word: str) -> str:
    """Run a coroutine on the loop and return its result."""
    return asyncio.run_coroutine_threadsafe(asyncio.sleep(0, word), loop).result(10)


def test_users_share_one_loop_and_the_last_ends_it() -> None:
    """Two users get the same loop; after both have released it, its thread has ended."""
    before = set(threading.enumerate())
    first, second = SharedLoop.acquire(), SharedLoop.acquire()
    assert first is second
    assert asyncio.run_coroutine_threadsafe(thread_name(), first).result(10) == "kvsproducer-loop"
    SharedLoop.release()
    assert asyncio.run_coroutine_threadsafe(thread_name(), first).result(10) == "kvsproducer-loop"
    SharedLoop.release()
    assert first.is_closed()
    assert "kvsproducer-loop" not in {t.name for t in set(threading.enumerate()) - before}


def test_a_new_user_after_the_last_gets_a_new_loop() -> None:
    """The loop can be started again."""
    old = SharedLoop.acquire()
    SharedLoop.release()
    new = SharedLoop.acquire()
    try:
        assert new is not old
        assert said(new, "alive") == "alive"
    finally:
        SharedLoop.release()


def test_no_thread_leaves_nothing_behind() -> None:
    """CREATE_THREAD_FAILED, also a RuntimeError; with memory again, the next producer works."""
    usual = threading.stack_size(1 << 47)
    try:
        with pytest.raises(RuntimeError, match="kvsproducer-loop") as caught:
            SharedLoop.acquire()
    finally:
        threading.stack_size(usual)
    assert isinstance(caught.value, KvsError)
    assert caught.value.status is StatusCode.CREATE_THREAD_FAILED
    loop = SharedLoop.acquire()
    try:
        assert said(loop, "alive") == "alive"
    finally:
        SharedLoop.release()


def test_no_files_for_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """CURL_INIT_FAILED with the system's reason; with files again, the next producer works."""

    def none_left() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", none_left)
        with pytest.raises(KvsError, match="event loop could be made: Too many open") as caught:
            SharedLoop.acquire()
    assert caught.value.status is StatusCode.CURL_INIT_FAILED
    loop = SharedLoop.acquire()
    try:
        assert said(loop, "alive") == "alive"
    finally:
        SharedLoop.release()


def test_blocked_loop_is_abandoned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`release` returns after a time limit."""
    monkeypatch.setattr("kvsproducer.service.loop._JOIN_LIMIT_S", 0.05)
    go_on = threading.Event()
    loop = SharedLoop.acquire()
    loop.call_soon_threadsafe(go_on.wait, 30)
    thread = SharedLoop._thread
    assert thread is not None
    SharedLoop.release()
    assert "abandoned" in caplog.text
    assert not loop.is_closed()
    go_on.set()
    thread.join(30)
    assert loop.is_closed()


@pytest.mark.parametrize(
    ("module", "function"),
    [("gevent.monkey", "is_module_patched"), ("eventlet.patcher", "is_monkey_patched")],
)
def test_green_threads_are_refused(
    module: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to do; without patched modules the loop starts."""
    patched = {"threading", "socket"}
    fake = SimpleNamespace(**{function: lambda name: name in patched})
    monkeypatch.setitem(sys.modules, module, fake)  # type: ignore[arg-type]
    with pytest.raises(KvsError, match="patched threading, socket") as caught:
        SharedLoop.acquire()
    assert caught.value.status is StatusCode.INVALID_OPERATION
    assert "patch_all(thread=False, socket=False, select=False)" in caught.value.detail
    patched.clear()
    SharedLoop.acquire()
    SharedLoop.release()
