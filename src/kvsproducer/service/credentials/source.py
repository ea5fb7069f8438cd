"""Convert the argument `credentials=` into a credentials provider."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from kvsproducer.service.clock_skew import ClockSkew
from kvsproducer.service.credentials.credentials import AwsCredentials
from kvsproducer.service.credentials.file import FileCredentials
from kvsproducer.service.credentials.iot import IotCredentials
from kvsproducer.service.credentials.own import OwnCredentials
from kvsproducer.service.credentials.provider import CredentialsProvider
from kvsproducer.service.credentials.refresh import FreshCredentials
from kvsproducer.service.credentials.session import (
    BotocoreCredentials,
    FrozenCredentials,
    SessionCredentials,
)
from kvsproducer.service.credentials.static import StaticCredentials
from kvsproducer.service.network import Network
from kvsproducer.status import StatusCode, kvs_error

if TYPE_CHECKING:
    from botocore.session import Session

__all__ = ["CredentialsSource", "bind_to_loop", "fresh_credentials", "provider_of"]

_Given = AwsCredentials | Mapping[str, object]
CredentialsSource = (
    AwsCredentials
    | CredentialsProvider
    | FrozenCredentials
    | Callable[[], _Given]
    | Callable[[], Awaitable[_Given]]
)
"""The types of `credentials=`.

`AwsCredentials`, a provider, a botocore credentials object, a function or a coroutine function.
"""

_OURS = (
    BotocoreCredentials,
    FileCredentials,
    IotCredentials,
    OwnCredentials,
    SessionCredentials,
    StaticCredentials,
)


def provider_of(given: CredentialsSource) -> CredentialsProvider:
    """Return the provider for the argument `credentials=`; raises INVALID_ARG for other types."""
    if isinstance(given, AwsCredentials):
        return StaticCredentials(given)
    if isinstance(given, _OURS):
        return given
    if isinstance(given, FrozenCredentials):
        return BotocoreCredentials(given)
    # A user's own class: `OwnCredentials` checks what its `fetch` returns.
    if isinstance(given, CredentialsProvider):
        return OwnCredentials(given.fetch)
    if callable(given):
        return OwnCredentials(given)
    raise kvs_error(
        StatusCode.INVALID_ARG,
        f"credentials= is {type(given).__name__}: give AwsCredentials, a provider, a function, a"
        " coroutine function or a botocore credentials object (a session goes to session=)",
    )


def fresh_credentials(
    given: CredentialsSource | None,
    session: Session,
    network: Network | None = None,
    skew: ClockSkew | None = None,
    learn: Callable[[], bool] = lambda: False,
) -> FreshCredentials:
    """Return the credentials to sign with: those of `given`, or those that the session finds.

    The other arguments are those of `FreshCredentials`.
    """
    provider = SessionCredentials(session) if given is None else provider_of(given)
    of_botocore = isinstance(provider, SessionCredentials | BotocoreCredentials)
    return FreshCredentials(provider, hold=not of_botocore, network=network, skew=skew, learn=learn)


def bind_to_loop(loop: asyncio.AbstractEventLoop, given: CredentialsSource) -> CredentialsProvider:
    """Return the provider for `credentials=`; a user's coroutines will run on `loop`."""
    provider = provider_of(given)
    if isinstance(provider, OwnCredentials):
        provider.run_on(loop)
    return provider
