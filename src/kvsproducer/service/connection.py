"""How Kinesis Video Streams is reached: `Connection`, and its fields as keyword arguments.

Everything that talks to the service (`Producer`, `get_media`, `list_fragments`, `put_media`, and
their asyncio twins) takes either `connection=` or the fields of `Connection` as keywords. This
module is the only place that names the fields: a function declares `connection: Connection | None`
and `**options: Unpack[ConnectionOptions]`, and passes both to `connection_from`.

A `Connection` is a plain value. It owns no socket, thread or botocore session, so that it needs no
`close` and may be used from several threads at once.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Final, Protocol, TypedDict

from kvsproducer.service.config import ServiceConfig
from kvsproducer.service.credentials import CredentialsSource
from kvsproducer.service.credentials.source import provider_of
from kvsproducer.service.tls import Verify
from kvsproducer.service.urls import url_fault, url_for_message
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = [
    "AwsSession",
    "Connection",
    "ConnectionOptions",
    "check_stream_name",
    "connection_from",
    "unknown_option",
]


class AwsSession(Protocol):
    """A botocore or boto3 session."""

    def get_credentials(self) -> object:
        """Return the credentials that the session finds."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Connection:
    """How Kinesis Video Streams is reached: region, credentials, address and trust.

        connection = kvs.Connection(region_name="eu-west-1", profile_name="cameras")
        with kvs.Producer(connection=connection) as producer:
            ...
        kvs.get_media("front-door", connection=connection)

    All fields are optional. Fields that are not given are taken from the environment and the AWS
    configuration files when the connection is used, as in boto3.

    region_name: the AWS region; us-west-2 if only `endpoint_url` is known.
    profile_name: the profile of `~/.aws/config` to use; not together with `session`.
    endpoint_url: the control plane to use instead of AWS's, such as the local endpoint's
        `http://127.0.0.1:8080`. The data endpoints are the ones that this control plane returns.
    session: a botocore or boto3 session to take credentials and configuration from.
    credentials: in place of the session's credentials: `AwsCredentials`, `IotCredentials`,
        `FileCredentials`, a botocore credentials object, a function or coroutine function that
        returns credentials, or any `CredentialsProvider`.
    verify: True (default) to verify TLS certificates with the public roots or the bundle that
        AWS_CA_BUNDLE names, False for no verification, or the path of a CA bundle.
    config: proxies, endpoint forms, caching, user agent; see `ServiceConfig`.

    Making a connection reads no file, opens no socket and asks for no credentials. One connection
    may be shared by any number of producers and readers, in any threads: each of them opens its own
    sockets and renews its own credentials. Only the `session` and `credentials` objects themselves
    are shared. `repr` shows no secrets. A connection can be pickled if its `session` and
    `credentials` can.

    Raises INVALID_ARG for a value of another type, an `endpoint_url` that is not
    an http(s) URL, and for `session` together with `profile_name`. A missing region, an unknown
    profile and an unreadable CA bundle are reported by the producer or reader that uses the
    connection. Source: the arguments of boto3's `Session` and `client`.
    """

    region_name: str | None = None
    profile_name: str | None = None
    endpoint_url: str | None = None
    session: AwsSession | None = None
    credentials: CredentialsSource | None = None
    verify: Verify = True
    config: ServiceConfig | None = None

    def __post_init__(self) -> None:
        for name in ("region_name", "profile_name"):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise _wrong_type(name, value, "give text, or None for the configured one")
        if self.endpoint_url is not None and (fault := url_fault(self.endpoint_url)):
            raise kvs_error(
                StatusCode.INVALID_ARG,
                f"endpoint_url={url_for_message(self.endpoint_url)} is not a URL such as"
                f" http://127.0.0.1:8080: {fault}",
            )
        _check_session(self.session, self.profile_name)
        if self.credentials is not None:
            provider_of(self.credentials)
        if not isinstance(self.verify, bool | str | os.PathLike | None):
            raise _wrong_type("verify", self.verify, "give True, False or the path of a CA bundle")
        if not isinstance(self.config, ServiceConfig | None):
            raise _wrong_type("config", self.config, "give kvsproducer.ServiceConfig(...)")

    def __repr__(self) -> str:
        """Return the fields that were given; credentials and sessions by their type only."""
        parts = []
        for one in fields(self):
            value = getattr(self, one.name)
            if value is None or value is one.default:
                continue
            if one.name in ("session", "credentials"):
                text = f"<{type(value).__name__}>"
            else:
                text = url_for_message(value) if one.name == "endpoint_url" else repr(value)
            parts.append(f"{one.name}={text}")
        return f"Connection({', '.join(parts)})"


