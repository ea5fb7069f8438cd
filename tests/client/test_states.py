"""The state tables: every step, legal or not; how often a state repeats; what a result means."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from kvsproducer.client.states import (
    AFTER_LOSS,
    CLIENT_STATES,
    STREAM_STATES,
    TOLERATED,
    ClientState,
    StateMachine,
    StreamState,
    host_is_alive,
    is_timeout,
    result_status,
    status_result,
)
from kvsproducer.status import KvsError, StatusCode

# The same facts the other way round: from each state, where it may go. Those of `EVERYWHERE` may
# be entered from anywhere.
STREAM_STEPS = {
    "NEW": "NEW DESCRIBE",
    "DESCRIBE": "DESCRIBE CREATE TAG_STREAM GET_ENDPOINT",
    "CREATE": "CREATE DESCRIBE TAG_STREAM GET_ENDPOINT",
    "TAG_STREAM": "TAG_STREAM GET_ENDPOINT",
    "GET_ENDPOINT": "GET_ENDPOINT GET_TOKEN",
    "GET_TOKEN": "GET_TOKEN READY",
    "READY": "READY PUT_STREAM",
    "PUT_STREAM": "PUT_STREAM STREAMING READY GET_TOKEN GET_ENDPOINT DESCRIBE",
    "STREAMING": "STREAMING READY",
    "STOPPED": "NEW DESCRIBE GET_ENDPOINT GET_TOKEN READY",
    "FAILED": "NEW",
}
CLIENT_STEPS = {
    "NEW": "NEW AUTH",
    "AUTH": "AUTH GET_TOKEN PROVISION CREATE READY",
    "GET_TOKEN": "GET_TOKEN CREATE READY",
    "PROVISION": "PROVISION GET_TOKEN CREATE",
    "CREATE": "CREATE TAG_CLIENT READY",
    "TAG_CLIENT": "TAG_CLIENT READY",
    "READY": "READY AUTH TAG_CLIENT",
    "FAILED": "",
}
EVERYWHERE = {StreamState: {"STOPPED", "FAILED"}, ClientState: {"FAILED"}}
TABLES: Any = (
    (StreamState, STREAM_STATES, STREAM_STEPS),
    (ClientState, CLIENT_STATES, CLIENT_STEPS),
)
STEPS = [
    (table, old, new, new.name in steps[old.name].split() or new.name in EVERYWHERE[states])
    for states, table, steps in TABLES
    for old in states
    for new in states
]
FAILURES = {
    StreamState.DESCRIBE: StatusCode.DESCRIBE_STREAM_CALL_FAILED,
    StreamState.CREATE: StatusCode.CREATE_STREAM_CALL_FAILED,
    StreamState.TAG_STREAM: StatusCode.TAG_STREAM_CALL_FAILED,
    StreamState.GET_ENDPOINT: StatusCode.GET_STREAMING_ENDPOINT_CALL_FAILED,
    StreamState.GET_TOKEN: StatusCode.GET_STREAMING_TOKEN_CALL_FAILED,
    StreamState.READY: StatusCode.STREAM_READY_CALLBACK_FAILED,
    ClientState.AUTH: StatusCode.CLIENT_AUTH_CALL_FAILED,
    ClientState.GET_TOKEN: StatusCode.GET_CLIENT_TOKEN_CALL_FAILED,
    ClientState.PROVISION: StatusCode.CLIENT_PROVISION_CALL_FAILED,
    ClientState.CREATE: StatusCode.CREATE_CLIENT_CALL_FAILED,
    ClientState.TAG_CLIENT: StatusCode.TAG_CLIENT_CALL_FAILED,
}


def machine_in(state: Any) -> StateMachine[Any]:
    table: Any = STREAM_STATES if isinstance(state, StreamState) else CLIENT_STATES
    return StateMachine("mine", table, state)


@pytest.mark.parametrize(("table", "old", "new", "legal"), STEPS)
def test_each_step_is_legal_or_changes_nothing(
    table: Any, old: Enum, new: Enum, legal: bool
) -> None:
    """All pairs of states, against the steps written the other way round."""
    machine = StateMachine("mine", table, old)
    if legal:
        machine.step(new)
        assert machine.state is new
        return
    with pytest.raises(KvsError) as caught:
        machine.step(new, "door")
    assert caught.value.status is StatusCode.INVALID_STREAM_STATE
    assert caught.value.stream == "door"
    assert machine.state is old


@pytest.mark.parametrize("state", list(FAILURES), ids=str)
def test_a_call_is_made_six_times(state: Any) -> None:
    """Five repetitions, then the state's own failure; leaving the state counts anew."""
    machine = machine_in(state)
    for _ in range(5):
        machine.step(state)
    with pytest.raises(KvsError) as caught:
        machine.step(state)
    assert caught.value.status is FAILURES[state]
    machine.restart(state)
    machine.step(state)
    assert machine.retries == 1


