"""What the core asks the shell to do: service calls to make and uploads to feed.

`Client.poll_effect` hands these out in order. A `Call` is made once, not before its `not_before`,
and answered with `Client.call_result(call, result, now, answer)`; the type of `answer` on result
200 is in each docstring. AWS's client passes the same things to callbacks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

__all__ = [
    "AuthInfo",
    "AuthType",
    "Call",
    "CreateDevice",
    "CreateStream",
    "DataAvailable",
    "DescribeStream",
    "Effect",
    "GetSecurityToken",
    "GetStreamingEndpoint",
    "GetStreamingToken",
    "PutStream",
    "SpaceAvailable",
    "StreamDescription",
    "StreamStatus",
    "TagStream",
    "UploadAborted",
]


class AuthType(IntEnum):
    """What an `AuthInfo` holds; the values are AWS's.

    UNDEFINED is here because AWS's client has statuses of its own for it, in both machines.
    """

    UNDEFINED = 0
    SECURITY_TOKEN = 2


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
    """Answer to `DescribeStream`; the core uses `stream_arn`, `status` and `retention`.

    The rest of AWS's structure is here for the answers of `compat.ApiCallbacks.describe_stream`.
    """

    stream_arn: str
    status: StreamStatus = StreamStatus.ACTIVE
    stream_name: str = ""
    device_name: str = ""
    content_type: str = ""
    update_version: str = ""
    creation_time: int = 0  # ticks since 1970
    retention: int | None = None  # ticks; None: not told
    kms_key_id: str = ""


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
    """The client's credentials. Answer: `AuthInfo`, or None for "there are none".

    None fails the client with SERVICE_CALL_NOT_AUTHORIZED_ERROR and the detail of the answer.
    """


@dataclass(slots=True)
class CreateDevice(Call):
    """Announce the device and its tags. KVS has no such operation: answer any text as its ARN."""

    device_name: str
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
