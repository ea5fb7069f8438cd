"""The HTTP server of the endpoint: one aiohttp application for control plane and data plane.

Every request is a POST, and its path names the operation. JSON operations run in worker threads,
because they may wait for the disk. PutMedia streams in both directions at the same time: the
headers of the response are sent before the body is read, and each ack is one HTTP chunk (AWS's
embedded client relies on this). GetMedia continues while the stream has an upload, and ends 3 s
after the last fragment when it has none.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from email.utils import formatdate
from typing import Final, TypeAlias

from aiohttp import web

from kvsproducer import wire
from kvsproducer.duration import TICKS_PER_SECOND, ticks
from kvsproducer.endpoint.archive import FragmentList, list_fragments
from kvsproducer.endpoint.bounds import EndpointLimits
from kvsproducer.endpoint.control import DEFAULT_REGION, OPERATIONS, ControlPlane
from kvsproducer.endpoint.errors import ServiceError
from kvsproducer.endpoint.faults import Fault, FaultScript
from kvsproducer.endpoint.fragment_rate import FragmentRate
from kvsproducer.endpoint.get_media import GetMediaCursor, parse_start_selector
from kvsproducer.endpoint.layout import error_tags, exception_tags, get_media_segment
from kvsproducer.endpoint.live import LiveStream, Signal
from kvsproducer.endpoint.members import JsonObject, Members, parse_json
from kvsproducer.endpoint.misbehaviour import FaultyUpload, expect, is_gone, misbehave
from kvsproducer.endpoint.open_fragment import ErrorId
from kvsproducer.endpoint.put_media import WORK_PER_CALL, PutMediaSession
from kvsproducer.endpoint.put_media_request import parse_put_media_headers
from kvsproducer.endpoint.sigv4 import Credentials, SignedRequest, verify
from kvsproducer.endpoint.store import Store, StoreError
from kvsproducer.endpoint.upload import Upload
from kvsproducer.limits import SERVICE_MAX_FRAGMENTS_PER_S

__all__ = ["EndpointApplication", "system_now"]

_log = logging.getLogger(__name__)

_POLL_S: Final = 1.0  # how often a waiting GetMedia checks whether its reader is still connected
_EXPIRY_INTERVAL_S: Final = 60.0
_DOC_URL: Final = "https://kinesisvideo.amazonaws.com/doc/2017-09-30/"
_stream: Final = ContextVar("stream", default="-")  # the stream that the request names, for the log
_OPERATION_OF: Final = {path: name for name, path in wire.PATHS.items()}
_OTHER_OPERATION_OF: Final = {path: name for name, path in wire.OTHER_PATHS.items()}
_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


def system_now() -> int:
    """Return the wall clock's time in ticks since 1970."""
    return time.time_ns() // 100


