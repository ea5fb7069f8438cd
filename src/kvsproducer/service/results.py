"""Foreign failures as service call results: the border between HTTP libraries and the core.

The core knows results as plain numbers (HTTP statuses and the 10000s of the producer libraries).
Here aiohttp's exceptions, and the service's own exception names, become such a number and a
sentence that says what happened, with whom, and where to look. Nothing else in the package
interprets them, so one cause has one number and one sentence in put and get.
Sources: the API reference of Kinesis Video Streams (errors of each operation); libcurl's failures
in the C producer give the numbers for time-outs, TLS and unsupported protocols.
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
from kvsproducer.service.tls import at_wrong_time
from kvsproducer.service.urls import shown
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
    """The result for an exception of the service; only NotAuthorizedException is a 401."""
    result = status_result(EXCEPTIONS[name])
    own = name == "NotAuthorizedException"
    return _FORBIDDEN if result == NOT_AUTHORIZED and not own else result


_EXCEPTIONS: Final = {name: _result_of(name) for name in EXCEPTIONS}
# HTTP statuses that are in neither of these are UNKNOWN.
_STATUSES: Final = {429: LIMITED}
_PASSED_ON: Final = {200, 401, 403, 404, 406, 408, *range(500, 600)}

_LONGEST_MESSAGE: Final = 500  # characters; a log line and an event have to hold it
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
    """A failed call: the result for the core, and the message for the user."""

    result: int
    detail: str
    own: StatusCode | None = None  # when the result has none of its own
    kind: type[KvsError] | None = None  # when the status has another class here

    @property
    def status(self) -> StatusCode:
        """The status of the exception for the user."""
        return self.own or result_status(self.result)

    @property
    def error_class(self) -> type[KvsError]:
        """The class of the exception for the user."""
        if self.kind is not None:
            return self.kind
        return error_class(self.own) if self.own else result_class(self.result)

    @property
    def said(self) -> bool:
        """Whether the result alone says what the status is."""
        return self.own in (None, result_status(self.result))

    def of_upload(self) -> Failure:
        """As the end of an upload: what it went to was there when the upload was prepared."""
        return replace(self, result=DELETED) if self.result == MISSING else self

    def of_call(self) -> Failure:
        """As a result of a control-plane call: being throttled is no reason to give up."""
        if self.result != LIMITED:
            return self
        return replace(self, result=THROTTLED_RESULT, own=self.status)


class RefusedError(Exception):
    """The service, or what is between, answered a call with `failure`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


def failure_of_answer(status: int, error_type: str, message: str) -> Failure:
    """A failure that the service answered: HTTP status, `x-amzn-ErrorType` (or ""), message."""
    name = error_type.partition(":")[0].rpartition("#")[2][:_LONGEST_MESSAGE]
    if status == _PROXY_LOGIN:
        return Failure(UNKNOWN, "the proxy wants a user and a password: HTTP 407")
    message = _sentence(message)
    if len(message) > _LONGEST_MESSAGE:
        message = f"{message[:_LONGEST_MESSAGE]}..."
    fallback = status if status in _PASSED_ON else _STATUSES.get(status, UNKNOWN)
    said = f"{name}: {message}" if name and message else name or message or "no message"
    return Failure(_EXCEPTIONS.get(name, fallback), f"HTTP {status} {said}")


def _sentence(body: str) -> str:
    """What a refusal says: the service puts its sentence into a JSON object."""
    try:
        told = json.loads(body)
        said = told.get("message") or told.get("Message")
    except (AttributeError, RecursionError, ValueError):
        return body
    return said if isinstance(said, str) and said else body


def failure_of(error: BaseException) -> Failure:
    """The failure that an exception of a call or an upload stands for."""
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
            kvs_error(status, f"no connection could be opened, this process has no more: {said}")
        )
    for told in (_of_tls, _of_aiohttp):
        if (failure := told(error)) is not None:
            return failure
    if isinstance(error, TimeoutError):
        return Failure(TIMEOUT, f"timed out: {str(error) or type(error).__name__}")
    return Failure(UNKNOWN, f"{type(error).__name__}: {without_numbers(error)}")


def _of_tls(error: BaseException) -> Failure | None:
    """TLS failures; aiohttp's connector errors carry theirs."""
    found = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if not isinstance(found, ssl.SSLError | ssl.CertificateError):
        return None
    where = _peer(error)
    if isinstance(found, ssl.SSLCertVerificationError):
        told = f"TLS failure: the certificate of {where} is not accepted: {found.verify_message}"
        if wrong_time := at_wrong_time(found):
            return Failure(UNKNOWN, f"{told}{wrong_time}")  # it passes when the clock is set
        return Failure(NOT_AUTHORIZED, f"{told} (own roots: verify= or AWS_CA_BUNDLE)")
    return Failure(
        NOT_AUTHORIZED,
        f"TLS failure: no agreement with {where}: {found.reason or found}"
        " (TLS 1.2 or newer is spoken here)",
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
        return Failure(INVALID_ARGUMENT, f"the data endpoint {shown(str(error.url))} is no URL")
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | ConnectionError):
        return Failure(UNKNOWN, f"the service broke the connection: {without_numbers(error)}")
    if isinstance(error, aiohttp.ClientPayloadError):
        cause = error.__cause__
        reason = in_words(cause) if isinstance(cause, OSError) else "its end is missing"
        return Failure(UNKNOWN, f"the service's answer broke off: {reason}")
    return None


def _of_response(error: aiohttp.ClientResponseError) -> Failure:
    """What came is no answer, or a proxy's.

    The request's headers (session token, proxy's password) are taken out of the error's repr.
    """
    import aiohttp
    from multidict import CIMultiDict, CIMultiDictProxy

    error.request_info = error.request_info._replace(headers=CIMultiDictProxy(CIMultiDict()))
    error.args = (error.request_info, error.history)
    told = " ".join(error.message.split())[:_LONGEST_MESSAGE]
    if isinstance(error, aiohttp.ClientHttpProxyError):
        said = f"HTTP {error.status} {told}"
        return Failure(UNKNOWN, f"the proxy refused to connect to the service: {said}")
    peer = error.request_info.url.origin()
    return Failure(UNKNOWN, f"what {peer} answered is no HTTP: {told}")


def _peer(error: BaseException) -> str:
    """`https://host:port` of an aiohttp connector error."""
    key = getattr(error, "_conn_key", None)
    if key is None:
        return "the service"
    return f"{'https' if key.is_ssl else 'http'}://{key.host}:{key.port}"


def _reason(error: OSError) -> str:
    """`connection refused (what to look at)`; of several attempts, the last one's."""
    number = _errno(error)
    text = os.strerror(number) if number and number > 0 else error.strerror or str(error)
    text = text or type(error).__name__
    hint = _HINTS.get(number or 0)
    return f"{text} ({hint})" if hint else text


def _errno(error: BaseException) -> int | None:
    """A system error's number; DNS errors have numbers of their own."""
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror):
        return error.errno
    return None


def _exhausted(error: BaseException) -> bool:
    """Whether this process or machine has no sockets or memory left."""
    found = [error, getattr(error, "os_error", None), error.__cause__]
    return any(isinstance(one, OSError) and _errno(one) in _EXHAUSTED for one in found)
