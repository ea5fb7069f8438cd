"""botocore's signatures with a given date, checked by the verifier of the endpoint."""

from __future__ import annotations

import pytest
from botocore.credentials import ReadOnlyCredentials

import kvsproducer as kvs
from kvsproducer.endpoint.errors import ServiceError
from kvsproducer.endpoint.sigv4 import Credentials, SignedRequest, verify
from kvsproducer.service.service import signed_headers

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SECOND = 10_000_000
AT = 1_700_000_000 * SECOND


@pytest.mark.parametrize("token", [None, "a-session-token"])
def test_signature_has_the_given_date(token: str | None) -> None:
    """The date may be far from this machine's clock; the signature is valid only then."""
    keys = ReadOnlyCredentials(KEY, SECRET, token)
    url = "https://kinesisvideo.eu-west-1.amazonaws.com/describeStream"
    headers = signed_headers(
        url, {"Content-Type": "application/json"}, keys, "eu-west-1", AT, b"{}"
    )
    assert headers["X-Amz-Date"] == "20231114T221320Z"
    fields = [*headers.items(), ("Host", "kinesisvideo.eu-west-1.amazonaws.com")]
    request = SignedRequest("POST", "/describeStream", "", fields, b"{}")
    known = {KEY: Credentials(SECRET, token)}
    verify(request, known, AT)
    with pytest.raises(ServiceError, match="expired"):
        verify(request, known, AT + 301 * SECOND)


def test_a_library_that_refuses_sha_256(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL does that if its FIPS self-test fails; the status is HMAC_GENERATION_ERROR."""

    def refused(*_: object) -> None:
        raise ValueError("[digital envelope routines] unsupported")

    monkeypatch.setattr("botocore.auth.sha256", refused)
    with pytest.raises(kvs.KvsError, match="unsupported") as caught:
        kvs.list_fragments("door", endpoint_url="http://127.0.0.1:9")
    assert caught.value.status is kvs.StatusCode.HMAC_GENERATION_ERROR
