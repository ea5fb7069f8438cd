"""Interim answers before the answer: a few are skipped, many are an error."""

from __future__ import annotations

import asyncio
from socket import socket

import aiohttp
import pytest
from tests.peers import Server

from kvsproducer.producer.response import MAX_INTERIM_ANSWERS, BoundedResponse

_FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Interim(Server):
    """Says `count` interim answers, then the final one."""

    def __init__(self, count: int) -> None:
        self._count = count
        super().__init__()

    def talk(self, connection: socket) -> None:
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
