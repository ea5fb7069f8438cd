"""What may be given as `credentials=`, and the provider that is made of it."""

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

__all__ = ["CredentialsSource", "bound_to", "fresh_credentials", "provider_of"]

_Given = AwsCredentials | Mapping[str, object]
CredentialsSource = (
    AwsCredentials
    | CredentialsProvider
    | FrozenCredentials
    | Callable[[], _Given]
    | Callable[[], Awaitable[_Given]]
)
"""`AwsCredentials`, a provider, a botocore credentials object, a function or coroutine function."""

_OURS = (
    BotocoreCredentials,
    FileCredentials,
    IotCredentials,
    OwnCredentials,
    SessionCredentials,
    StaticCredentials,
)


def provider_of(given: CredentialsSource) -> CredentialsProvider:
    """The provider that `credentials=` means; raises INVALID_ARG for anything else."""
    if isinstance(given, AwsCredentials):
        return StaticCredentials(given)
    if isinstance(given, _OURS):
        return given
    if isinstance(given, FrozenCredentials):
        return BotocoreCredentials(given)
    if isinstance(given, CredentialsProvider):  # a user's: looked at like a function's answer
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
    """What requests are signed with: `given`, or what the session's chain finds.

    The rest as for `FreshCredentials`.
    """
    provider = SessionCredentials(session) if given is None else provider_of(given)
    of_botocore = isinstance(provider, SessionCredentials | BotocoreCredentials)
    return FreshCredentials(provider, hold=not of_botocore, network=network, skew=skew, learn=learn)


def bound_to(loop: asyncio.AbstractEventLoop, given: CredentialsSource) -> CredentialsProvider:
    """As `provider_of`; a user's coroutines will run on this loop, whichever asks for them."""
    provider = provider_of(given)
    if isinstance(provider, OwnCredentials):
        provider.run_on(loop)
    return provider
