"""The client for the control plane of Kinesis Video Streams, used by the producer and the reader.

botocore provides the credentials (unless those of `credentials/` are used), the signatures, and the
address of the control plane in each AWS partition. The calls are HTTP requests with a JSON object
in both directions. They are sent through `exchange`, so that every request of a `Service` has the
same clock, addresses, proxies, root certificates and time limits.

This module retries in three cases only: this machine's clock was wrong, the credentials were
refused, or the service had closed a kept connection. All other retries are made by the core's state
machines; a second layer of retries would hide and delay failures.

Calls are coroutines that run on one event loop. Threads are used only for work that may block:
fetching credentials (files, instance metadata, single sign-on), reading botocore's data, and
reading the root certificates. Data and certificates are read once. Credentials are fetched again
when they expire or are refused.

PutMedia and the media of GetMedia are in other modules.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Unpack

from kvsproducer import wire
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.service.clock import monotonic, now
from kvsproducer.service.clock_skew import ClockSkew
from kvsproducer.service.config import ServiceConfig
from kvsproducer.service.connection import Connection, ConnectionOptions, connection_from
from kvsproducer.service.credentials.credentials import AwsCredentials
from kvsproducer.service.credentials.session import to_botocore
from kvsproducer.service.credentials.source import fresh_credentials
from kvsproducer.service.exchange import Connections, Reply, TimeLimits, json_object, refusal
from kvsproducer.service.network import Network
from kvsproducer.service.results import OK, RefusedError, failure_of
from kvsproducer.service.threads import in_daemon_thread
from kvsproducer.service.tls import Verify
from kvsproducer.service.urls import url_fault, url_for_message
from kvsproducer.status import InvalidConfiguration, StatusCode, kvs_error

if TYPE_CHECKING:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSPreparedRequest
    from botocore.credentials import ReadOnlyCredentials
    from botocore.session import Session

__all__ = ["Service", "signed_headers"]

log = logging.getLogger("kvsproducer.service")

CALL_LIMIT_S = 120  # our choice: after that, a blocking function is abandoned
_REDIRECTED = 300  # HTTP statuses from this one on mean that the call failed
# botocore's sessions make one client at a time; a session may be shared by several services.
_MAKING_CLIENTS: Final = threading.Lock()
DEFAULT_LOCAL_REGION = "us-west-2"  # with endpoint_url, the region is used for signatures only


def signed_headers(
    url: str,
    headers: dict[str, str],
    keys: ReadOnlyCredentials,
    region_name: str,
    at: int,
    body: bytes = b"",
) -> dict[str, str]:
    """Return the headers of a POST to `url` with a SigV4 signature.

    `at` is the date of the signature in ticks since 1970. Raises HMAC_GENERATION_ERROR if this
    machine's cryptographic library cannot sign.
    """
    from botocore.auth import SIGV4_TIMESTAMP
    from botocore.awsrequest import AWSRequest

    date = datetime.fromtimestamp(at // TICKS_PER_SECOND, UTC).strftime(SIGV4_TIMESTAMP)
    request = AWSRequest("POST", url, headers=headers, data=body)
    request.context["timestamp"] = date
    try:
        _signer()(keys, wire.SERVICE_NAME, region_name).add_auth(request)
    except ValueError as error:  # hashlib raises it if OpenSSL is configured without SHA-256
        raise kvs_error(
            StatusCode.HMAC_GENERATION_ERROR, f"the request cannot be signed: {error}"
        ) from error
    return {name: str(value) for name, value in request.headers.items()}


@cache
def _signer() -> type[SigV4Auth]:
    """Return a subclass of botocore's signer; botocore.auth is imported on the first call."""
    from botocore.auth import SigV4Auth

    class QuietSigV4Auth(SigV4Auth):
        """A signer that uses the date in the request's context and logs no session token."""

        def add_auth(self, request: Any) -> None:
            self._modify_request_before_signing(request)  # type: ignore[attr-defined]  # not in stubs
            text = self.string_to_sign(request, self.canonical_request(request))
            self._inject_signature_to_request(request, self.signature(text, request))  # type: ignore[attr-defined]

    return QuietSigV4Auth


