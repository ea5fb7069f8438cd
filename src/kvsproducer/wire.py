"""Names and numbers of the KVS API: paths, headers, tags, acks and their errors.

Source: Kinesis Video Streams API 2017-09-30. botocore has no model of PutMedia. The producer, the
reader and the local endpoint use these constants; this module contains no behaviour.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kvsproducer.status.service_errors import ACK_ERRORS, AckError, ack_error

__all__ = [
    "ACK_ERRORS",
    "AckError",
    "AckType",
    "ack_error",
]

SERVICE_NAME: Final = "kinesisvideo"  # endpoint prefix and SigV4 service name of all three APIs

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
    "DescribeStreamStorageConfiguration": "/describeStreamStorageConfiguration",
    "UpdateStreamStorageConfiguration": "/updateStreamStorageConfiguration",
    # data plane, on the endpoint that GetDataEndpoint returns
    "PutMedia": "/putMedia",
    "GetMedia": "/getMedia",
    "ListFragments": "/listFragments",
    "GetMediaForFragmentList": "/getMediaForFragmentList",
}
"""The path of each operation; all requests are POST requests."""

OTHER_PATHS: Final[dict[str, str]] = {
    **{
        name: f"/{name[0].lower()}{name[1:]}"
        for name in (
            "CreateSignalingChannel",
            "DeleteEdgeConfiguration",
            "DeleteSignalingChannel",
            "DescribeEdgeConfiguration",
            "DescribeImageGenerationConfiguration",
            "DescribeMappedResourceConfiguration",
            "DescribeMediaStorageConfiguration",
            "DescribeNotificationConfiguration",
            "DescribeSignalingChannel",
            "GetClip",
            "GetDASHStreamingSessionURL",
            "GetHLSStreamingSessionURL",
            "GetImages",
            "GetSignalingChannelEndpoint",
            "ListEdgeAgentConfigurations",
            "ListSignalingChannels",
            "StartEdgeConfigurationUpdate",
            "UpdateImageGenerationConfiguration",
            "UpdateMediaStorageConfiguration",
            "UpdateNotificationConfiguration",
            "UpdateSignalingChannel",
        )
    },
    "ListTagsForResource": "/ListTagsForResource",
    "TagResource": "/TagResource",
    "UntagResource": "/UntagResource",
    "GetIceServerConfig": "/v1/get-ice-server-config",
    "SendAlexaOfferToMaster": "/v1/send-alexa-offer-to-master",
}
"""The paths of the operations that the local endpoint does not implement."""

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
HEADER_STREAM_NAME: Final = "x-amzn-stream-name"  # either this header or the next
HEADER_STREAM_ARN: Final = "x-amzn-stream-arn"
HEADER_TIMECODE_TYPE: Final = "x-amzn-fragment-timecode-type"
HEADER_PRODUCER_START: Final = "x-amzn-producer-start-timestamp"  # epoch seconds "1700000000.005"
HEADER_ACK_REQUIRED: Final = "x-amzn-fragment-acknowledgment-required"  # "1" or "0"; absent is 1
HEADER_ERROR_TYPE: Final = "x-amzn-ErrorType"  # exception name, sometimes followed by ":" and a URL
HEADER_REQUEST_ID: Final = "x-amzn-RequestId"
HEADER_PAYLOAD_HASH: Final = "x-amz-content-sha256"

TIMECODE_ABSOLUTE: Final = "ABSOLUTE"
TIMECODE_RELATIVE: Final = "RELATIVE"

CONTENT_TYPE: Final = "video/x-matroska"  # of PutMedia requests
CONTENT_TYPE_JSON: Final = "application/json"  # of all other requests, and of acks
CONTENT_TYPE_GET_MEDIA: Final = "video/webm"  # of GetMedia responses

# --- Matroska tags ----------------------------------------------------------------------------
TAG_RESERVED_PREFIX: Final = "AWS"  # a user's tag name must not start with it

# Tags that producers write.
TAG_END_OF_FRAGMENT: Final = "AWS_KINESISVIDEO_END_OF_FRAGMENT"
TAG_IMAGE_GENERATION: Final = "AWS_KINESISVIDEO_IMAGE_GENERATION"
TAG_IMAGE_PREFIX: Final = "AWS_KINESISVIDEO_IMAGE_PREFIX"
TAG_NOTIFICATION: Final = "AWS_KINESISVIDEO_NOTIFICATION"

# Tags in GetMedia responses; times are seconds since 1970 with three decimals.
TAG_FRAGMENT_NUMBER: Final = "AWS_KINESISVIDEO_FRAGMENT_NUMBER"
TAG_SERVER_TIMESTAMP: Final = "AWS_KINESISVIDEO_SERVER_TIMESTAMP"
TAG_PRODUCER_TIMESTAMP: Final = "AWS_KINESISVIDEO_PRODUCER_TIMESTAMP"
TAG_MILLIS_BEHIND_NOW: Final = "AWS_KINESISVIDEO_MILLIS_BEHIND_NOW"
TAG_CONTINUATION_TOKEN: Final = "AWS_KINESISVIDEO_CONTINUATION_TOKEN"  # noqa: S105 (a tag)
TAG_ERROR_ID: Final = "AWS_KINESISVIDEO_ERROR_ID"
TAG_ERROR_CODE: Final = "AWS_KINESISVIDEO_ERROR_CODE"


# --- acks -------------------------------------------------------------------------------------
class AckType(IntEnum):
    """EventType of an ack. The JSON of the ack contains the member's name, such as "BUFFERING"."""

    UNDEFINED = 0
    BUFFERING = 1  # the service has begun to receive the fragment
    RECEIVED = 2  # the service has the whole fragment in memory
    PERSISTED = 3  # the service has stored the fragment; only with a retention above 0
    ERROR = 4  # one of ACK_ERRORS
    IDLE = 5  # the service has received no data for a while


ACK_EVENT_TYPE: Final = "EventType"
ACK_FRAGMENT_TIMECODE: Final = "FragmentTimecode"  # ms, as the producer sent it; -1 if unknown
ACK_FRAGMENT_NUMBER: Final = "FragmentNumber"  # string of up to 128 digits; "" if unknown
ACK_ERROR_ID: Final = "ErrorId"
ACK_ERROR_CODE: Final = "ErrorCode"
