"""The client: credentials, a device, and the streams that share its storage.

Source: AWS's client object and its state machine (NEW, AUTH, CREATE, READY). The client does no
I/O. The *shell* is the code that runs it: it has the threads, sockets and clocks. There are four
kinds of traffic between the two, and no method waits or calls back:

* commands: `open_stream`, the methods of streams, `close`
* results of service calls: `call_result`
* effects: requests for the shell, such as a service call: `poll_effect`
* events and timers: `next_event`, `next_timer`

After any call, the shell polls effects until there are none.

The client is not thread-safe: the shell holds its lock around every call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sized
from types import MappingProxyType
from typing import Final

from kvsproducer import limits
from kvsproducer.client.backoff import Backoff
from kvsproducer.client.control import StreamControl
from kvsproducer.client.core import StreamCore
from kvsproducer.client.device_info import DeviceInfo, StorageInfo
from kvsproducer.client.effects import (
    AuthInfo,
    AuthType,
    Call,
    CreateDevice,
    Effect,
    GetSecurityToken,
)
from kvsproducer.client.events import ClientErrorReported, ClientReady, Event, EventQueue
from kvsproducer.client.metrics import ClientMetrics, check_metrics_version
from kvsproducer.client.retry import GiveUp, RetryPolicy
from kvsproducer.client.states import (
    CLIENT_STATES,
    ClientState,
    Input,
    On,
    StateMachine,
    result_status,
    with_cause,
)
from kvsproducer.client.stream import Stream
from kvsproducer.client.stream_info import StreamInfo
from kvsproducer.duration import TICKS_PER_SECOND, ticks
from kvsproducer.heap import ContentStore, ReferenceStore, StorageType
from kvsproducer.mkv.generator import MkvGenerator
from kvsproducer.status import KvsError, StatusCode, kvs_error, with_detail

__all__ = ["Client"]

_S = StatusCode
_C = ClientState
_RESULT_OK: Final = 200


class Client:
    """A producer client on one device.

    There are two clocks. `now`, here and in every method, is a monotonic time in ticks. All timers,
    timeouts and durations use it. `wall(now)` returns the wall-clock time at `now`, in ticks since
    1970. It may be set forward or back, and is used for timestamps and expirations only. By default
    both are the same.

    `dice(n)` returns a uniform random int below n. `store` is the content store (default: a store
    by reference, for `StorageType.IN_MEM`; see `heap.store_for`). `retry_policy` decides whether
    used-up retries are a failure (default: they are).

    Raises the errors of `DeviceInfo.validate`, and INVALID_ARG if a store of another type is
    missing (NON_ALIGNED_HEAP_WITH_IN_CONTENT_STORE_ALLOCATORS for IN_MEM_CONTENT_STORE_ALLOC).
    """

    def __init__(
        self,
        device_info: DeviceInfo,
        *,
        now: int,
        dice: Callable[[int], int],
        wall: Callable[[int], int] = int,
        store: ContentStore | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        device_info.validate()
        self.retry_policy = retry_policy or GiveUp()
        self._restarts = 0  # how often it started over without getting credentials and a device
        self.device_info = device_info
        self.client_info = device_info.client_info.with_defaults()
        self._period = ticks(self.client_info.reserved_callback_period)
        self.device_name = device_info.name or self._random_name(dice)
        self.roll = dice
        self.wall = wall
        self.auth: AuthInfo | None = None
        self._store = store or _store_by_reference(device_info.storage_info)
        self._backoff = Backoff(dice)
        self._machine = StateMachine("client", CLIENT_STATES, _C.NEW)
        self._effects: deque[Effect] = deque()
        self._waiting: dict[str, None] = {}  # streams whose writers wait for space in the store
        self._active_queues: deque[EventQueue] = deque()  # the queues that have events
        self._events = EventQueue(limits.MAX_QUEUED_EVENTS, self._active_queues, first=True)
        self._streams: dict[str, Stream] = {}
        self._controls: dict[str, StreamControl] = {}
        self._pending: Call | None = None
        self._call_count = 0
        self._upload_count = 0
        self._wait = 0
        self._created = False
        self._ready_reported = False
        self.closed = False  # `close` was called
        self._failure: KvsError | None = None
        self._timer: int | None = now + limits.IDLE_CHECK_START_DELAY
        self._move(On.START, now)

    @staticmethod
    def _random_name(dice: Callable[[int], int]) -> str:
        alphabet = limits.GENERATED_NAME_ALPHABET
        return "".join(alphabet[dice(len(alphabet))] for _ in range(limits.DEFAULT_DEVICE_NAME_LEN))

    # --- properties -----------------------------------------------------------------------------
    @property
    def state(self) -> ClientState:
        """The current state of the client's state machine."""
        return self._machine.state

    @property
    def failure(self) -> KvsError | None:
        """The error with which the client failed, or None."""
        return self._failure

    @property
    def streams(self) -> Mapping[str, Stream]:
        """The open streams, by name; a stream is open until it is freed."""
        return MappingProxyType(self._streams)

    @property
    def store(self) -> ContentStore:
        """The content store that the streams share."""
        return self._store

    # --- commands -------------------------------------------------------------------------------
    def open_stream(self, stream_info: StreamInfo, now: int) -> Stream:
        """Return a new stream; it accepts frames at once and becomes ready when its calls succeed.

        Raises CLIENT_SHUTTING_DOWN after `close`, the errors of `StreamInfo.validate` and
        `MkvGenerator`, MAX_STREAM_COUNT, DUPLICATE_STREAM_NAME, and MIN_CONTENT_VIEW_ITEMS. If the
        client has failed, it raises the client's `failure`.
        """
        if self.closed:
            raise kvs_error(
                _S.CLIENT_SHUTTING_DOWN,
                f"stream {stream_info.name!r} cannot be opened: the client is closed",
            )
        stream_info.validate()
        info = stream_info.with_defaults()
        self._streams = {name: s for name, s in self._streams.items() if not s.freed}
        self._controls = {name: self._controls[name] for name in self._streams}
        if len(self._streams) >= self.device_info.stream_count:
            raise kvs_error(
                _S.MAX_STREAM_COUNT,
                f"stream {info.name!r} cannot be opened: {len(self._streams)} streams are open, "
                "which is DeviceInfo.stream_count. Close one, or give a larger stream_count",
            )
        info = info.with_name(info.name or self._random_name(self.roll))
        if info.name in self._streams:
            raise kvs_error(
                _S.DUPLICATE_STREAM_NAME,
                f"stream {info.name!r} is open already in this producer; use it, or close it first",
            )
        if self._failure is not None:
            raise with_detail(self._failure, self._failure.detail, stream=info.name)
        core = StreamCore(
            info,
            self._generator(info),
            self._store,
            self._effects,
            self._waiting,
            self._active_queues,
            now,
        )
        control = StreamControl(core, self)
        stream = Stream(
            core,
            control,
            self.client_info,
        )
        self._streams[info.name] = stream
        self._controls[info.name] = control
        control.start(now)
        return stream

    def _generator(self, info: StreamInfo) -> MkvGenerator:
        uuid = info.segment_uuid or bytes(
            1 + self.roll(255) for _ in range(limits.SEGMENT_UUID_BYTES)
        )
        return MkvGenerator(
            info.tracks,
            content_type=info.content_type,
            timecode_scale=info.timecode_scale,
            key_frame_fragmentation=info.key_frame_fragmentation,
            fragment_duration=ticks(info.fragment_duration),
            min_fragment_duration=limits.MIN_FRAGMENT_INTERVAL,
            absolute_timecodes=info.absolute_fragment_times,
            segment_uuid=uuid,
            client_id=self.device_info.client_id,
            adaptation=info.nal_adaptation,
        )

    def fail(self, error: KvsError) -> None:
        """Fail the client and all its streams with `error`."""
        self._machine.step(On.FAILED)
        self._failure = error
        self._pending = None  # its answer no longer matters
        self._events.push(ClientErrorReported(None, error.status, error.detail, fatal=True))
        for control in list(self._controls.values()):
            control.fail(with_detail(error, error.detail))

    def close(self, now: int) -> None:
        """Free every stream; after this, no stream can be opened or reset."""
        self.closed = True
        for stream in list(self._streams.values()):
            stream.free(now)
        self._timer = None

    # --- effects and events ---------------------------------------------------------------------
    @property
    def effects(self) -> Sized:
        """The queued effects; `bool(effects)` is safe without the shell's lock."""
        return self._effects

    @property
    def active_queues(self) -> Sized:
        """The queues that have events; `bool(active_queues)` is safe without the shell's lock."""
        return self._active_queues

    def poll_effect(self) -> Effect | None:
        """Return the next effect (request for the caller, such as a service call), or None."""
        return self._effects.popleft() if self._effects else None

    def next_event(self) -> Event | None:
        """Return the next event of the client or of any stream, or None."""
        return self._active_queues[0].pop() if self._active_queues else None

    def next_timer(self) -> int | None:
        """Return when to call `handle_timer`, in ticks on the clock of `now`, or None.

        Only `handle_timer` and `close` change this time.
        """
        return self._timer

    def handle_timer(self, now: int) -> None:
        """Make every stream do what depends on time alone; do nothing before `next_timer`."""
        if self._timer is None or now < self._timer:
            return
        self._timer = now + self._period
        for stream in list(self._streams.values()):
            stream.handle_timer(now)

    def metrics(self, now: int, version: int = limits.CLIENT_METRICS_VERSION) -> ClientMetrics:
        """Return a snapshot over all streams.

        Raises INVALID_CLIENT_METRICS_VERSION.
        """
        check_metrics_version(
            version, limits.CLIENT_METRICS_VERSION, _S.INVALID_CLIENT_METRICS_VERSION
        )
        figures = [stream.metrics(now) for stream in self._streams.values()]
        store = self._store
        retries = sum(figure.counters.api_call_retries for figure in figures)
        return ClientMetrics(
            content_store_size=store.size_bytes,
            content_store_available_size=store.size_bytes - store.used_bytes,
            content_store_allocated_size=store.used_bytes,
            total_content_views_size=sum(figure.overall_view_size for figure in figures),
            total_frame_rate=sum(figure.current_frame_rate for figure in figures),
            total_transfer_rate=sum(figure.current_transfer_rate for figure in figures),
            total_elementary_frame_rate=sum(figure.elementary_frame_rate for figure in figures),
            avg_api_call_retry_count=retries / max(len(figures), 1),
            version=version,
        )

    # --- services for streams (ClientServices) --------------------------------------------------
    def new_call_id(self) -> int:
        """Return a new number that identifies a call."""
        self._call_count += 1
        return self._call_count

    def new_upload(self) -> int:
        """Return a new number for an upload, unique within the client."""
        self._upload_count += 1
        return self._upload_count - 1

    def authorize(self, now: int) -> bool:
        """Return whether stream calls may be made now.

        If they may not, the client resumes its streams once it has credentials, unless it fails.
        """
        if self.state is not _C.READY:
            return False
        if self.auth is not None and self.auth.type is AuthType.UNDEFINED:
            self.fail(
                kvs_error(
                    _S.INVALID_CLIENT_READY_STATE,
                    "the client's credentials were set to the type UNDEFINED",
                )
            )
            return False
        if self.auth is not None and self.wall(now) > self.auth.expiration:
            self._move(On.EXPIRING, now)
            return False
        return True

    def renew_auth(self, now: int) -> None:
        """Get new credentials before the next stream call, because the service refuses these.

        `now` is not used; it is an argument of all methods that the shell calls with a time.
        """
        del now
        if self.auth is not None:
            self.auth.expiration = 0

    # --- results --------------------------------------------------------------------------------
    def call_result(
        self,
        call: Call,
        result: int,
        now: int,
        answer: object = None,
        detail: str = "",
        cause: type[KvsError] | None = None,
    ) -> None:
        """Handle the result of a call.

        `result` is an HTTP status or one of the 10000s. `answer` is the answer of a call with
        result 200. `cause` is the class of the error behind a failure (None: the class of
        `result`). If the call is given up, an error of this class is raised. Results of calls that
        no longer matter are ignored. Raises INVALID_CUSTOM_DATA for a call that this client never
        made. The caller must then poll effects.
        """
        if not 0 < call.call_id <= self._call_count:
            raise kvs_error(
                _S.INVALID_CUSTOM_DATA,
                f"{type(call).__name__} {call.call_id} is not a call of this client",
            )
        if call.stream is not None:
            control = self._controls.get(call.stream)
            if control is not None:
                control.call_result(call, result, now, answer, detail, cause)
        elif call is self._pending:
            self._pending = None
            self._client_result(call, result, now, answer, detail, cause)

    def report(self, call: Call, status: StatusCode, detail: str) -> None:
        """Report an error that occurred in a call but is not contained in the call's result.

        Only an event is emitted; the state does not change.
        """
        stream = self._streams.get(call.stream or "")
        if call.stream is None:
            self._events.push(ClientErrorReported(None, status, detail, fatal=False))
        elif stream is not None:
            stream.report(status, detail)

    def _client_result(
        self,
        call: Call,
        result: int,
        now: int,
        answer: object,
        detail: str,
        cause: type[KvsError] | None,
    ) -> None:
        status = result_status(result)
        if status is not _S.SUCCESS and not self._machine.accepts(status):
            self.fail(
                kvs_error(status, detail or f"{type(call).__name__} failed with result {result}")
            )
            return
        if result > _RESULT_OK:
            self._wait = self._backoff.next_wait(now)
        try:
            if status is not _S.SUCCESS:
                self._move(status, now)
            elif isinstance(call, CreateDevice):
                self._use_device(answer, now)
            elif answer is None:
                reported = detail or "no credentials were given"
                self.fail(kvs_error(_S.SERVICE_CALL_NOT_AUTHORIZED_ERROR, reported))
            else:
                self._use_credentials(answer, now)
        except KvsError as error:
            text = "; ".join(filter(None, (error.detail, detail)))
            self._handle_exhausted(with_cause(with_detail(error, text), result, cause), status, now)

    def _handle_exhausted(self, error: KvsError, cause: StatusCode, now: int) -> None:
        """Handle a call whose retries are used up: fail, or start over by getting credentials."""
        reported: KvsError | None = error
        if not self._ready_reported:
            reported = self.retry_policy.start_over(
                error, cause, offline=False, times=self._restarts
            )
        if reported is None:
            self.fail(error)
            return
        self._restarts += 1
        self._events.push(ClientErrorReported(None, reported.status, reported.detail, fatal=False))
        for control in list(self._controls.values()):
            control.handle_client_failure(error, cause)
        self._machine.restart(_C.AUTH)
        self._wait = self._wait or self._backoff.next_wait(now)
        self._issue(GetSecurityToken, now)

    def _use_credentials(self, answer: object, now: int) -> None:
        """Use new credentials, or ask for others if these cannot be used."""
        auth = answer if isinstance(answer, AuthInfo) else None
        if auth is not None and auth.length > limits.MAX_AUTH_LEN_BYTES:
            raise kvs_error(
                _S.INVALID_AUTH_LEN,
                f"the credentials have {auth.length} bytes; "
                f"at most {limits.MAX_AUTH_LEN_BYTES} are allowed",
            )
        if auth is None or auth.type is AuthType.UNDEFINED:
            self._move(On.AGAIN, now)
        elif auth.expiration - self.wall(now) < limits.MIN_TOKEN_LIFE:
            self._ask_again(auth, now)
        else:
            self.auth = auth
            self._move(On.CREDENTIALS_AGAIN if self._created else On.CREDENTIALS, now)

    def _ask_again(self, auth: AuthInfo, now: int) -> None:
        """Ask for credentials again, because these would expire before they could be used."""
        self._wait = self._backoff.next_wait(now)
        try:
            self._move(On.AGAIN, now)
        except KvsError as error:
            left_s = (auth.expiration - self.wall(now)) // TICKS_PER_SECOND
            reported = f"the credentials expire in {left_s} s, at least 30 s are needed"
            raise with_detail(error, f"{error.detail}; {reported}") from None

    def _use_device(self, answer: object, now: int) -> None:
        if not isinstance(answer, str) or len(answer) > limits.MAX_ARN_LEN:
            raise kvs_error(
                _S.INVALID_CREATE_DEVICE_RESPONSE,
                "the answer to CreateDevice has no device ARN "
                f"of at most {limits.MAX_ARN_LEN} characters",
            )
        self._created = True
        self._move(On.EXISTS, now)

    # --- states ---------------------------------------------------------------------------------
    def _move(self, on: Input, now: int) -> None:
        """Step the state machine and perform the action of the new state.

        Raises the state's failure if its retries are used up.
        """
        self._machine.step(on)
        state = self.state
        if state is _C.AUTH:
            self._issue(GetSecurityToken, now)
        elif state is _C.CREATE:
            self._issue(CreateDevice, now, device_name=self.device_name, tags=self.device_info.tags)
        else:
            self._restarts = 0
            if not self._ready_reported:
                self._ready_reported = True
                self._events.push(ClientReady())
            for control in list(self._controls.values()):
                control.resume(now)

    def _issue(self, kind: type[Call], now: int, **members: object) -> None:
        """Emit an effect that requests a service call."""
        info = self.client_info
        call = kind(
            call_id=self.new_call_id(),
            stream=None,
            not_before=now + self._wait,
            timeout=ticks(info.service_call_completion_timeout),
            connection_timeout=ticks(info.service_call_connection_timeout),
            auth=self.auth,
            **members,
        )
        self._wait = 0
        self._effects.append(call)
        self._pending = call


def _store_by_reference(info: StorageInfo) -> ContentStore:
    """Return a store that keeps payloads by reference; it needs no resources.

    For any other storage type the caller of `Client` has to create the store. If it did not, this
    raises INVALID_ARG, or NON_ALIGNED_HEAP_WITH_IN_CONTENT_STORE_ALLOCATORS for
    IN_MEM_CONTENT_STORE_ALLOC. A `Producer` always creates the store, so it never gets these
    errors.
    """
    if info.storage_type is StorageType.IN_MEM_CONTENT_STORE_ALLOC:
        raise kvs_error(
            _S.NON_ALIGNED_HEAP_WITH_IN_CONTENT_STORE_ALLOCATORS,
            "storage_type is IN_MEM_CONTENT_STORE_ALLOC, and the client was given no store",
        )
    if info.storage_type is not StorageType.IN_MEM:
        raise kvs_error(
            _S.INVALID_ARG,
            f"storage_type is {info.storage_type.name}, and the client was given no store",
        )
    return ReferenceStore(info.storage_size)
