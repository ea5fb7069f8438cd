"""The state machines as tables: which states follow which, how often, and what a failure means.

Facts: `reference` behaviour of AWS's client. A step to `next` is legal when the current state is in
`next`'s accept set; steps from a state to itself are counted and limited. Where AWS's client makes
an illegal transition (PUT_STREAM to GET_ENDPOINT after a time-out), the table has what it meant.
FAILED is ours: a failure that will not go away by itself ends there instead of hanging.

The engine (`StateMachine`) makes no calls; `control` and `client` do, by effects.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, Generic, NamedTuple, TypeVar

from kvsproducer.limits import (
    MAX_SERVICE_CALL_RETRIES,
    MAX_STATE_MACHINE_NAME_LEN,
    UNLIMITED_RETRIES,
)
from kvsproducer.status import StatusCode, kvs_error
from kvsproducer.wire import ACK_ERRORS

__all__ = [
    "AFTER_LOSS",
    "CLIENT_STATES",
    "STREAM_STATES",
    "ClientState",
    "Rule",
    "StateMachine",
    "StreamState",
    "TOLERATED",
    "UploadState",
    "host_is_alive",
    "is_timeout",
    "result_status",
    "status_result",
]

_S = StatusCode


class ClientState(Enum):
    """Where the client is on its way to credentials and a device."""

    NEW = "new"
    AUTH = "auth"
    GET_TOKEN = "get-token"  # noqa: S105 - a state's name
    PROVISION = "provision"
    CREATE = "create"
    TAG_CLIENT = "tag-client"
    READY = "ready"
    FAILED = "failed"


class StreamState(Enum):
    """Where a stream is on its way to an upload."""

    NEW = "new"
    DESCRIBE = "describe"
    CREATE = "create"
    TAG_STREAM = "tag-stream"
    GET_ENDPOINT = "get-endpoint"
    GET_TOKEN = "get-token"  # noqa: S105 - a state's name
    READY = "ready"
    PUT_STREAM = "put-stream"
    STREAMING = "streaming"
    STOPPED = "stopped"  # the connection is gone, the next session is being decided on
    FAILED = "failed"


class UploadState(Enum):
    """The life of one upload (PutMedia request)."""

    NEW = "new"  # announced, its call not answered
    READY = "ready"  # may be read from, nothing read yet
    STREAMING = "streaming"
    TERMINATING = "terminating"  # its last media was read, the end-of-stream tag was not
    AWAITING_ACK = "awaiting-ack"  # everything was read, the last PERSISTED ack is missing
    TERMINATED = "terminated"


class Rule(NamedTuple):
    """One state: from where it may be entered, self-steps allowed, and the status beyond them."""

    accepts: frozenset[Enum]
    retries: int
    failure: StatusCode


def _rule(retries: int, failure: StatusCode, *accepts: Enum) -> Rule:
    return Rule(frozenset(accepts), retries, failure)


_C = ClientState
CLIENT_STATES: Final[Mapping[ClientState, Rule]] = {
    _C.NEW: _rule(UNLIMITED_RETRIES, _S.INVALID_CLIENT_READY_STATE, _C.NEW),
    _C.AUTH: _rule(MAX_SERVICE_CALL_RETRIES, _S.CLIENT_AUTH_CALL_FAILED, _C.NEW, _C.READY, _C.AUTH),
    _C.GET_TOKEN: _rule(
        MAX_SERVICE_CALL_RETRIES,
        _S.GET_CLIENT_TOKEN_CALL_FAILED,
        _C.AUTH,
        _C.PROVISION,
        _C.GET_TOKEN,
    ),
    _C.PROVISION: _rule(
        MAX_SERVICE_CALL_RETRIES, _S.CLIENT_PROVISION_CALL_FAILED, _C.AUTH, _C.PROVISION
    ),
    _C.CREATE: _rule(
        MAX_SERVICE_CALL_RETRIES,
        _S.CREATE_CLIENT_CALL_FAILED,
        _C.PROVISION,
        _C.GET_TOKEN,
        _C.AUTH,
        _C.CREATE,
    ),
    _C.TAG_CLIENT: _rule(
        MAX_SERVICE_CALL_RETRIES, _S.TAG_CLIENT_CALL_FAILED, _C.CREATE, _C.READY, _C.TAG_CLIENT
    ),
    _C.READY: _rule(
        UNLIMITED_RETRIES,
        _S.CLIENT_READY_CALLBACK_FAILED,
        _C.GET_TOKEN,
        _C.AUTH,
        _C.TAG_CLIENT,
        _C.CREATE,
        _C.READY,
    ),
    _C.FAILED: _rule(UNLIMITED_RETRIES, _S.INVALID_CLIENT_READY_STATE, *_C),
}

_T = StreamState
STREAM_STATES: Final[Mapping[StreamState, Rule]] = {
    _T.NEW: _rule(UNLIMITED_RETRIES, _S.INVALID_STREAM_READY_STATE, _T.NEW, _T.STOPPED, _T.FAILED),
    _T.DESCRIBE: _rule(
        MAX_SERVICE_CALL_RETRIES,
        _S.DESCRIBE_STREAM_CALL_FAILED,
        _T.NEW,
        _T.STOPPED,
        _T.DESCRIBE,
        _T.CREATE,
        _T.PUT_STREAM,
    ),
    _T.CREATE: _rule(
        MAX_SERVICE_CALL_RETRIES, _S.CREATE_STREAM_CALL_FAILED, _T.DESCRIBE, _T.CREATE
    ),
    _T.TAG_STREAM: _rule(
        MAX_SERVICE_CALL_RETRIES,
        _S.TAG_STREAM_CALL_FAILED,
        _T.DESCRIBE,
        _T.CREATE,
        _T.TAG_STREAM,
    ),
    _T.GET_ENDPOINT: _rule(
        MAX_SERVICE_CALL_RETRIES,
        _S.GET_STREAMING_ENDPOINT_CALL_FAILED,
        _T.STOPPED,
        _T.DESCRIBE,
        _T.CREATE,
        _T.TAG_STREAM,
        _T.GET_ENDPOINT,
        _T.PUT_STREAM,
    ),
    _T.GET_TOKEN: _rule(
        MAX_SERVICE_CALL_RETRIES,
        _S.GET_STREAMING_TOKEN_CALL_FAILED,
        _T.STOPPED,
        _T.GET_ENDPOINT,
        _T.PUT_STREAM,
        _T.GET_TOKEN,
    ),
    _T.READY: _rule(
        MAX_SERVICE_CALL_RETRIES,
        _S.STREAM_READY_CALLBACK_FAILED,
        _T.STOPPED,
        _T.GET_TOKEN,
        _T.PUT_STREAM,
        _T.STREAMING,
        _T.READY,
    ),
    _T.PUT_STREAM: _rule(UNLIMITED_RETRIES, _S.PUT_STREAM_CALL_FAILED, _T.READY, _T.PUT_STREAM),
    _T.STREAMING: _rule(UNLIMITED_RETRIES, _S.PUT_STREAM_CALL_FAILED, _T.PUT_STREAM, _T.STREAMING),
    _T.STOPPED: _rule(UNLIMITED_RETRIES, _S.PUT_STREAM_CALL_FAILED, *_T),
    _T.FAILED: _rule(UNLIMITED_RETRIES, _S.INVALID_STREAM_STATE, *_T),
}

# --- results of service calls -------------------------------------------------------------------
_RESULT_STATUS: Final[Mapping[int, StatusCode]] = {
    200: _S.SUCCESS,
    10401: _S.SUCCESS,  # the token is about to expire: a session is to follow
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
    """The status of a service call's result; a result that is not known is UNKNOWN."""
    return _RESULT_STATUS.get(result, _S.SERVICE_CALL_UNKOWN_ERROR)


