"""Make the service calls that the core requests: one function for each kind of `Call`.

Each function returns the answer that the core expects for that call, or raises an exception that
`results.failure_of` converts into a result. Source: the API reference of Kinesis Video Streams,
operation by operation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from kvsproducer import client as core
from kvsproducer import limits
from kvsproducer.duration import TICKS_PER_HOUR, instant_to_ticks
from kvsproducer.limits import MIN_TOKEN_LIFE
from kvsproducer.service.credentials import AwsCredentials
from kvsproducer.service.credentials.session import NO_CREDENTIALS
from kvsproducer.service.service import Service
from kvsproducer.service.urls import url_fault, url_for_message
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["Answer", "answer", "auth_info", "data_endpoint", "instant", "reason_to_wait"]

# The maximum lengths, in characters, of the members in DescribeStream's answer.
_LONGEST = {
    "Status": limits.MAX_STATUS_TEXT_LEN,
    "StreamARN": limits.MAX_URI_LEN,  # the core checks the shorter limit of an ARN
    "StreamName": limits.MAX_STREAM_NAME_LEN,
    "DeviceName": limits.MAX_DEVICE_NAME_LEN,
    "MediaType": limits.MAX_CONTENT_TYPE_LEN,
    "Version": limits.MAX_UPDATE_VERSION_LEN,
    "KmsKeyId": limits.MAX_ARN_LEN,
}

Answer = core.StreamDescription | core.AuthInfo | str | None


async def answer(service: Service, call: core.Call) -> Answer:
    """Make `call` and return the answer for `Client.call_result`."""
    return await _HANDLERS[type(call)](service, call)


async def _create_device(service: Service, call: core.CreateDevice) -> str:
    """Return a made-up device ARN: the state machine has this step, KVS has no such call."""
    return f"arn:aws:kinesisvideo:{service.region_name}:000000000000:device/{call.device_name}/0"


async def _security_token(service: Service, call: core.Call) -> core.AuthInfo | None:  # noqa: ARG001
    try:
        return auth_info(await service.keys(MIN_TOKEN_LIFE), service.skew.ticks)
    except KvsError as error:
        if error.status is not StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR:
            raise
        return None  # there are no credentials


async def _streaming_token(service: Service, call: core.Call) -> core.AuthInfo:  # noqa: ARG001
    return auth_info(await service.keys(MIN_TOKEN_LIFE), service.skew.ticks)


def auth_info(found: AwsCredentials, skew: int) -> core.AuthInfo:
    """Return credentials for the core, with their expiration converted to this machine's clock.

    `skew`: the service's clock minus this machine's, in ticks.
    """
    info = core.AuthInfo(data=found, length=found.length)
    if found.expiration is not None:
        info.expiration = found.expiration - skew
    return info


async def _describe_stream(service: Service, call: core.DescribeStream) -> core.StreamDescription:
    info = (await service.call("DescribeStream", {"StreamName": call.stream})).get("StreamInfo")
    if not isinstance(info, dict):
        raise _no_description("there is no StreamInfo in it")
    for member, limit in _LONGEST.items():
        value = info.get(member) or ""
        if not isinstance(value, str):
            raise _no_description(f"its {member} is not text")
        if len(value) > limit:
            raise kvs_error(
                StatusCode.INVALID_API_CALL_RETURN_JSON,
                f"DescribeStream answered with a {member} of {len(value)} characters; "
                f"at most {limit} are expected",
            )
    status = info.get("Status") or "ACTIVE"
    if status not in core.StreamStatus.__members__:
        raise _no_description(f"the stream's status would be {status!r}")
    hours = info.get("DataRetentionInHours")
    if hours is not None and not isinstance(hours, int):
        raise _no_description(f"its DataRetentionInHours is {type(hours).__name__}")
    return core.StreamDescription(
        stream_arn=info.get("StreamARN") or "",
        status=core.StreamStatus[status],
        stream_name=info.get("StreamName") or "",
        device_name=info.get("DeviceName") or "",
        content_type=info.get("MediaType") or "",
        update_version=info.get("Version") or "",
        creation_time=_creation_time(info.get("CreationTime")),
        retention=None if hours is None else hours * TICKS_PER_HOUR,
        kms_key_id=info.get("KmsKeyId") or "",
    )


def reason_to_wait(call: core.Call, reply: object) -> str:
    """Return why the stream still has to wait after a successful call, or ""."""
    if reply is None and isinstance(call, core.GetSecurityToken):
        return NO_CREDENTIALS
    if isinstance(reply, core.StreamDescription) and reply.status is not core.StreamStatus.ACTIVE:
        return f"the stream is {reply.status.name}"
    return ""


def _creation_time(value: object) -> int:
    try:
        return 0 if value is None else instant(value)
    except ValueError as error:
        detail = error.detail if isinstance(error, KvsError) else str(error)
        raise _no_description(f"its CreationTime: {detail}") from error


def instant(value: object) -> int:
    """Convert a timestamp in an answer (seconds since 1970, or ISO 8601 text) to ticks since 1970.

    Raises ValueError, and what `instant_to_ticks` raises.
    """
    from botocore.utils import parse_timestamp

    if not isinstance(value, int | float | str):
        raise ValueError(f"it is {type(value).__name__}")
    try:
        return instant_to_ticks(parse_timestamp(value))  # type: ignore[arg-type]  # numbers too
    except (ArithmeticError, OSError, RuntimeError) as error:
        raise ValueError(f"{value!r} is not a timestamp") from error


def _no_description(why: str) -> KvsError:
    return kvs_error(
        StatusCode.INVALID_DESCRIBE_STREAM_RETURN_JSON,
        f"DescribeStream did not return a valid stream description: {why}",
    )


async def _create_stream(service: Service, call: core.CreateStream) -> str:
    parameters: dict[str, object] = {
        "StreamName": call.stream,
        "MediaType": call.content_type,
        "DataRetentionInHours": -(-call.retention // TICKS_PER_HOUR),  # rounded up
    }
    if call.device_name:
        parameters["DeviceName"] = call.device_name
    if call.kms_key_id:
        parameters["KmsKeyId"] = call.kms_key_id
    reply = await service.call("CreateStream", parameters)
    return str(reply.get("StreamARN") or "")


async def _tag_stream(service: Service, call: core.TagStream) -> None:
    await service.call("TagStream", {"StreamARN": call.arn, "Tags": dict(call.tags)})


async def _get_streaming_endpoint(service: Service, call: core.GetStreamingEndpoint) -> str:
    assert call.stream is not None
    return await data_endpoint(service, call.stream, call.api_name)


async def data_endpoint(service: Service, stream: str, api_name: str) -> str:
    """Return the URL of the data endpoint for `api_name` (PUT_MEDIA, GET_MEDIA ...) of a stream.

    Raises INVALID_API_CALL_RETURN_JSON if the answer does not contain a usable URL, and what
    `Service.call` raises.
    """
    reply = await service.call("GetDataEndpoint", {"StreamName": stream, "APIName": api_name})
    endpoint = reply.get("DataEndpoint")
    if not isinstance(endpoint, str) or not endpoint:
        raise kvs_error(
            StatusCode.INVALID_API_CALL_RETURN_JSON, "GetDataEndpoint returned no DataEndpoint"
        )
    if fault := url_fault(endpoint):
        raise kvs_error(
            StatusCode.INVALID_API_CALL_RETURN_JSON,
            f"GetDataEndpoint returned {url_for_message(endpoint)}, which is not a URL: {fault}",
        )
    return endpoint


_HANDLERS: dict[type[core.Call], Callable[[Service, Any], Awaitable[Answer]]] = {
    core.CreateDevice: _create_device,
    core.GetSecurityToken: _security_token,
    core.GetStreamingToken: _streaming_token,
    core.DescribeStream: _describe_stream,
    core.CreateStream: _create_stream,
    core.TagStream: _tag_stream,
    core.GetStreamingEndpoint: _get_streaming_endpoint,
}
