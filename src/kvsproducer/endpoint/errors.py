"""The errors that the service returns when it refuses a request: exception names and HTTP codes.

Source: Kinesis Video Streams API 2017-09-30, "Errors" of each operation. The header
`x-amzn-ErrorType` has the exception's name, and the body has the exception's text. The service
itself sends `{"Message": ...}`; its front end, which checks signatures, sends `{"message": ...}`.
"""

from __future__ import annotations

from typing import Final

__all__ = ["HTTP_STATUS", "NOT_FOUND_TEXT", "ServiceError", "invalid_argument", "not_found"]

HTTP_STATUS: Final[dict[str, int]] = {
    "ClientLimitExceededException": 400,
    "InvalidArgumentException": 400,
    "InvalidDeviceException": 400,
    "InvalidResourceFormatException": 400,
    "NoDataRetentionException": 400,
    "ResourceInUseException": 400,
    "SerializationException": 400,
    "TagsPerResourceExceededLimitException": 400,
    "VersionMismatchException": 400,
    "NotAuthorizedException": 401,
    "ResourceNotFoundException": 404,
    "UnknownOperationException": 404,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
    # errors of the front end
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "IncompleteSignatureException": 403,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "UnrecognizedClientException": 403,
}
"""Exception name -> HTTP status."""

NOT_FOUND_TEXT: Final = "The requested stream is not found or not active."


class ServiceError(Exception):
    """The request is refused. `name` is a key of `HTTP_STATUS`, `text` the message in the body."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text)
        self.name = name
        self.text = text

    @property
    def http_status(self) -> int:
        """The HTTP status code of the response."""
        return HTTP_STATUS[self.name]

    @property
    def body(self) -> dict[str, str]:
        """The JSON object of the response."""
        return {"message" if self.http_status == HTTP_STATUS["AccessDeniedException"] else
                "Message": self.text}  # fmt: skip


def invalid_argument(text: str) -> ServiceError:
    """Return the error for a request that violates a rule of the API model."""
    return ServiceError("InvalidArgumentException", text)


def not_found() -> ServiceError:
    """Return the error for a stream that does not exist or is being deleted."""
    return ServiceError("ResourceNotFoundException", NOT_FOUND_TEXT)
