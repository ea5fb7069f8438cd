"""Credentials of botocore: its default chain, a session's, or a credentials object.

The chain looks into the environment, the shared credentials and config files (profiles, assumed
roles, credential processes), single sign-on, and the metadata of containers and instances. botocore
renews them before they expire, so what it gives is never held here.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from kvsproducer.producer.credentials.credentials import AwsCredentials
from kvsproducer.status import KvsError, StatusCode, kvs_error
from kvsproducer.status.system import without_numbers

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials
    from botocore.session import Session

__all__ = [
    "NO_CREDENTIALS",
    "BotocoreCredentials",
    "FrozenCredentials",
    "SessionCredentials",
    "credentials_of_botocore",
    "frozen",
]

NO_CREDENTIALS = (
    "no AWS credentials were found in the environment, the shared credentials and config files, "
    "single sign-on, or the container's or instance's metadata"
)


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

    def __repr__(self) -> str:
        return f"BotocoreCredentials({type(self._credentials).__name__})"


class SessionCredentials:
    """Whatever a botocore session finds, each time it is asked."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def fetch(self) -> AwsCredentials:
        """The chain's credentials, renewed when due.

        Raises SERVICE_CALL_NOT_AUTHORIZED_ERROR when there are none anywhere, and
        CLIENT_AUTH_CALL_FAILED when a place that should have them fails.
        """
        try:
            found = self._session.get_credentials()
        except Exception as error:
            raise _failed(error) from error
        if found is None:
            raise kvs_error(StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR, NO_CREDENTIALS)
        return credentials_of_botocore(found)

    def __repr__(self) -> str:
        return "SessionCredentials()"


def credentials_of_botocore(found: FrozenCredentials) -> AwsCredentials:
    """Ours for a botocore credentials object; raises CLIENT_AUTH_CALL_FAILED."""
    try:
        keys = found.get_frozen_credentials()
    except Exception as error:
        raise _failed(error) from error
    # botocore tells the expiry of refreshable credentials in this attribute only.
    expiry = getattr(found, "_expiry_time", None)
    return AwsCredentials(
        keys.access_key,
        keys.secret_key,
        keys.token or None,
        expiry if isinstance(expiry, datetime) else None,
    )


def frozen(credentials: AwsCredentials) -> ReadOnlyCredentials:
    """Credentials as botocore's signer takes them."""
    from botocore.credentials import ReadOnlyCredentials

    return ReadOnlyCredentials(
        credentials.access_key_id, credentials.secret_access_key, credentials.session_token
    )


def _failed(error: Exception) -> KvsError:
    return kvs_error(
        StatusCode.CLIENT_AUTH_CALL_FAILED,
        f"no usable AWS credentials: {type(error).__name__}: {without_numbers(error)}",
    )
