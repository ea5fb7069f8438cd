"""Foreign failures as service call results: the border between HTTP libraries and the core.

The core knows results as plain numbers (HTTP statuses and the 10000s of the producer libraries).
Here botocore's and aiohttp's exceptions, and the service's own exception names, become such a
number and a sentence that says what happened. Nothing else in the package interprets them.
Sources: the API reference of Kinesis Video Streams (errors of each operation); libcurl's failures
in the C producer give the numbers for time-outs, TLS and unsupported protocols.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from kvsproducer.client.states import result_status, status_result
from kvsproducer.status import KvsError

__all__ = [
    "OK",
    "TIMEOUT",
    "UNKNOWN",
    "Failure",
    "MalformedAnswer",
    "failure_of",
    "failure_of_answer",
]

OK = 200
NOT_AUTHORIZED = 401
INVALID_ARGUMENT = 406
TIMEOUT = 599
UNKNOWN = 10006

# The service's exception names. Those that go away by themselves are UNKNOWN, which is retried
# with backoff; HTTP statuses that are not in the table below are UNKNOWN too.
_EXCEPTIONS = {
    "AccessDeniedException": 403,
    "AccountStreamLimitExceededException": 10002,
    "ClientLimitExceededException": UNKNOWN,
    "ConnectionLimitExceededException": UNKNOWN,
    "DeviceStreamLimitExceededException": 10001,
    "ExpiredTokenException": 403,
    "InvalidArgumentException": INVALID_ARGUMENT,
    "InvalidDeviceException": 10005,
    "InvalidEndpointException": UNKNOWN,
    "InvalidResourceFormatException": INVALID_ARGUMENT,
    "InvalidSignatureException": 403,
    "NotAuthorizedException": NOT_AUTHORIZED,
    "ResourceInUseException": 10003,
    "ResourceNotFoundException": 404,
    "TagsPerResourceExceededLimitException": INVALID_ARGUMENT,
    "UnrecognizedClientException": 403,
}
_PASSED_ON = {200, 401, 403, 404, 406, 408, 500, 501, 504, 598, 599}


class MalformedAnswer(Exception):
    """An answer of the service lacks what it must have."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call: the result for the core, and what to tell the user."""

    result: int
    detail: str


def failure_of_answer(status: int, error_type: str, message: str) -> Failure:
    """A failure that the service answered: HTTP status, `x-amzn-ErrorType` (or ""), message."""
    name = error_type.partition(":")[0].rpartition("#")[2]
    fallback = status if status in _PASSED_ON else UNKNOWN
    said = f"{name}: {message}" if name and message else name or message or "no message"
    return Failure(_EXCEPTIONS.get(name, fallback), f"HTTP {status} {said}")


def failure_of(error: BaseException) -> Failure:
    """A failure that botocore, aiohttp or the system raised instead of an answer."""
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        answer = error.response
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        told = answer.get("Error", {})
        return failure_of_answer(status, str(told.get("Code", "")), str(told.get("Message", "")))
    if isinstance(error, KvsError):
        result = status_result(error.status)
        said_already = result_status(result) is error.status
        return Failure(result, error.detail if said_already else f"{error.name}: {error.detail}")
    if isinstance(error, boto.ParamValidationError | MalformedAnswer):
        return Failure(INVALID_ARGUMENT, str(error))
    if isinstance(error, boto.SSLError | ssl.SSLError) or _tls_cause(error) is not None:
        return Failure(NOT_AUTHORIZED, f"TLS failure: {_tls_cause(error) or error}")
    timeouts = (asyncio.TimeoutError, boto.ConnectTimeoutError, boto.ReadTimeoutError)
    if isinstance(error, timeouts):
        return Failure(TIMEOUT, f"timed out: {error or type(error).__name__}")
    return Failure(UNKNOWN, f"{type(error).__name__}: {error}")


def _tls_cause(error: BaseException) -> ssl.SSLError | None:
    """The TLS error that an aiohttp connector error carries, if it does."""
    carried = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
    return carried if isinstance(carried, ssl.SSLError) else None
