"""Credentials from AWS IoT: a device uses its certificate to get temporary credentials of a role.

The request is `GET https://ENDPOINT/role-aliases/ALIAS/credentials` with the device's certificate
(mutual TLS) and the header `x-amzn-iot-thingname`; the response is JSON. Sources: AWS IoT Core
developer guide, "Authorizing direct calls to AWS services"; the C producer for time-outs, limits
and the shortened lifetime.

The caller gives the thing name. (A convenience function of the C producer uses the stream's name.)
This module does not retry; the producer does.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from kvsproducer import limits
from kvsproducer.duration import (
    DurationField,
    as_timedelta,
    default_duration,
    set_durations,
)
from kvsproducer.service.clock import now
from kvsproducer.service.clock_skew import ClockSkew
from kvsproducer.service.config import ServiceConfig
from kvsproducer.service.credentials.credentials import AwsCredentials
from kvsproducer.service.credentials.expiration import check_not_past, parse_expiration
from kvsproducer.service.network import Network
from kvsproducer.service.results import failure_of
from kvsproducer.service.sockets import close_sockets
from kvsproducer.service.tls import clock_hint, tls_context
from kvsproducer.service.urls import url_fault, url_for_message
from kvsproducer.status import (
    KvsError,
    NotAuthorized,
    ServiceError,
    StatusCode,
    kvs_error,
)
from kvsproducer.status.system import in_words

if TYPE_CHECKING:
    import aiohttp

__all__ = ["ENVIRONMENT", "IotCredentials", "read_answer"]

_S = StatusCode
_OK: Final = 200
ENVIRONMENT: Final = {
    # Environment variables of AWS's samples, and the argument that each of them sets.
    "AWS_IOT_CORE_CREDENTIAL_ENDPOINT": "endpoint",
    "AWS_IOT_CORE_CERT": "certificate",
    "AWS_IOT_CORE_PRIVATE_KEY": "private_key",
    "AWS_IOT_CORE_ROLE_ALIAS": "role_alias",
    "AWS_IOT_CORE_THING_NAME": "thing_name",
}
_MAX_LENGTHS: Final = {
    "accessKeyId": limits.MAX_ACCESS_KEY_LEN,
    "secretAccessKey": limits.MAX_SECRET_KEY_LEN,
    "sessionToken": limits.MAX_SESSION_TOKEN_LEN,
    "expiration": limits.MAX_EXPIRATION_LEN,
}
# TLS alerts that mean that the server does not accept our certificate (RFC 8446, section 6.2).
_CERTIFICATE_ALERTS: Final = (
    "ALERT_ACCESS_DENIED",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_REQUIRED",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_DECRYPT_ERROR",
    "ALERT_HANDSHAKE_FAILURE",
    "ALERT_UNKNOWN_CA",
    "ALERT_UNSUPPORTED_CERTIFICATE",
)


@dataclass(frozen=True, slots=True, repr=False)
class IotCredentials:
    """A credentials provider that uses a device's certificate to get credentials of a role.

    endpoint: the account's credential endpoint, which `aws iot describe-endpoint --endpoint-type
        iot:CredentialProvider` prints: a host name, optionally with `https://` and `:port`.
    certificate, private_key: paths of the device's PEM files; they are read with every fetch.
    role_alias, thing_name: at most 128 characters each.
    ca: path of a PEM file or folder of trusted root certificates; None (default): the public ones.
    connection_timeout, completion_timeout: seconds, a `timedelta` or ISO 8601 text (`"PT3S"`).
        Defaults: 3 s to connect, 5 s for the whole request. Both defaults are used if the second
        value is less than the first, or the first is 0.
    clock: function that returns the time in ticks since 1970.
    dice: function; `dice(n)` returns a random int from 0 to n - 1. It shortens the remaining
        lifetime by 1 to 20 %, so that many devices do not renew at the same time.

    The arguments and files are checked at once, without the network. Raises NULL_ARG, INVALID_ARG,
    MAX_ROLE_ALIAS_LEN_EXCEEDED, MAX_IOT_THING_NAME_LENGTH, IOT_INVALID_URI_LEN, PATH_TOO_LONG,
    DIRECTORY_ENTRY_STAT_ERROR for a missing file, INVALID_CA_CERT_PATH, and
    IOT_CREATE_LWS_CONTEXT_FAILED for a certificate and key that TLS cannot use.
    """

    endpoint: str
    certificate: str | os.PathLike[str]
    private_key: str | os.PathLike[str]
    role_alias: str
    thing_name: str
    ca: str | os.PathLike[str] | None = None
    connection_timeout: DurationField = default_duration(limits.IOT_CONNECTION_TIMEOUT)
    completion_timeout: DurationField = default_duration(limits.IOT_COMPLETION_TIMEOUT)
    clock: Callable[[], int] = now
    dice: Callable[[int], int] = secrets.randbelow

    def __post_init__(self) -> None:
        set_durations(self, ("connection_timeout", "completion_timeout"))
        for name in ENVIRONMENT.values():
            value = getattr(self, name)
            if value is None:
                raise kvs_error(_S.NULL_ARG, f"{name}= is missing")
            if not value:
                raise kvs_error(_S.INVALID_ARG, f"{name}= is empty")
        if len(self.role_alias) > limits.MAX_ROLE_ALIAS_LEN:
            raise kvs_error(
                _S.MAX_ROLE_ALIAS_LEN_EXCEEDED,
                f"role_alias= has {len(self.role_alias)} characters; "
                f"at most {limits.MAX_ROLE_ALIAS_LEN} are allowed",
            )
        if len(self.thing_name) > limits.MAX_IOT_THING_NAME_LEN:
            raise kvs_error(
                _S.MAX_IOT_THING_NAME_LENGTH,
                f"thing_name= has {len(self.thing_name)} characters; "
                f"at most {limits.MAX_IOT_THING_NAME_LEN} are allowed",
            )
        for name in ("role_alias", "thing_name"):
            given = getattr(self, name)
            if not (given.isascii() and given.isprintable()):
                raise kvs_error(
                    _S.INVALID_ARG,
                    f"{name}={given!r:.100} has characters that AWS IoT does not allow; "
                    "give printable ASCII",
                )
        if len(self.url) > limits.MAX_URI_LEN:
            raise kvs_error(
                _S.IOT_INVALID_URI_LEN,
                f"the URL of the credentials endpoint has {len(self.url)} characters; "
                f"at most {limits.MAX_URI_LEN} are allowed",
            )
        self._check_host()
        self._tls()

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ, *, ca: str | None = None
    ) -> IotCredentials:
        """Return a provider with the settings of the environment variables of AWS's samples.

        The variables are AWS_IOT_CORE_CREDENTIAL_ENDPOINT, AWS_IOT_CORE_CERT,
        AWS_IOT_CORE_PRIVATE_KEY, AWS_IOT_CORE_ROLE_ALIAS and AWS_IOT_CORE_THING_NAME. Without `ca`,
        AWS_KVS_CACERT_PATH may name the trusted root certificates. Raises INVALID_ARG with the
        names of missing variables, and what the class raises.
        """
        missing = [name for name in ENVIRONMENT if not environment.get(name)]
        if missing:
            raise kvs_error(_S.INVALID_ARG, f"not set in the environment: {', '.join(missing)}")
        found = {to: environment[name] for name, to in ENVIRONMENT.items()}
        return cls(
            endpoint=found["endpoint"],
            certificate=found["certificate"],
            private_key=found["private_key"],
            role_alias=found["role_alias"],
            thing_name=found["thing_name"],
            ca=ca or environment.get("AWS_KVS_CACERT_PATH") or None,
        )

    @property
    def url(self) -> str:
        """The URL that credentials are requested from."""
        host = self.endpoint.removeprefix("https://").rstrip("/")
        return f"https://{host}/role-aliases/{quote(self.role_alias, safe='')}/credentials"

    def fetch(self) -> AwsCredentials:
        """Request credentials and return them.

        Blocks for at most `completion_timeout`. Must not be called in a thread that runs an event
        loop. Uses the environment's proxies. Raises CURL_PERFORM_FAILED (no connection, no response
        in time, an HTTP status other than 200), IOT_FAILED (the endpoint does not accept the
        certificate), what `read_answer` raises, and what the class raises for invalid files.
        """
        return self.fetch_in(Network(ServiceConfig(), verify=True), ClockSkew())

    def fetch_in(self, network: Network, skew: ClockSkew) -> AwsCredentials:
        """Request credentials with a producer's network settings and by the service's time.

        Trusts the roots of `ca` only, because the producer's `verify=` is for KVS itself.
        """
        try:
            context = self._tls()
            status, error_type, body = asyncio.run(self._get(network, context))
        except KvsError:
            raise
        except Exception as error:
            raise self._failure(error) from error
        if status != _OK:
            refused = NotAuthorized if status in (401, 403) else ServiceError
            raise refused(
                _S.CURL_PERFORM_FAILED,
                f"{self.url} answered HTTP {status} {error_type}".rstrip()
                + f" for the thing {self.thing_name!r}",
            )
        return read_answer(body, self.clock() + skew.ticks, self.dice)

    async def _get(self, network: Network, context: ssl.SSLContext) -> tuple[int, str, bytes]:
        """Make one request; return its HTTP status, error type and body (cut after the limit)."""
        import aiohttp

        connect, total = self.connection_timeout, self.completion_timeout
        if not connect or total < connect:
            connect = as_timedelta(limits.IOT_CONNECTION_TIMEOUT)
            total = as_timedelta(limits.IOT_COMPLETION_TIMEOUT)
        timeout = aiohttp.ClientTimeout(
            total=total.total_seconds(), connect=connect.total_seconds()
        )
        headers = {"x-amzn-iot-thingname": self.thing_name, "Accept": "*/*"}
        sockets: list[socket.socket] = []
        await network.prepare(self.url, context)
        try:
            async with (
                network.session(self.url, sockets, context) as session,
                network.request(
                    session, "GET", self.url, headers=headers, timeout=timeout
                ) as response,
            ):
                body = await _read(response)
                return response.status, response.headers.get("x-amzn-ErrorType", "")[:80], body
        finally:
            await close_sockets(sockets)

    def _failure(self, error: BaseException) -> KvsError:
        """Return the error to raise for a failed request."""
        alert = _certificate_alert(error)
        if alert:
            return kvs_error(
                _S.IOT_FAILED, f"{self.url} does not accept {self.certificate}: TLS {alert}"
            )
        refusal = getattr(error, "certificate_error", None)
        failure = failure_of(error)
        if isinstance(refusal, ssl.SSLCertVerificationError):
            detail = f"its certificate is not accepted: {refusal.verify_message}"
            detail += clock_hint(refusal) or " (own roots: ca=)"
        else:
            detail = failure.detail
        return failure.error_class(_S.CURL_PERFORM_FAILED, f"{self.url}: {detail}")

    def _check_host(self) -> None:
        fault = url_fault(self.url)
        if fault or "://" in self.endpoint.removeprefix("https://"):
            raise kvs_error(
                _S.INVALID_ARG,
                f"endpoint={url_for_message(self.endpoint)} is not a host name such as"
                f" abc123.credentials.iot.us-west-2.amazonaws.com{fault and ': '}{fault}",
            )

    def _tls(self) -> ssl.SSLContext:
        """Return a context for TLS 1.2 or newer with the device's certificate."""
        for path in (self.certificate, self.private_key, self.ca or ""):
            length = len(os.fspath(path))
            if length > limits.MAX_PATH_LEN:
                raise kvs_error(
                    _S.PATH_TOO_LONG,
                    f"the path {os.fspath(path)[:32]!r}... has {length} characters; "
                    f"at most {limits.MAX_PATH_LEN} are allowed",
                )
        for path in (self.certificate, self.private_key):
            try:
                os.stat(path)
            except (OSError, ValueError) as error:
                raise kvs_error(
                    _S.DIRECTORY_ENTRY_STAT_ERROR, f"{path}: {in_words(error)}"
                ) from error
        context = tls_context(True if self.ca is None else os.fspath(self.ca))
        assert isinstance(context, ssl.SSLContext)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # Refuse an encrypted key. Without `password`, OpenSSL would ask on the terminal.
            context.load_cert_chain(self.certificate, self.private_key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise kvs_error(
                _S.IOT_CREATE_LWS_CONTEXT_FAILED,
                f"{self.certificate} and {self.private_key} are not a PEM certificate and its key"
                f" without a password: {getattr(error, 'reason', None) or error}",
            ) from error
        return context

    def __repr__(self) -> str:
        return f"IotCredentials({self.url!r}, thing_name={self.thing_name!r})"


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read the body, but stop soon after `limits.MAX_IOT_ANSWER_BYTES`; return what was read."""
    body = b""
    while len(body) <= limits.MAX_IOT_ANSWER_BYTES:
        data = await response.content.readany()
        if not data:
            break
        body += data
    return body


def read_answer(body: bytes, now: int, dice: Callable[[int], int]) -> AwsCredentials:
    """Return the credentials in the endpoint's response, with their lifetime cut by 1 to 20 %.

    Raises IOT_INVALID_RESPONSE_LENGTH for an empty body; INVALID_API_CALL_RETURN_JSON for a body
    that is not a JSON object, is too long or has a member that is too long; IOT_NULL_AWS_CREDS for
    a missing key, secret or token; for the expiration TIMESTAMP_STRING_UNRECOGNIZED_FORMAT,
    IOT_EXPIRATION_PARSING_FAILED, IOT_EXPIRATION_OCCURS_IN_PAST.
    """
    if not body:
        raise kvs_error(_S.IOT_INVALID_RESPONSE_LENGTH, "the answer of AWS IoT is empty")
    found = _members(body)
    missing = [name for name in _MAX_LENGTHS if not found[name] and name != "expiration"]
    if missing:
        raise kvs_error(_S.IOT_NULL_AWS_CREDS, f"the answer of AWS IoT has no {', '.join(missing)}")
    expiration = parse_expiration(found["expiration"])
    check_not_past(expiration, now)
    percent = limits.MIN_IOT_JITTER_PERCENT + dice(
        limits.MAX_IOT_JITTER_PERCENT - limits.MIN_IOT_JITTER_PERCENT + 1
    )
    expiration -= (expiration - now) * percent // 100
    try:
        return AwsCredentials(
            found["accessKeyId"], found["secretAccessKey"], found["sessionToken"], expiration
        )
    except KvsError as error:
        raise kvs_error(_S.INVALID_API_CALL_RETURN_JSON, error.detail) from None


def _members(body: bytes) -> dict[str, str]:
    """Return the members of `credentials` as text, with "" for missing ones."""
    if len(body) > limits.MAX_IOT_ANSWER_BYTES:
        raise _unreadable(f"more than {limits.MAX_IOT_ANSWER_BYTES} bytes")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):  # do not chain: its text may contain the secret
        raise _unreadable("not JSON") from None
    credentials = answer.get("credentials", {}) if isinstance(answer, dict) else None
    if not isinstance(credentials, dict):
        raise _unreadable("not a JSON object with credentials")
    found = {name: credentials.get(name) or "" for name in _MAX_LENGTHS}
    for name, longest in _MAX_LENGTHS.items():
        if not isinstance(found[name], str) or len(found[name]) > longest:
            raise _unreadable(f"invalid: {name} is not text of at most {longest} characters")
    return found


def _unreadable(what: str) -> KvsError:
    return kvs_error(_S.INVALID_API_CALL_RETURN_JSON, f"the answer is {what}")


def _certificate_alert(error: BaseException | None) -> str:
    """Return the TLS alert with which the server refused the device's certificate, or ""."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        reason = str(getattr(error, "reason", "") or "") if isinstance(error, ssl.SSLError) else ""
        if reason.upper().replace(" ", "_").endswith(_CERTIFICATE_ALERTS):
            return reason.lower().replace("_", " ")
        error = getattr(error, "os_error", None) or error.__cause__ or error.__context__
    return ""
