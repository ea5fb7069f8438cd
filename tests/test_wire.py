"""The wire's names: complete, consistent with the status codes, and each path once."""

from __future__ import annotations

from kvsproducer import wire
from kvsproducer.status import StatusCode
from kvsproducer.wire import ACK_ERRORS, PATHS, AckType, ack_error


def test_every_ack_status_has_one_error_id() -> None:
    """Each ACK_ERR_ status of the Error Code Reference is reported by exactly one id."""
    statuses = [error.status for error in ACK_ERRORS.values()]
    assert sorted(statuses) == sorted(s for s in StatusCode if s.name.startswith("ACK_ERR_"))


def test_error_ids_are_those_of_the_service() -> None:
    """4000..4012, 4500..4507, 5000 and 5001; 7000 stands for what is not known."""
    assert list(ACK_ERRORS) == [*range(4000, 4013), *range(4500, 4508), 5000, 5001, 7000]
    assert all(error.id == error_id for error_id, error in ACK_ERRORS.items())
    assert len({error.name for error in ACK_ERRORS.values()}) == len(ACK_ERRORS)


def test_retriable_ids_are_those_that_a_new_connection_can_mend() -> None:
    """All others would fail again with the same fragment, so the fragment is skipped."""
    retriable = [error.id for error in ACK_ERRORS.values() if error.retriable]
    assert retriable == [4000, 4003, 5000, 5001, 7000]


def test_unknown_ids_count_as_7000() -> None:
    """A new id of the service does not lose a fragment: it is sent again."""
    assert ack_error(9999) is ACK_ERRORS[7000]
    assert ack_error(4004).name == "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS"


def test_the_two_disputed_ids_have_both_readings() -> None:
    """Old and new documentation name them differently."""
    assert ACK_ERRORS[4005].aliases == ("MORE_THAN_ONE_TRACK_FOUND",)
    assert ACK_ERRORS[4012].aliases == ("MORE_THAN_ALLOWED_TRACKS_FOUND",)


def test_ack_types_have_the_numbers_of_the_c_structure() -> None:
    """FragmentAck as data carries them."""
    assert [t.name for t in sorted(AckType)] == [
        "UNDEFINED",
        "BUFFERING",
        "RECEIVED",
        "PERSISTED",
        "ERROR",
        "IDLE",
    ]
    assert AckType.PERSISTED == 3


def test_paths_are_the_operation_names_in_camel_case() -> None:
    """The service's rule, without exception among the operations used here."""
    for operation, path in PATHS.items():
        assert path == "/" + operation[0].lower() + operation[1:]


def test_control_tags_have_the_reserved_prefix() -> None:
    """No user's metadata can be taken for one of them."""
    tags = [value for name, value in vars(wire).items() if name.startswith("TAG_")]
    assert all(tag.startswith(wire.TAG_RESERVED_PREFIX) for tag in tags)
    assert len(set(tags)) == len(tags)
