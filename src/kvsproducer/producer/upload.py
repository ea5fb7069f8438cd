"""One PutMedia request: the upload's bytes out, the service's acks in, both at once.

The request stays open as long as the core wants it (an hour is normal), so it has no total
time-out. New data go out at once: the body waits on an event that the core's `DataAvailable`
effect sets. Those of an offline stream are gathered for some milliseconds first: nobody
watches it live, and a write for each frame would take more CPU than all the rest. What the core
hands out as many small buffers leaves as one write, because on TLS each write is a record. The
response's bytes go to the core as they come.

A request may idle for as long as there is nothing to send; but a peer that takes nothing of what
is sent, or answers nothing to it, for `STALL_S` is given up, like libcurl's low-speed limit in the
C producer. `run` returns how it ended, as a result for the core's `upload_ended`.
Wire facts: the PutMedia page of the API reference.
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
from kvsproducer.producer.bugs import own_bug
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
_REFUSAL_LIMIT_S = 5.0  # ours: for the text of a refusal, whose status has come already
_SHOWN = 60  # bytes of an answer in an error message
VARIABLE: Final = "KVS_DEBUG_DUMP_DATA_FILE_DIR"
_ACK_END = b"}"  # less than an ack is no word: so slow a peer is as good as silent


class MediaDump:
    """A copy of what an upload sends, for debugging: `<folder>/<stream>_<upload>.mkv`.

    The folder is the value of KVS_DEBUG_DUMP_DATA_FILE_DIR, as in AWS's C producer; nothing is
    done while that is not set. The first failure is logged and ends the copy, not the upload.
    """

    def __init__(self, stream: str, upload: int) -> None:
        self.file: BinaryIO | None = None  # None: nothing is copied
        folder = os.environ.get(VARIABLE)
        if not folder:
            return
        self._path = Path(folder) / f"{stream}_{upload}.mkv"
        try:
            self.file = self._path.open("wb")
        except OSError as error:
            self._give_up(error)

    def write(self, data: bytes) -> None:
        """Append what is sent."""
        if self.file is not None:
            try:
                self.file.write(data)
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """End the file."""
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
    """Who runs uploads: an engine, as far as an upload knows it."""

    loop: asyncio.AbstractEventLoop
    lock: CoreLock
    service: Service

    def now(self) -> int:
        """The monotonic time in ticks."""

    async def ask(self, call: core.Call) -> object:
        """Let callbacks answer a call; raises what they fail with."""

    async def due(self, call: core.Call) -> None:
        """Wait until a call may be made, or the network is back."""

    def upload_started(self, effect: core.PutStream, failure: Failure) -> None:
        """An upload's request is on its way, or will not be made."""

    def receive_ack(self, stream: core.Stream, upload: int, data: bytes) -> tuple[bool, bool]:
        """Hand bytes of acks to the core; see `core.Stream.receive_ack`."""

    def peer_blocks(self, stream: core.Stream, blocked_s: float) -> None:
        """The peer of a stream's upload has taken no data for so long."""