class Service:
    """One AWS account and region, reached through one botocore session.

    Its arguments are a `Connection`, or the fields of one as keywords. Without `endpoint_url` the
    control plane's address comes from AWS_ENDPOINT_URL_KINESIS_VIDEO, AWS_ENDPOINT_URL, the profile
    or CONTROL_PLANE_URI, else from botocore. If `verify` is True or None, the trusted root
    certificates are those of AWS_CA_BUNDLE, AWS_KVS_CACERT_PATH or the profile's ca_bundle, else
    the public ones. The attribute `now` is the wall clock for the dates of signatures.

    Raises what `connection_from` raises; INVALID_ARG if no region is configured, if the profile
    does not exist or its file cannot be parsed, if the environment's endpoint or proxy is not a
    URL, and if `endpoint_url` is given together with `use_fips_endpoint` or
    `use_dualstack_endpoint`; INVALID_CA_CERT_PATH, INVALID_USER_AGENT_LENGTH.
    """

    def __init__(
        self, connection: Connection | None = None, **options: Unpack[ConnectionOptions]
    ) -> None:
        given = connection_from(connection, options, type(self))
        self.config = given.config or ServiceConfig()
        self._session = _botocore_session(given.session, given.profile_name)
        self.endpoint_url = _endpoint_url(self._session, given.endpoint_url, self.config)
        self.region_name = _region(self._session, given.region_name, self.endpoint_url)
        app_id = self._session.get_config_variable("user_agent_appid") or ""
        self.network = Network(self.config, _trusted(self._session, given.verify), app_id)
        # Raise for an invalid proxy now, not with the first request.
        self.network.proxies.of(self.endpoint_url or "https://aws")
        self.time_limits = TimeLimits()
        self.now: Callable[[], int] = now
        self.skew = ClockSkew()
        self._credentials = fresh_credentials(
            given.credentials, self._session, self.network, self.skew, self._learn_time
        )
        self._given: AwsCredentials | None = None
        self.on_given_refused: Callable[[], object] = lambda: None
        self._connections = Connections(self.network)
        self._control_url = self.endpoint_url  # None until botocore has computed it
        self._loop: asyncio.AbstractEventLoop | None = None  # the loop that makes the calls

    async def call(
        self, operation: str, parameters: Mapping[str, object], endpoint: str | None = None
    ) -> dict[str, Any]:
        """Make a call (`DescribeStream` ...) and return the JSON object of the response.

        The call goes to the control plane, or to a data `endpoint` if one is given. Raises
        `RefusedError` for an error response, INVALID_API_CALL_RETURN_JSON for a successful response
        without a JSON object, SERVICE_CALL_INVALID_ARG_ERROR for parameters that JSON cannot
        represent, and what `post` raises.
        """
        try:
            body = json.dumps(dict(parameters)).encode()
        except TypeError as error:
            raise InvalidConfiguration(
                StatusCode.SERVICE_CALL_INVALID_ARG_ERROR, f"{operation} of {parameters}: {error}"
            ) from error
        url = (endpoint or await self._control_plane()).rstrip("/") + wire.PATHS[operation]
        reply = await self.post(url, body)
        if reply.status >= _REDIRECTED:
            raise RefusedError(refusal(reply))
        return json_object(url, reply)

    async def _control_plane(self) -> str:
        if self._control_url is not None:
            return self._control_url
        return await in_daemon_thread(self.control_plane, timeout_s=CALL_LIMIT_S, name="call")

    def control_plane(self) -> str:
        """Return the URL of the control plane.

        The first call blocks, because botocore reads files. Raises what `_ask_botocore` raises.
        """
        with _MAKING_CLIENTS:
            if self._control_url is None:
                self._control_url = self._ask_botocore()
            return self._control_url

    def _ask_botocore(self) -> str:
        """Return the URL of the control plane in the region's partition, FIPS or dual-stack if set.

        Raises INVALID_ARG if the region has no such form of the endpoint, and
        CURL_LIBRARY_INIT_FAILED if botocore's model of the service is missing, as in a bundled
        application that was built without botocore's data.
        """
        from botocore import UNSIGNED
        from botocore.awsrequest import AWSResponse
        from botocore.config import Config
        from botocore.exceptions import (
            DataNotFoundError,
            EndpointVariantError,
            UnknownServiceError,
        )

        asked: list[str] = []

        def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
            """Record the URL that botocore would send a request to, and send nothing."""
            asked.append(str(request.url))
            nothing: Any = SimpleNamespace(stream=lambda **_: iter([b"{}"]))
            return AWSResponse(asked[0], OK, {}, nothing)  # type: ignore[arg-type]

        config = Config(
            signature_version=UNSIGNED,
            use_fips_endpoint=self.config.use_fips_endpoint,
            use_dualstack_endpoint=self.config.use_dualstack_endpoint,
        )
        try:
            client: Any = self._session.create_client(
                wire.SERVICE_NAME, region_name=self.region_name, verify=True, config=config
            )
        except EndpointVariantError as error:
            raise kvs_error(
                StatusCode.INVALID_ARG,
                f"{self.region_name} does not have that form of endpoint (use_fips_endpoint, "
                f"use_dualstack_endpoint): {error}",
            ) from error
        except (DataNotFoundError, UnknownServiceError, ssl.SSLError) as error:
            lack = "TLS" if isinstance(error, ssl.SSLError) else "its model of the service"
            raise kvs_error(
                StatusCode.CURL_LIBRARY_INIT_FAILED,
                f"botocore cannot load {lack} on this machine: {error}",
            ) from error
        client.meta.events.register("before-send", answer)
        client.list_streams()
        return asked[0].removesuffix(wire.PATHS["ListStreams"])

    async def post(self, url: str, body: bytes) -> Reply:
        """Sign and POST a JSON body, and return the whole response.

        If the service refuses the signature and this machine's clock turns out to be wrong, the
        request is sent again with the service's time. If the service still refuses it, and the
        provider has other credentials, it is sent once more with them.
        """
        await self.network.prepare(url)
        keys = await self._keys()
        reply, clock_moved = await self._exchange(url, body, keys)
        if clock_moved and _refuses_keys(reply):
            reply, _ = await self._exchange(url, body, keys)
        if _refuses_keys(reply):
            self.refuse(keys)
            if (others := await self._keys()) != keys:
                reply, _ = await self._exchange(url, body, others)
        return reply

    async def _keys(self) -> AwsCredentials:
        return self._given or await self.keys()

    async def _exchange(self, url: str, body: bytes, keys: AwsCredentials) -> tuple[Reply, bool]:
        headers = self.sign(url, {"Content-Type": wire.CONTENT_TYPE_JSON}, keys, body)
        return await self._send(url, headers, body)

    async def _send(self, url: str, headers: dict[str, str], body: bytes) -> tuple[Reply, bool]:
        """Send a request; return the response and whether the clock skew has changed with it."""
        sent = monotonic()
        reply = await self._connections.post(url, headers, body, self.time_limits)
        return reply, self.skew.observe(reply.headers, monotonic() - sent, self.now())

    def _learn_time(self) -> bool:
        """Ask the service for its time unless it is known; return whether the skew has changed.

        Runs in the thread that fetches credentials, and blocks it. The request is not signed, so
        the service refuses it; the refusal has the Date header.
        """
        if self.skew.knows(self.now()) or self._loop is None:
            return False
        try:
            asking = asyncio.run_coroutine_threadsafe(self._ask_time(), self._loop)
            return asking.result(CALL_LIMIT_S)
        except Exception as error:  # noqa: BLE001  any failure means that the time stays unknown
            log.debug("the service's time is not known: %s", failure_of(error).detail)
            return False

    async def _ask_time(self) -> bool:
        url = (await self._control_plane()).rstrip("/") + wire.PATHS["DescribeStream"]
        await self.network.prepare(url)
        _, changed = await self._send(url, {"Content-Type": wire.CONTENT_TYPE_JSON}, b"{}")
        return changed

    def close(self) -> None:
        """Refuse calls from now on, and stop waiting for a credentials provider."""
        self._connections.closed = True
        self._credentials.close()

    async def disconnect(self) -> None:
        """Close the connections that are kept for calls, on the loop that made the calls."""
        await self._connections.close()

    async def keys(self, life: int = 0) -> AwsCredentials:
        """Return the same as `credentials`; a provider that has to be called runs in a thread."""
        found = self._credentials.get_nowait()
        if found is None:
            self._loop = asyncio.get_running_loop()
            found = await in_daemon_thread(
                self.credentials, life, timeout_s=CALL_LIMIT_S, name="call"
            )
        return found

    def credentials(self, life: int = 0) -> AwsCredentials:
        """Return credentials that are valid for `life` more ticks if possible; may block.

        Raises SERVICE_CALL_NOT_AUTHORIZED_ERROR if there are no credentials, and what the provider
        raises.
        """
        return self._credentials.get(life=life)

    def refuse(self, credentials: AwsCredentials) -> None:
        """Record that the service refused these credentials; the next call fetches others."""
        if credentials == self._given:
            self.on_given_refused()
        self._credentials.refuse(credentials)

    def use(self, credentials: AwsCredentials | None) -> None:
        """Sign later control-plane calls with these credentials.

        None means that they are signed with the result of `credentials()` again.
        """
        self._given = credentials

    def run_on(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], int] = now) -> None:
        """Set the loop for coroutines of a user's credentials provider, and the wall clock."""
        self._credentials.run_on(loop, clock)
        self.now = clock

    def sign(
        self, url: str, headers: dict[str, str], keys: AwsCredentials, body: bytes = b""
    ) -> dict[str, str]:
        """Return the headers of a POST to `url` with a SigV4 signature.

        The signature has the date of the service's clock. For PutMedia `body` is empty. Raises
        HMAC_GENERATION_ERROR.
        """
        at = self.now() + self.skew.ticks
        return signed_headers(url, headers, to_botocore(keys), self.region_name, at, body)


