"""One request of the control plane and its whole answer.

botocore makes the request of an operation and reads its answer; what goes over the network between
goes through our `Network`, so that both planes have the same addresses, proxies, trust and time
limits. Connecting has a limit, and so has the whole exchange, however slowly a peer may speak.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from kvsproducer import limits
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.service.network import Network
from kvsproducer.service.results import OK
from kvsproducer.service.sockets import hang_up
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["Reply", "TimeLimits", "checked_json", "post", "refusal_body"]

_SHOWN = 60  # characters of an answer that is none
_SAID = frozenset({"message", "Message", "code", "__type"})  # what a refusal may say


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """For connecting, and for everything from the name's resolution to the answer's end."""

    connection_s: float = limits.DEFAULT_CONNECTION_TIMEOUT / TICKS_PER_SECOND
    completion_s: float = limits.DEFAULT_SERVICE_CALL_TIMEOUT / TICKS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


async def post(
    network: Network, url: str, headers: Mapping[str, str], body: bytes, time_limits: TimeLimits
) -> Reply:
    """POST `body` to `url`.

    Raises what aiohttp raises; SERVICE_CALL_TIMEOUT_ERROR; INVALID_API_CALL_RETURN_JSON for an
    answer that is larger than any of the service's.
    """
    import aiohttp

    connection_s, completion_s = time_limits.connection_s, time_limits.completion_s
    timeout = aiohttp.ClientTimeout(total=None, connect=connection_s)
    sockets: list[socket.socket] = []
    try:
        async with (
            asyncio.timeout(completion_s),
            network.session(
                url, sockets, receive_buffer=limits.ANSWER_RECEIVE_BUFFER_BYTES
            ) as session,
            network.request(
                session, "POST", url, data=body, headers=headers, timeout=timeout
            ) as response,
        ):
            content = bytearray()
            async for part in response.content.iter_any():
                content += part
                if len(content) > limits.MAX_ANSWER_BYTES:
                    raise _too_large(url)
            return Reply(response.status, dict(response.headers), bytes(content))
    except aiohttp.ConnectionTimeoutError as error:
        raise kvs_error(
            StatusCode.SERVICE_CALL_TIMEOUT_ERROR,
            f"no connection to {_place(url)} within {connection_s:g} s: check network, firewall, "
            "proxies and endpoint_url",
        ) from error
    except KvsError:  # some are TimeoutErrors too
        raise
    except TimeoutError as error:
        raise kvs_error(
            StatusCode.SERVICE_CALL_TIMEOUT_ERROR,
            f"{_place(url)} did not answer within {completion_s:g} s: is it up, and a Kinesis "
            "Video Streams endpoint? check network, proxies and endpoint_url",
        ) from error
    finally:  # the loop may end right after this
        await hang_up(sockets)


def checked_json(url: str, reply: Reply) -> None:
    """Raise INVALID_API_CALL_RETURN_JSON for a success that says no JSON object.

    A captive portal or a wrong endpoint_url answers so. Empty is how the service says "done".
    """
    if reply.status != OK or not reply.body:
        return
    try:
        fine = isinstance(json.loads(reply.body), dict)
    except (ValueError, RecursionError):
        fine = False
    if not fine:
        shown = reply.body[:_SHOWN].decode(errors="replace")
        raise kvs_error(
            StatusCode.INVALID_API_CALL_RETURN_JSON,
            f"{_place(url)} answered with something that is no JSON object: {shown!r}",
        )


def refusal_body(reply: Reply) -> bytes:
    """The body of a refusal as the service would have it: a JSON object with texts.

    A proxy or gateway answers with what it likes; its beginning becomes the message then.
    """
    try:
        found = json.loads(reply.body or b"{}")
        if isinstance(found, dict):
            said = {name: text for name, text in found.items() if name in _SAID}
            return json.dumps(
                {n: text for n, text in said.items() if isinstance(text, str)}
            ).encode()
    except (ValueError, RecursionError):
        pass
    return json.dumps({"message": repr(reply.body[:_SHOWN].decode(errors="replace"))}).encode()


def _too_large(url: str) -> KvsError:
    return kvs_error(
        StatusCode.INVALID_API_CALL_RETURN_JSON,
        f"{_place(url)} answered with more than {limits.MAX_ANSWER_BYTES} bytes",
    )


def _place(url: str) -> str:
    from yarl import URL

    parts = URL(url)
    return f"{parts.host}:{parts.port}"