_UNKNOWN_RESULT: Final = 10006
_STATUS_RESULT: Final[Mapping[StatusCode, int]] = {
    status: result for result, status in reversed(list(_RESULT_STATUS.items()))
}


def status_result(status: StatusCode) -> int:
    """The result of a service call that failed with a status; UNKNOWN for most."""
    return _STATUS_RESULT.get(status, _UNKNOWN_RESULT)


def is_timeout(result: int) -> bool:
    """Whether the result is one of the time-outs (408, 504, 598, 599)."""
    return result_status(result) is _S.SERVICE_CALL_TIMEOUT_ERROR


_RETRIED = frozenset({_S.SUCCESS, _S.SERVICE_CALL_TIMEOUT_ERROR, _S.SERVICE_CALL_UNKOWN_ERROR})
_RETRIED_AUTH = _RETRIED | {_S.SERVICE_CALL_NOT_AUTHORIZED_ERROR}
_RETRIED_MISSING = _RETRIED | {_S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR}

TOLERATED: Final[Mapping[Enum, frozenset[StatusCode]]] = {
    # The statuses that a state handles itself (by a retry or another state); others are final.
    _C.AUTH: _RETRIED_AUTH,
    _C.GET_TOKEN: _RETRIED,
    _C.PROVISION: _RETRIED,
    _C.CREATE: _RETRIED_MISSING,
    _C.TAG_CLIENT: _RETRIED,
    _T.DESCRIBE: _RETRIED_AUTH | _RETRIED_MISSING,
    _T.CREATE: _RETRIED_AUTH | {_S.SERVICE_CALL_RESOURCE_IN_USE_ERROR},
    _T.TAG_STREAM: _RETRIED_AUTH,
    _T.GET_ENDPOINT: _RETRIED_AUTH,
    _T.GET_TOKEN: _RETRIED,
    _T.PUT_STREAM: _RETRIED_AUTH,
}

