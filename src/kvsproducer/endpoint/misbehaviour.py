"""Carries out the faults of a script on a request: refusals, resets, stalls, nonsense.

What strikes before an answer is done by `misbehave`; what strikes in the middle of an upload by
`FaultyUpload`, which stands between the connection and `Upload`. The endpoint itself goes on as if
nothing were wrong: it stores what it got.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import Final

from aiohttp import web

from kvsproducer import wire
from kvsproducer.endpoint.faults import Fault, FaultKind, FaultScript

__all__ = ["FaultyUpload", "expect", "is_gone", "misbehave"]

_log = logging.getLogger(__name__)

_OPERATIONS: Final = {path: name for name, path in wire.PATHS.items()}
_LOOK_S: Final = 0.05  # how often a stalled request looks whether its peer is still there
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_AT_ONCE: Final = frozenset({FaultKind.STATUS, FaultKind.CONTINUE, FaultKind.DELAY})
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER of no time


def operation_of(path: str) -> str:
    """The operation that a path names, "" for none."""
    return _OPERATIONS.get(path, "")


def is_gone(request: web.Request) -> bool:
    """Whether the peer has left."""
    return request.transport is None or request.transport.is_closing()


async def expect(request: web.Request, script: FaultScript) -> None:
    """Say 100 Continue to a client that asked for it, unless the script is against it."""
    silent = script.next(operation_of(request.path), expecting=True) is not None
    if not silent and request.transport is not None:
        request.transport.write(_CONTINUE)


async def misbehave(request: web.Request, script: FaultScript) -> Fault | web.Response | None:
    """Do what strikes before the answer; returns the answer, or what is to strike in an upload.

    Raises ConnectionResetError when there is nobody left to answer.
    """
    operation = operation_of(request.path)
    fault = script.next(operation)
    if fault is None:
        return None
    _log.info("fault: %s meets %s", operation, fault.do)
    if fault.do not in _AT_ONCE and operation == "PutMedia":
        return fault
    match fault.do:
        case FaultKind.STATUS:
            return web.json_response(
                {"Message": "A fault of the script."},
                status=fault.status,
                headers={wire.HEADER_ERROR_TYPE: fault.error},
            )
        case FaultKind.RESET:
            reset(request)
        case FaultKind.STALL:
            await stall(request, fault.seconds)
        case FaultKind.DELAY:
            await asyncio.sleep(fault.seconds)
        case FaultKind.CONTINUE:
            assert request.transport is not None
            request.transport.write(_CONTINUE)
        case FaultKind.GARBAGE:
            assert request.transport is not None
            request.transport.write(fault.text.encode())
            request.transport.close()
            raise ConnectionResetError
    return None


async def stall(request: web.Request, seconds: float) -> None:
    """Do nothing for so long, or until the peer has left."""
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until:
        if is_gone(request):
            raise ConnectionResetError
        await asyncio.sleep(_LOOK_S)


def reset(request: web.Request) -> None:
    """Reset the connection; raises ConnectionResetError."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    raise ConnectionResetError


class FaultyUpload:
    """An upload's body and answer, of which one fault makes something else."""

    def __init__(self, request: web.Request, response: web.StreamResponse, fault: Fault) -> None:
        self._request = request
        self._response = response
        self._fault = fault
        self._read = 0
        self._struck = False
        self._mute = False  # nothing is said any more
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def readany(self) -> bytes:
        """Some bytes of the body, as aiohttp's."""
        if not self._struck and self._read >= self._fault.after_bytes:
            self._struck = True
            await self._strike()
        if self._struck and self._fault.do is FaultKind.SLOW_READ:
            await asyncio.sleep(0.1)
            data = await self._request.content.read(max(1, self._fault.bytes_per_s // 10))
        else:
            data = await self._request.content.readany()
        self._read += len(data)
        return data

    async def write(self, data: bytes) -> None:
        """Say something, or not."""
        await self._flowing.wait()
        if not self._mute:
            await self._response.write(data)

    async def _strike(self) -> None:
        fault, transport = self._fault, self._request.transport
        match fault.do:
            case FaultKind.RESET:
                reset(self._request)
            case FaultKind.STALL:
                self._flowing.clear()
                try:
                    await stall(self._request, fault.seconds)
                finally:
                    self._flowing.set()
            case FaultKind.SILENCE:
                self._mute = True
            case FaultKind.GARBAGE:
                await self._response.write(fault.text.encode())
            case FaultKind.END_ANSWER:
                self._mute = True
                await self._response.write_eof()
            case FaultKind.HALF_CLOSE:
                self._mute = True
                if transport is not None and transport.can_write_eof():
                    transport.write_eof()
                elif transport is not None:  # TLS has no half of a connection
                    transport.close()

    @property
    def mute(self) -> bool:
        """Whether the answer is over, or cannot be ended."""
        return self._mute
