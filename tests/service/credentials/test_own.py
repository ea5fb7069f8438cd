"""A user's own provider: functions, coroutines, what they may return, and how they may fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.credentials import Credentials

from kvsproducer import KvsError, StatusCode
from kvsproducer.service.credentials import AwsCredentials
from kvsproducer.service.credentials.own import OwnCredentials
from kvsproducer.service.loop import SharedLoop

S = StatusCode
KEYS = AwsCredentials("A", "S", "T")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Yield a loop that runs in a thread, like a producer's."""
    yield SharedLoop.acquire()
    SharedLoop.release()


def refused(function: Callable[[], object]) -> KvsError:
    with pytest.raises(KvsError) as caught:
        OwnCredentials(function).fetch()
    return caught.value


@pytest.mark.parametrize(
    "given",
    [
        KEYS,
        {"access_key_id": "A", "secret_access_key": "S", "session_token": "T"},
        {"AccessKeyId": "A", "SecretAccessKey": "S", "SessionToken": "T", "Expiration": None},
        Credentials("A", "S", "T"),
    ],
    ids=["ours", "dict", "sts", "botocore"],
)
def test_accepted_return_values(given: object) -> None:
    """A function and a coroutine function may return them."""

    async def coroutine() -> object:
        return given

    assert OwnCredentials(lambda: given).fetch() == KEYS
    assert OwnCredentials(coroutine).fetch() == KEYS


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, S.NULL_ARG),
        ("AKID:secret", S.INVALID_ARG),
        (7, S.INVALID_ARG),
        ({}, S.NULL_ARG),
        ({"version": 1}, S.INVALID_AWS_CREDENTIALS_VERSION),
        ({"access_key_id": "A", "secret_access_key": "S" * 10_000}, S.INVALID_AUTH_LEN),
    ],
)
def test_invalid_values_are_refused(given: object, status: StatusCode) -> None:
    """The error names the type and does not show the value."""
    error = refused(lambda: given)
    assert error.status is status
    assert "AKID" not in str(error)


def test_exception_of_the_function_is_the_cause() -> None:
    """The message has its type and place; its text, maybe a secret, is only in the cause."""

    def vault() -> AwsCredentials:
        raise LookupError("no entry for hunter2")

    async def async_vault() -> AwsCredentials:
        await asyncio.sleep(0)
        raise TimeoutError("hunter2 does not answer")

    for function, kind in ((vault, LookupError), (async_vault, TimeoutError)):
        error = refused(function)
        assert error.status is S.CLIENT_AUTH_CALL_FAILED
        assert isinstance(error.__cause__, kind)
        assert f"{kind.__name__} at test_own.py:" in error.detail
        assert "hunter2" not in str(error)


def test_status_of_credentials_is_raised_unchanged() -> None:
    """Statuses of the service are replaced."""
    from kvsproducer.status import kvs_error

    def status() -> AwsCredentials:
        raise kvs_error(S.IOT_FAILED, "the vault says no")

    def forbid() -> AwsCredentials:
        raise KvsError(S.SERVICE_CALL_NOT_AUTHORIZED_ERROR, "the vault says no")

    assert refused(status).status is S.IOT_FAILED
    forbidden = refused(forbid)
    assert forbidden.status is S.CLIENT_AUTH_CALL_FAILED
    assert "NOT_AUTHORIZED_ERROR: the vault says no" in forbidden.detail


def test_coroutines_run_on_the_given_loop(loop: asyncio.AbstractEventLoop) -> None:
    """The first loop that was given runs coroutines; functions run in threads."""
    seen: list[object] = []

    async def coroutine() -> AwsCredentials:
        seen.append(asyncio.get_running_loop())
        return KEYS

    def function() -> AwsCredentials:
        seen.append(threading.current_thread().daemon)
        return KEYS

    bound = OwnCredentials(coroutine, loop=loop)
    other = asyncio.new_event_loop()
    bound.run_on(other)
    other.close()
    assert bound.fetch() == KEYS
    unbound = OwnCredentials(coroutine)
    unbound.run_on(loop)
    assert unbound.fetch() == KEYS
    assert OwnCredentials(function).fetch() == KEYS
    assert seen == [loop, loop, True]


def test_function_that_hangs_times_out(
    monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop
) -> None:
    """Functions and coroutines have 30 s (here less); the coroutine is cancelled."""
    monkeypatch.setattr("kvsproducer.service.credentials.own._TIMEOUT_S", 0.05)
    goes_on, cancelled = threading.Event(), threading.Event()

    async def coroutine() -> AwsCredentials:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return KEYS

    def function() -> AwsCredentials:
        goes_on.wait(60)
        return KEYS

    for provider in (OwnCredentials(coroutine, loop=loop), OwnCredentials(function)):
        with pytest.raises(TimeoutError) as caught:
            provider.fetch()
        error: Any = caught.value
        assert error.status is S.OPERATION_TIMED_OUT
    assert cancelled.wait(20)
    goes_on.set()


def test_close_ends_a_waiting_fetch(loop: asyncio.AbstractEventLoop) -> None:
    """A waiting fetch raises at once, and so do later ones."""
    begun = threading.Event()

    async def coroutine() -> AwsCredentials:
        begun.set()
        await asyncio.Event().wait()
        return KEYS

    provider = OwnCredentials(coroutine, loop=loop)
    heard: list[StatusCode] = []

    def wait() -> None:
        with pytest.raises(KvsError) as caught:
            provider.fetch()
        heard.append(caught.value.status)

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(20)
    provider.close()
    thread.join(20)
    wait()
    assert heard == [S.CLIENT_BEING_SHUTDOWN] * 2


def test_its_repr_names_the_function() -> None:
    """It shows nothing else."""
    secret = "hunter2"

    class Vault:
        def __repr__(self) -> str:
            return secret

        def fetch(self) -> dict[str, object]:
            return {"access_key_id": "A", "secret_access_key": secret, "expiration": END}

    shown = repr(OwnCredentials(Vault().fetch))
    assert "Vault.fetch" in shown
    assert secret not in shown
    assert OwnCredentials(Vault().fetch).fetch().expiration is not None


END = datetime(2033, 5, 6, 7, 8, 9, tzinfo=UTC)
