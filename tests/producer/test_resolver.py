"""Names are resolved by the system, and by threads that keep nobody waiting."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from kvsproducer.producer import resolver
from kvsproducer.producer.resolver import Resolver


def test_names_and_numbers() -> None:
    """In both families, as aiohttp wants them."""

    async def work() -> None:
        (found,) = await Resolver().resolve("127.0.0.1", 80, socket.AF_INET)
        assert (found["host"], found["port"], found["family"]) == ("127.0.0.1", 80, socket.AF_INET)
        (found,) = await Resolver().resolve("::1", 80, socket.AF_INET6)
        assert (found["host"], found["family"]) == ("::1", socket.AF_INET6)
        names = await Resolver().resolve("localhost", 80)
        assert {each["host"] for each in names} <= {"127.0.0.1", "::1"}

    asyncio.run(work())


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(OSError, match=r"."):
        asyncio.run(Resolver().resolve("nowhere.invalid"))


def test_a_resolver_that_thinks_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up, and the loop ends at once."""
    think = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        think.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(resolver, "LIMIT_S", 0.05)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(Resolver().resolve("camera.local"))
    assert time.monotonic() - began < 10
    think.set()
