"""All blocking producers share one loop; it lives as long as somebody uses it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from kvsproducer.producer.loop import SharedLoop
from kvsproducer.status import KvsError, StatusCode


async def thread_name() -> str:
    return threading.current_thread().name


def test_users_share_one_loop_and_the_last_ends_it() -> None:
    """Two users get the same loop in a thread of its own; after both the thread is gone."""
    first, second = SharedLoop.acquire(), SharedLoop.acquire()
    assert first is second
    assert SharedLoop.run(first, thread_name()).result(10) == "kvsproducer-loop"
    SharedLoop.release()
    assert SharedLoop.run(first, thread_name()).result(10) == "kvsproducer-loop"
    SharedLoop.release()
    assert first.is_closed()
    assert "kvsproducer-loop" not in {thread.name for thread in threading.enumerate()}


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
