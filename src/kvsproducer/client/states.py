"""The state machines as tables from (state, input) to the next state, with limits on repetitions.

A client gets credentials and a device. A stream opens an upload, and another one after a loss. Most
states make one service call when they are entered. A machine steps on an input, which is one of two
things:

* The status of the call's result. The table gives the next state. A status that is not in the table
  cannot be cured by another attempt, so it leads to FAILED.
* Another event (`On`): there is media, the token expires, the connection is lost.

An input that leads from a state to itself repeats the call. Repetitions are counted and limited.
`StateMachine` makes no calls. `control` and `client` emit them as effects (requests for the caller)
and turn each answer into an input. The page about states on the documentation site is generated
from these tables.

Three conditions need no flag or state of their own:

* A stream without media to upload stays READY until there is some.
* A stream that prepares the next session while the old one continues goes through the usual states.
  The old upload is still active; this is the only difference.
* A stream whose client has no credentials stays in its state without a pending call.

Source: AWS's client has the same states and three more, in which it exchanges a device's
certificate for a token, provisions a device, and tags it. KVS has no operations for these three
steps. `kvsproducer.compat` does them when it handles the calls of the states AUTH and CREATE. The
tables contain only steps that AWS's client makes. Where AWS's client makes an illegal transition
(PUT_STREAM to GET_ENDPOINT after a time-out), the table has the intended one. FAILED is not AWS's:
after a failure that another attempt cannot cure, a stream ends there instead of hanging.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, IntEnum
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar, cast

from kvsproducer.limits import (
    MAX_SERVICE_CALL_RETRIES,
    MAX_STATE_MACHINE_NAME_LEN,
)
from kvsproducer.status import (
    ConnectionFailed,
    KvsError,
    NotAuthorized,
    ServiceError,
    StatusCode,
    Throttled,
    TimedOut,
    error_class,
    kvs_error,
)
from kvsproducer.wire import ACK_ERRORS

__all__ = [
    "CLIENT_STATES",
    "STREAM_STATES",
    "THROTTLED_RESULT",
    "ClientState",
    "Input",
    "Lifecycle",
    "On",
    "Rule",
    "StateMachine",
    "StreamState",
    "UploadState",
    "host_is_alive",
    "is_timeout",
    "result_class",
    "result_status",
    "status_result",
    "with_cause",
]

_S = StatusCode
_State = TypeVar("_State", bound=Enum)


class ClientState(Enum):
    """The states of a client, from its start to credentials and a device."""

    NEW = "new"
    AUTH = "auth"
    CREATE = "create"  # KVS has no such operation; AWS's test cases use the state and its retries
    READY = "ready"
    FAILED = "failed"


class StreamState(Enum):
    """The states of a stream, from its start to an upload."""

    NEW = "new"
    DESCRIBE = "describe"
    CREATE = "create"
    TAG_STREAM = "tag-stream"
    GET_ENDPOINT = "get-endpoint"
    GET_TOKEN = "get-token"  # noqa: S105 - a state's name
    READY = "ready"  # could upload, but has no media
    PUT_STREAM = "put-stream"
    STREAMING = "streaming"
    STOPPED = "stopped"  # the connection was lost or ended
    FAILED = "failed"


class Lifecycle(IntEnum):
    """How far the end of a stream has come; each member includes the members before it."""

    OPEN = 0
    STOPPED = 1  # nothing left to send or to wait for
    CLOSED = 2  # removed from its client
    FREED = 3  # is gone from its client


class UploadState(Enum):
    """The states of one upload (PutMedia request)."""

    NEW = "new"  # announced; its call is not answered
    READY = "ready"  # may be read, nothing read yet
    STREAMING = "streaming"
    TERMINATING = "terminating"  # its last media was read, the end-of-stream tag was not
    AWAITING_ACK = "awaiting-ack"  # everything was read; the last PERSISTED ack is missing
    TERMINATED = "terminated"


class On(Enum):
    """Inputs besides the status of a call's result; the values are texts for the docs."""

    START = "it starts, or starts over"
    EXISTS = "it exists, or was created"
    EXISTS_TO_TAG = "the same, and it is to have tags"
    AGAIN = "the answer cannot be used, or says that it takes more time"
    GIVEN_UP = "the attempts are used up, and it goes without"
    MEDIA = "there is media to upload"
    EXPIRING = "the token or the credentials expire"
    LOST = "the connection is lost"
    FAILED = "a failure that trying again does not cure"
    CREDENTIALS = "credentials"
    CREDENTIALS_AGAIN = "credentials, and the device exists"


