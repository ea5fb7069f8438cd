"""Refusals as HTTP responses."""

from __future__ import annotations

import botocore.session
import pytest

from kvsproducer.endpoint.errors import HTTP_STATUS, ServiceError, invalid_argument, not_found


@pytest.mark.parametrize("name", HTTP_STATUS)
def test_front_end_writes_message_in_lower_case(name: str) -> None:
    error = ServiceError(name, "text")
    assert error.body == {"message" if error.http_status == 403 else "Message": "text"}


def test_http_codes_agree_with_botocore_models() -> None:
    """This holds for every exception in the model of one of the three APIs."""
    session = botocore.session.get_session()
    for service in ("kinesisvideo", "kinesis-video-media", "kinesis-video-archived-media"):
        model = session.get_service_model(service)
        for shape in model.error_shapes:
            # The models have 401 for AccessDenied, but the front end sends it.
            if shape.name in HTTP_STATUS and shape.name != "AccessDeniedException":
                assert HTTP_STATUS[shape.name] == shape.metadata["error"]["httpStatusCode"]


def test_common_errors() -> None:
    assert (not_found().name, not_found().http_status) == ("ResourceNotFoundException", 404)
    assert (invalid_argument("x").name, invalid_argument("x").http_status) == (
        "InvalidArgumentException",
        400,
    )
