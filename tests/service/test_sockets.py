"""Closing sockets whose remote host reads nothing more."""

from __future__ import annotations

import asyncio
import socket

from kvsproducer.service.sockets import close_sockets


def test_socket_with_unread_data_is_closed() -> None:
    """The socket is closed although the transport's buffer is not empty."""

    async def talk_to_a_stalled_peer() -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            _, writer = await asyncio.open_connection(sock=ours)
            writer.write(b"x" * 10_000_000)
            writer.close()
            assert ours.fileno() >= 0
            await close_sockets([ours])
        return ours

    assert asyncio.run(talk_to_a_stalled_peer()).fileno() < 0


def test_closed_socket_is_ignored() -> None:
    """The function returns at once without an error."""
    closed = socket.socket()
    closed.close()
    asyncio.run(close_sockets([closed]))
