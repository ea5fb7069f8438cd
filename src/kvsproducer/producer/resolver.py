"""Names to addresses, in threads that nobody has to wait for.

Without a network the system's resolver may think for half a minute, and cannot be interrupted. In
asyncio's own pool that thread would keep the interpreter from ending, and an asyncio program's
`asyncio.run` from returning; here it is a daemon and is left behind. Address families and ports are
aiohttp's business.
"""

from __future__ import annotations

import socket
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

from kvsproducer.producer.threads import in_daemon_thread

__all__ = ["LIMIT_S", "Resolver"]

LIMIT_S: Final = 30.0  # ours; what connects has a shorter limit of its own


class Resolver(AbstractResolver):
    """What aiohttp's connectors resolve with; keeps nothing."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`; raises OSError when there are none, TimeoutError."""
        found = await in_daemon_thread(
            _addresses, host, port, family, timeout_s=LIMIT_S, name="resolver"
        )
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=family,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address, family in found
        ]

    async def close(self) -> None:
        """There is nothing to close."""


def _addresses(host: str, port: int, family: int) -> list[tuple[str, int]]:
    """Numeric addresses, those of a link with their zone; blocks."""
    found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    return [(socket.getnameinfo(where, numeric)[0], kind) for kind, *_, where in found]