def test_the_others_repeat_for_ever() -> None:
    """PUT_STREAM above all: uploads are tried as long as there is media."""
    for state in {*StreamState, *ClientState} - FAILURES.keys():
        machine = machine_in(state)
        for _ in range(50):
            machine.step(state)


def test_another_state_counts_its_own_repetitions() -> None:
    """Going back to a state does not go on with its old count."""
    machine = machine_in(StreamState.DESCRIBE)
    for _ in range(5):
        machine.step(StreamState.DESCRIBE)
    machine.step(StreamState.CREATE)
    assert machine.retries == 0
    machine.step(StreamState.DESCRIBE)
    machine.step(StreamState.DESCRIBE)
    assert machine.retries == 1


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ((200, 10401), StatusCode.SUCCESS),
        ((401, 403), StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR),
        ((404,), StatusCode.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR),
        ((408, 504, 598, 599), StatusCode.SERVICE_CALL_TIMEOUT_ERROR),
        ((10003,), StatusCode.SERVICE_CALL_RESOURCE_IN_USE_ERROR),
        ((4006,), StatusCode.ACK_ERR_INVALID_MKV_DATA),
        ((0, 400, 500, 503, 10402, -1), StatusCode.SERVICE_CALL_UNKOWN_ERROR),
    ],
)
def test_results_have_statuses(results: tuple[int, ...], status: StatusCode) -> None:
    """Time-outs are those of the client and of gateways; what is not known is UNKNOWN."""
    assert {result_status(result) for result in results} == {status}
    timeout = status is StatusCode.SERVICE_CALL_TIMEOUT_ERROR
    assert {is_timeout(result) for result in results} == {timeout}


def test_a_status_has_a_result_that_means_it() -> None:
    """The first of several; what is not the result of any call is UNKNOWN."""
    assert status_result(StatusCode.SUCCESS) == 200
    assert status_result(StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR) == 401
    assert status_result(StatusCode.SERVICE_CALL_STREAM_LIMIT_ERROR) == 10002
    assert status_result(StatusCode.NULL_ARG) == 10006
    assert result_status(10006) is StatusCode.SERVICE_CALL_UNKNOWN_ERROR


@pytest.mark.parametrize("name", ["", "m" * 33])
def test_a_machine_has_a_name_of_some_length(name: str) -> None:
    """1 to 32 characters."""
    with pytest.raises(KvsError) as caught:
        StateMachine(name, STREAM_STATES, StreamState.NEW)
    assert caught.value.status is StatusCode.STATE_MACHINE_NAME_LEN_INVALID


def test_a_state_that_the_table_lacks_is_not_found() -> None:
    """Neither to begin with nor to go to; the machine stays where it is."""
    table = {StreamState.NEW: STREAM_STATES[StreamState.NEW]}
    machine = StateMachine("m" * 32, table, StreamState.NEW)
    for action in (
        lambda: StateMachine("mine", table, StreamState.READY),
        lambda: machine.step(StreamState.READY),
        lambda: machine.restart(StreamState.READY),
    ):
        with pytest.raises(KvsError) as caught:
            action()
        assert caught.value.status is StatusCode.STATE_MACHINE_STATE_NOT_FOUND
    assert machine.state is StreamState.NEW


def test_which_failures_are_final() -> None:
    """A missing stream is one for DESCRIBE to handle, missing rights one for the token."""
    missing = StatusCode.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR
    refused = StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR
    invalid = StatusCode.SERVICE_CALL_INVALID_ARG_ERROR
    assert {state for state in TOLERATED if missing in TOLERATED[state]} == {
        StreamState.DESCRIBE,
        ClientState.CREATE,
    }
    assert {state for state in TOLERATED if refused not in TOLERATED[state]} == {
        StreamState.GET_TOKEN,
        ClientState.GET_TOKEN,
        ClientState.PROVISION,
        ClientState.CREATE,
        ClientState.TAG_CLIENT,
    }
    assert not any(invalid in tolerated for tolerated in TOLERATED.values())


def test_where_a_lost_session_goes_on_can_be_entered() -> None:
    """From STOPPED, by a legal step."""
    for state in AFTER_LOSS.values():
        machine_in(StreamState.STOPPED).step(state)
    assert AFTER_LOSS[StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR] is StreamState.GET_TOKEN
    assert AFTER_LOSS[StatusCode.SERVICE_CALL_TIMEOUT_ERROR] is StreamState.READY


def test_when_received_acks_stay_credible() -> None:
    """The service spoke itself: not after a time-out or a failed fragment."""
    assert all(map(host_is_alive, (0, 200, 401, 4000, 4003, 4008, 4500, 4507, 5000, 5001, 10002)))
    assert not any(map(host_is_alive, (403, 404, 408, 500, 599, 4001, 4006, 4499, 4508, 10003)))
