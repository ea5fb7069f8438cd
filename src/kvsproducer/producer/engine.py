"""The engine: drives one sans-I/O core, from any number of threads and one event loop.

One lock guards the core (the storage budget and the credentials are the client's, not a
stream's). A caller's thread takes it once for a `put_frame`; if the core then wants something
done, one flag and one `call_soon_threadsafe` wake the loop, however many frames follow. On the
loop, `_pump` carries out the core's effects (service calls, data for uploads) and calls
`on_events` if there are events. Joining bytes, callbacks and logging happen outside the lock. The
core's timer changes only when it is handled, so the alarm is set then, and not at each pump.

No wake-up may be lost. A flag is cleared before what it stands for is looked at: a poke that comes
during the look sets it again and leads to another look. Cleared after the look, that poke would be
taken for one that was answered. In the same way a thread reads `change_count` before it looks, and
waits only while the count is the same. A change wakes all threads that wait, since each waits for
something else.

Whether there are effects or events is asked without the lock. That is safe because a thread makes
them under the lock and pokes afterwards: if the pump misses them, that poke is still to come.

The blocking and the asyncio surface use this same engine; they differ in whose loop it runs on
and in how they wait (`block`, on a condition, or `wait`, on a future).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import TypeVar

from kvsproducer import client as core
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.heap import store_for
from kvsproducer.limits import MAX_QUEUED_EVENTS
from kvsproducer.producer.bugs import guarded, own_bug, report, told
from kvsproducer.producer.continuous_retry import ContinuousRetry
from kvsproducer.producer.ended import EndedStreams
from kvsproducer.producer.hooks import Hooks
from kvsproducer.producer.outcome import CLOSE_LIMIT_S
from kvsproducer.producer.unreachable import ReachWarnings
from kvsproducer.producer.upload import Upload
from kvsproducer.producer.waiting import Waiting
from kvsproducer.service.caching import AnswerCache
from kvsproducer.service.calls import answer, auth_info, reason_to_wait
from kvsproducer.service.clock import now, steady
from kvsproducer.service.config import Caching
from kvsproducer.service.credentials import AwsCredentials
from kvsproducer.service.exchange import TimeLimits
from kvsproducer.service.network import pause
from kvsproducer.service.results import OK, UNKNOWN, Failure, failure_of
from kvsproducer.service.service import Service
from kvsproducer.service.threads import in_daemon_thread
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["Alarm", "Engine"]

T = TypeVar("T")
log = logging.getLogger("kvsproducer.engine")

_TOKEN_CALLS = core.GetSecurityToken | core.GetStreamingToken  # reported with the provider's status
CALLS_AT_ONCE = 8  # ours: each has a connection


class Alarm:
    """Calls `ring` on the loop, once for each time that it is set to. Not thread-safe."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._due: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, due: int | None, now: int) -> None:
        """Ring at `due`, in ticks as `now`; None: not at all.

        Set again to the same time, before it has rung, it is left as it is.
        """
        if self._timer is not None:
            if due == self._due:
                return
            self._timer.cancel()
            self._timer = None
        self._due = due
        if due is not None:
            self._timer = self._loop.call_later(max(0, due - now) / TICKS_PER_SECOND, self._rings)

    @property
    def rings_at(self) -> float | None:
        """When it does, by the loop's clock; None while it is not set."""
        return None if self._timer is None else self._timer.when()

    def _rings(self) -> None:
        self._timer = None
        self._ring()


