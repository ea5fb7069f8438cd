"""Amazon Kinesis Video Streams as the producer sees it: botocore does what it is good at.

Credentials (those of `credentials/`, by default its chain), the control plane's operations with
their checks, the endpoints of all partitions. botocore's requests are signed (`signing`) and sent
(`exchange`) here, for every request of a `Service` has the same clock, addresses, proxies, trust
and time limits. Its own retries are off: the core's state machines retry, and two layers of it
would hide failures and delay them. Every method here may block (instance metadata, single sign-on,
the network), so the engine calls them in its executor.

PutMedia and GetMedia's streaming side are not here: botocore cannot do PutMedia at all.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kvsproducer import wire
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.service.clock import monotonic, now
from kvsproducer.service.clock_skew import ClockSkew
from kvsproducer.service.config import ServiceConfig
from kvsproducer.service.credentials.credentials import AwsCredentials
from kvsproducer.service.credentials.session import frozen
from kvsproducer.service.credentials.source import CredentialsSource, fresh_credentials
from kvsproducer.service.exchange import Reply, TimeLimits, checked_json, post, refusal_body
from kvsproducer.service.loop import SharedLoop
from kvsproducer.service.network import Network
from kvsproducer.service.results import failure_of, failure_of_answer
from kvsproducer.service.tls import Verify
from kvsproducer.service.urls import shown, url_fault
from kvsproducer.status import KvsError, StatusCode, kvs_error

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from botocore.client import BaseClient
    from botocore.credentials import ReadOnlyCredentials
    from botocore.session import Session

__all__ = ["Service", "signed_headers"]

log = logging.getLogger("kvsproducer.service")

_SHOWN = 200  # characters of what botocore's parser says
_REDIRECTED = 300  # from here on an answer is no success
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
    from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
    from botocore.awsrequest import AWSRequest

    date = datetime.fromtimestamp(at // TICKS_PER_SECOND, UTC).strftime(SIGV4_TIMESTAMP)

    class QuietSigV4Auth(SigV4Auth):
        """With a date of ours instead of this machine's, and a log without the session token."""

        def add_auth(self, request: Any) -> None:
            request.context["timestamp"] = date
            self._modify_request_before_signing(request)  # type: ignore[attr-defined]  # not in stubs
            text = self.string_to_sign(request, self.canonical_request(request))
            self._inject_signature_to_request(request, self.signature(text, request))  # type: ignore[attr-defined]

    request = AWSRequest("POST", url, headers=headers, data=body)
    try:
        QuietSigV4Auth(keys, wire.SERVICE_NAME, region_name).add_auth(request)
    except ValueError as error:  # hashlib's, when OpenSSL is configured without SHA-256
        raise kvs_error(
            StatusCode.HMAC_GENERATION_ERROR, f"the request cannot be signed: {error}"
        ) from error
    return {name: str(value) for name, value in request.headers.items()}


