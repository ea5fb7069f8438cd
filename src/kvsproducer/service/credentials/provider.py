"""The protocols of credentials providers: the public one, and optional internal extensions."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from kvsproducer.service.clock_skew import ClockSkew
from kvsproducer.service.credentials.credentials import AwsCredentials
from kvsproducer.service.network import Network

__all__ = ["CachingProvider", "CredentialsProvider", "NetworkProvider", "NonBlockingProvider"]


@runtime_checkable
class CredentialsProvider(Protocol):
    """A source of AWS credentials: any object with a `fetch` method.

    The producer calls `fetch` again 38 s before the credentials expire, after 40 minutes if they
    have no expiration, and when the service refuses them. `fetch` may block, because it runs in a
    thread of its own, never on an event loop. It may raise any exception: the producer reports it
    and tries again.
    """

    def fetch(self) -> AwsCredentials:
        """Return fresh credentials."""


@runtime_checkable
class NetworkProvider(Protocol):
    """A provider that uses the service's time and the network settings of its producer."""

    def fetch_in(self, network: Network, skew: ClockSkew) -> AwsCredentials:
        """Return fresh credentials; a producer calls this instead of `fetch`."""


@runtime_checkable
class NonBlockingProvider(Protocol):
    """A provider that caches its credentials, and often can return them without blocking."""

    def get_nowait(self, skew: ClockSkew) -> AwsCredentials | None:
        """Return what `fetch_in` would return, or None if that would block."""


@runtime_checkable
class CachingProvider(Protocol):
    """A provider that caches its credentials and can drop them."""

    def renew(self) -> None:
        """Replace the cached credentials, because the service refuses them."""
