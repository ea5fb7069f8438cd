"""The effects: requests from the core to the shell, to make service calls and to feed uploads.

The *core* is the sans-I/O client. The *shell* is the code that runs it: threads, sockets, clocks.
`Client.poll_effect` returns the effects in order. The shell makes each `Call` once, not before its
`not_before`, and answers with `Client.call_result(call, result, now, answer)`. The docstrings give
the type of `answer` for result 200. AWS's client passes the same data to callbacks.
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
    """The kind of credentials in an `AuthInfo`; the values are AWS's.

    UNDEFINED exists because both state machines of AWS's client have their own statuses for it.
    """

    UNDEFINED = 0
    SECURITY_TOKEN = 2


@dataclass(slots=True)
class AuthInfo:
    """Opaque credentials with an expiration (ticks since 1970).

    `data` is any object that the shell wants back in `Call.auth`; it is not part of the repr.
    `length` is the size of its serialized form in bytes (0: no authentication).
    """

    data: object = field(default=None, repr=False)
    expiration: int = 2**64 - 1
    length: int = 1
    type: AuthType = AuthType.SECURITY_TOKEN


class StreamStatus(IntEnum):
    """Status of a stream in the answer to DescribeStream."""

    CREATING = 0
    ACTIVE = 1
    UPDATING = 2
    DELETING = 3


@dataclass(slots=True)
class StreamDescription:
    """Answer to `DescribeStream`; the core uses `stream_arn`, `status` and `retention`.

    The other fields of AWS's structure are for answers of `compat.ApiCallbacks.describe_stream`.
    """

    stream_arn: str
    status: StreamStatus = StreamStatus.ACTIVE
    stream_name: str = ""
    device_name: str = ""
    content_type: str = ""
    update_version: str = ""
    creation_time: int = 0  # ticks since 1970
    retention: int | None = None  # ticks; None: unknown
    kms_key_id: str = ""


@dataclass(slots=True)
class Call:
    """A service call to make.

    `stream` is the name of the stream that needs it, None for a call of the client. `not_before` is
    a time on the clock of `now`; `timeout` and `connection_timeout` are durations. All three are in
    ticks.
    """

    call_id: int
    stream: str | None
    not_before: int
    timeout: int
    connection_timeout: int
    auth: AuthInfo | None


@dataclass(slots=True)
class GetSecurityToken(Call):
    """Get the client's credentials. Answer: `AuthInfo`, or None if there are no credentials.

    If the answer is None, the client fails with SERVICE_CALL_NOT_AUTHORIZED_ERROR and the `detail`
    of the result.
    """


@dataclass(slots=True)
class CreateDevice(Call):
    """Announce the device and its tags; the caller answers with an ARN for it.

    KVS has no such operation, so the caller may answer with any text.
    """

    device_name: str
    tags: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class DescribeStream(Call):
    """Describe the stream. Answer: `StreamDescription`."""


@dataclass(slots=True)
class CreateStream(Call):
    """Create the stream. Answer: its ARN (text).

    `retention` is in ticks; `kms_key_id` may be empty.
    """

    device_name: str
    content_type: str
    kms_key_id: str
    retention: int
    tags: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class TagStream(Call):
    """Tag the stream. Answer: None."""

    arn: str
    tags: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class GetStreamingEndpoint(Call):
    """Get the URL of the data endpoint. Answer: the URL (text)."""

    api_name: str = "PUT_MEDIA"


@dataclass(slots=True)
class GetStreamingToken(Call):
    """Get credentials for one upload. Answer: `AuthInfo`."""


@dataclass(slots=True)
class PutStream(Call):
    """Open an upload: a PutMedia request to `endpoint`, whose body comes from `next_buffers`.

    The caller answers with result 200 as soon as it has sent the request's head, and reports the
    end of the upload later with `Stream.upload_ended`. `start_timestamp` is the wall-clock time of
    the start, in ticks since 1970.
    """

    upload: int
    endpoint: str
    start_timestamp: int
    absolute_timecodes: bool
    acks: bool
    content_type: str


@dataclass(slots=True)
class DataAvailable:
    """`next_buffers` of the upload has data or a new status again.

    Emitted once when data arrives after a read that found none. The shell then calls `next_buffers`
    for as long as it returns MORE.
    """

    stream: str
    upload: int


@dataclass(slots=True)
class UploadAborted:
    """The core has given up this upload: close its connection and ignore its response."""

    stream: str
    upload: int


@dataclass(slots=True)
class SpaceAvailable:
    """A writer that got `WouldBlock` from `put_frame` of this stream may try again."""

    stream: str


@dataclass(slots=True)
class ConnectionTroubled:
    """A connection of this stream has problems; `Stream.take_troubles` returns them.

    The shell may answer with `Stream.reset_connection`.
    """

    stream: str


Effect = Call | DataAvailable | UploadAborted | SpaceAvailable | ConnectionTroubled
