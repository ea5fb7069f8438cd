"""One PutMedia request, which sends media and receives acks at the same time.

The request stays open for as long as the core wants it (often an hour), so it has no total
time-out. The request's body waits on an event, which is set when the core has new data
(`DataAvailable`), and sends the data at once. For an offline stream it first waits some
milliseconds and sends more data together: no viewer waits for it, and one write for each frame
would use most of the CPU time. All buffers that the core returns at once are joined to one write,
because with TLS each write is a record. The bytes of the response go to the core as they arrive.

A request may be idle while there is nothing to send. But the request is aborted if for `STALL_S`
seconds the service reads none of the data or sends no ack for them. (The C producer uses libcurl's
low-speed limit for this.) `run` returns how the request ended, for the core's `upload_ended`.
Source: the PutMedia page of the API reference.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, TypeVar

from kvsproducer import client as core
from kvsproducer import wire
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.limits import (
    ACK_SLICE_BYTES,
    ANSWER_RECEIVE_BUFFER_BYTES,
    LOW_SPEED_TIME,
    MAX_USELESS_ACK_BYTES,
    OFFLINE_GATHER_S,
    PUT_MEDIA_ACK_WAIT_S,
    PUT_MEDIA_CHUNK_BYTES,
)
from kvsproducer.producer.bugs import find_bug
from kvsproducer.service.clock import monotonic
from kvsproducer.service.credentials import AwsCredentials
from kvsproducer.service.interrupts import CoreLock
from kvsproducer.service.results import (
    OK,
    TIMEOUT,
    UNKNOWN,
    Failure,
    failure_of,
    failure_of_answer,
)
from kvsproducer.service.service import Service
from kvsproducer.service.sockets import close_sockets
from kvsproducer.status import KvsError, StatusCode
from kvsproducer.status.system import in_words

if TYPE_CHECKING:
    import aiohttp


__all__ = ["MediaDump", "Owner", "Upload", "VARIABLE"]

T = TypeVar("T")
log = logging.getLogger("kvsproducer.upload")

STALL_S = LOW_SPEED_TIME / TICKS_PER_SECOND
_REFUSAL_LIMIT_S = 5.0  # our choice: how long to wait for the body of an error response
_SHOWN = 60  # bytes of a response in an error message
VARIABLE: Final = "KVS_DEBUG_DUMP_DATA_FILE_DIR"
_ACK_END = b"}"  # the end of an ack; a part of an ack does not count as an answer


class MediaDump:
    """A debug copy of the data of an upload, in the file `<folder>/<stream>_<upload>.mkv`.

    The folder is the value of KVS_DEBUG_DUMP_DATA_FILE_DIR, as in AWS's C producer. If the variable
    is not set, there is no copy. If writing fails, a warning is logged, the copy ends, and the
    upload continues.
    """

    def __init__(self, stream: str, upload: int) -> None:
        self.file: BinaryIO | None = None  # None: no copy is written
        folder = os.environ.get(VARIABLE)
        if not folder:
            return
        self._path = Path(folder) / f"{stream}_{upload}.mkv"
        try:
            self.file = self._path.open("wb")
        except OSError as error:
            self._give_up(error)

    def write(self, data: bytes) -> None:
        """Append data to the copy."""
        if self.file is not None:
            try:
                self.file.write(data)
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """Close the file."""
        file, self.file = self.file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.file = None
        log.warning("%s: %s cannot be written: %s", VARIABLE, self._path, in_words(error))


class Owner(Protocol):
    """The part of the engine that an upload uses."""

    loop: asyncio.AbstractEventLoop
    lock: CoreLock
    service: Service

    def now(self) -> int:
        """Return the monotonic time in ticks."""

    async def ask(self, call: core.Call) -> object:
        """Return the callbacks' answer to a call, or None; raise what they raise."""

    async def due(self, call: core.Call) -> None:
        """Wait until the earliest time of a call, or until the network is back."""

    def upload_started(self, effect: core.PutStream, failure: Failure) -> None:
        """Report to the core that an upload's request starts, or the failure to start it."""

    def receive_ack(self, stream: core.Stream, upload: int, data: bytes) -> tuple[bool, bool]:
        """Pass bytes of acks to the core; return what `core.Stream.receive_ack` returns."""

    def report_blocked(self, stream: core.Stream, blocked_s: float) -> None:
        """Report that the service has read no data of an upload for `blocked_s` seconds."""


