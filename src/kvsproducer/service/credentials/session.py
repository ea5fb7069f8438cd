"""Credentials from botocore: from its default chain, a session, or a credentials object.

The chain searches the environment, the shared credentials and config files (profiles, assumed
roles, credential processes), single sign-on, and the metadata of containers and instances. botocore
renews credentials before they expire, so this module does not cache them.
"""

from __future__ import annotations

import os
import socket
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from kvsproducer.duration import TICKS_PER_MS
from kvsproducer.service.clock_skew import ClockSkew
from kvsproducer.service.credentials.credentials import AwsCredentials
from kvsproducer.service.network import Network
from kvsproducer.status import (
    ConnectionFailed,
    KvsError,
    NotAuthorized,
    StatusCode,
    Throttled,
    TimedOut,
    kvs_error,
)
from kvsproducer.status.system import without_numbers

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials
    from botocore.session import Session

__all__ = [
    "NO_CREDENTIALS",
    "BotocoreCredentials",
    "FrozenCredentials",
    "SessionCredentials",
    "cause_class",
    "credentials_of_botocore",
    "to_botocore",
]

NO_CREDENTIALS = (
    "no AWS credentials were found in the environment, the shared credentials and config files, "
    "single sign-on, or the container's or instance's metadata: set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY (kvs serve takes any), run aws configure, or give profile_name= or "
    "credentials="
)

# How to recognise an EC2 instance without a request: these Linux files begin with these words.
# Source: AWS's guide "Detect whether a host is an EC2 instance".
_EC2_MARKS: Final = (
    ("/sys/devices/virtual/dmi/id/sys_vendor", "Amazon EC2"),
    ("/sys/hypervisor/uuid", "ec2"),
)


_SET_BY_USER: Final = "explicit"  # botocore's method name for credentials set on the session
_EXPIRED: Final = "still expired"  # in botocore's message; the exception has no type of its own


@runtime_checkable
class FrozenCredentials(Protocol):
    """A credentials object of botocore or boto3."""

    def get_frozen_credentials(self) -> Any:
        """Return an object with the current `access_key`, `secret_key` and `token`."""


class BotocoreCredentials:
    """A provider for a botocore or boto3 credentials object, which renews its own credentials."""

    def __init__(self, credentials: FrozenCredentials) -> None:
        self._credentials = credentials

    def fetch(self) -> AwsCredentials:
        """Return the current credentials, renewed if they are about to expire.

        Raises CLIENT_AUTH_CALL_FAILED if renewing fails.
        """
        return credentials_of_botocore(self._credentials)

    def fetch_in(self, network: Network, skew: ClockSkew) -> AwsCredentials:  # noqa: ARG002
        """Return the same as `fetch`, with expirations compared to the service's time."""
        return credentials_of_botocore(self._credentials, skew)

    def get_nowait(self, skew: ClockSkew) -> AwsCredentials | None:
        """Return the same as `fetch_in`, or None if the credentials have to be renewed first."""
        return _get_nowait(self._credentials, skew)

    def renew(self) -> None:
        """Renew the credentials now if they are refreshable; otherwise do nothing.

        Raises CLIENT_AUTH_CALL_FAILED.
        """
        found: Any = self._credentials
        if not hasattr(found, "_protected_refresh"):
            return
        try:
            with found._refresh_lock:
                found._protected_refresh(is_mandatory=True)
        except Exception as error:
            raise _failed(error) from error

    def __repr__(self) -> str:
        return f"BotocoreCredentials({type(self._credentials).__name__})"


class SessionCredentials:
    """A provider that asks a botocore session each time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._renewed: FrozenCredentials | None = None  # replaces the session's credentials
        self._asked = False  # whether the chain has found credentials

    def fetch(self) -> AwsCredentials:
        """Return the session's credentials, renewed if they are about to expire.

        Raises SERVICE_CALL_NOT_AUTHORIZED_ERROR if the chain finds no credentials, and
        CLIENT_AUTH_CALL_FAILED if a source that should have credentials fails.
        """
        return self._found(ClockSkew())

    def fetch_in(self, network: Network, skew: ClockSkew) -> AwsCredentials:  # noqa: ARG002
        """Return the same as `fetch`, with expirations compared to the service's time."""
        return self._found(skew)

    def get_nowait(self, skew: ClockSkew) -> AwsCredentials | None:
        """Return the same as `fetch_in`, or None if that would need a search or a renewal."""
        if not self._asked:  # once the chain was searched, the session keeps its credentials
            return None
        found = self._renewed or self._session.get_credentials()
        return None if found is None else _get_nowait(found, skew)

    def renew(self) -> None:
        """Search the chain again, because a session keeps the credentials that it found first.

        This reads files, credential processes and metadata services anew. Credentials that the
        program has set on the session are kept. Raises CLIENT_AUTH_CALL_FAILED.
        """
        try:
            known = self._renewed or self._session.get_credentials()
            if getattr(known, "method", None) == _SET_BY_USER:
                return
            chain = self._session.get_component("credential_provider")
            for provider in getattr(chain, "providers", ()):  # providers of assumed roles cache
                if isinstance(cache := getattr(provider, "cache", None), dict):
                    cache.clear()
            self._renewed = chain.load_credentials() or self._renewed
        except Exception as error:
            raise _failed(error) from error

    def _found(self, skew: ClockSkew) -> AwsCredentials:
        try:
            found = self._renewed or self._session.get_credentials()
        except Exception as error:
            raise _failed(error) from error
        if found is None:
            if why := _metadata_expected(self._session):
                raise kvs_error(
                    StatusCode.CLIENT_AUTH_CALL_FAILED,
                    f"{NO_CREDENTIALS}; {why}, whose metadata should have them",
                )
            raise kvs_error(StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR, NO_CREDENTIALS)
        self._asked = True
        return credentials_of_botocore(found, skew)

    def __repr__(self) -> str:
        return "SessionCredentials()"


