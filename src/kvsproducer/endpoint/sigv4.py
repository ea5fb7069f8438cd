"""Check the signature of a request: AWS Signature Version 4 in the Authorization header.

Source: AWS General Reference, "Signature Version 4 signing process". Rules for KVS clients:

- The signature covers the headers in SignedHeaders, with the values received. Every header that
  begins with `x-amz` must be signed. Otherwise an attacker on the network could change it, for
  example the stream of a PutMedia request. These headers need not be signed: `x-amz-date` and
  `x-amz-content-sha256` (the signature covers their values anyway), `x-amz-security-token` (AWS's C
  producer adds it after signing; it is compared with the session token), and the trace id that
  botocore and proxies add.
- The payload line is the value of `x-amz-content-sha256` if the request has this header: the hash
  of the body in lower case, or UNSIGNED-PAYLOAD. Otherwise it is the hash of the body. The body of
  PutMedia is never signed. Its payload line is the hash of the empty string, UNSIGNED-PAYLOAD or
  STREAMING-...

A refused request gets the same response as from the service's front end: 403 with a lower-case
`message`. Signatures in the query string are not supported.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote

from kvsproducer import limits, wire
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.endpoint.errors import ServiceError

__all__ = ["Credentials", "SignedRequest", "verify"]

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_TERMINATOR: Final = "aws4_request"
_EMPTY_HASH: Final = hashlib.sha256(b"").hexdigest()
_AUTHORIZATION: Final = re.compile(
    rf"{_ALGORITHM} +Credential=([^,\s]+) *, *SignedHeaders=([^,\s]+) *, *Signature=([0-9a-f]+) *"
)
_DATE_FORMAT: Final = "%Y%m%dT%H%M%SZ"
_UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
_STREAMING: Final = "STREAMING-"
_MAY_BE_UNSIGNED: Final = {
    "x-amz-date",
    wire.HEADER_PAYLOAD_HASH,
    "x-amz-security-token",
    "x-amzn-trace-id",
}


@dataclass(frozen=True)
class Credentials:
    """A secret key with which clients may sign requests, and its session token, if it has one."""

    secret_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return "Credentials(...)"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as received. The headers are in order. `body` is None for PutMedia."""

    method: str
    path: str  # as in the request line, without the query
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes | None


def verify(
    request: SignedRequest,
    known: Mapping[str, Credentials],
    now: int,
    *,
    region: str | None = None,
    service: str = wire.SERVICE_NAME,
) -> None:
    """Check that a request is signed with one of the `known` credentials (a map by access key).

    `now` is in ticks; the time of a signature may differ from it by five minutes. `region` is the
    only accepted region; None accepts any. Raises ServiceError (HTTP 403).
    """
    headers = _collect(request.headers)
    authorization = headers.get("authorization")
    if authorization is None:
        raise ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token")
    match = _AUTHORIZATION.fullmatch(authorization) if authorization.isascii() else None
    scope = match[1].split("/") if match else []
    if match is None or len(scope) != 5 or scope[4] != _TERMINATOR:
        raise ServiceError(
            "IncompleteSignatureException",
            "The Authorization header is not in the format of Signature Version 4.",
        )
    access_key, day = scope[:2]
    if scope[3] != service:
        raise _invalid(f"Credential should be scoped to correct service: '{service}'.")
    if region is not None and scope[2] != region:
        raise _invalid(f"Credential should be scoped to a valid region, here '{region}'.")
    credentials = known.get(access_key)
    token = headers.get("x-amz-security-token")
    if credentials is None or (credentials.session_token or "") != (token or ""):
        raise ServiceError(
            "UnrecognizedClientException", "The security token included in the request is invalid."
        )
    date = headers.get("x-amz-date", "")
    _check_date(date, day, now)
    signed = match[2].split(";")
    missing = [name for name in signed if name not in headers]
    if missing or "host" not in signed:
        raise _invalid(f"The request lacks the signed header {(missing or ['host'])[0]}.")
    amazon = {name for name in headers if name.startswith("x-amz")}
    unsigned = sorted(amazon - _MAY_BE_UNSIGNED - set(signed))
    if unsigned:
        raise _invalid(f"The header {unsigned[0]} must be a signed header.")
    canonical = "\n".join(
        (
            request.method,
            request.path or "/",
            _canonical_query(request.query),
            *(f"{name}:{headers[name]}" for name in signed),
            "",
            match[2],
            _payload_line(request, headers),
        )
    )
    text = "\n".join(
        (
            _ALGORITHM,
            date,
            "/".join(scope[1:]),
            hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest(),
        )
    )
    key = ("AWS4" + credentials.secret_key).encode()
    for part in (*scope[1:], text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(key.hex(), match[3]):
        raise _invalid(
            "The request signature we calculated does not match the signature you provided."
            " Check the secret access key and the signing method."
        )


def _collect(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the headers with lower-case names and normalised values. Join repeated headers."""
    collected: dict[str, list[str]] = {}
    for name, value in headers:
        collected.setdefault(name.lower(), []).append(" ".join(value.split()))
    return {name: ",".join(values) for name, values in collected.items()}


def _check_date(date: str, day: str, now: int) -> None:
    try:
        signed = datetime.strptime(date, _DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise ServiceError(
            "IncompleteSignatureException", "The request has no valid X-Amz-Date."
        ) from None
    if date[:8] != day:
        raise _invalid("The date of the credential scope is not that of X-Amz-Date.")
    current = datetime.fromtimestamp(now // TICKS_PER_SECOND, UTC)
    skew_s = limits.SERVICE_CLOCK_SKEW // TICKS_PER_SECOND
    age_s = (current - signed).total_seconds()
    if abs(age_s) > skew_s:
        problem, relation, sign = (
            ("expired", "earlier", "-") if age_s > 0 else ("not yet current", "later", "+")
        )
        raise _invalid(
            f"Signature {problem}: {date} is now {relation} than the time allowed"
            f" ({current:{_DATE_FORMAT}} {sign} {skew_s // 60} min.)"
        )


def _payload_line(request: SignedRequest, headers: Mapping[str, str]) -> str:
    actual = _EMPTY_HASH if request.body is None else hashlib.sha256(request.body).hexdigest()
    stated = headers.get(wire.HEADER_PAYLOAD_HASH, actual)
    streaming = request.body is None and stated.startswith(_STREAMING)
    if stated not in {actual, _UNSIGNED_PAYLOAD} and not streaming:
        raise _invalid(f"{wire.HEADER_PAYLOAD_HASH} is not the hash of the body.")
    return stated


def _canonical_query(query: str) -> str:
    pairs = [part.partition("=") for part in query.split("&") if part]
    return "&".join(sorted(f"{_encode(name)}={_encode(value)}" for name, _, value in pairs))


def _encode(text: str) -> str:
    return quote(unquote(text), safe="-_.~")


def _invalid(text: str) -> ServiceError:
    return ServiceError("InvalidSignatureException", text)
