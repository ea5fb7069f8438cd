"""Foreign failures become the result that the state machines know, with a sentence for the user."""

from __future__ import annotations

import ssl

import pytest
from botocore import exceptions as boto

from kvsproducer.producer.results import (
    UNKNOWN,
    MalformedAnswer,
    failure_of,
    failure_of_answer,
)
from kvsproducer.status import StatusCode, kvs_error


@pytest.mark.parametrize(
    ("status", "error_type", "result"),
    [
        (404, "ResourceNotFoundException:https://kinesisvideo.amazonaws.com/doc/2017-09-30/", 404),
        (401, "NotAuthorizedException", 401),
        (403, "InvalidSignatureException", 403),
        (400, "ClientLimitExceededException", UNKNOWN),
        (400, "AccountStreamLimitExceededException", 10002),
        (400, "DeviceStreamLimitExceededException", 10001),
        (400, "com.amazonaws.kinesisvideo#InvalidArgumentException", 406),
        (400, "ResourceInUseException", 10003),
        (400, "", UNKNOWN),
        (503, "", UNKNOWN),
        (504, "", 504),
        (403, "", 403),
    ],
)
def test_answers_of_the_service(status: int, error_type: str, result: int) -> None:
    """The exception's name decides; without one, the HTTP status as the C producer passes it."""
    failure = failure_of_answer(status, error_type, "why")
    assert failure.result == result
    assert "why" in failure.detail


def test_client_error_of_botocore() -> None:
    """botocore's ClientError carries the service's name, message and status."""
    error = boto.ClientError(
        {
            "Error": {"Code": "ResourceNotFoundException", "Message": "no such stream"},
            "ResponseMetadata": {"HTTPStatusCode": 404},
        },
        "DescribeStream",
    )
    assert failure_of(error).result == 404
    assert "no such stream" in failure_of(error).detail


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (kvs_error(StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR, "no credentials"), 401),
        (kvs_error(StatusCode.CURL_PERFORM_FAILED, "no answer"), 10006),
        (boto.ParamValidationError(report="bad name"), 406),
        (MalformedAnswer("no StreamInfo"), 406),
        (boto.SSLError(endpoint_url="https://x", error="certificate verify failed"), 401),
        (ssl.SSLCertVerificationError("certificate verify failed"), 401),
        (boto.ConnectTimeoutError(endpoint_url="https://x"), 599),
        (boto.ReadTimeoutError(endpoint_url="https://x"), 599),
        (TimeoutError("slow"), 599),
        (boto.EndpointConnectionError(endpoint_url="https://x"), UNKNOWN),
        (ConnectionRefusedError(111, "refused"), UNKNOWN),
    ],
)
def test_failures_without_an_answer(error: Exception, result: int) -> None:
    """Time-outs, TLS and missing credentials are told apart; the rest is retried as unknown."""
    failure = failure_of(error)
    assert failure.result == result
    assert failure.detail
