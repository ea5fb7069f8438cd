"""Tests of the service's names for errors: complete, and consistent with the raised statuses."""

from __future__ import annotations

import pytest

from kvsproducer.client.states import result_status
from kvsproducer.service.results import failure_of_answer
from kvsproducer.status import KvsError, StatusCode
from kvsproducer.status.catalogue import suggest
from kvsproducer.status.explain import lookup
from kvsproducer.status.service_errors import ACK_ERRORS, EXCEPTIONS, ack_error, wire_names


def test_every_ack_status_has_one_error_id() -> None:
    """Each ACK_ERR_ status of the Error Code Reference is reported by exactly one id."""
    statuses = [error.status for error in ACK_ERRORS.values()]
    assert sorted(statuses) == sorted(s for s in StatusCode if s.name.startswith("ACK_ERR_"))


def test_error_ids_are_those_of_the_service() -> None:
    """The ids are 4000 to 4012, 4500 to 4507, 5000 and 5001; 7000 is for unknown ids."""
    assert list(ACK_ERRORS) == [*range(4000, 4013), *range(4500, 4508), 5000, 5001, 7000]
    assert all(error.id == error_id for error_id, error in ACK_ERRORS.items())
    assert len({error.name for error in ACK_ERRORS.values()}) == len(ACK_ERRORS)


def test_retriable_ids_are_those_that_a_new_connection_can_fix() -> None:
    """With all other ids the same fragment would fail again, so it is skipped."""
    retriable = [error.id for error in ACK_ERRORS.values() if error.retriable]
    assert retriable == [4000, 4003, 5000, 5001, 7000]


def test_unknown_ids_count_as_7000() -> None:
    """An id that the service adds later loses no fragment: the fragment is sent again."""
    assert ack_error(9999) is ACK_ERRORS[7000]
    assert ack_error(4004).name == "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS"


def test_the_two_ambiguous_ids_have_both_names() -> None:
    """Old and new documentation use different names for 4005 and 4012."""
    assert ACK_ERRORS[4005].aliases == ("MORE_THAN_ONE_TRACK_FOUND",)
    assert ACK_ERRORS[4012].aliases == ("MORE_THAN_ALLOWED_TRACKS_FOUND",)


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exception_names_find_the_status_that_is_raised(name: str) -> None:
    """`kvs explain NAME` finds the status that a call raises when the service answers NAME."""
    assert failure_of_answer(400, name, "").status is EXCEPTIONS[name]
    assert lookup(name).status is lookup(name.lower()).status is EXCEPTIONS[name]
    assert {name, f"{name}Exception"} & set(wire_names(EXCEPTIONS[name]))


@pytest.mark.parametrize("error_id", ACK_ERRORS)
def test_ack_error_ids_find_their_status(error_id: int) -> None:
    """An id is found as a number, as text, and by its ErrorCode unless a status has that name."""
    status = ACK_ERRORS[error_id].status
    assert lookup(error_id).status is lookup(str(error_id)).status is status
    name = ACK_ERRORS[error_id].name
    assert lookup(name).status is StatusCode.__members__.get(name, status)
    assert result_status(error_id) is status


def test_names_of_exceptions_are_suggested() -> None:
    """The suggestion for a shortened name has the exception's own spelling."""
    with pytest.raises(KvsError):
        lookup("ResourceNotFound")
    assert "ResourceNotFoundException" in suggest("ResourceNotFound")