def _refuses_keys(reply: Reply) -> bool:
    """Return whether a response refuses the credentials, or the signature made with them."""
    if reply.status < _REDIRECTED:
        return False
    return refusal(reply).status is StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR


def _botocore_session(session: Any, profile_name: str | None) -> Session:
    """Return the botocore session of the caller's session, or a new one for a profile."""
    import botocore.session
    from botocore.exceptions import ConfigParseError, ProfileNotFound

    made: Session = (
        botocore.session.Session(profile=profile_name)
        if session is None
        else getattr(session, "_session", session)  # where boto3 keeps botocore's session
    )
    try:
        made.get_scoped_config()
    except (ConfigParseError, ProfileNotFound) as error:
        given = "" if profile_name is None else f"profile_name={profile_name!r}: "
        raise kvs_error(StatusCode.INVALID_ARG, f"{given}{error}") from error
    return made


def _trusted(session: Session, verify: Verify) -> bool | str:
    """Return `verify` as `Network` takes it: None means True, as in boto3."""
    if verify is None or verify is True:
        found = session.get_config_variable("ca_bundle") or os.environ.get("AWS_KVS_CACERT_PATH")
        return found or True
    if isinstance(verify, os.PathLike):
        verify = os.fspath(verify)
    return verify


def _endpoint_url(session: Session, given: str | None, config: ServiceConfig) -> str | None:
    """Return the configured URL of the control plane, or None for AWS's own.

    The order is: the caller's argument, botocore's environment variables, the profile, and
    CONTROL_PLANE_URI last, because it is the only one that is not a setting of botocore.
    """
    url = given
    if url is None and not session.get_config_variable("ignore_configured_endpoint_urls"):
        from botocore.configprovider import ConfiguredEndpointProvider

        url = (
            ConfiguredEndpointProvider(
                full_config=session.full_config,
                scoped_config=session.get_scoped_config(),
                client_name=wire.SERVICE_NAME,
            ).provide()
            or _control_plane_uri()
        )
    if url is None:
        return None
    if fault := url_fault(url):
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"endpoint_url={url_for_message(url)} is not a URL such as"
            f" http://127.0.0.1:8080: {fault}",
        )
    if config.use_fips_endpoint or config.use_dualstack_endpoint:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"use_fips_endpoint and use_dualstack_endpoint choose AWS's own name of the endpoint; "
            f"endpoint_url={url_for_message(url)} is one already",
        )
    return url


def _control_plane_uri() -> str | None:
    """Return CONTROL_PLANE_URI with a scheme, or None.

    AWS's C samples and kvssink use this variable. Without a scheme it means https.
    """
    uri = os.environ.get("CONTROL_PLANE_URI")
    return f"https://{uri}" if uri and "://" not in uri else uri or None


def _region(session: Session, region_name: str | None, endpoint_url: str | None) -> str:
    from botocore.exceptions import InvalidRegionError
    from botocore.utils import validate_region_name

    configured = region_name or session.get_config_variable("region")
    if configured:
        try:
            validate_region_name(configured)
        except InvalidRegionError as error:
            raise kvs_error(
                StatusCode.INVALID_ARG, f"{configured!r} is not an AWS region such as us-west-2"
            ) from error
        return str(configured)
    if endpoint_url:
        return DEFAULT_LOCAL_REGION
    raise kvs_error(
        StatusCode.INVALID_ARG,
        "no AWS region is configured: pass region_name=, set AWS_DEFAULT_REGION, "
        "or put a region into the profile",
    )
