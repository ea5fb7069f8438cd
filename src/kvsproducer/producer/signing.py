"""AWS Signature Version 4, by botocore, with the service's time instead of a wrong clock's.

AWS General Reference, "Signature Version 4 signing process". PutMedia's body has no end when the
request is signed, so its payload line is the hash of the empty string, as AWS's own producers have
it. Headers that hops may change (User-Agent, Connection, Expect, a gateway's own) are not signed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kvsproducer import wire
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.status import StatusCode, kvs_error

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

__all__ = ["signed_headers"]


def signed_headers(
    url: str,
    headers: dict[str, str],
    keys: ReadOnlyCredentials,
    region_name: str,
    at: int,
    body: bytes = b"",
) -> dict[str, str]:
    """The headers of a POST to `url` with the signature added; `at` is its date, in ticks.

    Raises HMAC_GENERATION_ERROR when this machine's cryptographic library cannot make one.
    """
    from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
    from botocore.awsrequest import AWSRequest

    date = datetime.fromtimestamp(at // TICKS_PER_SECOND, UTC).strftime(SIGV4_TIMESTAMP)

    class QuietSigV4Auth(SigV4Auth):
        """With a date of ours instead of this machine's, and a log without the session token."""

        def add_auth(self, request: Any) -> None:
            request.context["timestamp"] = date
            self._modify_request_before_signing(request)  # type: ignore[attr-defined]  # not in stubs
            text = self.string_to_sign(request, self.canonical_request(request))
            self._inject_signature_to_request(request, self.signature(text, request))  # type: ignore[attr-defined]

    request = AWSRequest("POST", url, headers=headers, data=body)
    try:
        QuietSigV4Auth(keys, wire.SERVICE_NAME, region_name).add_auth(request)
    except ValueError as error:  # hashlib's, when OpenSSL is configured without SHA-256
        raise kvs_error(
            StatusCode.HMAC_GENERATION_ERROR, f"the request cannot be signed: {error}"
        ) from error
    return {name: str(value) for name, value in request.headers.items()}
