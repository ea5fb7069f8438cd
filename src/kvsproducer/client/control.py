"""Stream control: opens uploads, and opens another one after a connection is lost.

The tables in `states` define the next state for each input. This module makes the service call of
each state and turns its answer into an input. It ignores a result that does not belong to the
pending call, because this result came late. When a stream enters FAILED, a fatal
`StreamErrorReported` is emitted.

Once a stream has been ready, it no longer fails when retries are used up. It reports an error and
keeps trying with the longest waits, because a camera outlives an outage. Meanwhile its frames are
held, or reported as dropped. Before the stream was ready, the client's `RetryPolicy` decides
whether it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from kvsproducer import limits
from kvsproducer.client.backoff import Backoff
from kvsproducer.client.buffer.resume import anything_to_send
from kvsproducer.client.core import NEVER, ClientServices, StreamCore
from kvsproducer.client.effects import (
    AuthInfo,
    Call,
    CreateStream,
    DescribeStream,
    GetStreamingEndpoint,
    GetStreamingToken,
    PutStream,
    StreamDescription,
    StreamStatus,
    TagStream,
)
from kvsproducer.client.events import StreamEnded, StreamReady, StreamStateChanged, UploadStarted
from kvsproducer.client.states import (
    STREAM_STATES,
    Input,
    Lifecycle,
    On,
    StateMachine,
    StreamState,
    UploadState,
    is_timeout,
    result_class,
    result_status,
    with_cause,
)
from kvsproducer.client.streaming_token import Rotation, rotation_time, usable_token
from kvsproducer.client.tally import Tally
from kvsproducer.duration import TICKS_PER_HOUR, format_duration, ticks
from kvsproducer.status import (
    KvsError,
    StatusCode,
    kvs_error,
    with_detail,
)
from kvsproducer.wire import CONTENT_TYPE

__all__ = ["StreamControl"]

_S = StatusCode
_T = StreamState
_RESULT_OK: Final = 200
_CALL = TypeVar("_CALL", bound=Call)

# In these states a session is already being prepared, so another loss changes nothing.
_ON_THE_WAY: Final = frozenset(
    {_T.DESCRIBE, _T.CREATE, _T.TAG_STREAM, _T.GET_ENDPOINT, _T.GET_TOKEN}
)
_CALLING: Final = _ON_THE_WAY | {_T.PUT_STREAM}


class StreamControl:
    """The state machine of one stream."""

    def __init__(self, core: StreamCore, client: ClientServices) -> None:
        self._core = core
        self._client = client
        self.wall = client.wall
        self._machine = StateMachine("stream", STREAM_STATES, _T.NEW)
        self._pending: Call | None = None
        self._wait = 0  # ticks before the next call
        # Own backoff per stream. With AWS's shared one, streams that fail together delay one
        # another.
        self._backoff = Backoff(client.roll)
        self.tally = Tally(core)
        self._result = _RESULT_OK  # result of the last call
        # class of the last call's error, None: the class of its result
        self._cause: type[KvsError] | None = None
        self._restarts = 0  # how often the stream started over without having been ready
        self._endpoint = ""
        self._arn = ""
        self._warning = ""  # text for the next StreamReady, about an existing stream
        self._token: AuthInfo | None = None
        self.ready = False  # True once the stream has been ready
        # Whether a connection is opened before there is media, as AWS's client does. Not the first
        # connection, and not one that directly follows another.
        self.in_advance = False
        self.rotation = Rotation()

    @property
    def client_closed(self) -> bool:
        """True if the client is closed and makes no calls."""
        return self._client.closed

    @property
    def state(self) -> StreamState:
        """The current state of the stream."""
        return self._machine.state

    # --- commands -------------------------------------------------------------------------------
    def start(self, now: int) -> None:
        """Leave the state NEW and make the first service call."""
        self._move(On.START, now)

    def resume(self, now: int) -> None:
        """Make the delayed call now that the client has credentials (again)."""
        if self._pending is None and self.state in _CALLING and not self._core.closed:
            _ACTIONS[self.state](self, now)

    def cancel_session_due(self) -> None:
        """Cancel the scheduled start of a new session, because the next key frame begins one."""
        self.rotation.schedule(session_at=NEVER)

    def leave_ready(self, now: int) -> None:
        """Leave READY because there is media: open an upload, with a new token if it is old."""
        if self.state is not _T.READY:
            return
        self.in_advance = True
        if now >= self.rotation.rotate_at:  # nothing was uploaded when the token expired
            self.rotate(now)
        else:
            self._move(On.MEDIA, now)

    def rotate(self, now: int) -> None:
        """Prepare the next session because the token is about to expire; this one continues."""
        if self._machine.accepts(On.EXPIRING):
            self.rotation.schedule(rotate_at=NEVER)
            self._move(On.EXPIRING, now)

    def check_token(self, now: int) -> None:
        """Make the rotation due now if the token is about to expire by the wall clock.

        This happens when the wall clock was set forward. A clock that was set back delays no
        rotation, because the service's clock did not change.
        """
        token, rotate_at = self._token, self.rotation.rotate_at
        if token is None or not now < rotate_at < NEVER:
            return
        if self.wall(now) >= token.expiration - limits.TOKEN_GRACE_PERIOD:
            self.rotation.schedule(rotate_at=now)

    def handle_loss(self, result: int, now: int, detail: str = "", *, pause: bool = False) -> None:
        """Handle the loss of an upload: start another session unless one is open or being prepared.

        If `pause` is true or `result` is a failure, the next call waits as long as the backoff
        says.
        """
        core = self._core
        if self.state in (_T.FAILED, _T.READY) or core.closed:
            return
        if not core.uploads.active() and not anything_to_send(core.buffer):
            core.buffer.settle_all_sent()
        if self.state in _ON_THE_WAY or core.uploads.active():
            return
        status = result_status(result)
        if not core.info.recover_on_error and status is not _S.SUCCESS:
            self._move(On.LOST, now)
            self._pending = None  # its answer would begin another session
            why = detail or f"result {result}"
            self._give_up(result_class(result)(status, f"{why}; recovery is switched off"))
            return
        if core.stopped and not anything_to_send(core.buffer):
            self.close(None)
            return
        self._move(On.LOST, now)
        self._pending = None
        if pause or result > _RESULT_OK:
            self._wait = self._next_wait(now)
        if is_timeout(result) and not anything_to_send(core.buffer):
            self.in_advance = False
        known = core.info.recover_on_error and self._machine.accepts(status)
        self._move(status if known else On.START, now)

    def _next_wait(self, now: int) -> int:
        """Return the wait before the next call in ticks."""
        return self._backoff.next_wait(now, offline=self._core.buffer.offline)

    def reset_failures(self) -> None:
        """Reset the failure counts, because the service has stored media."""
        self.tally.reset_failures()
        self._backoff.reset()

    def reset(self, now: int) -> None:
        """Start over from any state."""
        was_ready = self.ready and self.state is not _T.FAILED
        self._pending = None
        self._wait = 0
        self.in_advance = self.ready
        self.rotation.schedule(rotate_at=NEVER, session_at=NEVER)
        self._machine.restart(_T.STOPPED if was_ready else _T.NEW)
        self._move(On.START, now)

    def fail(self, error: KvsError) -> None:
        """Fail permanently: abort the uploads, report the error, and wake the waiting writers.

        A stream that was stopped is also closed.
        """
        core = self._core
        if self.state is _T.FAILED:
            return
        self._step(On.FAILED)
        self._pending = None
        core.abort_uploads()
        self._give_up(error)

    def _give_up(self, error: KvsError) -> None:
        core = self._core
        core.failure = error
        core.attention = True
        core.report(error.status, error.detail, fatal=True)
        core.wake_writers()
        if core.stopped:
            self.close(None)

    def clear_failure(self) -> None:
        """Clear the failure of a stream that lost its connection while recovery was switched off.

        The stream may then connect again.
        """
        self.in_advance = self.ready
        if self.state is not _T.FAILED and not self._core.closed:
            self._core.failure = None

    def close(self, upload: int | None) -> None:
        """Close a stopped stream: nothing is left to send or to wait for."""
        core = self._core
        if not core.closed:
            if core.failure is None and not anything_to_send(core.buffer):
                core.buffer.settle_all_sent()
            core.emit(StreamEnded(core.name, upload))
            core.lifecycle = Lifecycle.CLOSED
            core.wake_writers()

    # --- results --------------------------------------------------------------------------------
    def call_result(
        self,
        call: Call,
        result: int,
        now: int,
        answer: object,
        detail: str,
        cause: type[KvsError] | None,
    ) -> None:
        """Handle the result of a call; see `Client.call_result`."""
        if call is not self._pending or self._core.closed:
            return
        self._pending = None
        self.tally.count_call(call, now)
        status = result_status(result)
        self._result, self._cause = result, cause
        if isinstance(call, PutStream) and status is not _S.SUCCESS:
            self.tally.report_failed_upload(call.upload, result, detail)
            self._core.uploads.remove_new()
        if status is not _S.SUCCESS and not self._machine.accepts(status):
            self.fail(
                kvs_error(status, detail or f"{type(call).__name__} failed with result {result}")
            )
            return
        try:
            on = self._to_input(status, answer, now)
        except KvsError as error:
            self._handle_unusable(error, now)
            return
        again = self._machine.repeats(on)
        missing = status is _S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR
        if (again or result > _RESULT_OK) and not missing:  # a missing stream is created at once
            self._wait = self._next_wait(now)
        if again:
            self._core.counters.api_call_retries += 1
        if isinstance(answer, StreamDescription):
            detail = detail or f"the stream is {answer.status.name}"
        self._move(on, now, why=detail or f"{type(call).__name__}: result {result}")

    def _handle_unusable(self, error: KvsError, now: int) -> None:
        """Handle an answer that cannot be used: repeat the call, or fail.

        The call is repeated while another upload is active, or if the retry policy allows it. A
        stream that has been ready also repeats it if a token arrives expired. The credentials had
        then just expired, and the next token may be valid. Before the first session, an expired
        token shows that the clock is wrong.
        """
        expired = self.ready and error.status is _S.INVALID_TOKEN_EXPIRATION
        working = expired or self._core.uploads.active()
        reported = error if working else self._start_over(error, result_status(self._result))
        if reported is not None:
            self._core.report(reported.status, reported.detail)
            self._wait = self._next_wait(now)
            self._move(On.AGAIN, now)
            return
        self.fail(error)

    def _to_input(self, status: StatusCode, answer: object, now: int) -> Input:
        """Return the state machine's input for a result; raise if its answer cannot be used."""
        if status is _S.SUCCESS:
            answered = _ANSWERS.get(self.state)
            return status if answered is None else answered(self, answer, now)
        missing = status is _S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR
        if missing and not self._core.info.allow_stream_creation:
            raise kvs_error(
                status,
                f"stream {self._core.name!r} does not exist, and allow_stream_creation is False",
            )
        return status

    def _use_description(self, answer: object, _now: int) -> Input:
        if not isinstance(answer, StreamDescription) or len(answer.stream_arn) > limits.MAX_ARN_LEN:
            raise kvs_error(
                _S.INVALID_DESCRIBE_STREAM_RESPONSE,
                "the answer to DescribeStream has no description with a stream ARN "
                f"of at most {limits.MAX_ARN_LEN} characters",
            )
        if answer.status is StreamStatus.DELETING:
            raise kvs_error(
                _S.STREAM_IS_BEING_DELETED_ERROR,
                f"stream {self._core.name!r} is being deleted; wait until it no longer exists, "
                "then open it again",
            )
        if answer.status is not StreamStatus.ACTIVE:
            return On.AGAIN
        if answer.retention is not None:
            self._core.buffer.set_retention(retains=bool(answer.retention))
            self._compare_retention(answer.retention)
        return self._after_found(answer.stream_arn)

    def _compare_retention(self, found: int) -> None:
        """Set a warning if an existing stream does not keep media for as long as requested.

        There is no warning once the stream has been ready. A longer retention causes none if the
        default was requested.
        """
        asked = ticks(self._core.info.retention)
        asked += -asked % TICKS_PER_HOUR  # as the stream is created
        if self.ready or found == asked or (found > asked == limits.STREAM_INFO_RETENTION):
            return
        keeps = f"keeps media for {format_duration(found)}" if found else "keeps no media"
        self._warning = (
            f"stream '{self._core.name}' exists and {keeps}, not for {format_duration(asked)} as"
            " asked. To change it: aws kinesisvideo update-data-retention"
        )

    def _after_found(self, arn: str) -> Input:
        self._arn = arn
        return On.EXISTS_TO_TAG if self._core.info.tags else On.EXISTS

    def _use_new_stream(self, answer: object, _now: int) -> Input:
        if not isinstance(answer, str) or len(answer) > limits.MAX_ARN_LEN:
            raise kvs_error(
                _S.INVALID_CREATE_STREAM_RESPONSE,
                "the answer to CreateStream has no stream ARN "
                f"of at most {limits.MAX_ARN_LEN} characters",
            )
        return self._after_found(answer)

    def _use_endpoint(self, answer: object, _now: int) -> Input:
        if not isinstance(answer, str) or len(answer) > limits.MAX_URI_LEN:
            raise kvs_error(
                _S.INVALID_URI_LEN,
                "the answer to GetDataEndpoint has no endpoint "
                f"of at most {limits.MAX_URI_LEN} characters",
            )
        self._endpoint = answer
        return _S.SUCCESS

    def _use_token(self, answer: object, now: int) -> Input:
        wall = self.wall(now)
        token = self._token = usable_token(answer, wall)
        left = rotation_time(token.expiration, wall, self._client.roll) - wall
        self.rotation.schedule(rotate_at=now + left)
        return _S.SUCCESS

    def _use_upload(self, _answer: object, now: int) -> Input:
        core = self._core
        upload = core.uploads.find(core.uploads.newest_number or 0)
        if upload is not None and upload.state is UploadState.NEW:
            core.uploads.set_state(upload, UploadState.READY)
            upload.opened_at = now  # until then, the call may have waited for its time
            upload.idle = True
        # the old session continues until the new one begins
        if core.uploads.active(besides=upload):
            delay = 0 if core.buffer.offline else limits.TOKEN_GRACE_PERIOD
            self.rotation.schedule(session_at=now + delay)
        return _S.SUCCESS

    # --- entering states ------------------------------------------------------------------------
    def _step(self, on: Input) -> None:
        """Step the state machine and report the change."""
        old = self.state
        self._machine.step(on, self._core.name)
        if old is not self.state:
            self._core.emit(StreamStateChanged(self._core.name, old, self.state))

    def _move(self, on: Input, now: int, why: str = "") -> None:
        """Step the state machine and perform the action of the new state."""
        try:
            self._step(on)
        except KvsError as error:
            self._handle_exhausted(error, now, why)
        else:
            _ACTIONS[self.state](self, now)

    def _handle_exhausted(self, error: KvsError, now: int, why: str) -> None:
        """Handle a state that was repeated too often."""
        detail = f"{error.detail}; {why}" if why else error.detail
        # missing tags do not fail the stream
        if error.status is _S.TAG_STREAM_CALL_FAILED:
            self._core.report(error.status, detail)
            self._move(On.GIVEN_UP, now)
            return
        failure = with_cause(with_detail(error, detail), self._result, self._cause)
        cause = result_status(self._result)
        reported = failure if self.ready else self._start_over(failure, cause)
        if reported is None:
            self.fail(failure)
        else:
            self._core.report(reported.status, reported.detail)
            self._machine.restart(self.state)
            _ACTIONS[self.state](self, now)

    def _start_over(self, failure: KvsError, cause: StatusCode) -> KvsError | None:
        """Ask the retry policy; return the error to report if the stream starts over, else None."""
        offline, times = self._core.buffer.offline, self._restarts
        self._restarts += 1
        policy = self._client.retry_policy
        return policy.start_over(failure, cause, offline=offline, times=times)

    def handle_client_failure(self, failure: KvsError, cause: StatusCode) -> None:
        """Handle a failure after which the client starts over.

        A stream that has never been ready fails, unless the retry policy lets it start over too.
        """
        if not self.ready and self._start_over(failure, cause) is None:
            self.fail(with_detail(failure, failure.detail))

    def _may_call(self, now: int) -> bool:
        """Return whether the client allows service calls now.

        If it does not, `resume` makes the call later. If the client has failed, the stream fails
        too.
        """
        if self._client.authorize(now):
            return True
        failure = self._client.failure
        if failure is not None:
            self.fail(with_detail(failure, failure.detail))
        return False

    def _issue(self, kind: type[_CALL], now: int, **members: Any) -> None:
        """Emit an effect that requests a service call, if the client allows calls now."""
        if not self._may_call(now):
            return
        info = self._client.client_info
        members.setdefault("timeout", ticks(info.service_call_completion_timeout))
        members.setdefault("auth", self._client.auth)
        call = kind(
            call_id=self._client.new_call_id(),
            stream=self._core.name,
            not_before=now + self._wait,
            connection_timeout=ticks(info.service_call_connection_timeout),
            **members,
        )
        self._wait = 0
        self._core.effects.append(call)
        self._pending = call

    def _create(self, now: int) -> None:
        info = self._core.info
        self._issue(
            CreateStream,
            now,
            device_name=self._client.device_name,
            content_type=info.content_type,
            kms_key_id=info.kms_key_id,
            retention=ticks(info.retention),
            tags=info.tags,
        )

    def _tag(self, now: int) -> None:
        self._issue(TagStream, now, arn=self._arn, tags=self._core.info.tags)

    def _enter_ready(self, now: int) -> None:
        core = self._core
        self.ready, self._restarts = True, 0
        in_advance, self.in_advance = self.in_advance, True
        core.emit(StreamReady(core.name, self._warning))
        self._warning = ""
        if core.stopped and not anything_to_send(core.buffer) and not core.uploads.active():
            self.close(None)
        elif anything_to_send(core.buffer) or core.uploads.active() or in_advance:
            self._move(On.MEDIA, now)
        else:
            core.attention = True

    def _open_upload(self, now: int) -> None:
        core, info = self._core, self._core.info
        if not self._may_call(now):
            return
        number = self._client.new_upload()
        core.uploads.add(number, now)
        core.counters.total_sessions += 1
        core.emit(UploadStarted(core.name, number))
        self._issue(
            PutStream,
            now,
            auth=self._token,
            timeout=limits.INFINITE_TIMEOUT,
            upload=number,
            endpoint=self._endpoint,
            start_timestamp=self.wall(now),
            absolute_timecodes=info.absolute_fragment_times,
            acks=info.fragment_acks,
            content_type=CONTENT_TYPE,
        )

    def _wake_sender(self, _now: int) -> None:
        self._core.wake()

    def _do_nothing(self, _now: int) -> None:
        """Do nothing in NEW, STOPPED and FAILED."""


