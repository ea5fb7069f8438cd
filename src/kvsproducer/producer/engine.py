"""The engine: connects one sans-I/O core with an event loop and any number of threads.

One lock protects the core, because all streams share the storage and the credentials. A thread
takes it once for a `put_frame`. If the core then has effects (requests for the engine, such as a
service call), `poke` wakes the loop with one `call_soon_threadsafe`. It also sets the flag `poked`
so that later frames do not wake it again. On the loop, `_pump` carries out the effects, and calls
`on_events` if there are events. Joining bytes, callbacks and logging happen outside the lock. The
time of the core's timer changes only in `handle_timer`, so the alarm is set after that call and not
in each `_pump`.

No wake-up may be lost. `_pump` clears `poked` before it reads the core. A poke that comes during
the read sets the flag again and schedules another `_pump`. If the flag were cleared after the read,
that poke would be lost. In the same way a waiting thread reads `change_count` before it checks its
condition, and then waits only while the count is the same. A change wakes all waiting threads,
because each of them may wait for a different condition.

`effects` and `active_queues` (whether there are events) are read without the lock. That is safe: a
thread adds effects and events under the lock and pokes afterwards, so if `_pump` does not see them
yet, another `_pump` follows.

Blocking and asyncio producers use the same engine. They differ in the loop that the engine runs on,
and in how they wait (`block` on a condition, `wait` on a future).
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
from kvsproducer.producer.bugs import fail_on_error, find_bug, log_bug, to_public_error
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
CALLS_AT_ONCE = 8  # our choice: the number of concurrent calls; each has a connection


class Alarm:
    """A timer that calls `ring` on the loop at the time that was set. Not thread-safe."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._due: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, due: int | None, now: int) -> None:
        """Set the timer to call `ring` at `due`, or cancel it if `due` is None.

        Both times are in ticks of the same clock. If the timer is already set to `due`, it does not
        change.
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
        """When the timer goes off, in seconds of the loop's clock; None if it is not set."""
        return None if self._timer is None else self._timer.when()

    def _rings(self) -> None:
        self._timer = None
        self._ring()


