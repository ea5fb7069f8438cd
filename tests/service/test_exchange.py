"""Calls over kept connections: responses, refusals, connections that the service closes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from socket import socket
from typing import TypeVar

import aiohttp
import pytest
from tests.peers import Server

import kvsproducer as kvs
from kvsproducer.service.exchange import Connections, Reply, TimeLimits, json_object, refusal
from kvsproducer.service.network import Network

URL = "https://kinesisvideo.us-west-2.amazonaws.com/describeStream"
T = TypeVar("T")


@pytest.mark.parametrize(
    ("body", "found"), [(b"", {}), (b"{}", {}), (b'{"StreamInfo": null}', {"StreamInfo": None})]
)
def test_objects_and_nothing_pass(body: bytes, found: object) -> None:
    """The service answers some calls with an empty body."""
    assert json_object(URL, Reply(200, {}, body)) == found


@pytest.mark.parametrize("body", [b"<html>", b"5", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_response_without_a_json_object_is_refused(body: bytes) -> None:
    """The error has the host and the beginning of the body."""
    with pytest.raises(kvs.KvsError) as caught:
        json_object(URL, Reply(200, {}, body))
    assert caught.value.status is kvs.StatusCode.INVALID_API_CALL_RETURN_JSON
    assert "kinesisvideo.us-west-2.amazonaws.com:443" in caught.value.detail
    assert len(caught.value.detail) < 500


@pytest.mark.parametrize(
    ("headers", "body", "detail"),
    [
        ({"x-amzn-ErrorType": "DeniedException:x"}, b'{"Message": "no"}', "DeniedException: no"),
        ({}, b'{"__type": "com#DeniedException", "message": "no"}', "DeniedException: no"),
        ({}, b'{"code": "AccessDeniedException"}', "AccessDeniedException"),
        ({}, b"", "no message"),
        ({}, b'{"message": 5, "__type": []}', "no message"),
        ({}, b"<html>", "'<html>'"),
        ({}, b"[1]", "'[1]'"),
    ],
)  # fmt: skip
def test_refusal_has_name_and_message(headers: dict[str, str], body: bytes, detail: str) -> None:
    """They are found wherever the service or a gateway puts them."""
    assert refusal(Reply(403, headers, body)).detail == f"HTTP 403 {detail}"


def run(work: Callable[[Connections], Awaitable[T]]) -> T:
    """Run `work` with connections, close them, and return its result."""

    async def main() -> T:
        connections = Connections(Network(kvs.ServiceConfig(), True))
        try:
            return await work(connections)
        finally:
            await connections.close()

    return asyncio.run(main())


def test_a_whole_answer(endpoint_url: str) -> None:
    """The reply has status, headers and body; the default limits are the C producer's."""
    limits = TimeLimits()
    assert (limits.connection_s, limits.completion_s) == (5, 10)
    reply = run(lambda calls: calls.post(f"{endpoint_url}/listStreams", {}, b"{}", limits))
    assert reply.status == 200
    assert reply.headers["x-amzn-RequestId"]
    assert b"StreamInfoList" in reply.body


class Counting(Server):
    """A server whose n-th connection closes after `lives[n]` requests."""

    def __init__(self, *lives: int) -> None:
        self._lives = list(lives)
        self.requests = 0
        self.closing = threading.Event()  # a request was refused by closing the connection
        super().__init__()

    def talk(self, connection: socket) -> None:
        left = self._lives.pop(0)
        with connection:
            while connection.recv(65_536):
                if not left:
                    self.closing.set()
                    return
                left -= 1
                self.requests += 1
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


def posted(server: Counting, times: int) -> list[int]:
    """Return the statuses of `times` calls, made one after the other."""

    async def work(calls: Connections) -> list[int]:
        return [
            (await calls.post(f"{server.url}/x", {}, b"{}", TimeLimits())).status
            for _ in range(times)
        ]

    try:
        return run(work)
    finally:
        server.end()


def test_calls_share_a_connection() -> None:
    """Calls made one after the other use one connection."""
    server = Counting(100)
    assert posted(server, 10) == [200] * 10
    assert (server.connections, server.requests) == (1, 10)


def test_call_is_repeated_if_its_kept_connection_was_closed() -> None:
    """The service closes it after the request was sent; the call is sent again on a new one."""
    server = Counting(2, 100)
    assert posted(server, 5) == [200] * 5
    assert (server.connections, server.requests) == (2, 5)


def test_call_fails_if_a_new_connection_was_closed() -> None:
    """Only calls on kept connections are repeated."""
    server = Counting(1, 0)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        posted(server, 2)
    assert server.connections == 2


def test_cookies_are_not_kept() -> None:
    """Otherwise a load balancer's cookie would be sent unsigned with later requests."""
    heads: list[bytes] = []

    class Baker(Server):
        def talk(self, connection: socket) -> None:
            with connection:
                while head := connection.recv(65_536):
                    heads.append(head)
                    connection.sendall(
                        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\n{}"
                    )

    baker = Baker()

    async def work(calls: Connections) -> None:
        for _ in range(2):
            await calls.post(f"{baker.url}/x", {}, b"", TimeLimits())

    try:
        run(work)
    finally:
        baker.end()
    assert len(heads) == 2
    assert not any(b"Cookie" in head for head in heads)
