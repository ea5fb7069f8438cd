"""Amazon Kinesis Video Streams as the producer and the reader see it.

botocore gives the credentials (unless those of `credentials/` are used), the signatures, and the
address of the control plane in each partition. The calls themselves are a JSON object each way, and
go out through `exchange`, so that every request of a `Service` has the same clock, addresses,
proxies, trust and time limits. There are no retries here, except for a wrong clock, refused
credentials and a kept connection that was closed: the core's state machines retry, and two layers
of retries would hide failures and delay them.

Calls are coroutines of one event loop. A thread is used only for what may block: fetching
credentials (files, instance metadata, single sign-on), reading botocore's data and the roots to
trust. Each of these happens once, or once until the credentials expire.

PutMedia and the media of GetMedia are not here.
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
from kvsproducer.service.credentials.session import frozen
from kvsproducer.service.credentials.source import fresh_credentials
from kvsproducer.service.exchange import Connections, Reply, TimeLimits, json_object, refusal
from kvsproducer.service.network import Network
from kvsproducer.service.results import OK, RefusedError, failure_of
from kvsproducer.service.threads import in_daemon_thread
from kvsproducer.service.tls import Verify
from kvsproducer.service.urls import shown, url_fault
from kvsproducer.status import InvalidConfiguration, StatusCode, kvs_error

if TYPE_CHECKING:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSPreparedRequest
    from botocore.credentials import ReadOnlyCredentials
    from botocore.session import Session

__all__ = ["Service", "signed_headers"]

log = logging.getLogger("kvsproducer.service")

CALL_LIMIT_S = 120  # ours: a blocking function that takes longer is left behind
_REDIRECTED = 300  # from here on an answer is no success
# botocore's sessions make one client at a time; a session may be shared by several services.
_MAKING_CLIENTS: Final = threading.Lock()
DEFAULT_LOCAL_REGION = "us-west-2"  # only with endpoint_url, where the region just signs


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
    from botocore.auth import SIGV4_TIMESTAMP
    from botocore.awsrequest import AWSRequest

    date = datetime.fromtimestamp(at // TICKS_PER_SECOND, UTC).strftime(SIGV4_TIMESTAMP)
    request = AWSRequest("POST", url, headers=headers, data=body)
    request.context["timestamp"] = date
    try:
        _signer()(keys, wire.SERVICE_NAME, region_name).add_auth(request)
    except ValueError as error:  # hashlib's, when OpenSSL is configured without SHA-256
        raise kvs_error(
            StatusCode.HMAC_GENERATION_ERROR, f"the request cannot be signed: {error}"
        ) from error
    return {name: str(value) for name, value in request.headers.items()}


@cache
def _signer() -> type[SigV4Auth]:
    """Return botocore's signer, changed as below; the module is loaded when it is needed."""
    from botocore.auth import SigV4Auth

    class QuietSigV4Auth(SigV4Auth):
        """Takes the date from the request's context, and does not log the session token."""

        def add_auth(self, request: Any) -> None:
            self._modify_request_before_signing(request)  # type: ignore[attr-defined]  # not in stubs
            text = self.string_to_sign(request, self.canonical_request(request))
            self._inject_signature_to_request(request, self.signature(text, request))  # type: ignore[attr-defined]

    return QuietSigV4Auth