class Engine(Waiting):
    """The I/O around one core client; the module's docstring describes how it works.

    Nothing is sent unless `loop` runs. Coroutines and methods whose names begin with `on_` run on
    the loop; the other methods may be called from any thread.
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
        self.poked = True  # so that `poke` has no effect before `__init__` has finished
        self.close_limit_s = CLOSE_LIMIT_S  # how long leaving a `with` block waits
        self.closing = False  # if True, no stream can be opened any more
        self.closed = False
        # The events that the engine itself creates; the core has a queue of its own.
        self._own_events: deque[core.Event] = deque(maxlen=MAX_QUEUED_EVENTS)
        self.wall = now if hooks is None else hooks.clock(self._report_fault)
        self.now = steady(self.wall())  # the monotonic clock of the core and of all waits
        dice = secrets.randbelow if hooks is None else hooks.dice(self._report_fault)
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
        service.skew.on_change = self._report_skew
        service.on_given_refused = partial(self.do, self.core.renew_auth)
        self.cache = AnswerCache(Caching(service.config.caching), service.config.caching_ticks)
        self.effects = self.core.effects
        self.active_queues = self.core.active_queues
        self.on_events: Callable[[], None] = lambda: None  # called on the loop if there are events
        self._core_closed = False
        self._alarm = Alarm(loop, self._on_timer)
        self.ended = EndedStreams()
        self._reach = ReachWarnings(service.endpoint_url or service.region_name)
        self.on_freed: Callable[[core.Stream], None] = lambda _: None  # called under the lock
        # Messages of the last call or upload of each stream if it failed; None is the client.
        self._failures: dict[str | None, str] = {}
        self._streams: dict[str, core.Stream] = {}
        self._uploads: dict[tuple[str, int], asyncio.Task[Failure]] = {}
        self._running: dict[tuple[str, int], Upload] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._slots = asyncio.Semaphore(CALLS_AT_ONCE)
        self.poked = False
        loop.call_soon_threadsafe(self._set_alarm)

    # --- from any thread ---------------------------------------------------------------------

    def poke(self) -> None:
        """Schedule `_pump` on the loop; the caller must have released the lock."""
        if self.poked or self.closed:
            return
        try:
            self.poked = True
            self.loop.call_soon_threadsafe(self._pump)
        except BaseException:  # Ctrl-C: the pump may not have been scheduled
            self.poked = False
            raise

    def do(self, action: Callable[..., T], *arguments: object, **named: object) -> T:
        """Call a method of the core under the lock; its argument `now` is the monotonic time."""
        self.refuse_reentry()
        try:
            with self.lock:
                return action(*arguments, now=self.now(), **named)
        finally:  # the call has had its effect also if Ctrl-C was raised at its end
            self.poke()

    def open_stream(self, name: str, stream_info: core.StreamInfo) -> core.Stream:
        """Add a stream to the core, which starts its first service call at once."""
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
        """Remove a stream from the core and return its final account; its name can be used again.

        Frames that are not stored are dropped, and the account is read before the lock is released.
        An ack that arrives meanwhile is therefore either counted in the account or ignored.
        """
        self.refuse_reentry()
        with self.lock:
            self._free(stream)
            account = stream.account()
        self.poke()
        if not self.closed:  # wake the threads that wait for frames of this stream
            self.loop.call_soon_threadsafe(self.wake_waiters)
        return account

    def _free(self, stream: core.Stream) -> None:
        """Free a stream and keep its final account once; the caller must hold the lock."""
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
        """Return the next event, or None; the event's callbacks are run first."""
        if not (self.active_queues or self._own_events or self.hooks is not None):
            return None  # the common case, without the lock; see the module's docstring
        with self.lock:
            reported = None if self.hooks is None else self.hooks.next_reported()
            event = self._own_events.popleft() if self._own_events and reported is None else None
            if event is None and reported is None:
                event = self.core.next_event()
        if event is not None:
            self._reach.check(event)
            if self.hooks is not None:
                self.hooks.notify(event)
        return event or reported

    # --- on the loop -------------------------------------------------------------------------

    def _pump(self) -> None:
        self.poked = False  # clear it before reading the core; see the module's docstring
        if self.closed:
            return
        try:
            if self.effects:
                self._take_effects()
        except Exception as error:  # noqa: BLE001  `fail` reports it
            self.fail(error)
        try:
            if self.active_queues or self._own_events or self.hooks is not None:
                self.on_events()
        except Exception as error:  # an event handler failed; uploads are not affected
            if not (bug := find_bug(error)):
                raise
            self.fail(bug)

    def _take_effects(self) -> None:
        effects = []
        with self.lock:
            while self.effects and (effect := self.core.poll_effect()) is not None:
                effects.append(effect)
        for effect in effects:
            if isinstance(effect, core.DataAvailable):  # the most frequent effect
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
                self.wake_waiters()
            case core.ConnectionTroubled():
                self._check_connection(effect.stream)

    def _check_connection(self, name: str) -> None:
        """Reset a stream's connection if its signs of trouble require it."""
        with self.lock:
            stream = self._streams.get(name)
            why = "" if stream is None else self._retry.check_connection(stream, self.now())
        if stream is not None and why:
            self._reset_connection(stream, why)

    def report_blocked(self, stream: core.Stream, blocked_s: float) -> None:
        """Reset the connection if the service has read no data for too long (`blocked_s`)."""
        blocked = int(blocked_s * TICKS_PER_SECOND)
        if why := self._retry.check_blocked(stream, blocked, self.now()):
            self._reset_connection(stream, why)

    def _reset_connection(self, stream: core.Stream, why: str) -> None:
        log.warning("stream %s: the connection is reset: %s", stream.name, why)
        self._apply(self._reset, stream)

    @staticmethod
    def _reset(stream: core.Stream, now: int) -> None:
        if not stream.freed:  # another thread may have freed it meanwhile
            stream.reset_connection(now, alive=False)

    @fail_on_error
    def _on_timer(self) -> None:
        try:
            self._apply(self.core.handle_timer)
        finally:
            self._set_alarm()

    def _set_alarm(self) -> None:
        if not self.closed:
            self._alarm.set(self.core.next_timer(), self.now())

    def _apply(self, action: Callable[..., T], *arguments: object, **named: object) -> T:
        """Call a method of the core on the loop, like `do`, and wake all threads that wait."""
        with self.lock:
            result = action(*arguments, now=self.now(), **named)
        self.wake_waiters()
        if not self.poked:
            self.loop.call_soon(self._pump)  # this is the loop's thread, so no need to wake it
            self.poked = True
        return result

    def _spawn(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[T]) -> None:
        """Handle the end of a task. A task raises only for a bug; failures are results."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)

    def fail(self, bug: BaseException) -> None:
        """Fail all streams with an internal error, so that no caller waits forever."""
        with self.lock:
            again = self.core.failure is not None
            self.core.fail(to_public_error(bug))
        self.wake_waiters()
        if not again:  # else a failing `_pump` would schedule itself endlessly
            self.poke()
        log_bug(bug)

    async def due(self, call: core.Call) -> None:
        """Wait until the earliest time of a call, or until the network is back."""
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
        except Exception as error:  # noqa: BLE001  all failures but bugs become results
            if bug := find_bug(error):
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
        """Return the answer to a call, from the cache or from the service."""
        began = self.now()
        cached = self.cache.look_up(call, began)
        if cached is not None:
            return cached.answer
        async with self._slots:
            reply = await answer(self.service, call)
        self.cache.keep(call, reply, began)
        return reply

    def _report_skew(self, ticks: int) -> None:
        """Queue an event for a clock skew; may be called in any thread."""
        if ticks:
            self._own_events.append(core.ClockSkewDetected(None, ticks))
            self.poke()

    def _report_fault(self, detail: str) -> None:
        """Queue an event for a failed platform callback.

        May be called in any thread, also if the thread holds the lock.
        """
        status = StatusCode.INTERNAL_ERROR
        self._own_events.append(core.ClientErrorReported(None, status, detail, fatal=False))
        self.poke()

    async def ask(self, call: core.Call) -> object:
        """Return the callbacks' answer to a call, or None if the service must be called.

        Raises what the callbacks raise, and SERVICE_CALL_TIMEOUT_ERROR if they take longer than the
        time limit of a call.
        """
        if self.hooks is None or not self.hooks.handles(call):
            return None
        limit_s = self.core.client_info.service_call_completion_timeout.total_seconds()
        try:
            return await in_daemon_thread(self.hooks.ask, call, timeout_s=limit_s)
        except KvsError:  # some of them are TimeoutErrors, which the next branch would change
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
            return  # the stream was freed meanwhile
        key = effect.stream, effect.upload
        upload = Upload(self, stream, effect)
        task = self._spawn(upload.run())
        self._running[key], self._uploads[key] = upload, task
        task.add_done_callback(partial(self._upload_ended, stream, effect.upload))

    def upload_started(self, effect: core.PutStream, failure: Failure) -> None:
        """Report to the core that an upload's request starts, or the failure to start it."""
        if effect.stream is not None:
            self._retry.connection_opened(effect.stream)
        self._apply(self.core.call_result, effect, failure.result, detail=failure.detail)

    def receive_ack(self, stream: core.Stream, upload: int, data: bytes) -> tuple[bool, bool]:
        """Pass bytes of acks to the core; return what `core.Stream.receive_ack` returns."""
        if self._retry.watches:  # rare: only if a stream had signs of trouble
            self._retry.ack_received(stream.name)
        return self._apply(stream.receive_ack, upload, data)

    @fail_on_error
    def _upload_ended(self, stream: core.Stream, upload: int, task: asyncio.Task[Failure]) -> None:
        """Handle the end of an upload, also of one that was cancelled before it started."""
        del self._uploads[stream.name, upload], self._running[stream.name, upload]
        if not task.cancelled() and task.exception() is not None:
            return  # a bug: all streams have failed with it
        failure = (
            Failure(UNKNOWN, "the upload was cancelled") if task.cancelled() else task.result()
        )
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
        """Return the message of the last call or upload of the stream or client if it failed.

        Returns "" if it succeeded. If an upload is running and the service is stalling, the message
        says so.
        """
        for (name, _), upload in list(self._running.items()):
            if name == stream and (message := upload.stall_message()):
                return message
        message = self._failures.get(stream) or self._failures.get(None, "")
        return message or self.ended.last_error(stream)

    async def shutdown(self) -> None:
        """Cancel all tasks, and close the core and the connections, even if cancelled itself.

        Open streams are freed, and the frames that they hold are reported as dropped.
        """
        self.closed = True
        try:
            self._alarm.set(None, self.now())
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            self.close_core()
            self.wake_waiters()
            await self.service.disconnect()

    def close_core(self) -> None:
        """Close the core: the part of `shutdown` that needs no loop."""
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
