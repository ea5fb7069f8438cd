"""Convert the failures of HTTP calls into the result numbers of the core.

The core knows the result of a call as a number: an HTTP status, or a number from 10000 on that
AWS's producer libraries define. This module converts aiohttp's exceptions and the service's
exception names into such a number and a message. The message says what happened, with which host,
and what to check. No other module interprets the exceptions, so a cause has the same number and
message in put and get.

Sources: the API reference of Kinesis Video Streams (errors of each operation); the C producer's use
of libcurl for the numbers of time-outs, TLS failures and unsupported protocols.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from kvsproducer.client.states import (
    THROTTLED_RESULT,
    result_class,
    result_status,
    status_result,
)
from kvsproducer.service.tls import clock_hint
from kvsproducer.service.urls import url_for_message
from kvsproducer.status import KvsError, StatusCode, error_class, kvs_error
from kvsproducer.status.service_errors import EXCEPTIONS
from kvsproducer.status.system import in_words, without_numbers

if TYPE_CHECKING:
    import aiohttp

__all__ = [
    "LIMITED",
    "OK",
    "TIMEOUT",
    "UNKNOWN",
    "Failure",
    "RefusedError",
    "failure_of",
    "failure_of_answer",
]

OK = 200
NOT_AUTHORIZED = 401
INVALID_ARGUMENT = 406
MISSING = 404
TIMEOUT = 599
LIMITED = 10000
UNKNOWN = 10006
DELETED = 10400

_FORBIDDEN = 403


def _result_of(name: str) -> int:
    """Return the result for an exception of the service; only NotAuthorizedException gives 401."""
    result = status_result(EXCEPTIONS[name])
    own = name == "NotAuthorizedException"
    return _FORBIDDEN if result == NOT_AUTHORIZED and not own else result


_EXCEPTIONS: Final = {name: _result_of(name) for name in EXCEPTIONS}
# An HTTP status that is in neither of these two becomes UNKNOWN.
_STATUSES: Final = {429: LIMITED}
_PASSED_ON: Final = {200, 401, 403, 404, 406, 408, *range(500, 600)}

_LONGEST_MESSAGE: Final = 500  # characters; the message must fit into a log line and an event
_PROXY_LOGIN: Final = 407
_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_HINTS: Final[Mapping[int, str]] = {
    errno.ECONNREFUSED: "nothing is listening there: start it, or check endpoint_url and firewall",
    errno.ENETUNREACH: "there is no route: check the network and ip_family",
    errno.EHOSTUNREACH: "there is no route: check the network and firewall",
    errno.EADDRNOTAVAIL: "there is no route: check the network and ip_family",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call.

    result: the result number for the core.
    detail: the message for the user.
    own: the status code for the user, if it differs from the one that belongs to `result`.
    kind: the exception class for the user, if it differs from that of the status code.
    """

    result: int
    detail: str
    own: StatusCode | None = None
    kind: type[KvsError] | None = None

    @property
    def status(self) -> StatusCode:
        """The status code for the user."""
        return self.own or result_status(self.result)

    @property
    def error_class(self) -> type[KvsError]:
        """The exception class for the user."""
        if self.kind is not None:
            return self.kind
        return error_class(self.own) if self.own else result_class(self.result)

    @property
    def said(self) -> bool:
        """Whether the status code follows from the result number alone."""
        return self.own in (None, result_status(self.result))

    def of_upload(self) -> Failure:
        """Return the failure of an upload: the result "not found" becomes "the stream was deleted".

        The stream existed when the upload was prepared, so it must have been deleted since.
        """
        return replace(self, result=DELETED) if self.result == MISSING else self

    def of_call(self) -> Failure:
        """Return the failure of a control-plane call: throttling gets a result that is retried."""
        if self.result != LIMITED:
            return self
        return replace(self, result=THROTTLED_RESULT, own=self.status)


