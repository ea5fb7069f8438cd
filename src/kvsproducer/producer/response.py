"""An aiohttp response that bounds the interim answers (100 Continue and other 1xx) before it.

aiohttp reads on for as long as interim answers come. A peer that sends nothing else would keep the
event loop busy, and with it all other uploads of the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientResponse, ClientResponseError

if TYPE_CHECKING:
    from aiohttp.connector import Connection

__all__ = ["MAX_INTERIM_ANSWERS", "BoundedResponse"]

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
