"""Waiting between two attempts, and not longer than the network is away.

After a failure the core wants the next attempt later, up to 20 s when there were several. That
spares a service that is in trouble; but where this machine itself had no way out (a cable, a modem,
a wireless network), nobody is spared by it, and every second costs frames. So a machine without a
route looks for one twice a second, and tries soon after there is one. "Soon" differs from camera to
camera, for a whole site comes back at once. Looking sends nothing: it asks the kernel's table.

A network that is there and lets nothing through looks like any other failure, and is waited for.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from typing import Final

__all__ = ["has_route", "pause"]

_LOOK_S: Final = 0.5
_SPREAD_MS: Final = 1000
# Documentation addresses (RFC 5737, RFC 3849): reached by the way that the whole internet is.
_ANYWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_DISCARD: Final = 9


def has_route() -> bool:
    """Whether this machine knows a way to the rest of the world."""
    for family, address in _ANYWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((address, _DISCARD))  # of datagrams: nothing is sent
        except OSError:
            continue
        return True
    return False


async def pause(seconds: float, *, routed: Callable[[], bool] = has_route) -> None:
    """Wait so long, or until there is a route when there is none at first."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    if routed():
        await asyncio.sleep(seconds)
        return
    while (left_s := end - loop.time()) > 0:
        await asyncio.sleep(min(_LOOK_S, left_s))
        if routed():
            spread_s = secrets.randbelow(_SPREAD_MS) / 1000
            await asyncio.sleep(max(0.0, min(spread_s, end - loop.time())))
            return