class Engine(Waiting):
    """Everything between one core client and the outside; see the module's text.

    `loop` must be running for anything to leave; all methods whose names begin with `on_` or
    that are coroutines run on it, the others in any thread.
    """

    def __init__(
        self,
        device_info: core.DeviceInfo,
        service: Service,
        loop: asyncio.AbstractEventLoop,
        hooks: Hooks | None = None,
    ) -> None:
        super().__init__(loop)
        self.service = service
        self.hooks = hooks
        self.poked = True  # so that `poke` does nothing before all is set up
        self.close_limit_s = CLOSE_LIMIT_S  # of leaving a `with` block
        self.closing = False  # no more streams
        self.closed = False
        self._told: deque[core.Event] = deque(maxlen=MAX_QUEUED_EVENTS)  # what is not the core's
        self.wall = now if hooks is None else hooks.clock(self._tell_fault)
        self.now = steady(self.wall())  # for the core and for all that waits
        dice = secrets.randbelow if hooks is None else hooks.dice(self._tell_fault)
        service.run_on(loop, self.wall)
        device_info.validate()
        store = store_for(device_info.storage_info)
        self._retry = ContinuousRetry(service.config.continuous_retry)
        self.core = core.Client(
            device_info,
            now=self.now(),
            dice=dice,
            wall=lambda _: self.wall(),
            store=store,
            retry_policy=self._retry,
        )
        limits = self.core.client_info
        service.time_limits = TimeLimits(
            limits.service_call_connection_timeout.total_seconds(),
            limits.service_call_completion_timeout.total_seconds(),
        )
        service.skew.on_change = self._tell_skew
        service.on_given_refused = partial(self.do, self.core.renew_auth)
        self.cache = AnswerCache(Caching(service.config.caching), service.config.caching_ticks)
        self.effects = self.core.effects
        self.active_queues = self.core.active_queues
        self.on_events: Callable[[], None] = lambda: None  # on the loop, when there are some
        self._core_closed = False
        self._alarm = Alarm(loop, self._on_timer)
        self.ended = EndedStreams()
        self._reach = ReachWarnings(service.endpoint_url or service.region_name)
        self.on_freed: Callable[[core.Stream], None] = lambda _: None  # under the lock
        self._failures: dict[str | None, str] = {}  # of the last calls and uploads, by stream
        self._streams: dict[str, core.Stream] = {}
        self._uploads: dict[tuple[str, int], asyncio.Task[Failure]] = {}
        self._running: dict[tuple[str, int], Upload] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._slots = asyncio.Semaphore(CALLS_AT_ONCE)
        self.poked = False
        loop.call_soon_threadsafe(self._set_alarm)

    # --- from any thread ---------------------------------------------------------------------

    def poke(self) -> None:
        """Have the loop look at the core soon; call it after the lock is released."""
        if self.poked or self.closed:
            return
        try:
            self.poked = True
            self.loop.call_soon_threadsafe(self._pump)
        except BaseException:  # Ctrl-C: the pump may not have been scheduled
            self.poked = False
            raise

    def do(self, action: Callable[..., T], *arguments: object, **named: object) -> T:
        """Call a method of the core under the lock, with the monotonic time as `now`."""
        self.refuse_reentry()
        try:
            with self.lock:
                return action(*arguments, now=self.now(), **named)
        finally:  # also if Ctrl-C was delivered at the end of the call, which had its effect
            self.poke()

    def open_stream(self, name: str, stream_info: core.StreamInfo) -> core.Stream:
        """Add a stream to the core, which makes its first call to the service at once."""
        self.refuse_reentry()
        with self.lock:
            if self.closing or self.closed:
                raise kvs_error(
                    StatusCode.CLIENT_BEING_SHUTDOWN, "the producer is closed", stream=name
                )
            if name in self._streams and self._streams[name].stopped:
                raise kvs_error(
                    StatusCode.STREAM_BEING_SHUTDOWN,
                    "the stream of this name is being closed: wait until its close() has returned",
                    stream=name,
                )
            stream = self.core.open_stream(replace(stream_info, name=name), now=self.now())
            self._streams[stream.name] = stream
        self.poke()
        return stream

    def free_stream(self, stream: core.Stream) -> core.FrameAccount:
        """Take a stream out of the core and return its final account; the name is free again.

        Frames that are not stored are dropped under the same lock as the account is drawn up. So an
        ack that arrives meanwhile counts either before, or not at all.
        """
        self.refuse_reentry()
        with self.lock:
            self._free(stream)
            account = stream.account()
        self.poke()
        if not self.closed:  # threads that wait for its frames look again
            self.loop.call_soon_threadsafe(self.settled)
        return account

    def _free(self, stream: core.Stream) -> None:
        """Free a stream and keep its final account, once; the caller holds the lock."""
        stream.free(now=self.now())
        if self._streams.get(stream.name) is stream:
            del self._streams[stream.name]
            self._retry.forget(stream.name)
            self._reach.forget(stream.name)
            self.cache.drop(stream.name)
            last_error = self.last_error(stream.name)
            account = stream.account()
            self.ended.add(stream.name, account, stream.failure, last_error, stream.drops)
            self._failures.pop(stream.name, None)
            self.on_freed(stream)

    def next_event(self) -> core.Event | None:
        """Return the oldest event not taken yet, or None; its chain of callbacks is run first."""
        if not (self.active_queues or self._told or self.hooks is not None):
            return None  # mostly; see the module's text
        with self.lock:
            reported = None if self.hooks is None else self.hooks.next_reported()
            event = self._told.popleft() if self._told and reported is None else None
            if event is None and reported is None:
                event = self.core.next_event()
        if event is not None:
            self._reach.look_at(event)
            if self.hooks is not None:
                self.hooks.notify(event)
        return event or reported

    # --- on the loop -------------------------------------------------------------------------

    def _pump(self) -> None:
        self.poked = False  # before the look; see the module's text
        if self.closed:
            return
        try:
            if self.effects:
                self._take_effects()
        except Exception as error:  # noqa: BLE001  reported, as that of a task is
            self.fail(error)
        try:
            if self.active_queues or self._told or self.hooks is not None:
                self.on_events()
        except Exception as error:  # an event handler failed; uploads are not affected
            if not (bug := own_bug(error)):
                raise
            self.fail(bug)

    def _take_effects(self) -> None:
        effects = []
        with self.lock:
            while self.effects and (effect := self.core.poll_effect()) is not None:
                effects.append(effect)
        for effect in effects:
            if isinstance(effect, core.DataAvailable):  # mostly
                upload = self._running.get((effect.stream, effect.upload))
                if upload is not None:
                    upload.wake()
            else:
                self._carry_out(effect)

    def _carry_out(self, effect: core.Effect) -> None:
        match effect:
            case core.PutStream():
                self._start_upload(effect)
            case core.Call():
                self._spawn(self._perform(effect))
            case core.UploadAborted():
                if (effect.stream, effect.upload) in self._uploads:
                    self._uploads[effect.stream, effect.upload].cancel()
            case core.SpaceAvailable():
                self.settled()
            case core.ConnectionTroubled():
                self._look_at(effect.stream)

    def _look_at(self, name: str) -> None:
        """A connection does badly: reset it when it is time to."""
        with self.lock:
            stream = self._streams.get(name)
            why = "" if stream is None else self._retry.troubled(stream, self.now())
        if stream is not None and why:
            self._reset_connection(stream, why)

    def peer_blocks(self, stream: core.Stream, blocked_s: float) -> None:
        """The peer of a stream's upload has taken no data for so long."""
        blocked = int(blocked_s * TICKS_PER_SECOND)
        if why := self._retry.blocked(stream, blocked, self.now()):
            self._reset_connection(stream, why)

    def _reset_connection(self, stream: core.Stream, why: str) -> None:
        log.warning("stream %s: the connection is reset: %s", stream.name, why)
        self._apply(self._reset, stream)

    @staticmethod
    def _reset(stream: core.Stream, now: int) -> None:
        if not stream.freed:  # meanwhile, in another thread
            stream.reset_connection(now, alive=False)

    @guarded
    def _on_timer(self) -> None:
        try:
            self._apply(self.core.handle_timer)
        finally:
            self._set_alarm()

    def _set_alarm(self) -> None:
        if not self.closed:
            self._alarm.set(self.core.next_timer(), self.now())

    def _apply(self, action: Callable[..., T], *arguments: object, **named: object) -> T:
        """Feed the core on the loop: like `do`, and have all that wait for a change look again."""
        with self.lock:
            result = action(*arguments, now=self.now(), **named)
        self.settled()
        if not self.poked:
            self.loop.call_soon(self._pump)  # unlike in `poke`, the loop is awake
            self.poked = True
        return result

    def _spawn(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[T]) -> None:
        """A task is over; an error is our own, for those of the world are results."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)

    def fail(self, bug: BaseException) -> None:
        """Fail all streams with an internal error, so that no caller waits forever."""
        with self.lock:
            again = self.core.failure is not None
            self.core.fail(told(bug))
        self.settled()
        if not again:  # else a pump that fails would schedule the next one, and so on
            self.poke()
        report(bug)

    async def due(self, call: core.Call) -> None:
        """Wait until a call may be made, or the network is back."""
        wait_s = (call.not_before - self.now()) / TICKS_PER_SECOND
        if wait_s > 0:
            await pause(wait_s)

    async def _perform(self, call: core.Call) -> None:
        await self.due(call)
        reply: object = None
        failure = Failure(OK, "")
        try:
            reply = await self.ask(call)
            own = reply if isinstance(reply, AwsCredentials) else None
            if isinstance(call, core.GetSecurityToken):
                self.service.use(own)
            if own is not None:
                reply = auth_info(own, self.service.skew.ticks)
            if reply is None:
                reply = await self._answer(call)
        except Exception as error:  # noqa: BLE001  the border: the world's become results
            if bug := own_bug(error):
                raise bug from None
            failure = failure_of(error).of_call()
            log.info("stream %s: %s: %s", call.stream, type(call).__name__, failure.detail)
            by_provider = isinstance(error, KvsError) and isinstance(call, _TOKEN_CALLS)
            if by_provider or not failure.said:
                with self.lock:
                    self.core.report(call, failure.status, failure.detail)
        waits = reason_to_wait(call, reply) if failure.result == OK else ""
        self._note(call.stream, failure, waits)
        detail = failure.detail or waits
        cause = None if failure.result == OK else failure.error_class
        self._apply(
            self.core.call_result, call, failure.result, answer=reply, detail=detail, cause=cause
        )

    async def _answer(self, call: core.Call) -> object:
        """What the service answers to a call, or has answered before."""
        began = self.now()
        cached = self.cache.look_up(call, began)
        if cached is not None:
            return cached.answer
        async with self._slots:
            reply = await answer(self.service, call)
        self.cache.keep(call, reply, began)
        return reply

    def _tell_skew(self, ticks: int) -> None:
        """The clocks of service and machine turn out to differ; in any thread."""
        if ticks:
            self._told.append(core.ClockSkewDetected(None, ticks))
            self.poke()

    def _tell_fault(self, detail: str) -> None:
        """A callback of the platform fails; in any thread, perhaps under the lock."""
        status = StatusCode.INTERNAL_ERROR
        self._told.append(core.ClientErrorReported(None, status, detail, fatal=False))
        self.poke()

    async def ask(self, call: core.Call) -> object:
        """What the chains of callbacks answer to a call, None when it is to be made.

        Raises what they fail with, SERVICE_CALL_TIMEOUT_ERROR when they take longer than a call.
        """
        if self.hooks is None or not self.hooks.handles(call):
            return None
        limit_s = self.core.client_info.service_call_completion_timeout.total_seconds()
        try:
            return await in_daemon_thread(self.hooks.ask, call, timeout_s=limit_s)
        except KvsError:  # some are TimeoutErrors too
            raise
        except TimeoutError as error:
            raise kvs_error(
                StatusCode.SERVICE_CALL_TIMEOUT_ERROR,
                f"a callback that was asked about {type(call).__name__} took over {limit_s:g} s",
                stream=call.stream,
            ) from error

    def _start_upload(self, effect: core.PutStream) -> None:
        assert effect.stream is not None
        stream = self._streams.get(effect.stream)
        if stream is None:
            return  # freed meanwhile
        key = effect.stream, effect.upload
        upload = Upload(self, stream, effect)
        task = self._spawn(upload.run())
        self._running[key], self._uploads[key] = upload, task
        task.add_done_callback(partial(self._upload_ended, stream, effect.upload))

    def upload_started(self, effect: core.PutStream, failure: Failure) -> None:
        """An upload's request is on its way, or will not be made."""
        if effect.stream is not None:
            self._retry.connected(effect.stream)
        self._apply(self.core.call_result, effect, failure.result, detail=failure.detail)

    def receive_ack(self, stream: core.Stream, upload: int, data: bytes) -> tuple[bool, bool]:
        """Hand bytes of an upload's response to the core; see `core.Stream.receive_ack`."""
        if self._retry.watches:  # seldom
            self._retry.heard(stream.name)
        return self._apply(stream.receive_ack, upload, data)

    @guarded
    def _upload_ended(self, stream: core.Stream, upload: int, task: asyncio.Task[Failure]) -> None:
        """An upload is over, also one that was cut before it began."""
        del self._uploads[stream.name, upload], self._running[stream.name, upload]
        if not task.cancelled() and task.exception() is not None:
            return  # an error of our own: the stream has failed with it
        failure = Failure(UNKNOWN, "the upload was cut off") if task.cancelled() else task.result()
        result = self._apply(stream.upload_ended, upload, failure.result, detail=failure.detail)
        if not task.cancelled():
            failure = replace(failure, result=result)
            self._note(stream.name, failure)
            self.cache.upload_ended(stream.name, failure)

    def _note(self, stream: str | None, failure: Failure, waits: str = "") -> None:
        if failure.result == OK and not waits:
            self._failures.pop(stream, None)
        elif stream is None or stream in self._streams:
            self._failures[stream] = waits or failure.detail

    def last_error(self, stream: str) -> str:
        """Return the message of the stream's, or the client's, last failed call or upload, or "".

        Of an upload that is under way it says what the service has not answered yet.
        """
        for (name, _), upload in list(self._running.items()):
            if name == stream and (owed := upload.owed()):
                return owed
        told = self._failures.get(stream) or self._failures.get(None, "")
        return told or self.ended.last_error(stream)

    async def shutdown(self) -> None:
        """Cut what is still open and give everything back; also when it is cancelled.

        Streams that are still open are freed: what they hold is reported as dropped.
        """
        self.closed = True
        try:
            self._alarm.set(None, self.now())
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            self.close_core()
            self.settled()
            await self.service.disconnect()

    def close_core(self) -> None:
        """The part of `shutdown` that needs no loop."""
        self.closed = True
        self.service.close()
        failure: KvsError | None = None
        with self.lock:
            if self._core_closed:
                return
            self._core_closed = True
            for stream in list(self._streams.values()):
                self._free(stream)
            self.core.close(self.now())
            try:
                self.core.store.close()
            except KvsError as error:
                failure = error
        self.notify()
        if failure is not None:
            log.warning("closing the content store: %s", failure)
