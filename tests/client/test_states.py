"""The state tables: all steps, the number of repetitions, and the meaning of results."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from kvsproducer.client.states import (
    CLIENT_STATES,
    STREAM_STATES,
    ClientState,
    On,
    StateMachine,
    StreamState,
    is_timeout,
    result_status,
    status_result,
)
from kvsproducer.status import KvsError, StatusCode

# The successors of each state, besides FAILED, and STOPPED for a stream.
STREAM_STEPS = {
    "NEW": "DESCRIBE",
    "DESCRIBE": "DESCRIBE CREATE TAG_STREAM GET_ENDPOINT",
    "CREATE": "CREATE DESCRIBE TAG_STREAM GET_ENDPOINT",
    "TAG_STREAM": "TAG_STREAM GET_ENDPOINT",
    "GET_ENDPOINT": "GET_ENDPOINT GET_TOKEN",
    "GET_TOKEN": "GET_TOKEN READY",
    "READY": "PUT_STREAM GET_ENDPOINT",
    "PUT_STREAM": "STREAMING GET_TOKEN GET_ENDPOINT DESCRIBE",
    "STREAMING": "GET_ENDPOINT",
    "STOPPED": "DESCRIBE GET_ENDPOINT GET_TOKEN READY",
    "FAILED": "",
}
CLIENT_STEPS = {
    "NEW": "AUTH",
    "AUTH": "AUTH CREATE READY",
    "CREATE": "CREATE READY",
    "READY": "AUTH",
    "FAILED": "",
}
TABLES: Any = (
    (STREAM_STATES, STREAM_STEPS, {"FAILED", "STOPPED"}),
    (CLIENT_STATES, CLIENT_STEPS, {"FAILED"}),
)
INPUTS = [
    (table, state, on)
    for table, _, _ in TABLES
    for state in table
    for on in [*On, *StatusCode]
    if isinstance(on, On) or on.name.startswith(("SUCCESS", "SERVICE_CALL"))
]
FAILURES = {
    StreamState.DESCRIBE: StatusCode.DESCRIBE_STREAM_CALL_FAILED,
    StreamState.CREATE: StatusCode.CREATE_STREAM_CALL_FAILED,
    StreamState.TAG_STREAM: StatusCode.TAG_STREAM_CALL_FAILED,
    StreamState.GET_ENDPOINT: StatusCode.GET_STREAMING_ENDPOINT_CALL_FAILED,
    StreamState.GET_TOKEN: StatusCode.GET_STREAMING_TOKEN_CALL_FAILED,
    ClientState.AUTH: StatusCode.CLIENT_AUTH_CALL_FAILED,
    ClientState.CREATE: StatusCode.CREATE_CLIENT_CALL_FAILED,
}


def machine_in(state: Any) -> StateMachine[Any]:
    table: Any = STREAM_STATES if isinstance(state, StreamState) else CLIENT_STATES
    return StateMachine("mine", table, state)


@pytest.mark.parametrize(("table", "steps", "everywhere"), TABLES)
def test_each_state_has_the_expected_successors(
    table: Any, steps: dict[str, str], everywhere: set[str]
) -> None:
    """They are compared with a list written by hand."""
    for state, rule in table.items():
        found = {to.name for to in rule.following.values()}
        assert found == set(steps[state.name].split()) | everywhere, state


@pytest.mark.parametrize(("table", "old", "on"), INPUTS)
def test_an_input_leads_somewhere_or_changes_nothing(table: Any, old: Enum, on: Any) -> None:
    """This is checked for all pairs of states and inputs."""
    machine = StateMachine("mine", table, old)
    to = table[old].following.get(on)
    assert machine.accepts(on) == (to is not None)
    assert machine.repeats(on) == (to is old)
    if to is not None:
        machine.step(on)
        assert machine.state is to
        assert machine.retries == (to is old)
        return
    with pytest.raises(KvsError) as caught:
        machine.step(on, "door")
    assert caught.value.status is StatusCode.INVALID_STREAM_STATE
    assert caught.value.stream == "door"
    assert machine.state is old


@pytest.mark.parametrize("state", list(FAILURES), ids=str)
def test_a_call_is_made_six_times(state: Any) -> None:
    """After five repetitions the state's failure is raised. Leaving it resets the count."""
    machine = machine_in(state)
    for _ in range(5):
        machine.step(On.AGAIN)
    with pytest.raises(KvsError) as caught:
        machine.step(On.AGAIN)
    assert caught.value.status is FAILURES[state]
    machine.restart(state)
    machine.step(On.AGAIN)
    assert machine.retries == 1


