"""HTTP calls with a JSON object in the request and in the response, over kept-alive connections.

All requests but PutMedia and GetMedia go through this module. Each stream that is opened makes
several calls within a short time. So an idle connection stays open for `KEPT_S`, and the next call
uses it again. It does not stay open for longer, because it no longer works when the network changes
(Wi-Fi to mobile). A call on it would then fail only after the whole time limit.

The service may close a connection just as a call is sent on it. That is not a failure: the call is
sent again, if necessary on a new connection. All calls may be repeated. A repeated CreateStream is
answered with ResourceInUseException, which the core treats as "the stream exists".

Connecting has a time limit, and the whole exchange has another one, even if the remote host sends
slowly but without a pause.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kvsproducer import limits, wire
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.service.network import Network
from kvsproducer.service.results import Failure, failure_of_answer
from kvsproducer.service.sockets import close_sockets
from kvsproducer.status import KvsError, StatusCode, kvs_error

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Connections", "Reply", "TimeLimits", "json_object", "refusal"]

KEPT_S: Final = 5.0  # ours: how long an idle connection waits for the next call
_SHOWN = 60  # characters of an answer in an error message


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Time limits of a call, in seconds.

    connection_s: for connecting.
    completion_s: for the whole call, from resolving the host name to the end of the response.
    """

    connection_s: float = limits.DEFAULT_CONNECTION_TIMEOUT / TICKS_PER_SECOND
    completion_s: float = limits.DEFAULT_SERVICE_CALL_TIMEOUT / TICKS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response. The names in `headers` are case-insensitive if aiohttp has read them."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Connections:
    """The connections of one `Service`; all methods run on one event loop.

    There is one connection for each concurrent call; the caller limits their number.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self.closed = False  # if True, `post` opens no connection and raises
        self._sessions: dict[str, aiohttp.ClientSession] = {}  # by scheme and host
        self._sockets: list[socket.socket] = []

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, time_limits: TimeLimits
    ) -> Reply:
        """POST `body` to `url` and return the whole response.

        Raises aiohttp's exceptions, SERVICE_CALL_TIMEOUT_ERROR, INVALID_API_CALL_RETURN_JSON for a
        response of more than `limits.MAX_ANSWER_BYTES`, and CLIENT_BEING_SHUTDOWN if `closed` is
        set.
        """
        import aiohttp

        connection_s, completion_s = time_limits.connection_s, time_limits.completion_s
        timeout = aiohttp.ClientTimeout(total=None, connect=connection_s)
        try:
            async with asyncio.timeout(completion_s):
                while True:
                    kept: list[bool] = []  # not empty if the request goes out on a kept connection
                    try:
                        return await self._exchange(
                            url, data=body, headers=headers, timeout=timeout, trace_request_ctx=kept
                        )
                    except aiohttp.ClientConnectionError:
                        if not kept:
                            raise
        except aiohttp.ConnectionTimeoutError as error:
            raise kvs_error(
                StatusCode.SERVICE_CALL_TIMEOUT_ERROR,
                f"no connection to {_place(url)} within {connection_s:g} s: check network, "
                "firewall, proxies and endpoint_url",
            ) from error
        except KvsError:  # some of them are TimeoutErrors, which the next branch would change
            raise
        except TimeoutError as error:
            raise kvs_error(
                StatusCode.SERVICE_CALL_TIMEOUT_ERROR,
                f"{_place(url)} did not answer within {completion_s:g} s: is it up, and a Kinesis "
                "Video Streams endpoint? check network, proxies and endpoint_url",
            ) from error

    async def close(self) -> None:
        """Close all connections, including those of calls that are still running."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()
        await close_sockets(self._sockets)

    async def _exchange(self, url: str, **options: Any) -> Reply:
        async with self._network.request(self._session(url), "POST", url, **options) as response:
            content = bytearray()
            async for part in response.content.iter_any():
                content += part
                if len(content) > limits.MAX_ANSWER_BYTES:
                    raise kvs_error(
                        StatusCode.INVALID_API_CALL_RETURN_JSON,
                        f"{_place(url)} answered with more than {limits.MAX_ANSWER_BYTES} bytes",
                    )
            return Reply(response.status, response.headers, bytes(content))

    def _session(self, url: str) -> aiohttp.ClientSession:
        # Check this for each attempt: `close` breaks a running call, which must not be sent again.
        if self.closed:
            raise kvs_error(StatusCode.CLIENT_BEING_SHUTDOWN, "the producer is closed")
        self._sockets[:] = [one for one in self._sockets if one.fileno() >= 0]
        place = url[: url.find("/", url.find("//") + 2)]
        if place not in self._sessions:
            self._sessions[place] = self._network.session(
                url, self._sockets, receive_buffer=limits.ANSWER_RECEIVE_BUFFER_BYTES, kept_s=KEPT_S
            )
        return self._sessions[place]


def json_object(url: str, reply: Reply) -> dict[str, Any]:
    """Return the JSON object in a successful response; an empty body is an empty object.

    Raises INVALID_API_CALL_RETURN_JSON for a body that is not a JSON object, such as the web page
    of a captive portal or of a wrong endpoint_url.
    """
    if not reply.body:
        return {}
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    shown = reply.body[:_SHOWN].decode(errors="replace")
    raise kvs_error(
        StatusCode.INVALID_API_CALL_RETURN_JSON,
        f"{_place(url)} did not return a JSON object: {shown!r}",
    )


def refusal(reply: Reply) -> Failure:
    """Convert an error response into a `Failure`.

    A proxy or gateway may return any body. If the body is not a JSON object, the beginning of the
    body becomes the message.
    """
    try:
        found = json.loads(reply.body or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        found = {"message": repr(reply.body[:_SHOWN].decode(errors="replace"))}
    said = {name: text for name, text in found.items() if isinstance(text, str)}
    kind = reply.headers.get(wire.HEADER_ERROR_TYPE) or said.get("code") or said.get("__type")
    message = said.get("message") or said.get("Message")
    return failure_of_answer(reply.status, kind or "", message or "")


def _place(url: str) -> str:
    from yarl import URL

    parts = URL(url)
    return f"{parts.host}:{parts.port}"
