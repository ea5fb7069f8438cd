"""The service's ids and names for errors, in ERROR acks and exceptions, and their status codes.

Sources: "PutMedia" and "Common Errors" in the API reference of Kinesis Video Streams.

The sources disagree about two error ids. In `ACK_ERRORS`, `name` is the name in the current
documentation; `aliases` are the names in older documentation and in AWS's clients:
  4005  now: too many tracks. Before: more than one track. AWS's C client: multi-track MKV.
  4012  now: an invalid metadata name. Older documentation and AWS's C client: too many tracks.
Clients identify an error by its id. Only for these two ids does the name add information.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from kvsproducer.status.codes import StatusCode

__all__ = ["ACK_ERRORS", "EXCEPTIONS", "AckError", "ack_error", "wire_names"]


class AckError(NamedTuple):
    """An error that an ERROR ack reports about a fragment."""

    id: int
    name: str  # ErrorCode
    status: StatusCode
    retriable: bool  # True: send the fragment again; False: skip it, because it would fail again
    aliases: tuple[str, ...] = ()  # names in other sources


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
"""The errors of acks by ErrorId."""


def ack_error(error_id: int) -> AckError:
    """Return the error with this ErrorId. For an unknown id, return error 7000 (retriable)."""
    return ACK_ERRORS.get(error_id) or ACK_ERRORS[UNKNOWN_ACK_ERROR_ID]


EXCEPTIONS: Final[Mapping[str, StatusCode]] = {
    "AccessDenied": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "AccessDeniedException": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "AccountStreamLimitExceededException": _S.SERVICE_CALL_STREAM_LIMIT_ERROR,
    "ClientLimitExceededException": _S.SERVICE_CALL_CLIENT_LIMIT_ERROR,
    "ConnectionLimitExceededException": _S.SERVICE_CALL_CLIENT_LIMIT_ERROR,
    "DeviceStreamLimitExceededException": _S.SERVICE_CALL_DEVICE_LIMIT_ERROR,
    "ExpiredToken": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "ExpiredTokenException": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "IncompleteSignatureException": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "InvalidArgumentException": _S.SERVICE_CALL_INVALID_ARG_ERROR,
    "InvalidClientTokenId": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "InvalidDeviceException": _S.SERVICE_CALL_DEVICE_NOT_FOND_ERROR,
    "InvalidEndpointException": _S.SERVICE_CALL_UNKOWN_ERROR,
    "InvalidResourceFormatException": _S.SERVICE_CALL_INVALID_ARG_ERROR,
    "InvalidSignature": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "InvalidSignatureException": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "LimitExceededException": _S.SERVICE_CALL_CLIENT_LIMIT_ERROR,
    "MissingAuthenticationToken": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "MissingAuthenticationTokenException": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "NotAuthorizedException": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "RequestExpired": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "RequestLimitExceeded": _S.SERVICE_CALL_CLIENT_LIMIT_ERROR,
    "ResourceInUseException": _S.SERVICE_CALL_RESOURCE_IN_USE_ERROR,
    "ResourceNotFoundException": _S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR,
    "SignatureDoesNotMatch": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "TagsPerResourceExceededLimitException": _S.SERVICE_CALL_INVALID_ARG_ERROR,
    "ThrottlingException": _S.SERVICE_CALL_CLIENT_LIMIT_ERROR,
    "TooManyRequestsException": _S.SERVICE_CALL_CLIENT_LIMIT_ERROR,
    "UnrecognizedClient": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "UnrecognizedClientException": _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
    "ValidationException": _S.SERVICE_CALL_INVALID_ARG_ERROR,
}
"""Name of a service exception -> the status that the producer and the reader report for it."""


def wire_names(status: StatusCode) -> tuple[str, ...]:
    """Return the service's names for a status: `ERROR ack 4009 ...`, or names of exceptions."""
    acks = [f"ERROR ack {e.id} {e.name}" for e in ACK_ERRORS.values() if e.status is status]
    names = [name for name, meant in EXCEPTIONS.items() if meant is status]
    # AWS's query services use names without "Exception": leave those out, they add nothing.
    return (*acks, *(name for name in names if f"{name}Exception" not in names))
