"""Each call of the core against the local endpoint."""

from __future__ import annotations

import asyncio

import boto3
import pytest

from kvsproducer import client as core
from kvsproducer.duration import TICKS_PER_HOUR, ticks
from kvsproducer.service import calls
from kvsproducer.service.results import RefusedError, failure_of
from kvsproducer.service.service import Service
from kvsproducer.status import KvsError, StatusCode

BASE = {"call_id": 1, "not_before": 0, "timeout": 0, "connection_timeout": 0, "auth": None}


@pytest.fixture
def service(endpoint_url: str) -> Service:
    return Service(endpoint_url=endpoint_url)


def answer(service: Service, call: core.Call) -> calls.Answer:
    """Make a call, close its connection, and return the answer."""

    async def ask() -> calls.Answer:
        try:
            return await calls.answer(service, call)
        finally:
            await service.disconnect()

    return asyncio.run(ask())


def create(**members: object) -> core.CreateStream:
    values: dict[str, object] = {
        **BASE,
        "stream": "door",
        "device_name": "doorbell",
        "content_type": "video/h264",
        "kms_key_id": "",
        "retention": 3 * TICKS_PER_HOUR,
        "tags": (),
        **members,
    }
    return core.CreateStream(**values)  # type: ignore[arg-type]


def test_create_describe_tag_and_locate(service: Service, endpoint_url: str) -> None:
    """The created stream has the values and tags that the core gave."""
    arn = answer(service, create())
    assert isinstance(arn, str)
    described = answer(service, core.DescribeStream(**BASE, stream="door"))
    assert isinstance(described, core.StreamDescription)
    assert described.stream_arn == arn
    assert described.status is core.StreamStatus.ACTIVE
    assert described.retention == 3 * TICKS_PER_HOUR
    assert described.content_type == "video/h264"
    assert described.device_name == "doorbell"
    assert described.creation_time > 0
    tags = (("room", "hall"), ("floor", "1"))
    assert answer(service, core.TagStream(**BASE, stream="door", arn=arn, tags=tags)) is None
    client = boto3.client("kinesisvideo", endpoint_url=endpoint_url)
    assert client.list_tags_for_stream(StreamARN=arn)["Tags"] == dict(tags)
    where = core.GetStreamingEndpoint(**BASE, stream="door", api_name="PUT_MEDIA")
    assert answer(service, where) == endpoint_url


@pytest.mark.parametrize(("asked", "kept"), [(5400, 2), (3600, 1), (3600.001, 2), (0, 0)])
def test_retention_is_rounded_up_to_whole_hours(service: Service, asked: float, kept: int) -> None:
    """KVS counts in hours: 90 minutes had become 1 hour, so media was gone before its time."""
    answer(service, create(retention=ticks(asked)))
    described = answer(service, core.DescribeStream(**BASE, stream="door"))
    assert isinstance(described, core.StreamDescription)
    assert described.retention == kept * TICKS_PER_HOUR


def test_a_refusal_becomes_a_result(service: Service) -> None:
    """`failure_of` converts the exception into a result."""
    with pytest.raises(RefusedError, match="HTTP 404 ResourceNotFoundException: ") as caught:
        answer(service, core.DescribeStream(**BASE, stream="nowhere"))
    assert failure_of(caught.value).result == 404


def test_credentials(service: Service) -> None:
    """The call returns the keys of the chain, and a repr does not show them."""
    token = answer(service, core.GetSecurityToken(**BASE, stream=None))
    assert isinstance(token, core.AuthInfo)
    assert token.length == len("AKIDEXAMPLE" + "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    assert "wJalr" not in repr(token)


def test_no_credentials(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is None, and the reason lists where credentials were searched."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    call = core.GetSecurityToken(**BASE, stream=None)
    assert answer(service, call) is None
    assert "no AWS credentials were found" in calls.reason_to_wait(call, None)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ({}, StatusCode.INVALID_DESCRIBE_STREAM_RETURN_JSON),
        ({"StreamInfo": None}, StatusCode.INVALID_DESCRIBE_STREAM_RETURN_JSON),
        (
            {"StreamInfo": {"Status": "SLEEPING"}},
            StatusCode.INVALID_DESCRIBE_STREAM_RETURN_JSON,
        ),
        ({"StreamInfo": {"Status": "S" * 33}}, StatusCode.INVALID_API_CALL_RETURN_JSON),
        ({"StreamInfo": {"Version": "1" * 65}}, StatusCode.INVALID_API_CALL_RETURN_JSON),
        ({"StreamInfo": {"StreamName": "n" * 257}}, StatusCode.INVALID_API_CALL_RETURN_JSON),
        *(
            ({"StreamInfo": {member: value}}, StatusCode.INVALID_DESCRIBE_STREAM_RETURN_JSON)
            for member in ("Status", "StreamARN", "StreamName", "Version", "DataRetentionInHours")
            for value in (1.5, ["x"], {"a": 1})
        ),
        (
            {"StreamInfo": {"DataRetentionInHours": float("inf")}},
            StatusCode.INVALID_DESCRIBE_STREAM_RETURN_JSON,
        ),
        *(
            (
                {"StreamInfo": {"CreationTime": when}},
                StatusCode.INVALID_DESCRIBE_STREAM_RETURN_JSON,
            )
            for when in (-2_208_988_800, 1e300, float("inf"), "soon", "1900-01-01", [1], {})
        ),
    ],
)
def test_invalid_descriptions_are_refused(
    reply: dict[str, object],
    status: StatusCode,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Missing, wrong and too long members have their statuses."""

    async def call(*_: object) -> dict[str, object]:
        return reply

    monkeypatch.setattr(service, "call", call)
    with pytest.raises(KvsError) as caught:
        answer(service, core.DescribeStream(**BASE, stream="door"))
    assert caught.value.status is status
