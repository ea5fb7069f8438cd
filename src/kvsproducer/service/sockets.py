"""Sockets that aiohttp has opened, closed for certain.

Closing a transport waits for what is still to be written, and leaves the rest to the loop's next
turns: a peer that has stalled would keep the socket open for ever, and a loop that ends with the
request would never take those turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

__all__ = ["hang_up"]

_LOOK_AGAIN: Final = 10  # turns of the loop that a transport is given to close


async def hang_up(sockets: list[socket.socket]) -> None:
    """Let go of a peer, also of one that takes no more bytes: the writing fails, it is closed."""
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
    for _ in range(_LOOK_AGAIN):
        if all(one.fileno() < 0 for one in sockets):
            return
        await asyncio.sleep(0)
