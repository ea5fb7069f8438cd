"""Tests of the names and numbers of the KVS API."""

from __future__ import annotations

from botocore.session import Session

from kvsproducer import wire
from kvsproducer.wire import OTHER_PATHS, PATHS, AckType


def test_ack_types_have_the_numbers_of_the_c_structure() -> None:
    """The values of AckType are those of AWS's FragmentAck structure."""
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
    """All operations used here follow this rule."""
    for operation, path in PATHS.items():
        assert path == "/" + operation[0].lower() + operation[1:]


def test_the_service_has_these_operations_and_no_other() -> None:
    """The list has all operations of botocore's models, and PutMedia."""
    session = Session()
    paths = {"PutMedia": "/putMedia"}
    for service in (
        "kinesisvideo",
        "kinesis-video-media",
        "kinesis-video-archived-media",
        "kinesis-video-signaling",
    ):
        model = session.get_service_model(service)
        for name in model.operation_names:
            paths[name] = model.operation_model(name).http["requestUri"]
    known = {**PATHS, **OTHER_PATHS}
    # An older botocore knows fewer operations.
    assert {name: known.get(name) for name in paths} == paths


def test_control_tags_have_the_reserved_prefix() -> None:
    """So they differ from all names that users may choose."""
    tags = [value for name, value in vars(wire).items() if name.startswith("TAG_")]
    assert all(tag.startswith(wire.TAG_RESERVED_PREFIX) for tag in tags)
    assert len(set(tags)) == len(tags)
