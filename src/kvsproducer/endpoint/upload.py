"""One PutMedia request in flight: moves bytes between the connection, the session and the store.

Two tasks on the event loop: one reads the body, the other writes the acks, each as one HTTP chunk.
The store's thread reports through the loop. Reading pauses while the store lags behind by more
than `MAX_PENDING_BYTES`, while more than `MAX_UNSTORED` fragments of this request wait for it, and
while the peer does not take its acks. So a slow disk slows the producers down, memory stays
bounded, and a peer that sends many tiny fragments delays only itself. Between two pieces of work
the other requests have their turn.
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

MAX_PENDING_BYTES: Final = 128 * 1024 * 1024  # of all uploads together
MAX_UNSTORED: Final = 256  # fragments of one upload; more arrive within one slice of input
MAX_UNSENT: Final = 10_000  # acks of one upload that the peer has not taken
_WARN_BEHIND: Final = 10 * TICKS_PER_SECOND  # of media that is too fast, before it is logged
# What reading the body raises when the peer goes away or breaks the chunked coding.
_LOST: Final = (ConnectionError, aiohttp.ClientError, HttpProcessingError, web.RequestPayloadError)


class Body(Protocol):
    """What is read from: aiohttp's `StreamReader`, or something faulty."""

    async def readany(self) -> bytes:
        """Some bytes; b"" at the end."""


class Answer(Protocol):
    """What acks are written to: aiohttp's `StreamResponse`, or something faulty."""

    async def write(self, data: bytes) -> None:
        """Send a chunk."""


class Upload:
    """See the module.

    `retains()` tells whether the stream keeps fragments now; `now()` is monotonic, in ticks.
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
        self._waits_for_room = False
        self._counted = 0  # of the session's fragments, for the quota
        self._warned = False

    async def run(self, content: Body, response: Answer) -> None:
        """Until the session is finished or the peer is gone."""
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
        """The endpoint shuts down."""
        self._session.stop()
        self._wake.set()

    def stream_deleted(self) -> None:
        """The stream is gone."""
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
                await self._wait_for_room()

    async def _keep_to_quota(self) -> None:
        """Read nothing for a while after more fragments than the stream's quota allows."""
        count, self._counted = self._session.begun - self._counted, self._session.begun
        delay = self._live.rate.wait(count, self._now()) if count else 0
        if not delay:
            return
        if self._live.enforced:
            self._waits_for_room = True
            await asyncio.sleep(delay / TICKS_PER_SECOND)
            self._waits_for_room = False
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
        """Whether nothing more may be read for now."""
        return (
            self._store.pending_bytes > MAX_PENDING_BYTES
            or self._session.unstored > MAX_UNSTORED
            or self._session.unsent > MAX_UNSENT
        )

    async def _wait_for_room(self) -> None:
        self._waits_for_room = True
        while self._is_full:
            await self._stored.wait(1.0)
        self._waits_for_room = False
        self._session.resume_input(self._now())

    def _set_timer(self) -> None:
        """One timer that looks again when it fires: cheaper than a timeout for each read."""
        if (due := self._session.next_timer()) is not None:
            delay_s = max(0, due - self._now()) / TICKS_PER_SECOND
            self._timer = self._loop.call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        if self._waits_for_room:
            self._session.resume_input(self._now())
        self._session.handle_timer(self._now())
        self._hand_over()
        self._set_timer()

    async def _write_acks(self, response: Answer, reader: asyncio.Task[None]) -> None:
        while True:
            self._wake.clear()
            while (ack := self._session.next_ack()) is not None:
                await response.write(ack)
            if self._waits_for_room:
                self._stored.set()
            if self._session.finished:
                return
            if reader.done():
                reader.result()  # a bug in there must not become an endless request
            await self._wake.wait()

    def _hand_over(self) -> None:
        while (fragment := self._session.next_fragment()) is not None:
            self._store.append(self._live.arn, fragment).add_done_callback(
                partial(self._report, fragment.info.number)
            )
        if self._session.has_ack or not self._session.receiving:
            self._wake.set()

    def _report(self, number: str, done: Future[None]) -> None:
        """In the store's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._settle, number, done)

    def _settle(self, number: str, done: Future[None]) -> None:
        if done.exception() is None:
            self._session.fragment_stored(number, persisted=self._retains())
        else:
            self._session.fragment_failed(number)
        self._stored.set()
        self._live.changed.set()
        self._wake.set()