AFTER_LOSS: Final[Mapping[StatusCode, StreamState]] = {
    # Where a lost session goes on, by the status of its result; anything else starts over (NEW).
    _S.SUCCESS: _T.GET_ENDPOINT,
    _S.SERVICE_CALL_DEVICE_LIMIT_ERROR: _T.GET_ENDPOINT,
    _S.SERVICE_CALL_STREAM_LIMIT_ERROR: _T.GET_ENDPOINT,
    _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR: _T.GET_TOKEN,
    _S.SERVICE_CALL_RESOURCE_IN_USE_ERROR: _T.DESCRIBE,
    _S.SERVICE_CALL_UNKOWN_ERROR: _T.DESCRIBE,
    _S.ACK_ERR_ACK_INTERNAL_ERROR: _T.DESCRIBE,
    _S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR: _T.DESCRIBE,
    _S.SERVICE_CALL_RESOURCE_DELETED_ERROR: _T.DESCRIBE,
    _S.SERVICE_CALL_TIMEOUT_ERROR: _T.READY,
}

_ALIVE: Final = frozenset(
    {0, 200, 401, 4000, 4003, 4008, 5000, 5001, 10000, 10001, 10002, *range(4500, 4508)}
)


def host_is_alive(result: int) -> bool:
    """Whether a session that ended with `result` leaves RECEIVED acks credible."""
    return result in _ALIVE


_State = TypeVar("_State", bound=Enum)


class StateMachine(Generic[_State]):
    """The current state and its count of self-steps; see the module's docstring.

    `name` (1 to 32 characters) is whose states they are. Raises STATE_MACHINE_NAME_LEN_INVALID,
    and STATE_MACHINE_STATE_NOT_FOUND for a state that the table lacks.
    """

    __slots__ = ("_table", "name", "retries", "state")

    def __init__(self, name: str, table: Mapping[_State, Rule], start: _State) -> None:
        if not 0 < len(name) <= MAX_STATE_MACHINE_NAME_LEN:
            raise kvs_error(_S.STATE_MACHINE_NAME_LEN_INVALID, f"{len(name)} characters")
        self.name = name
        self._table = table
        self._rule(start)
        self.state = start
        self.retries = 0

    def step(self, to: _State, stream: str | None = None) -> None:
        """Enter `to`.

        Raises INVALID_STREAM_STATE when it may not follow the current state, the state's own
        failure status when it has been repeated too often, STATE_MACHINE_STATE_NOT_FOUND; then
        nothing changes.
        """
        rule = self._rule(to)
        if self.state not in rule.accepts:
            raise kvs_error(
                _S.INVALID_STREAM_STATE, f"{to.name} cannot follow {self.state.name}", stream=stream
            )
        if to is self.state:
            self.retries += 1
            if rule.retries and self.retries > rule.retries:
                raise kvs_error(
                    rule.failure, f"given up after {self.retries} attempts", stream=stream
                )
        else:
            self.retries = 0
        self.state = to

    def restart(self, state: _State) -> None:
        """Put the machine into `state`, whatever it was in, with no retries counted."""
        self._rule(state)
        self.state = state
        self.retries = 0

    def _rule(self, state: _State) -> Rule:
        rule = self._table.get(state)
        if rule is None:
            raise kvs_error(
                _S.STATE_MACHINE_STATE_NOT_FOUND, f"the {self.name} machine has no {state!r}"
            )
        return rule
