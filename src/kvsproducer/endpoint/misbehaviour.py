"""Apply the faults of a script to requests: refusals, resets, stalls, garbage.

`misbehave` applies faults before the response begins. `FaultyUpload` is placed between the
connection and `Upload`, and applies faults during an upload. The rest of the endpoint does not know
about faults, and stores the data that it receives.
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
_CHECK_S: Final = 0.05  # how often a stalled request checks whether the client is still connected
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_AT_ONCE: Final = frozenset({FaultKind.STATUS, FaultKind.CONTINUE, FaultKind.DELAY})
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER with a time of 0


def operation_of(path: str) -> str:
    """Return the operation of a path, or "" if there is none."""
    return _OPERATIONS.get(path, "")


def is_gone(request: web.Request) -> bool:
    """Return whether the client has closed the connection."""
    return request.transport is None or request.transport.is_closing()


async def expect(request: web.Request, script: FaultScript) -> None:
    """Send 100 Continue to a client that expects it, unless a fault of the script prevents this."""
    silent = script.next(operation_of(request.path), expecting=True) is not None
    if not silent and request.transport is not None:
        request.transport.write(_CONTINUE)


async def misbehave(request: web.Request, script: FaultScript) -> Fault | web.Response | None:
    """Apply the script's next fault to a request, before its response begins.

    Returns a response to send instead of the normal one, or a fault that the caller must pass to
    `FaultyUpload`, or None. Raises ConnectionResetError if the connection is closed.
    """
    operation = operation_of(request.path)
    fault = script.next(operation)
    if fault is None:
        return None
    _log.info("fault: apply %s to %s", fault.do, operation)
    if fault.do not in _AT_ONCE and operation == "PutMedia":
        return fault
    match fault.do:
        case FaultKind.STATUS:
            return web.json_response(
                {"Message": "The fault script refuses this request."},
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
    """Do nothing for `seconds`, or until the client has closed the connection."""
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until:
        if is_gone(request):
            raise ConnectionResetError
        await asyncio.sleep(_CHECK_S)


def reset(request: web.Request) -> None:
    """Reset the connection. Raises ConnectionResetError."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    raise ConnectionResetError


class FaultyUpload:
    """Replace the body and the response of an upload by versions that apply one fault."""

    def __init__(self, request: web.Request, response: web.StreamResponse, fault: Fault) -> None:
        self._request = request
        self._response = response
        self._fault = fault
        self._read = 0
        self._applied = False
        self._mute = False  # send nothing more
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def readany(self) -> bytes:
        """Return some bytes of the body, as `StreamReader.readany` does; b"" at the end."""
        if not self._applied and self._read >= self._fault.after_bytes:
            self._applied = True
            await self._apply()
        if self._applied and self._fault.do is FaultKind.SLOW_READ:
            await asyncio.sleep(0.1)
            data = await self._request.content.read(max(1, self._fault.bytes_per_s // 10))
        else:
            data = await self._request.content.readany()
        self._read += len(data)
        return data

    async def write(self, data: bytes) -> None:
        """Send data, unless the fault suppresses it."""
        await self._flowing.wait()
        if not self._mute:
            await self._response.write(data)

    async def _apply(self) -> None:
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
                elif transport is not None:  # TLS cannot close only one direction
                    transport.close()

    @property
    def mute(self) -> bool:
        """Whether nothing more may be sent: the fault has ended or silenced the response."""
        return self._mute
