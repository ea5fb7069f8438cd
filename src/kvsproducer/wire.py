"""The names that both ends of the KVS API use: paths, headers, tags, acks and their errors.

Kinesis Video Streams API 2017-09-30 and its PutMedia and GetMedia operations, which no botocore
model describes. Constants only: neither end's behaviour is here.

The sources disagree about two error ids, and both readings are in `ACK_ERRORS`: `name` is that of
the current documentation, `aliases` those that older documentation and AWS's clients use.
  4005  too many tracks today; "more than one track" once. AWS's C client: multi-track MKV.
  4012  a bad metadata name today; too many tracks in older documentation and in AWS's C client.
A client goes by the id, and by the text only to tell these apart.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from kvsproducer.status import StatusCode

__all__ = [
    "ACK_ERRORS",
    "AckError",
    "AckType",
    "ack_error",
]

SERVICE_NAME: Final = "kinesisvideo"  # endpoint prefix and SigV4 service of all three APIs

# --- operations -------------------------------------------------------------------------------
PATHS: Final[dict[str, str]] = {
    # control plane, https://kinesisvideo.{region}.amazonaws.com
    "CreateStream": "/createStream",
    "DescribeStream": "/describeStream",
    "ListStreams": "/listStreams",
    "UpdateStream": "/updateStream",
    "DeleteStream": "/deleteStream",
    "GetDataEndpoint": "/getDataEndpoint",
    "UpdateDataRetention": "/updateDataRetention",
    "TagStream": "/tagStream",
    "UntagStream": "/untagStream",
    "ListTagsForStream": "/listTagsForStream",
    # data plane, on the endpoint that GetDataEndpoint names
    "PutMedia": "/putMedia",
    "GetMedia": "/getMedia",
    "ListFragments": "/listFragments",
    "GetMediaForFragmentList": "/getMediaForFragmentList",
}
"""Operation -> path; every one is a POST."""

API_NAMES: Final = (
    "PUT_MEDIA",
    "GET_MEDIA",
    "LIST_FRAGMENTS",
    "GET_MEDIA_FOR_FRAGMENT_LIST",
    "GET_HLS_STREAMING_SESSION_URL",
    "GET_DASH_STREAMING_SESSION_URL",
    "GET_CLIP",
    "GET_IMAGES",
)
"""The values of GetDataEndpoint's APIName."""

START_SELECTORS: Final = (
    "NOW",
    "EARLIEST",
    "FRAGMENT_NUMBER",
    "SERVER_TIMESTAMP",
    "PRODUCER_TIMESTAMP",
    "CONTINUATION_TOKEN",
)
"""The values of GetMedia's StartSelectorType."""

# --- headers ----------------------------------------------------------------------------------
HEADER_STREAM_NAME: Final = "x-amzn-stream-name"  # this or the next, not both
HEADER_STREAM_ARN: Final = "x-amzn-stream-arn"
HEADER_TIMECODE_TYPE: Final = "x-amzn-fragment-timecode-type"
HEADER_PRODUCER_START: Final = "x-amzn-producer-start-timestamp"  # epoch seconds "1700000000.005"
HEADER_ACK_REQUIRED: Final = "x-amzn-fragment-acknowledgment-required"  # "1" or "0"; absent is 1
HEADER_ERROR_TYPE: Final = "x-amzn-ErrorType"  # exception name, ':' and a URL may follow
HEADER_REQUEST_ID: Final = "x-amzn-RequestId"
HEADER_PAYLOAD_HASH: Final = "x-amz-content-sha256"

TIMECODE_ABSOLUTE: Final = "ABSOLUTE"
TIMECODE_RELATIVE: Final = "RELATIVE"

CONTENT_TYPE: Final = "video/x-matroska"  # of a PutStream call's media
CONTENT_TYPE_JSON: Final = "application/json"  # of every other request, and of acks
CONTENT_TYPE_GET_MEDIA: Final = "video/webm"  # of GetMedia's answer

# --- Matroska tags ----------------------------------------------------------------------------
TAG_RESERVED_PREFIX: Final = "AWS"  # a user's tag name must not start with it

# A producer writes these.
TAG_END_OF_FRAGMENT: Final = "AWS_KINESISVIDEO_END_OF_FRAGMENT"
TAG_IMAGE_GENERATION: Final = "AWS_KINESISVIDEO_IMAGE_GENERATION"
TAG_IMAGE_PREFIX: Final = "AWS_KINESISVIDEO_IMAGE_PREFIX"
TAG_NOTIFICATION: Final = "AWS_KINESISVIDEO_NOTIFICATION"

# GetMedia writes these; times are epoch seconds with three decimals.
TAG_FRAGMENT_NUMBER: Final = "AWS_KINESISVIDEO_FRAGMENT_NUMBER"
TAG_SERVER_TIMESTAMP: Final = "AWS_KINESISVIDEO_SERVER_TIMESTAMP"
TAG_PRODUCER_TIMESTAMP: Final = "AWS_KINESISVIDEO_PRODUCER_TIMESTAMP"
TAG_MILLIS_BEHIND_NOW: Final = "AWS_KINESISVIDEO_MILLIS_BEHIND_NOW"
TAG_CONTINUATION_TOKEN: Final = "AWS_KINESISVIDEO_CONTINUATION_TOKEN"  # noqa: S105 (a tag)
TAG_ERROR_ID: Final = "AWS_KINESISVIDEO_ERROR_ID"
TAG_ERROR_CODE: Final = "AWS_KINESISVIDEO_ERROR_CODE"