Input: TypeAlias = On | StatusCode


class Rule(NamedTuple):
    """The rules of one state: where each input leads, and how often the state may be repeated.

    `retries` is the number of allowed repetitions. `failure` is the status to raise when they are
    used up. It is None in a state that makes no call, or whose calls are repeated without a limit.
    """

    following: Mapping[Input, Enum]
    retries: int = 0
    failure: StatusCode | None = None


# Results that another attempt may cure. AWS's client also repeats calls for which it lacks the
# permission, because its credentials may be replaced in the meantime.
_RETRIED: Final = (_S.SERVICE_CALL_TIMEOUT_ERROR, _S.SERVICE_CALL_UNKOWN_ERROR)
_RETRIED_RIGHTS: Final = (*_RETRIED, _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR)


def _call_rule(
    state: Enum,
    failure: StatusCode,
    following: Mapping[Input, Enum],
    *,
    cured: Iterable[StatusCode] = _RETRIED,
) -> Rule:
    """Return the rule of a state whose call is repeated after a result in `cured`."""
    again: dict[Input, Enum] = {**dict.fromkeys(cured, state), On.AGAIN: state}
    return Rule({**again, **following}, MAX_SERVICE_CALL_RETRIES, failure)


_C = ClientState
_CLIENT: Final[Mapping[ClientState, Rule]] = {
    _C.NEW: Rule({On.START: _C.AUTH}),
    _C.AUTH: _call_rule(
        _C.AUTH,
        _S.CLIENT_AUTH_CALL_FAILED,
        {On.CREDENTIALS: _C.CREATE, On.CREDENTIALS_AGAIN: _C.READY},
        cured=_RETRIED_RIGHTS,
    ),
    _C.CREATE: _call_rule(
        _C.CREATE,
        _S.CREATE_CLIENT_CALL_FAILED,
        {On.EXISTS: _C.READY},
        cured=(*_RETRIED, _S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR),
    ),
    _C.READY: Rule({On.EXPIRING: _C.AUTH}),
    _C.FAILED: Rule({}),
}

_T = StreamState
_FOUND: Final[Mapping[Input, Enum]] = {
    On.EXISTS: _T.GET_ENDPOINT,
    On.EXISTS_TO_TAG: _T.TAG_STREAM,
}
_STREAM: Final[Mapping[StreamState, Rule]] = {
    _T.NEW: Rule({On.START: _T.DESCRIBE}),
    _T.DESCRIBE: _call_rule(
        _T.DESCRIBE,
        _S.DESCRIBE_STREAM_CALL_FAILED,
        {**_FOUND, _S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR: _T.CREATE},
        cured=_RETRIED_RIGHTS,
    ),
    _T.CREATE: _call_rule(
        _T.CREATE,
        _S.CREATE_STREAM_CALL_FAILED,
        # In use: the stream exists. The answer to our call was lost, or another client made it.
        {**_FOUND, _S.SERVICE_CALL_RESOURCE_IN_USE_ERROR: _T.DESCRIBE},
        cured=_RETRIED_RIGHTS,
    ),
    _T.TAG_STREAM: _call_rule(
        _T.TAG_STREAM,
        _S.TAG_STREAM_CALL_FAILED,
        {_S.SUCCESS: _T.GET_ENDPOINT, On.GIVEN_UP: _T.GET_ENDPOINT},
        cured=_RETRIED_RIGHTS,
    ),
    _T.GET_ENDPOINT: _call_rule(
        _T.GET_ENDPOINT,
        _S.GET_STREAMING_ENDPOINT_CALL_FAILED,
        {_S.SUCCESS: _T.GET_TOKEN},
        cured=_RETRIED_RIGHTS,
    ),
    _T.GET_TOKEN: _call_rule(
        _T.GET_TOKEN, _S.GET_STREAMING_TOKEN_CALL_FAILED, {_S.SUCCESS: _T.READY}
    ),
    _T.READY: Rule({On.MEDIA: _T.PUT_STREAM, On.EXPIRING: _T.GET_ENDPOINT}),
    _T.PUT_STREAM: Rule(
        {
            _S.SUCCESS: _T.STREAMING,
            _S.SERVICE_CALL_TIMEOUT_ERROR: _T.GET_ENDPOINT,
            _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR: _T.GET_TOKEN,
            _S.SERVICE_CALL_UNKOWN_ERROR: _T.DESCRIBE,
        }
    ),
    _T.STREAMING: Rule({On.EXPIRING: _T.GET_ENDPOINT}),
    # By the status of the lost upload's result. For all other statuses it starts over.
    _T.STOPPED: Rule(
        {
            On.START: _T.DESCRIBE,
            _S.SUCCESS: _T.GET_ENDPOINT,
            _S.SERVICE_CALL_DEVICE_LIMIT_ERROR: _T.GET_ENDPOINT,
            _S.SERVICE_CALL_STREAM_LIMIT_ERROR: _T.GET_ENDPOINT,
            _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR: _T.GET_TOKEN,
            _S.SERVICE_CALL_TIMEOUT_ERROR: _T.READY,
        }
    ),
    _T.FAILED: Rule({}),
}