_ACTIONS: Final[dict[StreamState, Callable[[StreamControl, int], None]]] = {
    _T.NEW: StreamControl._do_nothing,
    _T.DESCRIBE: lambda control, now: control._issue(DescribeStream, now),
    _T.CREATE: StreamControl._create,
    _T.TAG_STREAM: StreamControl._tag,
    _T.GET_ENDPOINT: lambda control, now: control._issue(GetStreamingEndpoint, now),
    _T.GET_TOKEN: lambda control, now: control._issue(GetStreamingToken, now),
    _T.READY: StreamControl._enter_ready,
    _T.PUT_STREAM: StreamControl._open_upload,
    _T.STREAMING: StreamControl._wake_sender,
    _T.STOPPED: StreamControl._do_nothing,
    _T.FAILED: StreamControl._do_nothing,
}
"""The action of each state, performed when it is entered."""

_ANSWERS: Final[dict[StreamState, Callable[[StreamControl, object, int], Input]]] = {
    _T.DESCRIBE: StreamControl._use_description,
    _T.CREATE: StreamControl._use_new_stream,
    _T.GET_ENDPOINT: StreamControl._use_endpoint,
    _T.GET_TOKEN: StreamControl._use_token,
    _T.PUT_STREAM: StreamControl._use_upload,
}
"""Functions that turn a successful answer into an input; without one, the status is the input."""