# --- acks -------------------------------------------------------------------------------------
class AckType(IntEnum):
    """EventType of an ack of a PutMedia response; the wire has the names."""

    UNDEFINED = 0
    BUFFERING = 1  # the service has begun to receive the fragment
    RECEIVED = 2  # it has the whole fragment in memory
    PERSISTED = 3  # the fragment is stored; only with a retention above 0
    ERROR = 4  # see ACK_ERRORS
    IDLE = 5  # nothing received for a while


ACK_EVENT_TYPE: Final = "EventType"
ACK_FRAGMENT_TIMECODE: Final = "FragmentTimecode"  # ms as sent; -1 when unknown
ACK_FRAGMENT_NUMBER: Final = "FragmentNumber"  # up to 128 digits in a string; "" when unknown
ACK_ERROR_ID: Final = "ErrorId"
ACK_ERROR_CODE: Final = "ErrorCode"


class AckError(NamedTuple):
    """An error that an ack reports."""

    id: int
    name: str  # ErrorCode
    status: StatusCode
    retriable: bool  # sent again; if not, it is skipped, for it would fail again
    aliases: tuple[str, ...] = ()  # what other sources call it


_S = StatusCode
UNKNOWN_ACK_ERROR_ID: Final = 7000

ACK_ERRORS: Final[dict[int, AckError]] = {
    error.id: error
    for error in (
        AckError(4000, "STREAM_READ_ERROR", _S.ACK_ERR_STREAM_READ_ERROR, True),
        AckError(4001, "MAX_FRAGMENT_SIZE_REACHED", _S.ACK_ERR_FRAGMENT_SIZE_REACHED, False),
        AckError(
            4002, "MAX_FRAGMENT_DURATION_REACHED", _S.ACK_ERR_FRAGMENT_DURATION_REACHED, False
        ),
        AckError(
            4003, "MAX_CONNECTION_DURATION_REACHED", _S.ACK_ERR_CONNECTION_DURATION_REACHED, True
        ),
        AckError(
            4004,
            "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS",
            _S.ACK_ERR_FRAGMENT_TIMECODE_NOT_MONOTONIC,
            False,
        ),
        AckError(
            4005,
            "MORE_THAN_ALLOWED_TRACKS_FOUND",
            _S.ACK_ERR_MULTI_TRACK_MKV,
            False,
            ("MORE_THAN_ONE_TRACK_FOUND",),
        ),
        AckError(4006, "INVALID_MKV_DATA", _S.ACK_ERR_INVALID_MKV_DATA, False),
        AckError(4007, "INVALID_PRODUCER_TIMESTAMP", _S.ACK_ERR_INVALID_PRODUCER_TIMESTAMP, False),
        AckError(4008, "STREAM_NOT_ACTIVE", _S.ACK_ERR_STREAM_NOT_ACTIVE, False),
        AckError(
            4009,
            "FRAGMENT_METADATA_LIMIT_REACHED",
            _S.ACK_ERR_FRAGMENT_METADATA_LIMIT_REACHED,
            False,
        ),
        AckError(4010, "TRACK_NUMBER_MISMATCH", _S.ACK_ERR_TRACK_NUMBER_MISMATCH, False),
        AckError(4011, "FRAMES_MISSING_FOR_TRACK", _S.ACK_ERR_FRAMES_MISSING_FOR_TRACK, False),
        AckError(
            4012,
            "INVALID_FRAGMENT_METADATA",
            _S.ACK_ERR_MORE_THAN_ALLOWED_TRACKS_FOUND,
            False,
            ("MORE_THAN_ALLOWED_TRACKS_FOUND",),
        ),
        AckError(4500, "KMS_KEY_ACCESS_DENIED", _S.ACK_ERR_KMS_KEY_ACCESS_DENIED, False),
        AckError(4501, "KMS_KEY_DISABLED", _S.ACK_ERR_KMS_KEY_DISABLED, False),
        AckError(4502, "KMS_KEY_VALIDATION_ERROR", _S.ACK_ERR_KMS_KEY_VALIDATION_ERROR, False),
        AckError(4503, "KMS_KEY_UNAVAILABLE", _S.ACK_ERR_KMS_KEY_UNAVAILABLE, False),
        AckError(4504, "KMS_KEY_INVALID_USAGE", _S.ACK_ERR_KMS_KEY_INVALID_USAGE, False),
        AckError(4505, "KMS_KEY_INVALID_STATE", _S.ACK_ERR_KMS_KEY_INVALID_STATE, False),
        AckError(4506, "KMS_KEY_NOT_FOUND", _S.ACK_ERR_KMS_KEY_NOT_FOUND, False),
        AckError(4507, "STREAM_DELETED", _S.ACK_ERR_STREAM_DELETED, False),
        AckError(5000, "INTERNAL_ERROR", _S.ACK_ERR_ACK_INTERNAL_ERROR, True),
        AckError(5001, "ARCHIVAL_ERROR", _S.ACK_ERR_FRAGMENT_ARCHIVAL_ERROR, True),
        AckError(UNKNOWN_ACK_ERROR_ID, "UNKNOWN_ACK_ERROR", _S.ACK_ERR_UNKNOWN_ACK_ERROR, True),
    )
}
"""ErrorId -> error."""


def ack_error(error_id: int) -> AckError:
    """The error of an ERROR ack; an id that is not known counts as 7000, which is retriable."""
    return ACK_ERRORS.get(error_id) or ACK_ERRORS[UNKNOWN_ACK_ERROR_ID]