class Service:
    """One AWS account and region, reached through one botocore session.

    It is made from a `Connection`, or from the fields of one as keywords. Without `endpoint_url`
    the control plane's address comes from AWS_ENDPOINT_URL_KINESIS_VIDEO, AWS_ENDPOINT_URL, the
    profile or CONTROL_PLANE_URI, else from botocore. With `verify` True or None the trusted roots
    are those of AWS_CA_BUNDLE, AWS_KVS_CACERT_PATH or the profile's ca_bundle, else the public
    ones. `now` is the clock that requests are signed by.

    Raises what `connection_from` raises; INVALID_ARG when no region is configured, when the profile
    does not exist or its file cannot be parsed, when the environment's endpoint or proxy is not a
    URL, and when `endpoint_url` is given together with an endpoint form; INVALID_CA_CERT_PATH,
    INVALID_USER_AGENT_LENGTH.
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
        self.network.proxies.of(self.endpoint_url or "https://aws")  # raises for a bad one now
        self.time_limits = TimeLimits()
        self.now: Callable[[], int] = now
        self.skew = ClockSkew()
        self._credentials = fresh_credentials(
            given.credentials, self._session, self.network, self.skew, self._learn_time
        )
        self._given: AwsCredentials | None = None
        self.on_given_refused: Callable[[], object] = lambda: None
        self._connections = Connections(self.network)
        self._control_url = self.endpoint_url  # None until botocore has been asked
        self._loop: asyncio.AbstractEventLoop | None = None  # of the calls

    async def call(
        self, operation: str, parameters: Mapping[str, object], endpoint: str | None = None
    ) -> dict[str, Any]:
        """Make a call (`DescribeStream` ...) and return the JSON object that answers it.

        It goes to the control plane, or to a data `endpoint`. Raises `RefusedError` for any answer
        but success, INVALID_API_CALL_RETURN_JSON for a success without a JSON object,
        SERVICE_CALL_INVALID_ARG_ERROR for parameters of a type that JSON lacks, and what `post`
        raises.
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
        """Return the URL of the control plane, which blocks the first time: botocore reads files.

        Raises what `_ask_botocore` raises.
        """
        with _MAKING_CLIENTS:
            if self._control_url is None:
                self._control_url = self._ask_botocore()
            return self._control_url

    def _ask_botocore(self) -> str:
        """Return the URL of the control plane in the region's partition, in the form asked for.

        Raises INVALID_ARG for a form of endpoint that the region does not have,
        CURL_LIBRARY_INIT_FAILED when botocore lacks its model of the service, as in a bundled
        application that left its data out.
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
            """Note where botocore would send a request, and send nothing."""
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
                f"{self.region_name} has no such form of endpoint (use_fips_endpoint, "
                f"use_dualstack_endpoint): {error}",
            ) from error
        except (DataNotFoundError, UnknownServiceError, ssl.SSLError) as error:
            lack = "TLS" if isinstance(error, ssl.SSLError) else "its model of the service"
            raise kvs_error(
                StatusCode.CURL_LIBRARY_INIT_FAILED,
                f"botocore has to do without {lack} on this machine: {error}",
            ) from error
        client.meta.events.register("before-send", answer)
        client.list_streams()
        return asked[0].removesuffix(wire.PATHS["ListStreams"])

    async def post(self, url: str, body: bytes) -> Reply:
        """Sign and POST a JSON body, and return the whole answer.

        A request that is refused is sent once more when its clock was wrong, and when other
        credentials are to be had.
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
        """Send a request; returns the answer, and whether it shows another difference of clocks."""
        sent = monotonic()
        reply = await self._connections.post(url, headers, body, self.time_limits)
        return reply, self.skew.observe(reply.headers, monotonic() - sent, self.now())

    def _learn_time(self) -> bool:
        """Ask the service for its time, unless that is known; returns whether our clock is off.

        The thread waits that asks for credentials. The request has no signature, so it is refused;
        the refusal has a Date.
        """
        if self.skew.knows(self.now()) or self._loop is None:
            return False
        try:
            asking = asyncio.run_coroutine_threadsafe(self._ask_time(), self._loop)
            return asking.result(CALL_LIMIT_S)
        except Exception as error:  # noqa: BLE001  then it is not learnt now
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
        """Return credentials as `credentials` does; waits in a thread if they must be fetched."""
        found = self._credentials.at_hand()
        if found is None:
            self._loop = asyncio.get_running_loop()
            found = await in_daemon_thread(
                self.credentials, life, timeout_s=CALL_LIMIT_S, name="call"
            )
        return found

    def credentials(self, life: int = 0) -> AwsCredentials:
        """Credentials that live for `life` ticks more, if such can be had; may block.

        Raises SERVICE_CALL_NOT_AUTHORIZED_ERROR when there are none, and what the provider raises.
        """
        return self._credentials.get(life=life)

    def refuse(self, credentials: AwsCredentials) -> None:
        """Note that the service refuses these credentials: the provider is asked for others."""
        if credentials == self._given:
            self.on_given_refused()
        self._credentials.refuse(credentials)

    def use(self, credentials: AwsCredentials | None) -> None:
        """Sign the control plane's calls with these from now on; None: with `credentials()`."""
        self._given = credentials

    def run_on(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], int] = now) -> None:
        """Where the coroutines of a user's credentials provider run, and whose clock counts."""
        self._credentials.run_on(loop, clock)
        self.now = clock

    def sign(
        self, url: str, headers: dict[str, str], keys: AwsCredentials, body: bytes = b""
    ) -> dict[str, str]:
        """The headers of a POST to `url` with SigV4 added, dated by the service's clock.

        For PutMedia `body` is empty. Raises HMAC_GENERATION_ERROR.
        """
        at = self.now() + self.skew.ticks
        return signed_headers(url, headers, frozen(keys), self.region_name, at, body)


def _refuses_keys(reply: Reply) -> bool:
    """Return whether an answer refuses the credentials, or the signature made with them."""
    if reply.status < _REDIRECTED:
        return False
    return refusal(reply).status is StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR


def _botocore_session(session: Any, profile_name: str | None) -> Session:
    """The caller's session (botocore's or boto3's), or a new one for a profile."""
    import botocore.session
    from botocore.exceptions import ConfigParseError, ProfileNotFound

    made: Session = (
        botocore.session.Session(profile=profile_name)
        if session is None
        else getattr(session, "_session", session)  # boto3 keeps botocore's there
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
    """The control plane's own URL: the caller's, else the environment's or the profile's.

    `CONTROL_PLANE_URI` comes last: a variable of botocore's says which address is meant for AWS.
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
            f"endpoint_url={shown(url)} is not a URL such as http://127.0.0.1:8080: {fault}",
        )
    if config.use_fips_endpoint or config.use_dualstack_endpoint:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"use_fips_endpoint and use_dualstack_endpoint choose AWS's own name of the endpoint; "
            f"endpoint_url={shown(url)} is one already",
        )
    return url


def _control_plane_uri() -> str | None:
    """The address that AWS's C samples and kvssink are given; https where it has no scheme."""
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
                StatusCode.INVALID_ARG, f"{configured!r} is no region, such as us-west-2"
            ) from error
        return str(configured)
    if endpoint_url:
        return DEFAULT_LOCAL_REGION
    raise kvs_error(
        StatusCode.INVALID_ARG,
        "no AWS region is configured: pass region_name=, set AWS_DEFAULT_REGION, "
        "or put a region into the profile",
    )