class ConnectionOptions(TypedDict, total=False):
    """The fields of `Connection` as keyword arguments; see there."""

    region_name: str | None
    profile_name: str | None
    endpoint_url: str | None
    session: AwsSession | None
    credentials: CredentialsSource | None
    verify: Verify
    config: ServiceConfig | None


# Names that other libraries use for the same things.
_OTHER_NAMES: Final[Mapping[str, str]] = {
    "aws_access_key_id": "credentials=AwsCredentials(...)",
    "aws_secret_access_key": "credentials=AwsCredentials(...)",
    "aws_session_token": "credentials=AwsCredentials(...)",
    "ca_bundle": "verify=",
    "endpoint": "endpoint_url=",
    "profile": "profile_name=",
    "proxies": "config=ServiceConfig(proxies=...)",
    "region": "region_name=",
    "url": "endpoint_url=",
    "use_ssl": "endpoint_url=",
}


def connection_from(
    connection: Connection | None, options: ConnectionOptions, caller: Callable[..., object]
) -> Connection:
    """Return `connection`, or a new `Connection` with the given keywords.

    `caller` is the public function that got the arguments; messages name it. Raises INVALID_ARG if
    both are given, for a name that is neither a field of `Connection` nor an argument of `caller`,
    for a `connection` of another type, and what `Connection` raises.
    """
    for name in options:
        if name not in ConnectionOptions.__annotations__:
            raise unknown_option(name, caller)
    if connection is None:
        return Connection(**options)
    if not isinstance(connection, Connection):
        raise _wrong_type("connection", connection, "give kvsproducer.Connection(...)")
    given = [f"{name}=" for name, value in options.items() if value is not None]
    if given:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"{_name_of(caller)} got both connection= and {', '.join(given)}: make a Connection"
            " with all of them, or leave connection= out",
        )
    return connection


def unknown_option(name: str, caller: Callable[..., object]) -> KvsError:
    """Return the INVALID_ARG error for an argument that `caller` does not have.

    The message suggests the argument with the most similar name.
    """
    parameters = inspect.signature(caller).parameters.values()
    own = [one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    known = sorted({*own, *ConnectionOptions.__annotations__})
    near = [f"{one}=" for one in get_close_matches(name, known, n=1)]
    advice = _OTHER_NAMES.get(name) or next(iter(near), None)
    said = f"did you mean {advice}?" if advice else f"it has {', '.join(known)}"
    return kvs_error(StatusCode.INVALID_ARG, f"{_name_of(caller)} has no argument {name}=; {said}")


def check_stream_name(name: object) -> None:
    """Raise INVALID_ARG unless `name` is non-empty text."""
    if not isinstance(name, str):
        raise _wrong_type("stream_name", name, "give the name of a stream as text")
    if not name:
        raise kvs_error(StatusCode.INVALID_ARG, "stream_name= is empty: give the name of a stream")


def _name_of(caller: Callable[..., object]) -> str:
    name = caller.__name__ if inspect.isfunction(caller) or inspect.isclass(caller) else "it"
    return f"{name}()"


def _check_session(session: object, profile_name: str | None) -> None:
    if session is None:
        return
    # boto3 keeps botocore's session in this attribute.
    if not hasattr(getattr(session, "_session", session), "get_scoped_config"):
        raise _wrong_type("session", session, "give a botocore or boto3 session")
    if profile_name is not None:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"session= and profile_name={profile_name!r} are both given: make the session with the"
            " profile, or leave session= out",
        )


def _wrong_type(name: str, value: object, advice: str) -> KvsError:
    """Return the error for a value of a wrong type; its message does not show the value."""
    return kvs_error(StatusCode.INVALID_ARG, f"{name}= is {type(value).__name__}: {advice}")
