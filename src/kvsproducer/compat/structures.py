"""The sets of callbacks, as in AWS's C producer: platform, producer, stream, auth, API.

Each set is a record of optional functions. A function takes one argument: an event, or a `Call` of
`kvsproducer.client`. A function that takes a `Call` may answer it: its result is then used instead
of calling the service. Several sets of one kind form a chain, which is called in order. A function
ends the chain by returning a `StatusCode` (STOP_CALLBACK_CHAIN, or a failure) or by raising
`KvsError`; see `kvsproducer.compat.chains`. There is no parameter for custom data, because closures
and bound methods have their own. `free` is called once, when the producer is closed or the set is
replaced.

`version` is the version of AWS's structure; `CallbacksProvider` checks it. Not implemented:
streamUnderflowReport (nothing calls it), and functions for locks and threads (Python has its own).
KVS has no operations for devices (certificate, fingerprint, creation, tags), so only this package
has functions for them, and the core does not. Source: Include.h of AWS's C producer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

from kvsproducer import client as core
from kvsproducer import limits
from kvsproducer.status import StatusCode, kvs_error

if TYPE_CHECKING:
    from kvsproducer.service.credentials import AwsCredentials

__all__ = [
    "ApiCallbacks",
    "AuthCallbacks",
    "CallbackSet",
    "ClientShutdown",
    "DeviceCertToToken",
    "Free",
    "PlatformCallbacks",
    "ProducerCallbacks",
    "StreamCallbacks",
    "StreamDataAvailable",
    "stream_description",
]

Free = Callable[[], object]


@dataclass(frozen=True, slots=True)
class StreamDataAvailable(core.Event):
    """The argument of `stream_data_available`, which is called after each `put_frame`.

    `duration` (ticks) and `size` (bytes) are the amount of data that waits to be sent.
    """

    stream: str
    duration: int
    size: int


@dataclass(frozen=True, slots=True)
class ClientShutdown(core.Event):
    """The argument of `client_shutdown`, which is called before the sets are freed."""

    stream: str | None = None


class DeviceCertToToken(NamedTuple):
    """The argument of `device_cert_to_token`.

    `certificate` is the bytes that `get_device_certificate` returned. `stream` is the name of the
    stream whose upload needs the token; None if the token is for the control plane.
    """

    certificate: bytes
    stream: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformCallbacks:
    """Functions that replace the producer's built-in clock, random numbers and log output.

    `get_current_time()` returns the wall-clock time in ticks of 100 ns since 1970. Timers use the
    system's monotonic clock. `get_random_number(n)` returns an int from 0 to n - 1. Neither may
    block, because both are called under the producer's lock. If one fails, the failure is reported
    once, and the built-in function is used. `log_print(record)` gets the log lines of `kvsproducer`
    at or above `ClientInfo.log_level`. It runs on a separate thread, in addition to the handlers
    of `logging`.
    """

    get_current_time: Callable[[], int] | None = None
    get_random_number: Callable[[int], int] | None = None
    log_print: Callable[[logging.LogRecord], object] | None = None
    free: Free | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerCallbacks:
    """Functions for the whole producer.

    `storage_overflow_pressure` runs inside `put_frame`; if it fails, `put_frame` raises. The other
    functions only observe events.
    """

    storage_overflow_pressure: Callable[[core.StoragePressure], object] | None = None
    client_ready: Callable[[core.ClientReady], object] | None = None
    client_shutdown: Callable[[ClientShutdown], object] | None = None
    free: Free | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCallbacks:
    """Functions for streams. Each gets one argument, which contains the stream's name as `stream`.

    `buffer_duration_overflow_pressure`, `stream_latency_pressure` and `stream_data_available` run
    inside `put_frame`, in the caller's thread. If one of them fails, `put_frame` raises.

    The other functions observe events on a separate thread. If one of them fails, the failure is
    logged, and the remaining functions added for the same event are not called.
    """

    buffer_duration_overflow_pressure: Callable[[core.BufferDurationPressure], object] | None = None
    stream_latency_pressure: Callable[[core.StreamLatencyPressure], object] | None = None
    stream_data_available: Callable[[StreamDataAvailable], object] | None = None
    stream_connection_stale: Callable[[core.ConnectionStale], object] | None = None
    dropped_frame_report: Callable[[core.FrameDropped], object] | None = None
    dropped_fragment_report: Callable[[core.FragmentDropped], object] | None = None
    stream_error_report: Callable[[core.StreamErrorReported], object] | None = None
    fragment_ack_received: Callable[[core.FragmentAcked], object] | None = None
    stream_ready: Callable[[core.StreamReady], object] | None = None
    stream_closed: Callable[[core.StreamEnded], object] | None = None
    stream_shutdown: Callable[[core.StreamShutdown], object] | None = None
    free: Free | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthCallbacks:
    """Functions that return credentials for service calls and uploads.

    `get_streaming_token` returns credentials for one upload. `get_security_token` returns
    credentials for the control plane, and for an upload if no `get_streaming_token` returned any.
    If a function returns None, the same function of the next set is called. The first credentials
    returned are used. If no set returns any, the producer's own credentials are used. Returned
    credentials must be valid for at least 30 s more.

    The other functions are called if the token functions of all sets returned None. The bytes from
    `get_device_certificate` are passed to `device_cert_to_token`. It must exist
    (otherwise SERVICE_CALL_CALLBACKS_MISSING) and return credentials (otherwise
    GET_CLIENT_TOKEN_CALL_FAILED). If there is no certificate, `get_device_fingerprint` is called,
    which returns up to 32 characters (otherwise DEVICE_FINGERPRINT_LENGTH). The call then fails
    with CLIENT_PROVISION_CALL_FAILED, because KVS cannot provision devices.
    """

    get_security_token: (
        Callable[
            [core.GetSecurityToken | core.GetStreamingToken], AwsCredentials | StatusCode | None
        ]
        | None
    ) = None
    get_streaming_token: (
        Callable[[core.GetStreamingToken], AwsCredentials | StatusCode | None] | None
    ) = None
    get_device_certificate: Callable[[core.GetSecurityToken], bytes | StatusCode | None] | None = (
        None
    )
    device_cert_to_token: (
        Callable[[DeviceCertToToken], AwsCredentials | StatusCode | None] | None
    ) = None
    get_device_fingerprint: (
        Callable[[core.GetSecurityToken | core.GetStreamingToken], str | StatusCode | None] | None
    ) = None
    free: Free | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCallbacks:
    """Functions that run before each service call. Each may observe, fail or answer the call.

    If a function returns None, the same function of the next set is called. If all return None, the
    service is called. If a function returns an answer, the service is not called:
    `create_stream` answers with an ARN, `describe_stream` with a `StreamDescription`,
    `get_streaming_endpoint` with a URL, and `tag_resource` with SUCCESS (the tags are set).
    `put_stream` can only observe or fail the call, because the producer makes the upload.

    KVS has no operations to create or tag devices. `create_device` may return an ARN. `tag_device`
    is called after `create_device` if `DeviceInfo` has tags. If `tag_device` fails, the status is
    TAG_CLIENT_CALL_FAILED.
    """

    create_stream: Callable[[core.CreateStream], str | StatusCode | None] | None = None
    describe_stream: (
        Callable[[core.DescribeStream], core.StreamDescription | StatusCode | None] | None
    ) = None
    get_streaming_endpoint: (
        Callable[[core.GetStreamingEndpoint], str | StatusCode | None] | None
    ) = None
    tag_resource: Callable[[core.TagStream], StatusCode | None] | None = None
    put_stream: Callable[[core.PutStream], StatusCode | None] | None = None
    create_device: Callable[[core.CreateDevice], str | StatusCode | None] | None = None
    tag_device: Callable[[core.CreateDevice], StatusCode | None] | None = None
    free: Free | None = None
    version: int = 0


CallbackSet = ProducerCallbacks | StreamCallbacks | AuthCallbacks | ApiCallbacks


def stream_description(data: Mapping[str, object]) -> core.StreamDescription:
    """Create a StreamDescription from data in AWS's layout, to return from `describe_stream`.

    `version` is 0 or 1 (the default); version 0 has no retention and no KMS key. `status` is a
    `StreamStatus`, its name or its number. Raises INVALID_STREAM_DESCRIPTION_VERSION, and
    INVALID_ARG for a missing, unknown or wrong member.
    """
    values = dict(data)
    version = values.pop("version", limits.STREAM_DESCRIPTION_VERSION)
    known = {member.name for member in fields(core.StreamDescription)}
    if version == 0:
        known -= {"retention", "kms_key_id"}
    elif version != limits.STREAM_DESCRIPTION_VERSION:
        raise kvs_error(
            StatusCode.INVALID_STREAM_DESCRIPTION_VERSION,
            f"version {version!r} is unknown; the newest is {limits.STREAM_DESCRIPTION_VERSION}",
        )
    status = values.get("status", core.StreamStatus.ACTIVE)
    try:
        named = core.StreamStatus[status.upper()] if isinstance(status, str) else status
        values["status"] = core.StreamStatus(named)  # type: ignore[arg-type]
        if not values.keys() <= known:
            raise TypeError(f"version {version} has no {sorted(values.keys() - known)}")
        return core.StreamDescription(**values)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise kvs_error(StatusCode.INVALID_ARG, f"stream description: {error}") from error