class Upload:
    """Carries one `PutStream` effect from its request line to its last ack.

    Lives on the engine's loop; every touch of the core is under the engine's lock.
    """

    def __init__(self, engine: Owner, stream: core.Stream, effect: core.PutStream) -> None:
        self._engine = engine
        self._stream = stream
        self._effect = effect
        self._data = asyncio.Event()
        self.wake = self._data.set  # there are data to send, or the end of the stream
        self._body_ended = asyncio.Event()
        stale_s = stream.info.connection_staleness_duration.total_seconds()
        self._look_s = min(STALL_S, stale_s or STALL_S) / 2  # how often the peer is looked at
        self._answer = b""  # its first bytes
        self._response: aiohttp.ClientResponse | None = None
        # What the peer owes since when, in the loop's time; None while it owes nothing.
        self._writing_since: float | None = None
        self._asked_since: float | None = None

    async def run(self) -> Failure:
        """Send and receive; returns how it ended, and raises errors of our own only."""
        engine, effect = self._engine, self._effect
        try:
            await engine.due(effect)
            failure = await self._permission()
            engine.upload_started(effect, failure)
            if failure.result == OK:
                failure = await self._watched_exchange()
        except Exception as error:  # noqa: BLE001  the border: the world's become results
            if bug := own_bug(error):
                raise bug from None
            failure = failure_of(error)
        if failure.detail:
            log.info("stream %s upload %d: %s", effect.stream, effect.upload, failure.detail)
        return failure

    async def _permission(self) -> Failure:
        """What the callbacks say that are asked before an upload; OK without any."""
        try:
            await self._engine.ask(self._effect)
        except KvsError as error:
            return failure_of(error)
        return Failure(OK, "")

    async def _watched_exchange(self) -> Failure:
        """The exchange, ended when the peer stalls or the connection is gone."""
        stalled: Failure | None = None
        exchange = asyncio.ensure_future(self._exchange())
        try:
            while not exchange.done() and stalled is None:
                await asyncio.wait([exchange], timeout=self._look_s)
                stalled = self._stall()
                if self._writing_since is not None:
                    blocked_s = self._engine.loop.time() - self._writing_since
                    self._engine.peer_blocks(self._stream, blocked_s)
        finally:
            if not exchange.done():
                exchange.cancel()
                await asyncio.wait([exchange])
        return exchange.result() if stalled is None or not exchange.cancelled() else stalled

    def _stall(self) -> Failure | None:
        """What the peer fails to do, None while it does not."""
        overdue = self._engine.loop.time() - STALL_S
        if self._response is not None and _is_left_behind(self._response):
            return Failure(UNKNOWN, "the service's response is incomplete: it is not valid HTTP")
        if self._writing_since is not None and self._writing_since < overdue:
            return Failure(TIMEOUT, f"the service took no data for {STALL_S:g} s")
        if self._asked_since is not None and self._asked_since < overdue:
            return Failure(TIMEOUT, f"the service did not answer for {STALL_S:g} s")
        return None

    def owed(self) -> str:
        """What the peer fails to do so far, "" when that is nothing; in any thread."""
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
                    # A body that waits for data does not delay the answer's head.
                    service, took = self._engine.service, monotonic() - sent
                    service.skew.observe(response.headers, took, service.now())
                    return await self._take_answer(response)
            finally:
                await close_sockets(sockets)

    async def _take_answer(self, response: aiohttp.ClientResponse) -> Failure:
        """Hand acks to the core until the answer ends; returns what its end means."""
        if response.status != OK:
            text = b""
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REFUSAL_LIMIT_S):
                    text = await response.content.read(4096)
            kind = response.headers.get("x-amzn-ErrorType", "")
            told = text.decode(errors="replace")
            failure = failure_of_answer(response.status, kind, told).of_upload()
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
                if _ACK_END in data:  # while frames are held, the peer owes another ack
                    owes = self._effect.acks and more_due
                    self._asked_since = self._engine.loop.time() if owes else None
                if len(data) == ACK_SLICE_BYTES:  # more may wait
                    await asyncio.sleep(0)  # lets other uploads have the lock and the loop
        finally:
            ended.cancel()
        if self._body_ended.is_set():
            return Failure(OK, "")
        # Whether that was a failure is the core's to say: it knows what was acknowledged.
        return Failure(OK, f"the service ended the upload; {self._answer_text()}")

    def _answer_text(self) -> str:
        """Describe the answer for an error message."""
        if not self._answer:
            return "its answer was empty"
        begins = self._answer[:_SHOWN].decode(errors="replace")
        if '"EventType"' in begins:
            return f"its answer begins {begins!r}"
        return (
            f"its answer begins {begins!r}, which is no ack: a captive portal or a proxy may have "
            "answered in its place; check network, proxies and endpoint_url"
        )

    async def _end_of_acks(self, response: aiohttp.ClientResponse) -> None:
        """Bound the wait for the service's last word after our body's end."""
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
        """Return what the upload is signed with."""
        assert self._effect.auth is not None
        keys = self._effect.auth.data
        assert isinstance(keys, AwsCredentials)
        return keys

    async def _body(self) -> AsyncIterator[bytes]:
        """Yield what the core has to send, one piece for a write, until the end of the stream."""
        yield b""  # sends the request's head at once, so that a refusal is seen before any data
        stream, upload, acks = self._stream, self._effect.upload, self._effect.acks
        lock, now, time = self._engine.lock, self._engine.now, self._engine.loop.time
        offline = stream.info.streaming_type is core.StreamingType.OFFLINE
        with contextlib.closing(MediaDump(stream.name, upload)) as dump:
            while True:
                self._data.clear()  # before the look: data that come after it set it again
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


def _is_left_behind(response: aiohttp.ClientResponse) -> bool:
    """Whether the connection is gone and whoever reads the answer is not told.

    So aiohttp leaves it when a chunk's head in the middle of the answer is none.
    """
    connection, content = response.connection, response.content
    untold = content.exception() is None and not content.is_eof()
    return untold and connection is not None and connection.transport is None
