"""The engine: drives one sans-I/O core, from any number of threads and one event loop.

One lock guards the core (the storage budget and the credentials are the client's, not a
stream's). A caller's thread takes it once for a `put_frame`; if the core then wants something
done, one flag and one `call_soon_threadsafe` wake the loop, however many frames follow. On the
loop, `_pump` collects what the core asks for: service calls (in an executor, since botocore
blocks), uploads, timers, events. Joining bytes, callbacks and logging happen outside the lock.

The blocking and the asyncio surface use this same engine; they differ in whose loop it runs on
and in how they wait (`changed`, a condition, or `change`, a future).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from kvsproducer import client as core
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.heap import store_for
from kvsproducer.producer.calls import Answer, answer
from kvsproducer.producer.results import OK, UNKNOWN, Failure, failure_of
from kvsproducer.producer.service import Service
from kvsproducer.producer.tls import tls_context
from kvsproducer.producer.upload import Upload
from kvsproducer.status import KvsError, StatusCode, kvs_error

if TYPE_CHECKING:
    import ssl

__all__ = ["Engine", "now"]

T = TypeVar("T")
log = logging.getLogger("kvsproducer.engine")

_NO_OPEN_FRAGMENT = {
    StatusCode.MULTIPLE_CONSECUTIVE_EOFR,  # the one before is closed already
    StatusCode.CONTENT_VIEW_NO_MORE_ITEMS,  # nothing was put yet
}
CALL_THREADS = 8  # control-plane calls at once; each may wait for metadata or single sign-on


def now() -> int:
    """The time, in ticks of 100 ns since 1970: what `Frame.pts` takes for live media."""
    return time.time_ns() // 100


class Engine:
    """Everything between one core client and the outside; see the module's text.

    `loop` must be running for anything to leave; all methods whose names begin with `on_` or
    that are coroutines run on it, the others in any thread.
    """

    now = staticmethod(now)

    def __init__(
        self, device_info: core.DeviceInfo, service: Service, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.service = service
        self.loop = loop
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        device_info.validate()
        store = store_for(device_info.storage_info)
        self.core = core.Client(device_info, now=now(), dice=secrets.randbelow, store=store)
        self.effects = self.core.effects
        self.talkative = self.core.talkative
        self.on_pumped: Callable[[], None] = lambda: None
        self._change: asyncio.Future[None] | None = None
        self.poked = False
        self.closed = False
        self._timer: asyncio.TimerHandle | None = None
        self.last_failure = ""  # of a service call: what a time-out is explained by
        self._streams: dict[str, core.Stream] = {}
        self._uploads: dict[tuple[str, int], asyncio.Task[Failure]] = {}
        self._wakers: dict[tuple[str, int], Callable[[], None]] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._executor = ThreadPoolExecutor(CALL_THREADS, "kvsproducer-call")
        self._tls: ssl.SSLContext | bool | None = None

    # --- from any thread ---------------------------------------------------------------------

    def poke(self) -> None:
        """Have the loop look at the core soon; call it after the lock is released."""
        if not self.poked and not self.closed:
            self.poked = True
            try:
                self.loop.call_soon_threadsafe(self._pump)
            except RuntimeError:  # the loop is closed: fine if the producer was, just now
                if not self.closed:
                    raise

    def do(self, action: Callable[..., T], *arguments: object, **named: object) -> T:
        """Call a method of the core under the lock, with the time as `now`."""
        with self.lock:
            result = action(*arguments, now=now(), **named)
        self.poke()
        return result

    def open_stream(self, name: str, stream_info: core.StreamInfo) -> core.Stream:
        """Add a stream to the core; it starts to talk to the service by itself."""
        if self.closed:
            raise kvs_error(StatusCode.CLIENT_BEING_SHUTDOWN, "the producer is closed", stream=name)
        with self.lock:
            stream = self.core.open_stream(replace(stream_info, name=name), now=now())
            self._streams[stream.name] = stream
        self.poke()
        return stream

    def end_fragment(self, stream: core.Stream) -> None:
        """Close the fragment being written; nothing when none is open."""
        with self.lock:
            try:
                stream.put_frame(core.Frame.end_of_fragment(), now())
            except KvsError as error:
                if error.status not in _NO_OPEN_FRAGMENT:
                    raise
        self.poke()

    def free_stream(self, stream: core.Stream) -> None:
        """Take a stream out of the core; its name may be used again."""
        with self.lock:
            if self._streams.get(stream.name) is stream:
                del self._streams[stream.name]
            stream.free(now=now())
        self.poke()
        if not self.closed:
            self.loop.call_soon_threadsafe(self._settled)  # for those who wait for its frames

    def next_event(self) -> core.Event | None:
        """The oldest event that nobody has taken yet."""
        with self.lock:
            return self.core.next_event()

    # --- on the loop -------------------------------------------------------------------------

    def _pump(self) -> None:
        self.poked = False
        if self.closed:
            return
        with self.lock:
            effects = []
            while (effect := self.core.poll_effect()) is not None:
                effects.append(effect)
            timer = self.core.next_timer()
        for effect in effects:
            self._carry_out(effect)
        self._arm(timer)
        self.on_pumped()

    def _carry_out(self, effect: core.Effect) -> None:
        match effect:
            case core.DataAvailable():
                if (effect.stream, effect.upload) in self._wakers:
                    self._wakers[effect.stream, effect.upload]()
            case core.PutStream():
                self._start_upload(effect)
            case core.Call():
                self._spawn(self._perform(effect))
            case core.UploadAborted():
                if (effect.stream, effect.upload) in self._uploads:
                    self._uploads[effect.stream, effect.upload].cancel()
            case core.SpaceAvailable():
                self._settled()

    def _arm(self, timer: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if timer is not None and not self.closed:
            wait_s = max(0, timer - now()) / TICKS_PER_SECOND
            self._timer = self.loop.call_later(wait_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._apply(self.core.handle_timer)

    def _apply(self, action: Callable[..., T], *arguments: object, **named: object) -> T:
        """Feed the core on the loop: like `do`, and whoever waits for a change looks again."""
        with self.lock:
            result = action(*arguments, now=now(), **named)
        self._settled()
        self.poke()
        return result

    def _settled(self) -> None:
        with self.lock:
            self.changed.notify_all()
        if self._change is not None:
            self._change.set_result(None)
            self._change = None

    def _spawn(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def due(self, call: core.Call) -> None:
        """Wait until a call may be made."""
        wait_s = (call.not_before - now()) / TICKS_PER_SECOND
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _perform(self, call: core.Call) -> None:
        await self.due(call)
        reply: Answer = None
        failure = Failure(OK, "")
        try:
            reply = await self.in_executor(answer, self.service, call)
        except Exception as error:  # noqa: BLE001  the border: every failure becomes a result
            failure = failure_of(error)
            self.last_failure = failure.detail
            log.info("stream %s: %s: %s", call.stream, type(call).__name__, failure.detail)
        self._apply(
            self.core.call_result, call, failure.result, answer=reply, detail=failure.detail
        )

    def _start_upload(self, effect: core.PutStream) -> None:
        assert effect.stream is not None
        stream = self._streams.get(effect.stream)
        if stream is None:
            return  # freed meanwhile
        key = effect.stream, effect.upload
        upload = Upload(self, stream, effect)
        task = self._spawn(upload.run())
        self._wakers[key], self._uploads[key] = upload.wake, task
        task.add_done_callback(partial(self._upload_ended, stream, effect.upload))

    def upload_started(self, effect: core.PutStream) -> None:
        """An upload's request is on its way."""
        self._apply(self.core.call_result, effect, OK)

    def receive_ack(self, stream: core.Stream, upload: int, data: bytes) -> None:
        """Bytes of an upload's response."""
        self._apply(stream.receive_ack, upload, data)

    def holds_frames(self, stream: core.Stream) -> bool:
        """Whether a stream waits for the service to store something."""
        with self.lock:
            return stream.account().held > 0

    def _upload_ended(self, stream: core.Stream, upload: int, task: asyncio.Task[Failure]) -> None:
        """An upload is over, also one that was cut before it began."""
        del self._uploads[stream.name, upload], self._wakers[stream.name, upload]
        failure = Failure(UNKNOWN, "the upload was cut off") if task.cancelled() else task.result()
        self._apply(stream.upload_ended, upload, failure.result, detail=failure.detail)

    async def in_executor(self, work: Callable[..., T], *arguments: object) -> T:
        """Run a blocking function in the producer's own small pool."""
        return await self.loop.run_in_executor(self._executor, work, *arguments)

    async def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait on the loop until `done()` (asked under the lock) or until the time is over."""
        deadline = self.loop.time() + timeout_s
        while True:
            with self.lock:
                if done():
                    return True
            left_s = deadline - self.loop.time()
            if left_s <= 0:
                return False
            await self.changes(left_s)

    async def changes(self, timeout_s: float | None = None) -> bool:
        """Wait on the loop for the next change in the core; False when the time was over first."""
        if self._change is None:
            self._change = self.loop.create_future()
        change = self._change
        await asyncio.wait([change], timeout=timeout_s)
        return change.done()

    def tls(self) -> ssl.SSLContext | bool:
        """What uploads trust, as aiohttp takes it; made once."""
        if self._tls is None:
            self._tls = tls_context(self.service.verify)
        return self._tls

    async def shutdown(self) -> None:
        """Cut what is still open and give everything back; the core is not used after this."""
        self.closed = True
        self._arm(None)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._executor.shutdown(wait=False, cancel_futures=True)
        self.service.close()
        self._close_store()
        self._settled()

    def _close_store(self) -> None:
        with self.lock:
            try:
                self.core.store.close()
            except KvsError as error:
                log.warning("closing the content store: %s", error)
