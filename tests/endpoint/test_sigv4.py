"""Signatures: those of AWS's own clients (recorded), of botocore, and forged ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from kvsproducer.endpoint.errors import ServiceError
from kvsproducer.endpoint.sigv4 import Credentials, SignedRequest, verify

ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "FQoDYXdzEXAMPLETOKEN//////////wEaDummy+Session/Token=="
CAPTURES = Path(__file__).parents[1] / "data" / "captures"
SECOND = 10_000_000


def ticks(date: str) -> int:
    at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return int(at.timestamp()) * SECOND


def recorded(name: str) -> tuple[SignedRequest, dict[str, Credentials], int]:
    """A captured request, the credentials that it was signed with, and its time."""
    request = json.loads((CAPTURES / f"{name}.json").read_text())["requests"][0]
    assert request["sigv4"]["verified"]
    headers = [(key, value) for key, value in request["headers"]]
    fields = {key.lower(): value for key, value in headers}
    body = request["body"].encode() if "body" in request else None
    path = request["request_line"].split(" ")[1]
    known = {ACCESS_KEY: Credentials(SECRET_KEY, fields.get("x-amz-security-token"))}
    return SignedRequest("POST", path, "", headers, body), known, ticks(fields["x-amz-date"])


def refusal(request: SignedRequest, known: dict[str, Credentials], now: int) -> str:
    with pytest.raises(ServiceError) as caught:
        verify(request, known, now)
    assert caught.value.http_status == 403
    assert list(caught.value.body) == ["message"]
    return caught.value.name


@pytest.mark.parametrize("name", sorted(path.stem for path in CAPTURES.glob("*.json")))
def test_what_aws_s_clients_signed_is_accepted(name: str) -> None:
    request, known, now = recorded(name)
    verify(request, known, now)
    wrong = {ACCESS_KEY: Credentials("other", known[ACCESS_KEY].session_token)}
    assert refusal(request, wrong, now) == "InvalidSignatureException"


def signed(
    path: str = "/describeStream",
    body: bytes = b'{"StreamName":"door"}',
    *,
    token: str | None = None,
    headers: dict[str, str] | None = None,
    **options: Any,
) -> tuple[SignedRequest, int]:
    """A request signed by botocore, and its time."""
    request = AWSRequest("POST", f"http://127.0.0.1:8080{path}", dict(headers or {}), body)
    request.context.update(options)
    SigV4Auth(
        BotocoreCredentials(ACCESS_KEY, SECRET_KEY, token), "kinesisvideo", "eu-west-1"
    ).add_auth(request)
    fields = [*request.headers.items(), ("Host", "127.0.0.1:8080")]
    target, _, query = path.partition("?")
    return SignedRequest("POST", target, query, fields, body), ticks(request.headers["X-Amz-Date"])


KNOWN = {ACCESS_KEY: Credentials(SECRET_KEY)}


def test_botocore_s_signatures() -> None:
    request, now = signed()
    verify(request, KNOWN, now)
    request, now = signed(payload_signing_enabled=False)
    verify(request, KNOWN, now)
    request, now = signed("/listStreams?b=2&a=x%20y&c")
    verify(request, KNOWN, now)
    request, now = signed(token=TOKEN)
    verify(request, {ACCESS_KEY: Credentials(SECRET_KEY, TOKEN)}, now)


@pytest.mark.parametrize(
    "payload", [None, "UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"]
)
def test_put_media_in_each_way_of_signing_its_payload(payload: str | None) -> None:
    headers = {"x-amzn-stream-name": "door", "x-amzn-fragment-timecode-type": "ABSOLUTE"}
    if payload:
        headers["x-amz-content-sha256"] = payload
    request, now = signed("/putMedia", b"", headers=headers)
    verify(SignedRequest("POST", "/putMedia", "", request.headers, None), KNOWN, now)


def test_a_changed_request_is_refused() -> None:
    request, now = signed(headers={"content-type": "application/json"})
    for changed in (
        SignedRequest("POST", request.path, "", request.headers, b"{}"),
        SignedRequest("POST", "/deleteStream", "", request.headers, request.body),
        SignedRequest("POST", request.path, "a=b", request.headers, request.body),
        SignedRequest(
            "POST", request.path, "", [*request.headers, ("Host", "other")], request.body
        ),
        SignedRequest(
            "POST",
            request.path,
            "",
            [pair for pair in request.headers if pair[0].lower() != "content-type"],
            request.body,
        ),
    ):
        assert refusal(changed, KNOWN, now) == "InvalidSignatureException"


def test_a_stated_hash_must_be_the_body_s() -> None:
    request, now = signed(headers={"x-amz-content-sha256": "0" * 64})
    assert refusal(request, KNOWN, now) == "InvalidSignatureException"


def test_unsigned_headers_may_change_on_the_way() -> None:
    request, now = signed()
    verify(
        SignedRequest("POST", request.path, "", [*request.headers, ("Via", "proxy")], request.body),
        KNOWN,
        now,
    )


def test_a_clock_may_be_five_minutes_off() -> None:
    request, now = signed()
    for off in (-300, 300):
        verify(request, KNOWN, now + off * SECOND)
    for off in (-301, 301):
        assert refusal(request, KNOWN, now + off * SECOND) == "InvalidSignatureException"


def test_who_is_not_known() -> None:
    request, now = signed()
    assert refusal(request, {}, now) == "UnrecognizedClientException"
    with_token = {ACCESS_KEY: Credentials(SECRET_KEY, TOKEN)}
    assert refusal(request, with_token, now) == "UnrecognizedClientException"
    request, now = signed(token="another")
    assert refusal(request, with_token, now) == "UnrecognizedClientException"


@pytest.mark.parametrize(
    ("authorization", "name"),
    [
        (None, "MissingAuthenticationTokenException"),
        ("", "IncompleteSignatureException"),
        ("Basic dXNlcjpwYXNz", "IncompleteSignatureException"),
        (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/1/2, SignedHeaders=host, Signature=00",
            "IncompleteSignatureException",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/eu-west-1/s3/aws4_request,"
            " SignedHeaders=host, Signature=00",
            "InvalidSignatureException",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/eu-west-1/kinesisvideo/aws4_request,"
            " SignedHeaders=host;date, Signature=00",
            "IncompleteSignatureException",  # no X-Amz-Date
        ),
    ],
)
def test_what_is_no_signature(authorization: str | None, name: str) -> None:
    headers = [("Host", "x")] + (
        [] if authorization is None else [("Authorization", authorization)]
    )
    assert refusal(SignedRequest("POST", "/", "", headers, b""), KNOWN, 0) == name


def test_a_secret_is_never_shown() -> None:
    assert SECRET_KEY not in repr(KNOWN)
