"""Two additions to aiohttp: a name resolver that can be abandoned, and bounded interim responses.

Without a network the system's resolver may take half a minute, and cannot be interrupted. In the
thread pool of asyncio it would keep `asyncio.run` from returning and the interpreter from exiting.
Here it runs in a daemon thread that can be abandoned.

aiohttp reads on while interim responses (100 Continue and other 1xx) arrive. A remote host that
sends nothing else would keep the event loop busy and so block all other uploads of the process.

Importing this module imports aiohttp, so `network` imports this module only for the first request.
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

LIMIT_S: Final = 30.0  # our choice; the callers' time limits for connecting are shorter


class Resolver(AbstractResolver):
    """The resolver for aiohttp's connectors; it caches nothing."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of `host`.

        Raises OSError if the name has no address, and TimeoutError after `LIMIT_S`.
        """
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
        """Do nothing: this resolver has nothing to close."""


def _addresses(host: str, port: int, family: int) -> list[tuple[str, int]]:
    """Return numeric addresses and families; link-local addresses have their zone. Blocks."""
    found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    return [(socket.getnameinfo(where, numeric)[0], kind) for kind, *_, where in found]


MAX_INTERIM_ANSWERS: Final = 32  # our choice; the service sends at most one


class BoundedResponse(ClientResponse):
    """A response that raises ClientResponseError after `MAX_INTERIM_ANSWERS` interim responses."""

    async def start(self, connection: Connection) -> ClientResponse:
        """Read the head of the final response, as `ClientResponse.start` does.

        aiohttp calls `protocol.read` once for each response head, so this counts those calls.
        """
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
