"""Signatures of AWS's own clients (recorded) and of botocore, and forged ones."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.exceptions import ClientError

from kvsproducer.endpoint import local_endpoint
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
    """Return a recorded request, the credentials that signed it, and its time."""
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
def test_signatures_of_aws_clients_are_accepted(name: str) -> None:
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
    """Return a request signed by botocore, and its time."""
    request = AWSRequest("POST", f"http://127.0.0.1:8080{path}", dict(headers or {}), body)
    request.context.update(options)
    SigV4Auth(
        BotocoreCredentials(ACCESS_KEY, SECRET_KEY, token), "kinesisvideo", "eu-west-1"
    ).add_auth(request)
    fields = [*request.headers.items(), ("Host", "127.0.0.1:8080")]
    target, _, query = path.partition("?")
    return SignedRequest("POST", target, query, fields, body), ticks(request.headers["X-Amz-Date"])


KNOWN = {ACCESS_KEY: Credentials(SECRET_KEY)}
EMPTY = hashlib.sha256(b"").hexdigest()


def test_signatures_of_botocore_are_accepted() -> None:
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
def test_put_media_with_each_payload_line(payload: str | None) -> None:
    headers = {"x-amzn-stream-name": "door", "x-amzn-fragment-timecode-type": "ABSOLUTE"}
    if payload:
        headers["x-amz-content-sha256"] = payload
    request, now = signed("/putMedia", b"", headers=headers)
    verify(SignedRequest("POST", "/putMedia", "", request.headers, None), KNOWN, now)


def test_changed_request_is_refused() -> None:
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


def test_payload_hash_must_match_the_body() -> None:
    request, now = signed(headers={"x-amz-content-sha256": "0" * 64})
    assert refusal(request, KNOWN, now) == "InvalidSignatureException"


@pytest.mark.parametrize("stated", ["0" * 64, EMPTY.upper(), EMPTY[:-1], "anything", ""])
@pytest.mark.parametrize("body", [b"", None])
def test_signed_but_wrong_payload_hash_is_refused(stated: str, body: bytes | None) -> None:
    """This includes PutMedia.

    Its body is not signed, but the hash of something else is an error.
    """
    request, now = signed("/putMedia", b"", headers={"x-amz-content-sha256": stated})
    request = SignedRequest("POST", "/putMedia", "", request.headers, body)
    assert refusal(request, KNOWN, now) == "InvalidSignatureException"


def test_streaming_payloads_are_for_put_media_only() -> None:
    headers = {"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}
    request, now = signed(headers=headers)
    assert refusal(request, KNOWN, now) == "InvalidSignatureException"


@pytest.mark.parametrize(
    "name",
    ["x-amzn-stream-name", "X-Amzn-Stream-ARN", "x-amzn-fragment-timecode-type", "x-amz-target"],
)
def test_unsigned_amazon_header_is_refused(name: str) -> None:
    """Otherwise the stream name could be changed on the network."""
    request, now = signed("/putMedia", b"")
    fields = [*request.headers, (name, "other")]
    added = SignedRequest("POST", "/putMedia", "", fields, None)
    assert refusal(added, KNOWN, now) == "InvalidSignatureException"


def test_trace_id_may_be_unsigned() -> None:
    """botocore and proxies add it after signing, and no SDK signs it."""
    request, now = signed()
    fields = [*request.headers, ("X-Amzn-Trace-Id", "Root=1-67891233")]
    verify(SignedRequest("POST", request.path, "", fields, request.body), KNOWN, now)


def test_unsigned_headers_may_change() -> None:
    request, now = signed()
    verify(
        SignedRequest("POST", request.path, "", [*request.headers, ("Via", "proxy")], request.body),
        KNOWN,
        now,
    )


def test_clock_may_differ_by_five_minutes() -> None:
    request, now = signed()
    for off in (-300, 300):
        verify(request, KNOWN, now + off * SECOND)
    for off in (-301, 301):
        assert refusal(request, KNOWN, now + off * SECOND) == "InvalidSignatureException"


def test_unknown_credentials_are_refused() -> None:
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
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/\udcff/kinesisvideo/aws4_request,"
            " SignedHeaders=host, Signature=00",  # a byte that is not text, as aiohttp passes it
            "IncompleteSignatureException",
        ),
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
def test_invalid_authorization_headers(authorization: str | None, name: str) -> None:
    headers = [("Host", "x")] + (
        [] if authorization is None else [("Authorization", authorization)]
    )
    assert refusal(SignedRequest("POST", "/", "", headers, b""), KNOWN, 0) == name


def test_day_of_the_scope_must_be_complete() -> None:
    """The service also refuses a client that truncates it."""
    date = "20231114T221320Z"
    cut = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/2023/eu-west-1/kinesisvideo/aws4_request,"
        " SignedHeaders=host;x-amz-date, Signature=00"
    )
    headers = [("Host", "x"), ("X-Amz-Date", date), ("Authorization", cut)]
    request = SignedRequest("POST", "/", "", headers, b"")
    with pytest.raises(ServiceError, match="not that of X-Amz-Date"):
        verify(request, KNOWN, 17_000_000_000_000_000)


def test_secret_is_not_in_the_repr() -> None:
    assert SECRET_KEY not in repr(KNOWN)


# --- AWS's published examples -------------------------------------------------------------------
VECTOR_DATE = "20150830T123600Z"
VECTORS = {
    # name: method, query, headers in the order of signing, body, service, signature. The first four
    # are from AWS's Signature Version 4 test suite, the last is an example in the General Reference
    # ("Create a signed AWS API request").
    "get-vanilla": (
        "GET", "", [], b"", "service",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "get-vanilla-query-order-key-case": (
        "GET", "Param2=value2&Param1=value1", [], b"", "service",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "post-vanilla": (
        "POST", "", [], b"", "service",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "post-header-key-sort": (
        "POST", "", [("My-Header1", "value1")], b"", "service",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    "iam-list-users": (
        "GET", "Action=ListUsers&Version=2010-05-08",
        [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")], b"", "iam",
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    ),
}  # fmt: skip


def vector(name: str) -> tuple[SignedRequest, str]:
    """Return a published request, and the service that it is for."""
    method, query, more, body, service, signature = VECTORS[name]
    host = "iam.amazonaws.com" if service == "iam" else "example.amazonaws.com"
    headers = [*more, ("Host", host), ("X-Amz-Date", VECTOR_DATE)]
    signed = ";".join(sorted(key.lower() for key, _ in headers))
    scope = f"20150830/us-east-1/{service}/aws4_request"
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={signed},"
        f" Signature={signature}"
    )
    return SignedRequest(method, "/", query, [*headers, ("Authorization", authorization)], body), (
        service
    )


@pytest.mark.parametrize("name", VECTORS)
def test_published_examples(name: str) -> None:
    """They are accepted unchanged, and refused with a wrong key, region, date or header."""
    request, service = vector(name)
    now = ticks(VECTOR_DATE)
    verify(request, KNOWN, now, region="us-east-1", service=service)

    def refused(request: SignedRequest, known: Any = KNOWN, now: int = now, **options: Any) -> None:
        with pytest.raises(ServiceError) as caught:
            verify(request, known, now, service=service, **options)
        assert caught.value.http_status == 403

    refused(request, {ACCESS_KEY: Credentials("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEz")})
    refused(request, region="eu-west-1")
    refused(request, now=now + 301 * SECOND)
    altered = [(k, "altered.example" if k == "Host" else v) for k, v in request.headers]
    refused(SignedRequest(request.method, "/", request.query, altered, request.body))
    elsewhere = [(k, v.replace("/us-east-1/", "/us-west-2/")) for k, v in request.headers]
    refused(SignedRequest(request.method, "/", request.query, elsewhere, request.body))


def test_scope_of_another_region() -> None:
    """An endpoint with a region accepts no other; one without a region accepts any."""
    request, now = signed()
    verify(request, KNOWN, now, region="eu-west-1")
    with pytest.raises(ServiceError, match="valid region, here 'us-west-2'"):
        verify(request, KNOWN, now, region="us-west-2")


@pytest.mark.parametrize("token", [None, TOKEN])
def test_boto3_over_http(token: str | None) -> None:
    """boto3 gets a list of streams, or 403 for each kind of wrong signature."""
    known = {ACCESS_KEY: Credentials(SECRET_KEY, token)}
    with local_endpoint(verify_signatures=known, region="eu-west-1") as endpoint:

        def listed(secret: str = SECRET_KEY, region: str = "eu-west-1", **more: Any) -> object:
            more.setdefault("aws_session_token", token)
            client = boto3.Session(
                aws_access_key_id=ACCESS_KEY, aws_secret_access_key=secret, **more
            ).client("kinesisvideo", region_name=region, endpoint_url=endpoint.url)
            return client.list_streams()["StreamInfoList"]

        assert listed() == []
        for wrong in ({"secret": "other"}, {"region": "us-west-2"}, {"aws_session_token": "x"}):
            with pytest.raises(ClientError) as caught:
                listed(**wrong)  # type: ignore[arg-type]
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
