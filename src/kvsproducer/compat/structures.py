"""The sets of callbacks, as AWS's C producer has them: platform, producer, stream, auth, API.

Each is a record of functions, all optional. A function takes one record: an event for those that
are told, a `Call` of `kvsproducer.client` for those that are asked. Returning a `StatusCode`
(STOP_CALLBACK_CHAIN, or a failure) or raising `KvsError` ends the chain; see
`kvsproducer.compat.chains`. There is no custom data: a closure or a bound method
carries its own. `free` is called once, when the producer is closed or the set is replaced.

`version` is that of AWS's structure; `CallbacksProvider` checks it. Not here: streamUnderflowReport
(nothing calls it), locks and threads (they are Python's). What concerns the device (certificate,
fingerprint, creation, tags) is here only: KVS has no such operations, and the core knows none.
Source: Include.h of AWS's C producer.
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
    """Reported after each `put_frame`: `duration` ticks, `size` bytes wait to be sent."""

    stream: str
    duration: int
    size: int


@dataclass(frozen=True, slots=True)
class ClientShutdown(core.Event):
    """Reported when the producer has been closed, before the sets are freed."""

    stream: str | None = None


class DeviceCertToToken(NamedTuple):
    """The argument of `device_cert_to_token`: the bytes that `get_device_certificate` returned.

    `stream` is the name of the stream whose upload needs the token, None for the control plane.
    """

    certificate: bytes
    stream: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformCallbacks:
    """The producer's clock, dice and log: one set, which replaces what is built in.

    `get_current_time()` gives the wall-clock time in ticks of 100 ns since 1970; timers follow the
    system's monotonic clock. `get_random_number(n)` gives an int from 0 to below n. Neither may
    block: both are called under the producer's lock. When one fails, that is reported once and the
    built-in one answers. `log_print(record)` takes the log lines of `kvsproducer` at or above
    `ClientInfo.log_level`, on a thread of its own, beside the handlers of `logging`.
    """

    get_current_time: Callable[[], int] | None = None
    get_random_number: Callable[[int], int] | None = None
    log_print: Callable[[logging.LogRecord], object] | None = None
    free: Free | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerCallbacks:
    """What concerns the whole producer.

    `storage_overflow_pressure` runs inside `put_frame` and can fail it; the others are told.
    """

    storage_overflow_pressure: Callable[[core.StoragePressure], object] | None = None
    client_ready: Callable[[core.ClientReady], object] | None = None
    client_shutdown: Callable[[ClientShutdown], object] | None = None
    free: Free | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCallbacks:
    """What concerns one stream; the record names it.

    `buffer_duration_overflow_pressure`, `stream_latency_pressure` and `stream_data_available` run
    inside `put_frame`, in the caller's thread, and can fail it. The others are told afterwards, on
    a thread of their own; what they return only ends their chain and is logged.
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
    """Asked for credentials when they are due; the first entry that returns some is believed.

    `get_streaming_token` is for one upload; `get_security_token` for the control plane, and for
    uploads for which the other has nothing. None leaves it to the next entry, and after the last to
    the producer's own credentials. A token must live for 30 s more.

    The others are called when the functions for tokens returned nothing. The bytes that
    `get_device_certificate` returns go to `device_cert_to_token`, which must return credentials
    (GET_CLIENT_TOKEN_CALL_FAILED) and must be there (SERVICE_CALL_CALLBACKS_MISSING).
    `get_device_fingerprint`, which returns up to 32 characters (DEVICE_FINGERPRINT_LENGTH), is
    called when there is no certificate; KVS has no provisioning, so that the call then fails with
    CLIENT_PROVISION_CALL_FAILED.
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
    """Asked before each service call: observe it, fail it, or answer it in the service's place.

    None goes on to the next entry, and after the last to the service. The answers: an ARN for
    `create_stream`, a `StreamDescription` for `describe_stream`, a URL for
    `get_streaming_endpoint`, SUCCESS for `tag_resource` (the tags are set). `put_stream` can
    observe and fail only: the upload itself is the producer's.

    KVS has no device to create or tag. `create_device` may return an ARN; `tag_device` is called
    after it when `DeviceInfo` has tags, and a failure of it is TAG_CLIENT_CALL_FAILED.
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
    """Return the answer of a `describe_stream` function that has it as data, in AWS's layout.

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
            f"version {version!r}; the newest known is {limits.STREAM_DESCRIPTION_VERSION}",
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
