"""The control plane, called as the server calls it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from kvsproducer import limits
from kvsproducer.endpoint.control import OPERATIONS, ControlPlane
from kvsproducer.endpoint.errors import ServiceError
from kvsproducer.endpoint.members import Members
from kvsproducer.endpoint.store import Store, open_store

NOW = 17_000_000_000_000_000
FOREIGN_ARN = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/door/1"


class Caller:
    """Call an operation: `call("createStream", StreamName=...)`."""

    def __init__(self, store: Store) -> None:
        self.deleted: list[str] = []
        self.plane = ControlPlane(
            store,
            now=lambda: NOW,
            dice=random.Random(1).randrange,
            on_deleted=self.deleted.append,
        )

    def __call__(self, operation: str, **members: Any) -> Any:
        return OPERATIONS["/" + operation](self.plane, Members(members))

    def refused(self, operation: str, **members: Any) -> tuple[str, int]:
        with pytest.raises(ServiceError) as caught:
            self(operation, **members)
        assert caught.value.text
        return caught.value.name, caught.value.http_status


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store(None)
    yield opened
    opened.close()


@pytest.fixture
def call(store: Store) -> Caller:
    return Caller(store)


def test_create_and_describe(call: Caller) -> None:
    arn = call("createStream", StreamName="door", MediaType="video/h264", Tags={"a": "b"})
    assert arn == {
        "StreamARN": "arn:aws:kinesisvideo:us-west-2:123456789012:stream/door/1700000000000"
    }
    info = call("describeStream", **arn)["StreamInfo"]
    assert call("describeStream", StreamName="door")["StreamInfo"] == info
    version = info.pop("Version")
    assert len(version) == 20
    assert version.isalnum()
    assert info == {
        "DeviceName": None,
        "StreamName": "door",
        "StreamARN": arn["StreamARN"],
        "MediaType": "video/h264",
        "KmsKeyId": "arn:aws:kms:us-west-2:123456789012:alias/aws/kinesisvideo",
        "Status": "ACTIVE",
        "CreationTime": 1_700_000_000.0,
        "DataRetentionInHours": 0,
        "IngestionConfiguration": None,
    }


def test_storage_tier_is_stored_and_described(call: Caller) -> None:
    for name, members, tier in (
        ("cold", {"StreamStorageConfiguration": {"DefaultStorageTier": "WARM"}}, "WARM"),
        ("door", {}, "HOT"),
    ):
        arn = call("createStream", StreamName=name, **members)["StreamARN"]
        assert call("describeStreamStorageConfiguration", StreamName=name) == {
            "StreamName": name,
            "StreamARN": arn,
            "StreamStorageConfiguration": {"DefaultStorageTier": tier},
        }
    version = call("describeStream", StreamName="door")["StreamInfo"]["Version"]
    change = {
        "StreamName": "door",
        "CurrentVersion": version,
        "StreamStorageConfiguration": {"DefaultStorageTier": "WARM"},
    }
    assert call("updateStreamStorageConfiguration", **change) == {}
    shown = call("describeStreamStorageConfiguration", StreamName="door")
    assert shown["StreamStorageConfiguration"] == {"DefaultStorageTier": "WARM"}
    operation = "updateStreamStorageConfiguration"
    assert call.refused(operation, **change) == ("VersionMismatchException", 400)
    now = call("describeStream", StreamName="door")["StreamInfo"]["Version"]
    change["CurrentVersion"] = now
    for wrong in ({}, {"DefaultStorageTier": "COLD"}, "WARM", None):
        change["StreamStorageConfiguration"] = wrong
        assert call.refused(operation, **change) == ("InvalidArgumentException", 400)


def test_name_can_be_used_once(call: Caller) -> None:
    call("createStream", StreamName="door")
    assert call.refused("createStream", StreamName="door") == ("ResourceInUseException", 400)


@pytest.mark.parametrize(
    "operation",
    [
        "describeStream",
        "getDataEndpoint",
        "updateStream",
        "updateDataRetention",
        "tagStream",
        "untagStream",
        "listTagsForStream",
    ],
)
@pytest.mark.parametrize("address", [{"StreamName": "none"}, {"StreamARN": FOREIGN_ARN}])
def test_an_unknown_stream_is_not_found(
    call: Caller, operation: str, address: dict[str, str]
) -> None:
    call("createStream", StreamName="door")
    members: dict[str, Any] = {"APIName": "PUT_MEDIA", "CurrentVersion": "x"}
    assert call.refused(operation, **address, **members) == ("ResourceNotFoundException", 404)


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("createStream", {}),
        ("createStream", {"StreamName": "a b"}),
        ("createStream", {"StreamName": "x" * 257}),
        ("createStream", {"StreamName": 5}),
        ("createStream", {"StreamName": "new", "DeviceName": ""}),
        ("createStream", {"StreamName": "new", "MediaType": "video"}),
        ("createStream", {"StreamName": "new", "KmsKeyId": ""}),
        ("createStream", {"StreamName": "new", "DataRetentionInHours": -1}),
        ("createStream", {"StreamName": "new", "DataRetentionInHours": 1.5}),
        ("createStream", {"StreamName": "new", "DataRetentionInHours": True}),
        ("createStream", {"StreamName": "new", "Tags": {str(n): "" for n in range(51)}}),
        ("createStream", {"StreamName": "new", "Tags": {"a": "x" * 257}}),
        ("createStream", {"StreamName": "new", "Tags": {"a!": ""}}),
        ("createStream", {"StreamName": "new", "StreamStorageConfiguration": {}}),
        ("describeStream", {}),
        ("describeStream", {"StreamARN": "arn:aws:s3:::bucket"}),
        ("describeStream", {"StreamName": "other", "StreamARN": "door"}),
        ("listStreams", {"MaxResults": 0}),
        ("listStreams", {"MaxResults": 10_001}),
        ("listStreams", {"NextToken": "no token!"}),
        ("listStreams", {"NextToken": "abc"}),
        ("listStreams", {"StreamNameCondition": {"ComparisonOperator": "ENDS_WITH"}}),
        ("updateStream", {"StreamName": "door"}),
        ("deleteStream", {"StreamName": "door"}),
        ("getDataEndpoint", {"StreamName": "door"}),
        ("getDataEndpoint", {"StreamName": "door", "APIName": "NO_MEDIA"}),
        ("tagStream", {"StreamName": "door", "Tags": {}}),
        ("untagStream", {"StreamName": "door", "TagKeyList": []}),
    ],
)
def test_invalid_arguments(call: Caller, operation: str, members: dict[str, Any]) -> None:
    call("createStream", StreamName="door")
    assert call.refused(operation, **members) == ("InvalidArgumentException", 400)


def test_lists_have_pages_and_prefixes(call: Caller) -> None:
    for name in ("b2", "a1", "b1", "c1", "b3"):
        call("createStream", StreamName=name)
    names, token = [], None
    while True:
        page = call(
            "listStreams",
            MaxResults=2,
            NextToken=token,
            StreamNameCondition={"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "b"},
        )
        names.append([info["StreamName"] for info in page["StreamInfoList"]])
        token = page["NextToken"]
        if token is None:
            break
    assert names == [["b1", "b2"], ["b3"]]
    assert len(call("listStreams")["StreamInfoList"]) == 5


def test_retention_increases_and_decreases_with_the_version(call: Caller) -> None:
    call("createStream", StreamName="door", DataRetentionInHours=2)

    def info() -> Any:
        return call("describeStream", StreamName="door")["StreamInfo"]

    def change(operation: str, hours: int, version: str) -> dict[str, Any]:
        return {
            "StreamName": "door",
            "CurrentVersion": version,
            "Operation": operation + "_DATA_RETENTION",
            "DataRetentionChangeInHours": hours,
        }

    first = info()["Version"]
    assert call("updateDataRetention", **change("INCREASE", 3, first)) == {}
    assert info()["DataRetentionInHours"] == 5
    assert info()["Version"] != first
    assert call.refused("updateDataRetention", **change("INCREASE", 1, first)) == (
        "VersionMismatchException",
        400,
    )
    call("updateDataRetention", **change("DECREASE", 5, info()["Version"]))
    assert info()["DataRetentionInHours"] == 0
    for operation, hours in (
        ("DECREASE", 1),
        ("INCREASE", limits.SERVICE_MAX_RETENTION_HOURS + 1),
    ):
        assert call.refused("updateDataRetention", **change(operation, hours, info()["Version"]))[
            0
        ] == ("InvalidArgumentException")


def test_update_changes_only_given_values(call: Caller) -> None:
    call("createStream", StreamName="door", DeviceName="one", MediaType="video/h264")
    version = call("describeStream", StreamName="door")["StreamInfo"]["Version"]
    call("updateStream", StreamName="door", CurrentVersion=version, DeviceName="two")
    info = call("describeStream", StreamName="door")["StreamInfo"]
    assert (info["DeviceName"], info["MediaType"]) == ("two", "video/h264")
    assert info["Version"] != version


def test_tags(call: Caller) -> None:
    call("createStream", StreamName="door", Tags={"a": "1", "b": "2"})
    call("tagStream", StreamName="door", Tags={"b": "two", "ключ": "3"})
    call("untagStream", StreamName="door", TagKeyList=["a", "unknown"])
    assert call("listTagsForStream", StreamName="door") == {
        "Tags": {"b": "two", "ключ": "3"},
        "NextToken": None,
    }
    many = {f"k{n}": "" for n in range(49)}
    assert call.refused("tagStream", StreamName="door", Tags=many) == (
        "TagsPerResourceExceededLimitException",
        400,
    )


def test_delete_by_arn_and_version(call: Caller) -> None:
    arn = call("createStream", StreamName="door")["StreamARN"]
    assert call.refused("deleteStream", StreamARN=arn, CurrentVersion="old") == (
        "VersionMismatchException",
        400,
    )
    assert call("deleteStream", StreamARN=arn) == {}
    assert call.deleted == [arn]
    assert call.refused("describeStream", StreamName="door")[1] == 404
    call("createStream", StreamName="door")


def test_streams_exist_after_a_restart(call: Caller, store: Store) -> None:
    call("createStream", StreamName="door", DataRetentionInHours=7, Tags={"a": "b"})
    again = Caller(store)
    assert again("describeStream", StreamName="door") == call("describeStream", StreamName="door")
    assert again("listTagsForStream", StreamName="door")["Tags"] == {"a": "b"}