def _add_common(
    table: Mapping[_State, Rule], common: Mapping[Input, Enum]
) -> Mapping[_State, Rule]:
    """Return a copy of the table, with the inputs that lead from every state to the same one."""
    return {
        state: rule._replace(following={**rule.following, **common})
        for state, rule in table.items()
    }


CLIENT_STATES: Final = _add_common(_CLIENT, {On.FAILED: _C.FAILED})
STREAM_STATES: Final = _add_common(_STREAM, {On.FAILED: _T.FAILED, On.LOST: _T.STOPPED})

# --- results of service calls -------------------------------------------------------------------
_RESULT_STATUS: Final[Mapping[int, StatusCode]] = {
    200: _S.SUCCESS,
    10401: _S.SUCCESS,  # the token is about to expire: a new session follows
    401: _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    403: _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    404: _S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR,
    406: _S.SERVICE_CALL_INVALID_ARG_ERROR,
    408: _S.SERVICE_CALL_TIMEOUT_ERROR,
    504: _S.SERVICE_CALL_TIMEOUT_ERROR,
    598: _S.SERVICE_CALL_TIMEOUT_ERROR,
    599: _S.SERVICE_CALL_TIMEOUT_ERROR,
    10000: _S.SERVICE_CALL_CLIENT_LIMIT_ERROR,
    10001: _S.SERVICE_CALL_DEVICE_LIMIT_ERROR,
    10002: _S.SERVICE_CALL_STREAM_LIMIT_ERROR,
    10003: _S.SERVICE_CALL_RESOURCE_IN_USE_ERROR,
    10004: _S.SERVICE_CALL_DEVICE_NOT_PROVISIONED_ERROR,
    10005: _S.SERVICE_CALL_DEVICE_NOT_FOND_ERROR,
    10400: _S.SERVICE_CALL_RESOURCE_DELETED_ERROR,
    **{error.id: error.status for error in ACK_ERRORS.values()},
}


def result_status(result: int) -> StatusCode:
    """Return the status of a service call's result; UNKNOWN for an unknown result."""
    return _RESULT_STATUS.get(result, _S.SERVICE_CALL_UNKOWN_ERROR)


def result_class(result: int) -> type[KvsError]:
    """Return the error class for a result, which is more precise than its status.

    Failures of the service (HTTP 5xx), throttled calls (429) and failed connections all have the
    status UNKNOWN, so that the call is repeated.
    """
    status = result_status(result)
    if status is _S.SERVICE_CALL_UNKOWN_ERROR and result in _SERVICE_FAULTS:
        return ServiceError
    return Throttled if result == THROTTLED_RESULT else error_class(status)


