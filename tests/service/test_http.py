"""Names are resolved in threads that can be abandoned; interim responses are limited."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import aiohttp
import pytest
from tests.peers import Server

from kvsproducer.service import http
from kvsproducer.service.http import MAX_INTERIM_ANSWERS, BoundedResponse, Resolver

_FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_names_and_numbers() -> None:
    """Addresses of both families have the form that aiohttp expects."""

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


def test_slow_resolver_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call times out, and the loop can be closed at once."""
    think = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        think.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(http, "LIMIT_S", 0.05)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(Resolver().resolve("camera.local"))
    assert time.monotonic() - began < 10
    think.set()


class Interim(Server):
    """A server that sends `count` interim responses, then the final one."""

    def __init__(self, count: int) -> None:
        self._count = count
        super().__init__()

    def talk(self, connection: socket.socket) -> None:
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * self._count + _FINAL)


def answer_after(count: int) -> str:
    peer = Interim(count)

    async def ask() -> str:
        async with aiohttp.ClientSession(response_class=BoundedResponse) as session:
            async with session.get(peer.url) as response:
                return await response.text()

    try:
        return asyncio.run(ask())
    finally:
        peer.end()


@pytest.mark.parametrize("count", [0, 1, MAX_INTERIM_ANSWERS])
def test_a_few_interim_answers_are_skipped(count: int) -> None:
    assert answer_after(count) == "ok"


def test_too_many_interim_answers_are_an_error() -> None:
    with pytest.raises(aiohttp.ClientResponseError, match="more than 32 interim answers"):
        answer_after(MAX_INTERIM_ANSWERS + 1)
