"""Credentials of botocore: its default chain, a session's, or a credentials object.

The chain looks into the environment, the shared credentials and config files (profiles, assumed
roles, credential processes), single sign-on, and the metadata of containers and instances. botocore
renews them before they expire, so what it gives is never held here.
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
    "frozen",
]

NO_CREDENTIALS = (
    "no AWS credentials were found in the environment, the shared credentials and config files, "
    "single sign-on, or the container's or instance's metadata: set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY (kvs serve takes any), run aws configure, or give profile_name= or "
    "credentials="
)

# How a machine of EC2 is told from others, without asking anybody: AWS's guide "Detect whether a
# host is an EC2 instance". Files of Linux, and what they begin with there.
_EC2_MARKS: Final = (
    ("/sys/devices/virtual/dmi/id/sys_vendor", "Amazon EC2"),
    ("/sys/hypervisor/uuid", "ec2"),
)


_SET_BY_USER: Final = "explicit"  # botocore's name of that method
_EXPIRED: Final = "still expired"  # of botocore's message; the exception has no type of its own


@runtime_checkable
class FrozenCredentials(Protocol):
    """What all credentials objects of botocore and boto3 have in common."""

    def get_frozen_credentials(self) -> Any:
        """`access_key`, `secret_key` and `token` of this moment."""


class BotocoreCredentials:
    """A botocore or boto3 credentials object, which knows itself how to stay fresh."""

    def __init__(self, credentials: FrozenCredentials) -> None:
        self._credentials = credentials

    def fetch(self) -> AwsCredentials:
        """What it holds, renewed when due; raises CLIENT_AUTH_CALL_FAILED when that fails."""
        return credentials_of_botocore(self._credentials)

    def fetch_in(self, network: Network, skew: ClockSkew) -> AwsCredentials:  # noqa: ARG002
        """The same by the service's time."""
        return credentials_of_botocore(self._credentials, skew)

    def at_hand(self, skew: ClockSkew) -> AwsCredentials | None:
        """The same, or None if they have to be renewed; does not block."""
        return _at_hand(self._credentials, skew)

    def renew(self) -> None:
        """Renew refreshable credentials now; others are what they are.

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
    """Whatever a botocore session finds, each time it is asked."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._renewed: FrozenCredentials | None = None  # in place of the session's
        self._asked = False  # the chain, with success

    def fetch(self) -> AwsCredentials:
        """The chain's credentials, renewed when due.

        Raises SERVICE_CALL_NOT_AUTHORIZED_ERROR when there are none anywhere, and
        CLIENT_AUTH_CALL_FAILED when a place that should have them fails.
        """
        return self._found(ClockSkew())

    def fetch_in(self, network: Network, skew: ClockSkew) -> AwsCredentials:  # noqa: ARG002
        """The same by the service's time."""
        return self._found(skew)

    def at_hand(self, skew: ClockSkew) -> AwsCredentials | None:
        """The same if the chain was asked already and nothing has to be renewed; else None."""
        if not self._asked:  # from then on the session has them
            return None
        found = self._renewed or self._session.get_credentials()
        return None if found is None else _at_hand(found, skew)

    def renew(self) -> None:
        """Have the chain look again, for a session keeps what it found first.

        Files, processes and metadata services are read anew. Credentials that were set on the
        session stay. Raises CLIENT_AUTH_CALL_FAILED.
        """
        try:
            known = self._renewed or self._session.get_credentials()
            if getattr(known, "method", None) == _SET_BY_USER:
                return
            chain = self._session.get_component("credential_provider")
            for provider in getattr(chain, "providers", ()):  # those of assumed roles remember
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
    """Why an instance's metadata should have credentials, "" when nothing says so.

    botocore passes a metadata service that does not answer over without a word; at the boot of an
    instance it may not answer yet, or not know the role yet.
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
    """Ours for a botocore credentials object, by the service's time if its `skew` is known.

    Raises CLIENT_AUTH_CALL_FAILED, and IOT_EXPIRATION_OCCURS_IN_PAST for fresh ones that look
    expired.
    """
    _set_clock(found, skew)
    try:
        keys = found.get_frozen_credentials()
    except Exception as error:
        if isinstance(error, RuntimeError) and _EXPIRED in str(error):
            told = f"botocore's credentials have expired when they come: {error}"
            raise kvs_error(StatusCode.IOT_EXPIRATION_OCCURS_IN_PAST, told) from error
        raise _failed(error) from error
    # botocore tells the expiry of refreshable credentials in this attribute only.
    expiry = getattr(found, "_expiry_time", None)
    return AwsCredentials(
        keys.access_key,
        keys.secret_key,
        keys.token or None,
        expiry if isinstance(expiry, datetime) else None,
    )


def _set_clock(found: object, skew: ClockSkew | None) -> None:
    """Have refreshable credentials go by the service's time.

    botocore compares with this machine's clock, and has no other way to be given the time.
    """
    if skew is not None and skew.ticks and hasattr(found, "_time_fetcher"):
        found._time_fetcher = lambda: (
            datetime.now(UTC) + timedelta(milliseconds=skew.ticks // TICKS_PER_MS)
        )


def _at_hand(found: FrozenCredentials, skew: ClockSkew) -> AwsCredentials | None:
    """Return the credentials of botocore's own objects if they need not be renewed; else None."""
    from botocore.credentials import Credentials, RefreshableCredentials

    _set_clock(found, skew)
    if isinstance(found, RefreshableCredentials):
        # botocore renews this many seconds early; without it, only when it must.
        early_s: Any = getattr(found, "_advisory_refresh_timeout", None)
        prompt = not found.refresh_needed(early_s)
    else:
        prompt = type(found) is Credentials
    return credentials_of_botocore(found, skew) if prompt else None


def frozen(credentials: AwsCredentials) -> ReadOnlyCredentials:
    """Credentials as botocore's signer takes them."""
    from botocore.credentials import ReadOnlyCredentials

    return ReadOnlyCredentials(
        credentials.access_key_id, credentials.secret_access_key, credentials.session_token
    )


def cause_class(error: BaseException) -> type[KvsError]:
    """Return the class for a provider's exception: what a program does about it.

    TimedOut and ConnectionFailed for a failure of the network, else NotAuthorized. botocore wraps
    some of them, so the exceptions behind it count too.
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
