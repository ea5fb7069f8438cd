"""What a credentials provider is, and one of ours that knows its surroundings."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from kvsproducer.service.clock_skew import ClockSkew
from kvsproducer.service.credentials.credentials import AwsCredentials
from kvsproducer.service.network import Network

__all__ = ["CachingProvider", "CredentialsProvider", "PlacedProvider", "PromptProvider"]


@runtime_checkable
class CredentialsProvider(Protocol):
    """Gives AWS credentials; anything with such a method will do.

    It is asked again when what it gave is about to expire (38 s before; after 40 minutes when it
    does not say), and when the service refuses what it gave. It may block, since it runs in a
    thread of its own, never on an event loop. It may raise anything: the producer reports it and
    tries again.
    """

    def fetch(self) -> AwsCredentials:
        """Fresh credentials."""


@runtime_checkable
class PlacedProvider(Protocol):
    """A provider of ours that goes by the service's time and its producer's network."""

    def fetch_in(self, network: Network, skew: ClockSkew) -> AwsCredentials:
        """Fresh credentials, as `fetch` gives them where there is no producer."""


@runtime_checkable
class PromptProvider(Protocol):
    """A provider that keeps its credentials fresh, and can say that it need not wait for them."""

    def at_hand(self, skew: ClockSkew) -> AwsCredentials | None:
        """Return what `fetch_in` would, if that does not block; else None."""


@runtime_checkable
class CachingProvider(Protocol):
    """A provider that keeps what it found, and can be made to look again."""

    def renew(self) -> None:
        """Look for credentials anew: the service refuses those that `fetch` gives."""