def with_cause(error: KvsError, result: int, cause: type[KvsError] | None) -> KvsError:
    """Return the error of a call that was given up, in the exception class of its cause.

    What a program does about the error depends on the cause, not on the call that failed. `cause`
    is the error class of the last attempt (None: the class of `result`). If the
    error is not that of a call that was given up, it is returned unchanged.
    """
    kind = cause or result_class(result)
    if result_status(result) in _REPEATED and error.status in _GIVEN_UP and kind in _CAUSES:
        return kind(error.status, error.detail, stream=error.stream, action=error.own_action)
    return error


_CAUSES: Final = (NotAuthorized, Throttled, ConnectionFailed, TimedOut, ServiceError)
_REPEATED: Final = frozenset({*_RETRIED_RIGHTS, _S.SERVICE_CALL_CLIENT_LIMIT_ERROR})
_GIVEN_UP: Final = frozenset(
    rule.failure
    for table in (_CLIENT, _STREAM)
    for rule in table.values()
    if rule.failure is not None
)

THROTTLED_RESULT: Final = 429
_SERVICE_FAULTS: Final = range(500, 600)
_UNKNOWN_RESULT: Final = 10006
_STATUS_RESULT: Final[Mapping[StatusCode, int]] = {
    status: result for result, status in reversed(list(_RESULT_STATUS.items()))
}


def status_result(status: StatusCode) -> int:
    """Return the call result, such as 403, for a status, or UNKNOWN if it has none."""
    return _STATUS_RESULT.get(status, _UNKNOWN_RESULT)


def is_timeout(result: int) -> bool:
    """Return whether the result is a time-out (408, 504, 598, 599)."""
    return result_status(result) is _S.SERVICE_CALL_TIMEOUT_ERROR


_ALIVE: Final = frozenset(
    {0, 200, 401, 4000, 4003, 4008, 5000, 5001, 10000, 10001, 10002, *range(4500, 4508)}
)


def host_is_alive(result: int) -> bool:
    """Return whether RECEIVED acks are reliable after a session that ended with `result`."""
    return result in _ALIVE


class StateMachine(Generic[_State]):
    """The current state and its count of repetitions; see the module's docstring.

    `name` (1 to 32 characters) names the machine in errors. Raises STATE_MACHINE_NAME_LEN_INVALID,
    and STATE_MACHINE_STATE_NOT_FOUND for a state that the table lacks. A `Producer` never causes
    these two errors. They exist because the class is public, and because AWS's state library has
    them.
    """

    __slots__ = ("_table", "name", "retries", "state")

    def __init__(self, name: str, table: Mapping[_State, Rule], start: _State) -> None:
        if not 0 < len(name) <= MAX_STATE_MACHINE_NAME_LEN:
            raise kvs_error(
                _S.STATE_MACHINE_NAME_LEN_INVALID,
                f"the name of the state machine has {len(name)} characters; "
                f"1 to {MAX_STATE_MACHINE_NAME_LEN} are allowed",
            )
        self.name = name
        self._table = table
        self.restart(start)

    def accepts(self, on: Input) -> bool:
        """Return whether an input leads anywhere from the current state."""
        return on in self._table[self.state].following

    def repeats(self, on: Input) -> bool:
        """Return whether an input leads from the current state to itself."""
        return self._table[self.state].following.get(on) is self.state

    def step(self, on: Input, stream: str | None = None) -> None:
        """Go to the state to which an input leads.

        Raises INVALID_STREAM_STATE if it leads nowhere, and STATE_MACHINE_STATE_NOT_FOUND. If the
        state was repeated too often, the state's own failure status is raised. When it raises,
        nothing changes.
        """
        rule = self._table[self.state]
        to = rule.following.get(on)
        if to is None:
            raise kvs_error(
                _S.INVALID_STREAM_STATE,
                f"{on.name} does not happen in the state {self.state.name}",
                stream=stream,
            )
        if to is not self.state:
            self.restart(to)
            return
        self.retries += 1
        if rule.failure is not None and self.retries > rule.retries:
            raise kvs_error(
                rule.failure, f"the call was given up after {self.retries} attempts", stream=stream
            )

    def restart(self, state: Enum) -> None:
        """Go to `state` from any state and reset the count of repetitions."""
        if state not in self._table:
            raise kvs_error(
                _S.STATE_MACHINE_STATE_NOT_FOUND, f"the {self.name} machine has no {state!r}"
            )
        self.state = cast("_State", state)
        self.retries = 0
