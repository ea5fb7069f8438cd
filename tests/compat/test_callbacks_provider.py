"""Providers of callbacks: their limits, versions, duplicates, and how they are freed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import kvsproducer as kvs
from kvsproducer import StatusCode
from kvsproducer.compat.structures import CallbackSet

S = StatusCode
CHAINS: dict[type[CallbackSet], tuple[StatusCode, StatusCode]] = {
    kvs.ProducerCallbacks: (
        S.INVALID_PRODUCER_CALLBACKS_VERSION,
        S.DUPLICATE_PRODUCER_CALLBACK_FREE_FUNC,
    ),
    kvs.StreamCallbacks: (
        S.INVALID_STREAM_CALLBACKS_VERSION,
        S.DUPLICATE_STREAM_CALLBACK_FREE_FUNC,
    ),
    kvs.AuthCallbacks: (S.INVALID_AUTH_CALLBACKS_VERSION, S.DUPLICATE_AUTH_CALLBACK_FREE_FUNC),
    kvs.ApiCallbacks: (S.INVALID_API_CALLBACKS_VERSION, S.DUPLICATE_API_CALLBACK_FREE_FUNC),
}
NOBODY = "http://127.0.0.1:9"


class Owner:
    """An object like the custom data of a C program, with a method that frees it."""

    def __init__(self, name: str = "", freed: list[str] | None = None) -> None:
        self.name = name
        self.freed = [] if freed is None else freed

    def free(self) -> None:
        self.freed.append(self.name)


def refused(status: StatusCode, action: Any, *arguments: Any) -> str:
    with pytest.raises(kvs.KvsError) as caught:
        action(*arguments)
    assert caught.value.status is status
    return caught.value.detail


@pytest.mark.parametrize("kind", CHAINS, ids=lambda kind: kind.__name__)
class TestChain:
    """Tests of each of the four chains."""

    def test_version(self, kind: type[CallbackSet]) -> None:
        provider = kvs.CallbacksProvider()
        refused(CHAINS[kind][0], provider.add, kind(version=1))
        assert provider.chain(kind) == ()

    def test_length(self, kind: type[CallbackSet]) -> None:
        """A full chain accepts no more sets. The other chains still do."""
        provider = kvs.CallbacksProvider(chain_length=2)
        sets = [kind(), kind()]
        for one in sets:
            provider.add(one)
        detail = refused(S.MAX_CALLBACK_CHAIN, provider.add, kind())
        assert "2 " + kind.__name__ in detail
        assert provider.chain(kind) == tuple(sets)
        other = next(one for one in CHAINS if one is not kind)
        provider.add(other())

    def test_duplicates(self, kind: type[CallbackSet]) -> None:
        """A `free` function may occur once.

        Methods of different objects are different, None is allowed.
        """
        provider, owner = kvs.CallbacksProvider(), Owner()
        provider.add(kind(free=owner.free))
        refused(CHAINS[kind][1], provider.add, kind(free=owner.free))
        provider.add(kind(free=Owner().free))
        provider.add(kind())
        provider.add(kind())
        assert len(provider.chain(kind)) == 4


def test_default_length_is_five() -> None:
    provider = kvs.CallbacksProvider()
    for _ in range(5):
        provider.add(kvs.StreamCallbacks())
    refused(S.MAX_CALLBACK_CHAIN, provider.add, kvs.StreamCallbacks())


@pytest.mark.parametrize("length", [0, -1, 20, 100, 5.5, "5", None])
def test_invalid_lengths(length: Any) -> None:
    refused(S.INVALID_ARG, kvs.CallbacksProvider, length)


@pytest.mark.parametrize("length", [1, 19])
def test_lengths_at_the_limits(length: int) -> None:
    assert kvs.CallbacksProvider(length).chain_length == length


def test_objects_that_are_not_sets() -> None:
    provider: Any = kvs.CallbacksProvider()
    refused(S.NULL_ARG, provider.add, None)
    refused(S.INVALID_ARG, provider.add, print)
    refused(S.INVALID_ARG, provider.add, kvs.PlatformCallbacks())
    refused(S.NULL_ARG, provider.set_platform, None)
    refused(S.INVALID_ARG, provider.set_platform, kvs.StreamCallbacks())


def test_coroutine_functions_are_refused() -> None:
    async def observe(event: kvs.FragmentAcked) -> None:
        """Would never be awaited."""

    provider = kvs.CallbacksProvider()
    detail = refused(
        S.INVALID_ARG, provider.add, kvs.StreamCallbacks(fragment_ack_received=observe)
    )
    assert "StreamCallbacks.fragment_ack_received" in detail
    assert provider.chain(kvs.StreamCallbacks) == ()


def test_platform_is_one_set_that_can_be_replaced() -> None:
    """The previous set is freed, unless the new one has the same `free`."""
    freed: list[str] = []
    first, second = Owner("first", freed), Owner("second", freed)
    provider = kvs.CallbacksProvider()
    refused(
        S.INVALID_PLATFORM_CALLBACKS_VERSION,
        provider.set_platform,
        kvs.PlatformCallbacks(version=1),
    )
    platform = kvs.PlatformCallbacks(get_current_time=lambda: 1, free=first.free)
    provider.set_platform(platform)
    provider.set_platform(dataclasses.replace(platform, get_random_number=lambda n: 0))
    assert freed == []
    provider.set_platform(kvs.PlatformCallbacks(free=second.free))
    assert freed == ["first"]
    assert provider.platform.get_current_time is None


def test_producer_frees_all_sets_in_order_and_once(caplog: pytest.LogCaptureFixture) -> None:
    """Platform, producer, stream, auth, API, after `client_shutdown`. An exception is logged."""
    freed: list[str] = []
    provider = kvs.CallbacksProvider()
    for name, kind in (
        ("api", kvs.ApiCallbacks),
        ("auth", kvs.AuthCallbacks),
        ("stream", kvs.StreamCallbacks),
        ("another stream", kvs.StreamCallbacks),
    ):
        provider.add(kind(free=Owner(name, freed).free))
    provider.add(
        kvs.ProducerCallbacks(
            client_shutdown=lambda observed: freed.append(type(observed).__name__),
            free=lambda: 1 // 0,
        )
    )
    provider.set_platform(kvs.PlatformCallbacks(free=Owner("platform", freed).free))
    producer = kvs.Producer(endpoint_url=NOBODY, callbacks=provider)
    assert freed == []
    producer.close(0)
    producer.close(0)
    assert freed == ["ClientShutdown", "platform", "stream", "another stream", "auth", "api"]
    assert "ZeroDivisionError" in caplog.text
    provider.free()
    assert len(freed) == 6


def test_producer_that_cannot_be_created_frees_all_sets() -> None:
    """All sets are freed."""
    freed: list[str] = []
    provider = kvs.CallbacksProvider()
    provider.add(kvs.StreamCallbacks(free=Owner("stream", freed).free))
    nothing = kvs.DeviceInfo(stream_count=0)
    refused(
        S.MIN_STREAM_COUNT,
        lambda: kvs.Producer(endpoint_url=NOBODY, device_info=nothing, callbacks=provider),
    )
    assert freed == ["stream"]


def test_provider_serves_one_producer() -> None:
    """This also holds after closing. The platform is fixed and the chains end with the producer."""
    provider = kvs.CallbacksProvider()
    with kvs.Producer(endpoint_url=NOBODY, callbacks=provider):
        refused(S.INVALID_OPERATION, provider.set_platform, kvs.PlatformCallbacks())
        provider.add(kvs.StreamCallbacks())
    refused(S.INVALID_OPERATION, provider.add, kvs.StreamCallbacks())
    refused(S.INVALID_OPERATION, lambda: kvs.Producer(endpoint_url=NOBODY, callbacks=provider))