def test_a_stream_may_lose_any_number_of_uploads() -> None:
    """It keeps trying as long as there is media."""
    machine = machine_in(StreamState.STREAMING)
    for _ in range(50):
        machine.step(On.LOST)
    assert machine.state is StreamState.STOPPED


def test_each_state_counts_its_own_repetitions() -> None:
    """A return to a state starts with a count of 0."""
    machine = machine_in(StreamState.CREATE)
    for _ in range(5):
        machine.step(On.AGAIN)
    machine.step(StatusCode.SERVICE_CALL_RESOURCE_IN_USE_ERROR)
    assert machine.retries == 0
    machine.step(On.AGAIN)
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
    """Time-outs come from the client and from gateways; an unknown result is UNKNOWN."""
    assert {result_status(result) for result in results} == {status}
    timeout = status is StatusCode.SERVICE_CALL_TIMEOUT_ERROR
    assert {is_timeout(result) for result in results} == {timeout}


def test_each_status_has_a_result() -> None:
    """Of several results it is the first; a status of no call has UNKNOWN."""
    assert status_result(StatusCode.SUCCESS) == 200
    assert status_result(StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR) == 401
    assert status_result(StatusCode.SERVICE_CALL_STREAM_LIMIT_ERROR) == 10002
    assert status_result(StatusCode.NULL_ARG) == 10006
    assert result_status(10006) is StatusCode.SERVICE_CALL_UNKNOWN_ERROR


@pytest.mark.parametrize("name", ["", "m" * 33])
def test_the_name_of_a_machine_has_a_limited_length(name: str) -> None:
    """It has 1 to 32 characters."""
    with pytest.raises(KvsError) as caught:
        StateMachine(name, STREAM_STATES, StreamState.NEW)
    assert caught.value.status is StatusCode.STATE_MACHINE_NAME_LEN_INVALID


def test_a_state_outside_the_table_is_not_found() -> None:
    """It can be neither the first state nor the next one; the state does not change."""
    table = {StreamState.NEW: STREAM_STATES[StreamState.NEW]}
    machine = StateMachine("m" * 32, table, StreamState.NEW)
    for action in (
        lambda: StateMachine("mine", table, StreamState.READY),
        lambda: machine.step(On.START),
        lambda: machine.restart(StreamState.READY),
    ):
        with pytest.raises(KvsError) as caught:
            action()
        assert caught.value.status is StatusCode.STATE_MACHINE_STATE_NOT_FOUND
    assert machine.state is StreamState.NEW


def test_only_some_states_handle_a_failure() -> None:
    """DESCRIBE handles a missing stream; GET_TOKEN does not handle missing permissions."""
    calling = {*FAILURES, StreamState.PUT_STREAM}

    def handling(status: StatusCode) -> set[Any]:
        return {state for state in calling if machine_in(state).accepts(status)}

    missing = StatusCode.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR
    assert handling(missing) == {StreamState.DESCRIBE, ClientState.CREATE}
    assert calling - handling(StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR) == {
        StreamState.GET_TOKEN,
        ClientState.CREATE,
    }
    assert not handling(StatusCode.SERVICE_CALL_INVALID_ARG_ERROR)
