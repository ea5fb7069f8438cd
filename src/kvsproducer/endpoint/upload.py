"""Run one PutMedia request: connect the HTTP connection, the session and the store.

There are two tasks on the event loop: one reads the body, the other sends each ack as one HTTP
chunk. The store's thread reports its results through the event loop. Reading pauses in three cases:
more than `MAX_PENDING_BYTES` bytes wait to be stored; more than `MAX_UNSTORED` fragments of this
request wait to be stored; or the client does not read its acks. So a slow disk slows the producers
down, memory use is limited, and a client that sends many tiny fragments delays only its own upload.
After each piece of work, the task lets other requests run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Final, Protocol

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.endpoint.live import LiveStream, Signal
from kvsproducer.endpoint.put_media import PutMediaSession
from kvsproducer.endpoint.store import Store
from kvsproducer.limits import SERVICE_MAX_FRAGMENTS_PER_S

__all__ = ["Answer", "Body", "Upload"]

_log = logging.getLogger(__name__)

MAX_PENDING_BYTES: Final = 128 * 1024 * 1024  # for all uploads together
MAX_UNSTORED: Final = 256  # fragments of one upload; more arrive within one slice of input
MAX_UNSENT: Final = 10_000  # acks of one upload that the client has not read
_WARN_BEHIND: Final = (
    10 * TICKS_PER_SECOND
)  # how far media may exceed the quota before this is logged
# Errors of reading the body if the client disconnects or violates the chunked coding.
_LOST: Final = (ConnectionError, aiohttp.ClientError, HttpProcessingError, web.RequestPayloadError)


class Body(Protocol):
    """The source of a body: aiohttp's `StreamReader`, or `FaultyUpload`."""

    async def readany(self) -> bytes:
        """Return some bytes, or b"" at the end."""


class Answer(Protocol):
    """The destination of acks: aiohttp's `StreamResponse`, or `FaultyUpload`."""

    async def write(self, data: bytes) -> None:
        """Send a chunk."""


class Upload:
    """One active PutMedia request; see the module's docstring.

    `retains()` returns whether the stream currently has retention. `now()` returns a monotonic time
    in ticks.
    """

    def __init__(
        self,
        session: PutMediaSession,
        live: LiveStream,
        store: Store,
        *,
        stored: Signal,
        retains: Callable[[], bool],
        now: Callable[[], int],
    ) -> None:
        self._session = session
        self._live = live
        self._store = store
        self._stored = stored
        self._retains = retains
        self._now = now
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waits_for_space = False
        self._counted = 0  # fragments of the session that were counted for the quota
        self._warned = False

    async def run(self, content: Body, response: Answer) -> None:
        """Run until the session is finished or the client has closed the connection."""
        self._live.uploads.add(self)
        self._set_timer()
        reader = asyncio.create_task(self._read(content))
        reader.add_done_callback(lambda _: self._wake.set())
        try:
            await self._write_acks(response, reader)
        except ConnectionError:
            self._session.connection_lost()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            self._live.uploads.discard(self)
            self._live.changed.set()
            if self._session.refusal:
                _log.warning("%s: upload refused, %s", self._live.arn, self._session.refusal)

    def stop(self) -> None:
        """End the upload because the endpoint shuts down."""
        self._session.stop()
        self._wake.set()

    def stream_deleted(self) -> None:
        """End the upload because its stream was deleted."""
        self._session.stream_deleted()
        self._wake.set()

    async def _read(self, content: Body) -> None:
        session = self._session
        while session.receiving:
            if session.has_input:
                await asyncio.sleep(0)
                session.continue_input(self._now())
            else:
                try:
                    data = await content.readany()
                except _LOST:
                    session.connection_lost()
                else:
                    if data:
                        session.receive_data(data, self._now())
                    else:
                        session.receive_eof(self._now())
            self._hand_over()
            await self._keep_to_quota()
            if self._is_full:
                await self._wait_for_space()

    async def _keep_to_quota(self) -> None:
        """Pause reading if the stream has begun more fragments than its quota allows."""
        count, self._counted = self._session.begun - self._counted, self._session.begun
        delay = self._live.rate.wait(count, self._now()) if count else 0
        if not delay:
            return
        if self._live.enforced:
            self._waits_for_space = True
            await asyncio.sleep(delay / TICKS_PER_SECOND)
            self._waits_for_space = False
            self._session.resume_input(self._now())
        elif delay > _WARN_BEHIND and not self._warned:
            self._warned = True
            _log.warning(
                "%s: this upload sends more than %d fragments a second; AWS would slow it down"
                " (as `kvs serve --quotas` does)",
                self._live.arn,
                SERVICE_MAX_FRAGMENTS_PER_S,
            )

    @property
    def _is_full(self) -> bool:
        """Whether reading must pause."""
        return (
            self._store.pending_bytes > MAX_PENDING_BYTES
            or self._session.unstored > MAX_UNSTORED
            or self._session.unsent > MAX_UNSENT
        )

    async def _wait_for_space(self) -> None:
        self._waits_for_space = True
        while self._is_full:
            await self._stored.wait(1.0)
        self._waits_for_space = False
        self._session.resume_input(self._now())

    def _set_timer(self) -> None:
        """Start the session's timer. When it fires, it handles what is due and starts again.

        One timer is cheaper than a timeout for each read.
        """
        if (due := self._session.next_timer()) is not None:
            delay_s = max(0, due - self._now()) / TICKS_PER_SECOND
            self._timer = self._loop.call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        if self._waits_for_space:
            self._session.resume_input(self._now())
        self._session.handle_timer(self._now())
        self._hand_over()
        self._set_timer()

    async def _write_acks(self, response: Answer, reader: asyncio.Task[None]) -> None:
        while True:
            self._wake.clear()
            while (ack := self._session.next_ack()) is not None:
                _log.debug("%s: ack %s", self._live.arn, ack.decode().strip())
                await response.write(ack)
            if self._waits_for_space:
                self._stored.set()
            if self._session.finished:
                return
            if reader.done():
                reader.result()  # a bug in the reader must not leave the request open
            await self._wake.wait()

    def _hand_over(self) -> None:
        while (fragment := self._session.next_fragment()) is not None:
            self._store.append(self._live.arn, fragment).add_done_callback(
                partial(self._report, fragment.info.number)
            )
        if self._session.has_ack or not self._session.receiving:
            self._wake.set()

    def _report(self, number: str, done: Future[None]) -> None:
        """Report the result of storing a fragment to the event loop. Runs in the store's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: no task is left to report to
            self._loop.call_soon_threadsafe(self._settle, number, done)

    def _settle(self, number: str, done: Future[None]) -> None:
        if done.exception() is None:
            _log.debug("%s: stored fragment %s", self._live.arn, number)
            self._session.fragment_stored(number, persisted=self._retains())
        else:
            self._session.fragment_failed(number)
        self._stored.set()
        self._live.changed.set()
        self._wake.set()