class Upload:
    """One PutMedia request, which the core has asked for with a `PutStream`.

    It runs on the engine's loop, and uses the core only under the engine's lock.
    """

    def __init__(self, engine: Owner, stream: core.Stream, effect: core.PutStream) -> None:
        self._engine = engine
        self._stream = stream
        self._effect = effect
        self._data = asyncio.Event()
        self.wake = self._data.set  # call it when there is data to send, or the stream has ended
        self._body_ended = asyncio.Event()
        stale_s = stream.info.connection_staleness_duration.total_seconds()
        self._check_interval_s = (
            min(STALL_S, stale_s or STALL_S) / 2
        )  # how often to check for a stall
        self._answer = b""  # the first bytes of the response
        self._response: aiohttp.ClientResponse | None = None
        # Since when a write is pending, and since when an ack is expected, in the loop's time;
        # None while there is no pending write or no expected ack.
        self._writing_since: float | None = None
        self._asked_since: float | None = None

    async def run(self) -> Failure:
        """Run the request to its end and return how it ended; raise only for a bug."""
        engine, effect = self._engine, self._effect
        try:
            await engine.due(effect)
            failure = await self._ask_callbacks()
            engine.upload_started(effect, failure)
            if failure.result == OK:
                failure = await self._watched_exchange()
        except Exception as error:  # noqa: BLE001  all failures but bugs become results
            if bug := find_bug(error):
                raise bug from None
            failure = failure_of(error)
        if failure.detail:
            log.info("stream %s upload %d: %s", effect.stream, effect.upload, failure.detail)
        return failure

    async def _ask_callbacks(self) -> Failure:
        """Run the callbacks for the start of an upload; return their failure, or OK."""
        try:
            await self._engine.ask(self._effect)
        except KvsError as error:
            return failure_of(error)
        return Failure(OK, "")

    async def _watched_exchange(self) -> Failure:
        """Run the exchange; cancel it and return a failure if the service stalls."""
        stalled: Failure | None = None
        exchange = asyncio.ensure_future(self._exchange())
        try:
            while not exchange.done() and stalled is None:
                await asyncio.wait([exchange], timeout=self._check_interval_s)
                stalled = self._stall()
                if self._writing_since is not None:
                    blocked_s = self._engine.loop.time() - self._writing_since
                    self._engine.report_blocked(self._stream, blocked_s)
        finally:
            if not exchange.done():
                exchange.cancel()
                await asyncio.wait([exchange])
        return exchange.result() if stalled is None or not exchange.cancelled() else stalled

    def _stall(self) -> Failure | None:
        """Return a failure if the service has stalled, else None."""
        overdue = self._engine.loop.time() - STALL_S
        if self._response is not None and _reader_hangs(self._response):
            return Failure(UNKNOWN, "the service's response is incomplete: it is not valid HTTP")
        if self._writing_since is not None and self._writing_since < overdue:
            return Failure(TIMEOUT, f"the service took no data for {STALL_S:g} s")
        if self._asked_since is not None and self._asked_since < overdue:
            return Failure(TIMEOUT, f"the service did not answer for {STALL_S:g} s")
        return None

    def stall_message(self) -> str:
        """Return a message if the service has been stalling for more than 1 s, else "".

        May be called in any thread.
        """
        writing, asked, now = self._writing_since, self._asked_since, self._engine.loop.time()
        if writing is not None and now - writing > 1:
            return f"the service has taken no data for {now - writing:.0f} s"
        if asked is not None and now - asked > 1:
            return f"the service has not answered the upload for {now - asked:.0f} s"
        return ""

    async def _exchange(self) -> Failure:
        import aiohttp

        await self._engine.service.network.prepare(self._url())
        headers = self._signed_headers()
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self._effect.connection_timeout / TICKS_PER_SECOND
        )
        sockets: list[socket.socket] = []
        network, sent = self._engine.service.network, monotonic()
        async with network.session(
            self._url(), sockets, receive_buffer=ANSWER_RECEIVE_BUFFER_BYTES
        ) as session:
            try:
                async with network.request(
                    session,
                    "POST",
                    self._url(),
                    data=self._body(),
                    headers=headers,
                    timeout=timeout,
                ) as response:
                    # The head of the response arrives even while the body waits for data.
                    service, took = self._engine.service, monotonic() - sent
                    service.skew.observe(response.headers, took, service.now())
                    return await self._take_answer(response)
            finally:
                await close_sockets(sockets)

    async def _take_answer(self, response: aiohttp.ClientResponse) -> Failure:
        """Pass acks to the core until the response ends; return how the upload ended."""
        if response.status != OK:
            text = b""
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REFUSAL_LIMIT_S):
                    text = await response.content.read(4096)
            kind = response.headers.get("x-amzn-ErrorType", "")
            message = text.decode(errors="replace")
            failure = failure_of_answer(response.status, kind, message).of_upload()
            if failure.status is StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR:
                self._engine.service.refuse(self._keys())
            return failure
        self._response = response
        stream, upload = self._stream, self._effect.upload
        ended = asyncio.ensure_future(self._end_of_acks(response))
        try:
            async for data in response.content.iter_chunked(ACK_SLICE_BYTES):
                if len(self._answer) < _SHOWN:
                    self._answer += data[:_SHOWN]
                useful, more_due = self._engine.receive_ack(stream, upload, data)
                if not useful:
                    return Failure(
                        UNKNOWN,
                        f"the service sent more than {MAX_USELESS_ACK_BYTES} bytes of answer that "
                        f"acknowledge nothing; {self._answer_text()}",
                    )
                if _ACK_END in data:  # an ack is complete; more are expected while frames are held
                    owes = self._effect.acks and more_due
                    self._asked_since = self._engine.loop.time() if owes else None
                if len(data) == ACK_SLICE_BYTES:  # there may be more data
                    await asyncio.sleep(0)  # give other uploads a turn
        finally:
            ended.cancel()
        if self._body_ended.is_set():
            return Failure(OK, "")
        # The core decides whether that is a failure, because it knows which acks are missing.
        return Failure(OK, f"the service ended the upload; {self._answer_text()}")

    def _answer_text(self) -> str:
        """Return a description of the response for an error message."""
        if not self._answer:
            return "its answer was empty"
        begins = self._answer[:_SHOWN].decode(errors="replace")
        if '"EventType"' in begins:
            return f"its answer begins {begins!r}"
        return (
            f"its answer begins {begins!r}, which is not an ack: a captive portal or a proxy may "
            "have answered instead of the service; check network, proxies and endpoint_url"
        )

    async def _end_of_acks(self, response: aiohttp.ClientResponse) -> None:
        """Close the response if its last acks do not come in time after the end of the body."""
        await self._body_ended.wait()
        await asyncio.sleep(PUT_MEDIA_ACK_WAIT_S)
        response.close()

    def _url(self) -> str:
        return self._effect.endpoint.rstrip("/") + wire.PATHS["PutMedia"]

    def _signed_headers(self) -> dict[str, str]:
        effect = self._effect
        milliseconds = effect.start_timestamp // TICKS_PER_MS
        headers = {
            wire.HEADER_STREAM_NAME: self._stream.name,
            wire.HEADER_TIMECODE_TYPE: "ABSOLUTE" if effect.absolute_timecodes else "RELATIVE",
            # Milliseconds zero-padded: the C producer's unpadded ".5" for 5 ms is read as 500 ms.
            wire.HEADER_PRODUCER_START: f"{milliseconds // 1000}.{milliseconds % 1000:03d}",
            wire.HEADER_ACK_REQUIRED: "1" if effect.acks else "0",
            "Content-Type": wire.CONTENT_TYPE_JSON,
        }
        return self._engine.service.sign(self._url(), headers, self._keys())

    def _keys(self) -> AwsCredentials:
        """Return the credentials that sign the upload."""
        assert self._effect.auth is not None
        keys = self._effect.auth.data
        assert isinstance(keys, AwsCredentials)
        return keys

    async def _body(self) -> AsyncIterator[bytes]:
        """Yield the core's data until the stream ends; each item is sent with one write."""
        yield b""  # sends the request's head at once, so that a refusal comes before any media
        stream, upload, acks = self._stream, self._effect.upload, self._effect.acks
        lock, now, time = self._engine.lock, self._engine.now, self._engine.loop.time
        offline = stream.info.streaming_type is core.StreamingType.OFFLINE
        with contextlib.closing(MediaDump(stream.name, upload)) as dump:
            while True:
                # Clear the event before reading the core. Data that come after the read set it
                # again; if it were cleared after the read, their wake-up would be lost.
                self._data.clear()
                with lock:
                    buffers, status = stream.next_buffers(upload, PUT_MEDIA_CHUNK_BYTES, now())
                if buffers:
                    data = b"".join(buffers) if len(buffers) > 1 else bytes(buffers[0])
                    if dump.file is not None:
                        dump.write(data)
                    self._writing_since = time()
                    if acks and self._asked_since is None:
                        self._asked_since = self._writing_since
                    yield data
                    self._writing_since = None
                if status is core.ReadStatus.END_OF_STREAM:
                    self._body_ended.set()
                    return
                if status is not core.ReadStatus.MORE:
                    await self._data.wait()
                    if offline:
                        await asyncio.sleep(OFFLINE_GATHER_S)


def _reader_hangs(response: aiohttp.ClientResponse) -> bool:
    """Return whether the connection is closed but the reader of the response would wait forever.

    aiohttp causes this if the response contains an invalid chunk header.
    """
    connection, content = response.connection, response.content
    still_reading = content.exception() is None and not content.is_eof()
    return still_reading and connection is not None and connection.transport is None