def _metadata_expected(session: Session) -> str:
    """Return why an instance's metadata should have credentials, or "" if there is no reason.

    botocore silently ignores a metadata service that does not respond. While an instance boots, its
    metadata service may not respond yet or not know the role yet, so a later attempt may succeed.
    """
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return ""
    if session.get_config_variable("ec2_metadata_service_endpoint"):
        return "AWS_EC2_METADATA_SERVICE_ENDPOINT or the profile names a metadata service"
    for path, beginning in _EC2_MARKS:
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                if file.read(len(beginning)) == beginning:
                    return "this is an EC2 instance"
        except OSError:
            continue
    return ""


def credentials_of_botocore(
    found: FrozenCredentials, skew: ClockSkew | None = None
) -> AwsCredentials:
    """Return the `AwsCredentials` of a botocore credentials object.

    Expirations are compared with the service's time, which follows from `skew`, or with this
    machine's time if `skew` is None.

    Raises CLIENT_AUTH_CALL_FAILED, and IOT_EXPIRATION_OCCURS_IN_PAST if botocore has just renewed
    the credentials and they look expired.
    """
    _set_clock(found, skew)
    try:
        keys = found.get_frozen_credentials()
    except Exception as error:
        if isinstance(error, RuntimeError) and _EXPIRED in str(error):
            detail = f"botocore's renewed credentials have already expired: {error}"
            raise kvs_error(StatusCode.IOT_EXPIRATION_OCCURS_IN_PAST, detail) from error
        raise _failed(error) from error
    # botocore gives the expiry of refreshable credentials in this attribute only.
    expiry = getattr(found, "_expiry_time", None)
    return AwsCredentials(
        keys.access_key,
        keys.secret_key,
        keys.token or None,
        expiry if isinstance(expiry, datetime) else None,
    )


def _set_clock(found: object, skew: ClockSkew | None) -> None:
    """Make refreshable credentials compare their expiration with the service's time.

    botocore uses this machine's clock and has no public way to change that.
    """
    if skew is not None and skew.ticks and hasattr(found, "_time_fetcher"):
        found._time_fetcher = lambda: (
            datetime.now(UTC) + timedelta(milliseconds=skew.ticks // TICKS_PER_MS)
        )


def _get_nowait(found: FrozenCredentials, skew: ClockSkew) -> AwsCredentials | None:
    """Return the credentials of a botocore object, or None if getting them might block."""
    from botocore.credentials import Credentials, RefreshableCredentials

    _set_clock(found, skew)
    if isinstance(found, RefreshableCredentials):
        # How many seconds before the expiration botocore renews; None: its mandatory minimum.
        early_s: Any = getattr(found, "_advisory_refresh_timeout", None)
        prompt = not found.refresh_needed(early_s)
    else:
        prompt = type(found) is Credentials
    return credentials_of_botocore(found, skew) if prompt else None


def to_botocore(credentials: AwsCredentials) -> ReadOnlyCredentials:
    """Return credentials as the type that botocore's signer expects."""
    from botocore.credentials import ReadOnlyCredentials

    return ReadOnlyCredentials(
        credentials.access_key_id, credentials.secret_access_key, credentials.session_token
    )


def cause_class(error: BaseException) -> type[KvsError]:
    """Return the class of the exception that users get if a provider raised `error`.

    The class is TimedOut or ConnectionFailed for a failure of the network, Throttled for a
    throttled call, else NotAuthorized. The causes of the exception are checked too, because
    botocore wraps some exceptions.
    """
    import aiohttp
    from botocore import exceptions as aws

    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, KvsError):
            return type(behind) if isinstance(behind, _PASSING) else NotAuthorized
        if isinstance(behind, aws.SSLError | ssl.SSLError | ssl.CertificateError):
            return NotAuthorized
        if isinstance(behind, TimeoutError | aws.ConnectTimeoutError | aws.ReadTimeoutError):
            return TimedOut
        if isinstance(
            behind,
            ConnectionError
            | socket.gaierror
            | aiohttp.ClientConnectionError
            | aws.ConnectionError
            | aws.HTTPClientError,
        ):
            return ConnectionFailed
        behind = behind.__cause__ or behind.__context__
    return NotAuthorized


_PASSING: Final = (ConnectionFailed, Throttled, TimedOut)


def _failed(error: Exception) -> KvsError:
    return cause_class(error)(
        StatusCode.CLIENT_AUTH_CALL_FAILED,
        f"no usable AWS credentials: {type(error).__name__}: {without_numbers(error)}",
    )
