"""Close the sockets that aiohttp has opened, even if the remote host no longer reads.

Closing a transport first waits until its buffer is written, and then needs a few more turns of the
event loop. If the remote host no longer reads, the buffer is never written, and the socket would
stay open without a limit. If the loop ends together with the request, the further turns never come.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

__all__ = ["close_sockets"]

_LOOK_AGAIN: Final = 10  # how many turns of the loop to wait for the transports to close


async def close_sockets(sockets: list[socket.socket]) -> None:
    """Shut down and close the sockets, even if the remote host no longer reads.

    The shutdown makes pending writes fail, and then aiohttp's transports close.
    """
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
    for _ in range(_LOOK_AGAIN):
        if all(one.fileno() < 0 for one in sockets):
            return
        await asyncio.sleep(0)