class Service:
    """One AWS account and region, reached through one botocore session.

    `endpoint_url` replaces the control plane's address; data endpoints are then what that control
    plane answers. Without it AWS_ENDPOINT_URL_KINESIS_VIDEO, AWS_ENDPOINT_URL or the profile may.
    `verify` is True (public roots, or the bundle that AWS_CA_BUNDLE, AWS_KVS_CACERT_PATH or the
    profile's ca_bundle names; so is None), False (no check) or a CA bundle's path. `credentials`
    replace the session's. `now` is the clock that requests are signed by.

    Raises INVALID_ARG when no region is configured, the profile does not exist or its file is none,
    `endpoint_url` or the environment's proxy is no URL or the first goes with an endpoint form, or
    `verify` or `credentials` are none; INVALID_CA_CERT_PATH, INVALID_USER_AGENT_LENGTH.
    """

    def __init__(
        self,
        *,
        region_name: str | None = None,
        session: Session | None = None,
        profile_name: str | None = None,
        endpoint_url: str | None = None,
        verify: Verify = True,
        credentials: CredentialsSource | None = None,
        config: ServiceConfig | None = None,
    ) -> None:
        self.config = config or ServiceConfig()
        self._session = _botocore_session(session, profile_name)
        self.endpoint_url = _endpoint_url(self._session, endpoint_url, self.config)
        self.region_name = _region(self._session, region_name, self.endpoint_url)
        app_id = self._session.get_config_variable("user_agent_appid") or ""
        self.network = Network(self.config, _trusted(self._session, verify), app_id)
        self.network.proxies.of(self.endpoint_url or "https://aws")  # a bad one is told now
        self.time_limits = TimeLimits()
        self.now: Callable[[], int] = now
        self.skew = ClockSkew()
        self._credentials = fresh_credentials(
            credentials, self._session, self.network, self.skew, self._learn_time
        )
        self._given: AwsCredentials | None = None
        self.on_given_refused: Callable[[], object] = lambda: None  # in any thread
        self._clients: dict[str, BaseClient] = {}
        self._under_way: set[Future[Reply]] = set()
        self._closed = False
        self._lock = threading.Lock()

    def call(self, operation: str, **parameters: object) -> dict[str, Any]:
        """Call a control-plane operation (`describe_stream` ...); what it raises passes.

        Raises INVALID_API_CALL_RETURN_JSON for an answer whose members have types of their own.
        """
        call = getattr(self.client(wire.SERVICE_NAME), operation)
        try:
            answer: dict[str, Any] = call(**parameters)
        except (KvsError, OSError):  # some are ValueErrors too, as a refused certificate is
            raise
        except (ArithmeticError, AttributeError, TypeError, ValueError) as error:  # of its parser
            raise kvs_error(
                StatusCode.INVALID_API_CALL_RETURN_JSON,
                f"{operation} was answered with what cannot be read: {str(error)[:_SHOWN]}",
            ) from error
        return answer

    def client(self, name: str, endpoint_url: str | None = None) -> BaseClient:
        """The botocore client for a service model, made once for each endpoint.

        Raises CURL_LIBRARY_INIT_FAILED when botocore lacks the model, as in a bundled application
        that left its data out.
        """
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import (
            DataNotFoundError,
            EndpointVariantError,
            UnknownServiceError,
        )

        url = endpoint_url or self.endpoint_url
        key = f"{name} {url}"
        with self._lock:  # making clients is not thread-safe in botocore, using them is
            if key in self._clients:
                return self._clients[key]
            try:
                made = self._session.create_client(
                    name,
                    region_name=self.region_name,
                    endpoint_url=url,
                    verify=True,  # it connects to nothing
                    config=Config(
                        signature_version=UNSIGNED,  # it is signed when it is sent
                        retries={"total_max_attempts": 1, "mode": "standard"},
                        # A given URL has its form already; botocore refuses both together.
                        use_fips_endpoint=False if url else self.config.use_fips_endpoint,
                        use_dualstack_endpoint=(
                            False if url else self.config.use_dualstack_endpoint
                        ),
                    ),
                )
            except EndpointVariantError as error:
                raise kvs_error(
                    StatusCode.INVALID_ARG,
                    f"{self.region_name} has no such form of endpoint (use_fips_endpoint, "
                    f"use_dualstack_endpoint): {error}",
                ) from error
            except (DataNotFoundError, UnknownServiceError, ssl.SSLError) as error:
                lack = "TLS" if isinstance(error, ssl.SSLError) else f"its model of {name}"
                raise kvs_error(
                    StatusCode.CURL_LIBRARY_INIT_FAILED,
                    f"botocore has to do without {lack} on this machine: {error}",
                ) from error
            made.meta.events.register("before-send", self._send)  # type: ignore[arg-type]  # it may answer
            self._clients[key] = made
            return made

    def post(self, url: str, body: bytes) -> Reply:
        """Sign and POST a JSON body, and wait for the whole answer.

        A request that is refused is sent once more when its clock was wrong, and when other
        credentials are to be had.
        """
        self.network.prepare(url)
        keys = self._keys()
        reply, clock_moved = self._exchange(url, body, keys)
        if clock_moved and _refuses_keys(reply):
            reply, _ = self._exchange(url, body, keys)
        if _refuses_keys(reply):
            self.refuse(keys)
            if (others := self._keys()) != keys:
                reply, _ = self._exchange(url, body, others)
        return reply

    def _keys(self) -> AwsCredentials:
        return self._given or self.credentials()

    def _exchange(self, url: str, body: bytes, keys: AwsCredentials) -> tuple[Reply, bool]:
        headers = self.sign(url, {"Content-Type": wire.CONTENT_TYPE_JSON}, keys, body)
        sent = monotonic()
        reply = self._awaited(url, headers, body)
        return reply, self.skew.observe(reply.headers, monotonic() - sent, self.now())

    def _learn_time(self) -> bool:
        """Ask the service what time it is, unless that is known; return whether our clock is off.

        The request has no signature, so it is refused; the refusal has a Date.
        """
        if self.skew.knows(self.now()):
            return False
        url = str(self.client(wire.SERVICE_NAME).meta.endpoint_url).rstrip("/")
        url += wire.PATHS["DescribeStream"]
        try:
            self.network.prepare(url)
            sent = monotonic()
            reply = self._awaited(url, {"Content-Type": wire.CONTENT_TYPE_JSON}, b"{}")
            return self.skew.observe(reply.headers, monotonic() - sent, self.now())
        except Exception as error:  # noqa: BLE001  then it is not learnt now
            log.debug("the service's time is not known: %s", failure_of(error).detail)
            return False

    def _awaited(self, url: str, headers: dict[str, str], body: bytes) -> Reply:
        """The answer to a request, which goes out on the shared loop."""
        future: Future[Reply] | None = None
        try:
            with self._lock:
                if self._closed:
                    raise kvs_error(StatusCode.CLIENT_BEING_SHUTDOWN, "the producer is closed")
                loop = SharedLoop.acquire()
                try:
                    exchange = post(self.network, url, headers, body, self.time_limits)
                    future = asyncio.run_coroutine_threadsafe(exchange, loop)
                    self._under_way.add(future)
                finally:
                    if future not in self._under_way:
                        SharedLoop.release()
            return future.result()
        finally:  # Ctrl-C may come anywhere
            if future is not None:
                self._let_go(future)

    def _let_go(self, future: Future[Reply], *, wait: bool = True) -> None:
        """The call needs the loop no more; `close` says so too, and comes first or after."""
        with self._lock:
            if future not in self._under_way:
                return
            self._under_way.remove(future)
        SharedLoop.release(wait=wait)

    def _send(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        """botocore's `before-send`: send its request our way, and return what came."""
        from botocore.awsrequest import AWSResponse, HeadersDict

        url, body = str(request.url), request.body or b""
        assert isinstance(body, str | bytes | bytearray)  # these operations have small bodies
        reply = self.post(url, body.encode() if isinstance(body, str) else bytes(body))
        checked_json(url, reply)
        headers: Any = HeadersDict(reply.headers)
        said = reply.body if reply.status < _REDIRECTED else refusal_body(reply)
        return AWSResponse(url, reply.status, headers, _Body(said))

    def close(self) -> None:
        """End the calls under way; none can be made after this.

        Their threads may take a moment to notice: the loop does not wait for that. Nor does this
        wait for the loop, for it may be called on another one, a user's.
        """
        self._credentials.close()
        with self._lock:
            self._closed = True
            under_way = list(self._under_way)
        for future in under_way:
            future.cancel()
            self._let_go(future, wait=False)

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
    headers = {name.lower(): value for name, value in reply.headers.items()}
    kind = headers.get(wire.HEADER_ERROR_TYPE.lower(), "")
    failure = failure_of_answer(reply.status, kind, reply.body.decode(errors="replace"))
    return failure.status is StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR


class _Body:
    """An answer's body, as botocore takes it from an HTTP library."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: object) -> Iterator[bytes]:
        """All of it."""
        yield self._content


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
    """`verify` as `Network` takes it: None is True, as in boto3, and never "no check"."""
    if verify is None or verify is True:
        found = session.get_config_variable("ca_bundle") or os.environ.get("AWS_KVS_CACERT_PATH")
        return found or True
    if isinstance(verify, os.PathLike):
        verify = os.fspath(verify)
    if verify is False or isinstance(verify, str):
        return verify
    raise kvs_error(StatusCode.INVALID_ARG, f"verify={verify!r} is no bool and no path")


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
            f"endpoint_url={shown(url)} is no URL such as http://127.0.0.1:8080: {fault}",
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
