"""All blocking producers share one loop; it lives as long as somebody uses it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from kvsproducer.service.loop import SharedLoop
from kvsproducer.status import KvsError, StatusCode


async def thread_name() -> str:
    return threading.current_thread().name


def test_users_share_one_loop_and_the_last_ends_it() -> None:
    """Two users get the same loop in a thread of its own; after both the thread is gone."""
    before = set(threading.enumerate())
    first, second = SharedLoop.acquire(), SharedLoop.acquire()
    assert first is second
    assert SharedLoop.run(first, thread_name()).result(10) == "kvsproducer-loop"
    SharedLoop.release()
    assert SharedLoop.run(first, thread_name()).result(10) == "kvsproducer-loop"
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
        assert SharedLoop.run(new, asyncio.sleep(0, "alive")).result(10) == "alive"
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
        assert SharedLoop.run(loop, asyncio.sleep(0, "alive")).result(10) == "alive"
    finally:
        SharedLoop.release()


@pytest.mark.parametrize("what", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_who_wants_to_end_the_loop_ends_itself(what: BaseException) -> None:
    """A user's coroutine runs there, and the loop is everybody's."""

    async def leave() -> None:
        raise what

    loop = SharedLoop.acquire()
    try:
        with pytest.raises(type(what)):
            SharedLoop.run(loop, leave()).result(10)
        loop.call_soon_threadsafe(loop.stop)
        assert SharedLoop.run(loop, asyncio.sleep(0, "alive")).result(10) == "alive"
    finally:
        SharedLoop.release()
    assert loop.is_closed()


def broken(_: object) -> None:
    """What selecting does once the selector's file was closed under it."""
    raise OSError(9, "Bad file descriptor")


def test_a_loop_that_breaks_down_is_told_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that closes all files closes its selector too."""
    told: list[BaseException] = []
    heard = threading.Event()

    def listen(why: BaseException) -> None:
        told.append(why)
        heard.set()

    loop = SharedLoop.acquire()
    SharedLoop.tell(loop, listen)
    waiting = SharedLoop.run(loop, asyncio.sleep(3600))
    monkeypatch.setattr(loop._selector, "select", broken)  # type: ignore[attr-defined]
    loop.call_soon_threadsafe(int)
    assert heard.wait(30)
    assert isinstance(told[0], Exception)
    for ask in (waiting.result, lambda: SharedLoop.run(loop, asyncio.sleep(0))):
        with pytest.raises(KvsError, match="broken down") as caught:
            ask()
        assert caught.value.status is StatusCode.INVALID_OPERATION
    new = SharedLoop.acquire()
    assert new is not loop
    assert SharedLoop.run(new, asyncio.sleep(0, "alive")).result(10) == "alive"
    SharedLoop.release()
    SharedLoop.release()
    assert new.is_closed()


def test_a_loop_that_breaks_down_while_somebody_begins_to_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After its work was handed over, before it is known to wait: it would wait for ever."""
    hand_over = asyncio.run_coroutine_threadsafe
    loop = SharedLoop.acquire()
    thread = SharedLoop._thread
    assert thread is not None

    def slowly(work: Coroutine[None, None, None], loop: asyncio.AbstractEventLoop) -> Future[None]:
        future = hand_over(work, loop)
        monkeypatch.setattr(loop._selector, "select", broken)  # type: ignore[attr-defined]
        loop.call_soon_threadsafe(int)
        thread.join(30)
        return future

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "run_coroutine_threadsafe", slowly)
        waiting = SharedLoop.run(loop, asyncio.sleep(3600))
    with pytest.raises(KvsError, match="broken down"):
        waiting.result(10)
    with pytest.raises(KvsError, match="broken down"):
        SharedLoop.tell(loop, print)
    assert print not in SharedLoop._told
    SharedLoop.release()


def test_a_loop_that_is_blocked_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Releasing it is bounded."""
    monkeypatch.setattr("kvsproducer.service.loop._JOIN_LIMIT_S", 0.05)
    go_on = threading.Event()
    loop = SharedLoop.acquire()
    loop.call_soon_threadsafe(go_on.wait, 30)
    thread = SharedLoop._thread
    assert thread is not None
    SharedLoop.release()
    assert "left behind" in caplog.text
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
    """With what to do; what is not patched is no hindrance."""
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
