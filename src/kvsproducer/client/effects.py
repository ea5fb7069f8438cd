"""What the core asks the shell to do: service calls to make and uploads to feed.

`Client.poll_effect` hands these out in order. A `Call` is made once, not before its `not_before`,
and answered with `Client.call_result(call, result, now, answer)`; the type of `answer` on result
200 is in each docstring. AWS's client passes the same things to callbacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum

from kvsproducer import limits
from kvsproducer.status import StatusCode, kvs_error

__all__ = [
    "AuthInfo",
    "AuthType",
    "Call",
    "CreateDevice",
    "CreateStream",
    "DataAvailable",
    "DescribeStream",
    "DeviceCertToToken",
    "Effect",
    "GetDeviceCertificate",
    "GetDeviceFingerprint",
    "GetSecurityToken",
    "GetStreamingEndpoint",
    "GetStreamingToken",
    "PutStream",
    "SpaceAvailable",
    "StreamDescription",
    "StreamStatus",
    "TagClient",
    "TagStream",
    "UploadAborted",
]


class AuthType(IntEnum):
    """What an `AuthInfo` holds."""

    UNDEFINED = 0
    CERTIFICATE = 1
    SECURITY_TOKEN = 2
    NONE = 3


@dataclass(slots=True)
class AuthInfo:
    """Credentials as the core sees them: opaque, with an expiration (ticks since 1970).

    `data` is whatever the shell wants back in `Call.auth`; `length` is the size of its serialized
    form in bytes (0: no authentication). It never shows in a repr.
    """

    data: object = field(default=None, repr=False)
    expiration: int = 2**64 - 1
    length: int = 1
    type: AuthType = AuthType.SECURITY_TOKEN


class StreamStatus(IntEnum):
    """Status of a stream in DescribeStream."""

    CREATING = 0
    ACTIVE = 1
    UPDATING = 2
    DELETING = 3


@dataclass(slots=True)
class StreamDescription:
    """Answer to `DescribeStream`; the core uses `stream_arn`, `status` and `retention`."""

    stream_arn: str
    status: StreamStatus = StreamStatus.ACTIVE
    stream_name: str = ""
    device_name: str = ""
    content_type: str = ""
    update_version: str = ""
    creation_time: int = 0  # ticks since 1970
    retention: int | None = None  # ticks; None: not told
    kms_key_id: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> StreamDescription:
        """From the versioned form (version 0 has no retention and no KMS key).

        `status` is a `StreamStatus`, its name or its number. Raises
        INVALID_STREAM_DESCRIPTION_VERSION, INVALID_ARG for a missing, unknown or wrong member.
        """
        values = dict(data)
        version = values.pop("version", limits.STREAM_DESCRIPTION_VERSION)
        known = {member.name for member in fields(cls)}
        if version == 0:
            known -= {"retention", "kms_key_id"}
        elif version != limits.STREAM_DESCRIPTION_VERSION:
            raise kvs_error(
                StatusCode.INVALID_STREAM_DESCRIPTION_VERSION,
                f"version {version!r}; the newest known is {limits.STREAM_DESCRIPTION_VERSION}",
            )
        status = values.get("status", StreamStatus.ACTIVE)
        try:
            named = StreamStatus[status.upper()] if isinstance(status, str) else status
            values["status"] = StreamStatus(named)  # type: ignore[arg-type]
            if not values.keys() <= known:
                raise TypeError(f"version {version} has no {sorted(values.keys() - known)}")
            return cls(**values)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise kvs_error(StatusCode.INVALID_ARG, f"stream description: {error}") from error


@dataclass(slots=True)
class Call:
    """A service call: `stream` is its stream's name (None: the client's own call).

    `not_before` is a time as `now`; `timeout` and `connection_timeout` are durations, all in ticks.
    """

    call_id: int
    stream: str | None
    not_before: int
    timeout: int
    connection_timeout: int
    auth: AuthInfo | None


@dataclass(slots=True)
class GetSecurityToken(Call):
    """The client's credentials. Answer: `AuthInfo`, or None for "there are none"."""


@dataclass(slots=True)
class GetDeviceCertificate(Call):
    """The device's certificate. Answer: `AuthInfo` of type CERTIFICATE, or None."""


@dataclass(slots=True)
class DeviceCertToToken(Call):
    """Exchange the certificate in `auth` for a token. Answer: `AuthInfo`."""

    device_name: str


@dataclass(slots=True)
class GetDeviceFingerprint(Call):
    """The device's fingerprint, asked for when there is neither token nor certificate.

    Answer: text of up to 32 characters, or None. KVS has no provisioning by fingerprint: with or
    without one the client then fails.
    """


@dataclass(slots=True)
class CreateDevice(Call):
    """Announce the device. KVS has no such operation: answer the device's ARN, any text."""

    device_name: str


@dataclass(slots=True)
class TagClient(Call):
    """Tag the device. KVS has no such operation: answer None."""

    arn: str
    tags: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class DescribeStream(Call):
    """Answer: `StreamDescription`."""


@dataclass(slots=True)
class CreateStream(Call):
    """Answer: the stream's ARN (text). `retention` is in ticks; `kms_key_id` may be empty."""

    device_name: str
    content_type: str
    kms_key_id: str
    retention: int
    tags: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class TagStream(Call):
    """Answer: None."""

    arn: str
    tags: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class GetStreamingEndpoint(Call):
    """Answer: the URL of the data endpoint (text)."""

    api_name: str = "PUT_MEDIA"


@dataclass(slots=True)
class GetStreamingToken(Call):
    """Credentials for one upload. Answer: `AuthInfo`."""


@dataclass(slots=True)
class PutStream(Call):
    """Open an upload: a PutMedia request to `endpoint`, whose body `next_buffers` will give.

    Answer 200 as soon as the request is on its way; what becomes of it is told later with
    `Stream.upload_ended`. `start_timestamp` is the wall-clock time of the start, in
    ticks since 1970.
    """

    upload: int
    endpoint: str
    start_timestamp: int
    absolute_timecodes: bool
    acks: bool
    content_type: str


@dataclass(slots=True)
class DataAvailable:
    """`next_buffers(upload, ...)` of that stream has something to say again.

    Emitted once per change from idle to data; then call it until it returns anything but MORE.
    """

    stream: str
    upload: int


@dataclass(slots=True)
class UploadAborted:
    """The core has given this upload up: end its connection; nothing it says counts any more."""

    stream: str
    upload: int


@dataclass(slots=True)
class SpaceAvailable:
    """Whoever got `WouldBlock` from `put_frame` of that stream may try again."""

    stream: str


@dataclass(slots=True)
class ConnectionTroubled:
    """A connection of that stream does badly: `Stream.take_troubles` tells how.

    The shell may answer with `Stream.reset_connection`.
    """

    stream: str


Effect = Call | DataAvailable | UploadAborted | SpaceAvailable | ConnectionTroubled