class EndpointApplication:
    """The service as an aiohttp application, `app`.

    `known` maps access keys to credentials, and requests must be signed with one of them. None: the
    endpoint then checks no signatures. `now` returns the wall-clock time in ticks; timeouts use the
    event loop's clock. `faults` says which requests fail, and how. `region` is the region of the
    streams, and the only one accepted in signatures. If it is None, the streams are in us-west-2
    and signatures may have any region.
    """

    def __init__(
        self,
        store: Store,
        *,
        known: Mapping[str, Credentials] | None = None,
        bounds: EndpointLimits | None = None,
        now: Callable[[], int] = system_now,
        data_endpoint: str | None = None,
        faults: FaultScript | None = None,
        region: str | None = None,
    ) -> None:
        self._store = store
        self._region = region
        self._faults = faults
        self._known = known
        self._limits = bounds or EndpointLimits()
        self._now = now
        self._data_endpoint = data_endpoint
        self._live: dict[str, LiveStream] = {}
        self._stored = Signal()
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._control = ControlPlane(
            store,
            now=now,
            dice=secrets.randbelow,
            on_deleted=self._on_deleted,
            region=region or DEFAULT_REGION,
        )
        self._data_plane: dict[str, _Handler] = {
            wire.PATHS["PutMedia"]: self._put_media,
            wire.PATHS["GetMedia"]: self._get_media,
            wire.PATHS["ListFragments"]: self._list_fragments,
            wire.PATHS["GetMediaForFragmentList"]: self._get_media_for_fragment_list,
        }
        self.app = web.Application()
        self.app.on_response_prepare.append(self._date)
        self.app.router.add_route(
            "*", "/{path:.*}", self._handle, expect_handler=self._expect if faults else None
        )
        self._expiry = self._loop.create_task(self._expire())

    def _steady(self) -> int:
        """Return the loop's monotonic time in ticks."""
        return int(self._loop.time() * TICKS_PER_SECOND)

    async def stop(self, timeout_s: float) -> None:
        """End uploads and readers. Fragments received so far are stored and acknowledged."""
        self._stopping = True
        self._expiry.cancel()
        for live in self._live.values():
            live.changed.set()
            for upload in live.uploads:
                upload.stop()
        deadline = self._loop.time() + timeout_s
        while any(live.uploads for live in self._live.values()) and self._loop.time() < deadline:
            await self._stored.wait(0.01)

    async def _date(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Set the Date header from the endpoint's clock instead of the system's."""
        response.headers["Date"] = formatdate(self._now() / TICKS_PER_SECOND, usegmt=True)

    # --- requests --------------------------------------------------------------------------
    async def _expect(self, request: web.Request) -> None:
        assert self._faults is not None
        await expect(request, self._faults)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        _stream.set("-")  # the requests of a connection share a context
        started = self._loop.time()
        status = 0  # no response: the connection was lost, or a fault closed it
        try:
            response = await self._answer(request)
            status = response.status
            return response
        finally:
            with suppress(Exception):  # a failing log handler must not fail the request
                _log.info(
                    "%s %s %s: %s in %.3f s",
                    request.method,
                    _OPERATION_OF.get(request.path, request.rel_url.raw_path),
                    _stream.get(),
                    status or "no answer",
                    self._loop.time() - started,
                )

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            if self._faults is not None:
                met = await misbehave(request, self._faults)
                if isinstance(met, web.Response):
                    return met
                if met is not None:
                    return await self._put_media(request, met)
            if request.method != "POST":
                raise _unknown_operation(request)
            if (handler := self._data_plane.get(request.path)) is not None:
                return await handler(request)
            return await self._call_control(request)
        except ServiceError as error:
            return _refusal(error)
        except ConnectionError:
            return web.Response()  # the client has closed the connection: no response can be sent
        except (StoreError, OSError) as error:
            _log.error("%s failed: %s", request.path, error)
            return _refusal(ServiceError("InternalFailure", f"The store failed: {error}"))

    async def _members(self, request: web.Request) -> Members:
        body = await request.read()
        self._verify(request, body)
        members = parse_json(body)
        _stream.set(members.label)
        return members

    def _verify(self, request: web.Request, body: bytes | None) -> None:
        if self._known is None:
            return
        path, _, query = request.raw_path.partition("?")
        headers = list(request.headers.items())
        signed = SignedRequest(request.method, path, query, headers, body)
        verify(signed, self._known, self._now(), region=self._region)

    async def _call_control(self, request: web.Request) -> web.StreamResponse:
        operation = OPERATIONS.get(request.path)
        if operation is None:
            raise _unknown_operation(request)
        members = await self._members(request)
        answer = await asyncio.to_thread(operation, self._control, members)
        if request.path == wire.PATHS["GetDataEndpoint"]:
            answer = {"DataEndpoint": self._data_endpoint or _own_address(request)}
        return _json(answer)

    # --- PutMedia --------------------------------------------------------------------------
    async def _put_media(
        self, request: web.Request, fault: Fault | None = None
    ) -> web.StreamResponse:
        self._verify(request, None)
        stream, parsed = parse_put_media_headers(request.headers)
        _stream.set(stream.label)
        record = self._control.of(stream)
        live = await self._live_stream(record.arn)
        if self._stopping:
            raise ServiceError("ServiceUnavailable", "The endpoint is shutting down.")
        response = _streaming(wire.CONTENT_TYPE_JSON)
        await response.prepare(request)
        upload = Upload(
            PutMediaSession(
                parsed,
                live.numbers,
                self._steady(),
                self._limits,
                wall=lambda _: self._now(),
                work=WORK_PER_CALL,
            ),
            live,
            self._store,
            stored=self._stored,
            retains=lambda: self._retains(record.arn),
            now=self._steady,
        )
        if self._live.get(record.arn) is not live:  # deleted while the headers were sent
            upload.stream_deleted()
        if fault is None:
            await upload.run(request.content, response)
            return await _finish(response)
        faulty = FaultyUpload(request, response, fault)
        await upload.run(faulty, faulty)
        return response if faulty.mute else await _finish(response)

    def _retains(self, arn: str) -> bool:
        try:
            return self._control.find(None, arn).retention_hours > 0
        except ServiceError:  # deleted: no retention
            return False

    async def _live_stream(self, arn: str) -> LiveStream:
        live = self._live.get(arn)
        if live is None:
            last = await asyncio.to_thread(self._store.last_number, arn)
            per_s = self._limits.fragments_per_s
            rate = FragmentRate(per_s or SERVICE_MAX_FRAGMENTS_PER_S, self._steady())
            live = self._live.setdefault(arn, LiveStream(arn, last, rate, enforced=per_s > 0))
        return live

    def _on_deleted(self, arn: str) -> None:
        """End the uploads of a deleted stream. Runs in a worker thread."""

        def end() -> None:
            if (live := self._live.pop(arn, None)) is not None:
                live.changed.set()
                for upload in live.uploads:
                    upload.stream_deleted()

        self._loop.call_soon_threadsafe(end)

    # --- GetMedia and the archive ----------------------------------------------------------
    async def _get_media(self, request: web.Request) -> web.StreamResponse:
        members = await self._members(request)
        selector = parse_start_selector(members)
        arn = self._control.of(members).arn
        cursor = GetMediaCursor(self._store, lambda: self._control.find(None, arn), selector)
        live = await self._live_stream(arn)
        response = _streaming(wire.CONTENT_TYPE_GET_MEDIA)
        await response.prepare(request)
        try:
            await self._send_fragments(request, response, cursor, live)
        except OSError as error:
            if not isinstance(error, ConnectionError):
                _log.error("a fragment could not be read: %s", error)
                error_id = ErrorId.INTERNAL
                await response.write(error_tags(error_id, wire.ack_error(error_id).name))
        return await _finish(response)

    async def _send_fragments(
        self,
        request: web.Request,
        response: web.StreamResponse,
        cursor: GetMediaCursor,
        live: LiveStream,
    ) -> None:
        started = quiet_since = self._steady()
        while not self._stopping and not is_gone(request):
            change = live.changed.next()
            try:
                fragment = await asyncio.to_thread(cursor.next_fragment, self._now())
            except ServiceError:  # the stream was deleted
                return
            now = self._steady()
            if now - started > ticks(self._limits.connection_duration):
                return
            if fragment is not None:
                await response.write(b"".join(get_media_segment(fragment, self._now())))
                quiet_since = self._steady()
                continue
            if live.uploads:
                quiet_since = now
            left = quiet_since + ticks(self._limits.get_media_idle) - now
            if left <= 0:
                return
            await live.changed.wait(min(left / TICKS_PER_SECOND, _POLL_S), change)

    async def _list_fragments(self, request: web.Request) -> web.StreamResponse:
        members = await self._members(request)
        record = self._control.of(members)
        answer = await asyncio.to_thread(list_fragments, self._store, record, members, self._now())
        return _json(answer)

    async def _get_media_for_fragment_list(self, request: web.Request) -> web.StreamResponse:
        members = await self._members(request)
        record = self._control.of(members)
        found = await asyncio.to_thread(FragmentList, self._store, record, members, self._now())
        response = _streaming(wire.CONTENT_TYPE_GET_MEDIA)
        await response.prepare(request)
        segments = found.segments()
        try:
            while (segment := await asyncio.to_thread(next, segments, None)) is not None:
                await response.write(b"".join(segment))
        except OSError as error:
            if not isinstance(error, ConnectionError):
                _log.error("a fragment could not be read: %s", error)
                await response.write(exception_tags("InternalFailure", "The store failed."))
        return await _finish(response)

    async def _expire(self) -> None:
        """Delete expired fragments every minute. Readers never get expired fragments."""
        while True:
            now = self._now()
            ends = [(record.arn, now - record.retention) for record in self._control.records()]
            self._store.expire(ends)
            await asyncio.sleep(_EXPIRY_INTERVAL_S)


def _json(answer: JsonObject, status: int = 200, **headers: str) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(answer, separators=(",", ":")).encode(),
        content_type=wire.CONTENT_TYPE_JSON,
        headers={wire.HEADER_REQUEST_ID: str(uuid.uuid4()), **headers},
    )


def _refusal(error: ServiceError) -> web.Response:
    return _json(
        {**error.body}, error.http_status, **{wire.HEADER_ERROR_TYPE: f"{error.name}:{_DOC_URL}"}
    )


def _unknown_operation(request: web.Request) -> ServiceError:
    name = _OTHER_OPERATION_OF.get(request.path)
    if name is not None and request.method == "POST":
        text = f"AWS has this operation, {name}; kvs serve does not."
    else:
        text = f"{request.method} {request.path} is not an operation of Kinesis Video Streams."
    return ServiceError("UnknownOperationException", text)


def _streaming(content_type: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={wire.HEADER_REQUEST_ID: str(uuid.uuid4())})
    response.content_type = content_type
    response.enable_chunked_encoding()
    return response


async def _finish(response: web.StreamResponse) -> web.StreamResponse:
    try:
        await response.write_eof()
    except ConnectionError:
        _log.debug("the peer left before the end of the answer")
    return response


def _own_address(request: web.Request) -> str:
    """Return the URL at which the client reached the endpoint.

    The port is added if needed, because AWS's C clients send the Host header without it.
    """
    host = request.host
    if not host.rpartition(":")[2].isdigit() or host.endswith("]"):
        transport = request.transport
        address = transport.get_extra_info("sockname") if transport is not None else None
        port = address[1] if address else None
        if port not in {None, 443 if request.secure else 80}:
            host = f"{host}:{port}"
    return f"{request.scheme}://{host}"
