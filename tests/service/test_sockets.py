"""Hanging up on a peer that takes nothing more."""

from __future__ import annotations

import asyncio
import socket

from kvsproducer.service.sockets import close_sockets


def test_a_stalled_peer_is_let_go_of() -> None:
    """The transport has bytes that nobody takes, and its socket is closed all the same."""

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


def test_what_is_closed_already_is_left_alone() -> None:
    """No error, no waiting."""
    closed = socket.socket()
    closed.close()
    asyncio.run(close_sockets([closed]))
