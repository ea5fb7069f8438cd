"""Amazon Kinesis Video Streams as the producer sees it: botocore does what it is good at.

Credentials (those of `credentials/`, by default its chain), SigV4, the control plane's operations,
endpoints. botocore's own retries are off: the core's state machines retry, and
two layers of it would hide failures and delay them. Every method here may block (instance
metadata, single sign-on, the network), so the engine calls them in its executor.

PutMedia and GetMedia's streaming side are not here: botocore cannot do PutMedia at all.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.limits import DEFAULT_CONNECTION_TIMEOUT, DEFAULT_SERVICE_CALL_TIMEOUT
from kvsproducer.producer.credentials.credentials import AwsCredentials
from kvsproducer.producer.credentials.session import frozen, signing_credentials
from kvsproducer.producer.credentials.source import CredentialsSource, fresh_credentials
from kvsproducer.producer.service_config import ServiceConfig
from kvsproducer.producer.tls import tls_context
from kvsproducer.status import StatusCode, kvs_error

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.session import Session

__all__ = ["Service"]

SIGNING_NAME = "kinesisvideo"
DEFAULT_LOCAL_REGION = "us-west-2"  # only with endpoint_url, where the region just signs


class Service:
    """One AWS account and region, reached through one botocore session.

    `endpoint_url` replaces the control plane's address; data endpoints are then what that control
    plane answers. `verify` is True (public roots, or the bundle that AWS_CA_BUNDLE or the profile's
    ca_bundle names), False (no check) or a CA bundle's path. `credentials` replace the session's.
    Raises INVALID_ARG when no region is configured, the profile does not exist, `endpoint_url` is
    no URL or `credentials` are none; INVALID_CA_CERT_PATH.
    """

    def __init__(
        self,
        *,
        region_name: str | None = None,
        session: Session | None = None,
        profile_name: str | None = None,
        endpoint_url: str | None = None,
        verify: bool | str = True,
        credentials: CredentialsSource | None = None,
        config: ServiceConfig | None = None,
    ) -> None:
        self.config = config or ServiceConfig()
        found = _botocore_session(session, profile_name)
        self._credentials = fresh_credentials(credentials, found)
        # A copy, for the caller's own session keeps its own credentials.
        self._session = copy.copy(found)
        signing = signing_credentials(self._credentials.get)
        self._session._credentials = signing  # type: ignore[attr-defined]
        if endpoint_url is not None:
            _check_url(endpoint_url)
        self.region_name = _region(self._session, region_name, endpoint_url)
        self.endpoint_url = endpoint_url
        if verify is True:
            verify = self._session.get_config_variable("ca_bundle") or True
        if verify is not True:
            tls_context(verify)  # says now, not at the first call, that a path is wrong
        self.verify = verify
        self._clients: dict[str, BaseClient] = {}
        self._lock = threading.Lock()

    def call(self, operation: str, **parameters: object) -> dict[str, Any]:
        """Call a control-plane operation (`describe_stream` ...); botocore's exceptions pass."""
        answer: dict[str, Any] = getattr(self.client(SIGNING_NAME), operation)(**parameters)
        return answer

    def client(self, name: str, endpoint_url: str | None = None) -> BaseClient:
        """The botocore client for a service model, made once for each endpoint."""
        from botocore.config import Config

        url = endpoint_url or self.endpoint_url
        key = f"{name} {url}"
        with self._lock:  # making clients is not thread-safe in botocore, using them is
            if key not in self._clients:
                self._clients[key] = self._session.create_client(
                    name,
                    region_name=self.region_name,
                    endpoint_url=url,
                    verify=self.verify,
                    config=Config(
                        retries={"total_max_attempts": 1, "mode": "standard"},
                        connect_timeout=DEFAULT_CONNECTION_TIMEOUT / TICKS_PER_SECOND,
                        read_timeout=DEFAULT_SERVICE_CALL_TIMEOUT / TICKS_PER_SECOND,
                    ),
                )
            return self._clients[key]

    def close(self) -> None:
        """Close the control plane's connections; calls under way end as they will."""
        self._credentials.close()
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def credentials(self, life: int = 0) -> AwsCredentials:
        """Credentials that live for `life` ticks more, if such can be had; may block.

        Raises SERVICE_CALL_NOT_AUTHORIZED_ERROR when there are none, and what the provider raises.
        """
        return self._credentials.get(life=life)

    def run_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Where the coroutines of a user's credentials provider run."""
        self._credentials.run_on(loop)

    def sign(
        self, url: str, headers: dict[str, str], keys: AwsCredentials, body: bytes = b""
    ) -> dict[str, str]:
        """The headers of a POST to `url` with SigV4 added.

        PutMedia's body has no end when the request is signed, so there `body` is empty: its
        payload line is the hash of the empty string, as AWS's own producers have it.
        """
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest("POST", url, headers=headers, data=body)
        SigV4Auth(frozen(keys), SIGNING_NAME, self.region_name).add_auth(request)
        return {name: str(value) for name, value in request.headers.items()}


def _botocore_session(session: Any, profile_name: str | None) -> Session:
    """The caller's session (botocore's or boto3's), or a new one for a profile."""
    if session is not None:
        found: Session = getattr(session, "_session", session)  # boto3 keeps botocore's there
        return found
    import botocore.session
    from botocore.exceptions import ProfileNotFound

    made = botocore.session.Session(profile=profile_name)
    try:
        made.get_scoped_config()
    except ProfileNotFound as error:
        raise kvs_error(
            StatusCode.INVALID_ARG, f"profile_name={profile_name!r}: {error}"
        ) from error
    return made


def _check_url(endpoint_url: str) -> None:
    try:
        parts = urlsplit(endpoint_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none
        usable = False
    if not usable:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"endpoint_url={endpoint_url!r} is no URL such as http://127.0.0.1:8080",
        )


def _region(session: Session, region_name: str | None, endpoint_url: str | None) -> str:
    configured = region_name or session.get_config_variable("region")
    if configured:
        return str(configured)
    if endpoint_url:
        return DEFAULT_LOCAL_REGION
    raise kvs_error(
        StatusCode.INVALID_ARG,
        "no AWS region is configured: pass region_name=, set AWS_DEFAULT_REGION, "
        "or put a region into the profile",
    )