class RefusedError(Exception):
    """The service, or a proxy or gateway in between, refused a call."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


def failure_of_answer(status: int, error_type: str, message: str) -> Failure:
    """Return the failure for an error response.

    status: the HTTP status. error_type: the header `x-amzn-ErrorType`, or "". message: the
    response's message or body.
    """
    name = error_type.partition(":")[0].rpartition("#")[2][:_LONGEST_MESSAGE]
    if status == _PROXY_LOGIN:
        return Failure(
            UNKNOWN, "the proxy requires a user and a password (HTTP 407): give them in its URL"
        )
    message = _sentence(message)
    if len(message) > _LONGEST_MESSAGE:
        message = f"{message[:_LONGEST_MESSAGE]}..."
    fallback = status if status in _PASSED_ON else _STATUSES.get(status, UNKNOWN)
    said = f"{name}: {message}" if name and message else name or message or "no message"
    return Failure(_EXCEPTIONS.get(name, fallback), f"HTTP {status} {said}")


def _sentence(body: str) -> str:
    """Return the message in the JSON object of an error response, or the whole body without one."""
    try:
        found = json.loads(body)
        message = found.get("message") or found.get("Message")
    except (AttributeError, RecursionError, ValueError):
        return body
    return message if isinstance(message, str) and message else body


def failure_of(error: BaseException) -> Failure:
    """Return the failure for an exception of a call or an upload."""
    if isinstance(error, RefusedError):
        return error.failure
    if isinstance(error, KvsError):
        result = status_result(error.status)
        said_already = result_status(result) is error.status
        detail = error.detail if said_already else f"{error.name}: {error.detail}"
        return Failure(result, detail, error.status, type(error))
    if _exhausted(error):
        status = StatusCode.CURL_INIT_FAILED
        said = without_numbers(error)
        return failure_of(
            kvs_error(status, f"this process has no resources for another connection: {said}")
        )
    for convert in (_of_tls, _of_aiohttp):
        if (failure := convert(error)) is not None:
            return failure
    if isinstance(error, TimeoutError):
        return Failure(TIMEOUT, f"timed out: {str(error) or type(error).__name__}")
    return Failure(UNKNOWN, f"{type(error).__name__}: {without_numbers(error)}")


def _of_tls(error: BaseException) -> Failure | None:
    """Return the failure for a TLS error, or None for any other error.

    The TLS error may be inside a connector error of aiohttp.
    """
    found = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if not isinstance(found, ssl.SSLError | ssl.CertificateError):
        return None
    where = _peer(error)
    if isinstance(found, ssl.SSLCertVerificationError):
        text = f"TLS failure: the certificate of {where} is not accepted: {found.verify_message}"
        if wrong_time := clock_hint(found):
            return Failure(UNKNOWN, f"{text}{wrong_time}")  # retried: the clock may be set later
        return Failure(NOT_AUTHORIZED, f"{text} (own roots: verify= or AWS_CA_BUNDLE)")
    return Failure(
        NOT_AUTHORIZED,
        f"TLS failure: the handshake with {where} failed: {found.reason or found}"
        " (TLS 1.2 or newer is required)",
    )


def _of_aiohttp(error: BaseException) -> Failure | None:
    import aiohttp

    where = _peer(error)
    if isinstance(error, aiohttp.ClientResponseError):
        return _of_response(error)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Failure(TIMEOUT, f"{error}: check network, firewall, proxies and endpoint_url")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        reason = _reason(error.os_error)
        return Failure(UNKNOWN, f"could not connect to the proxy: {reason} (proxies, HTTPS_PROXY)")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Failure(
            UNKNOWN,
            f"could not connect to {where}: the name cannot be resolved "
            f"({_reason(error.os_error)}): check region_name, endpoint_url, ip_family and DNS",
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return Failure(UNKNOWN, f"could not connect to {where}: {_reason(error.os_error)}")
    if isinstance(error, aiohttp.InvalidURL):
        return Failure(
            INVALID_ARGUMENT,
            f"the data endpoint {url_for_message(str(error.url))} is not a valid URL",
        )
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | ConnectionError):
        return Failure(UNKNOWN, f"the service closed the connection: {without_numbers(error)}")
    if isinstance(error, aiohttp.ClientPayloadError):
        cause = error.__cause__
        reason = in_words(cause) if isinstance(cause, OSError) else "its end is missing"
        return Failure(UNKNOWN, f"the service's response is incomplete: {reason}")
    return None


def _of_response(error: aiohttp.ClientResponseError) -> Failure:
    """Return the failure for a response that is not valid HTTP, or for a proxy's refusal.

    This also removes the request's headers from the error's repr, because they contain the session
    token and the proxy's password.
    """
    import aiohttp
    from multidict import CIMultiDict, CIMultiDictProxy

    error.request_info = error.request_info._replace(headers=CIMultiDictProxy(CIMultiDict()))
    error.args = (error.request_info, error.history)
    message = " ".join(error.message.split())[:_LONGEST_MESSAGE]
    if isinstance(error, aiohttp.ClientHttpProxyError):
        reason = f"HTTP {error.status} {message}"
        return Failure(UNKNOWN, f"the proxy refused to connect to the service: {reason}")
    origin = error.request_info.url.origin()
    return Failure(UNKNOWN, f"{origin} did not respond with valid HTTP: {message}")


def _peer(error: BaseException) -> str:
    """Return `https://host:port` of an aiohttp connector error, or "the service"."""
    key = getattr(error, "_conn_key", None)
    if key is None:
        return "the service"
    return f"{'https' if key.is_ssl else 'http'}://{key.host}:{key.port}"


def _reason(error: OSError) -> str:
    """Return the text of a system error with a hint what to check: `Connection refused (...)`."""
    number = _errno(error)
    text = os.strerror(number) if number and number > 0 else error.strerror or str(error)
    text = text or type(error).__name__
    hint = _HINTS.get(number or 0)
    return f"{text} ({hint})" if hint else text


def _errno(error: BaseException) -> int | None:
    """Return the `errno` of an OSError, or None; DNS errors use other numbers."""
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror):
        return error.errno
    return None


def _exhausted(error: BaseException) -> bool:
    """Return whether the cause is that this process or machine has no sockets or memory left."""
    found = [error, getattr(error, "os_error", None), error.__cause__]
    return any(isinstance(one, OSError) and _errno(one) in _EXHAUSTED for one in found)
