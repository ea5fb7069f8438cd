"""What we add to aiohttp: a resolver that can be left behind, and bounded interim answers.

Without a network the system's resolver may think for half a minute, and cannot be interrupted. In
asyncio's own pool that thread would keep the interpreter from ending, and an asyncio program's
`asyncio.run` from returning; here it is a daemon and is left behind. Address families and ports are
aiohttp's business.

aiohttp reads on for as long as interim answers (100 Continue and other 1xx) come. A peer that sends
nothing else would keep the event loop busy, and with it all other uploads of the process.

Importing this module loads aiohttp; `network` does so with the first request.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientResponse, ClientResponseError
from aiohttp.abc import AbstractResolver, ResolveResult

from kvsproducer.service.threads import in_daemon_thread

if TYPE_CHECKING:
    from aiohttp.connector import Connection

__all__ = ["BoundedResponse", "LIMIT_S", "MAX_INTERIM_ANSWERS", "Resolver"]

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


MAX_INTERIM_ANSWERS: Final = 32  # ours; a service sends one at most


class BoundedResponse(ClientResponse):
    """Raises `ClientResponseError` after `MAX_INTERIM_ANSWERS` interim answers."""

    async def start(self, connection: Connection) -> ClientResponse:
        """Read the head of the final answer; see `ClientResponse.start`, which calls `read`."""
        protocol: Any = connection.protocol
        read, count = protocol.read, 0

        async def read_bounded() -> object:
            nonlocal count
            count += 1
            if count > MAX_INTERIM_ANSWERS + 1:
                raise ClientResponseError(
                    self.request_info,
                    self.history,
                    status=100,
                    message=f"more than {MAX_INTERIM_ANSWERS} interim answers (HTTP 100 to 199)",
                )
            return await read()

        protocol.read = read_bounded
        try:
            return await super().start(connection)
        finally:
            del protocol.read
