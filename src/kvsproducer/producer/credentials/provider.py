"""What a credentials provider is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from kvsproducer.producer.credentials.credentials import AwsCredentials

__all__ = ["CredentialsProvider"]


@runtime_checkable
class CredentialsProvider(Protocol):
    """Gives AWS credentials; anything with such a method will do.

    It is asked again when what it gave is about to expire (38 s before; after 40 minutes when it
    does not say). It may block, since it runs in the producer's executor, never on an event loop.
    It may raise anything: the producer reports it and tries again.
    """

    def fetch(self) -> AwsCredentials:
        """Fresh credentials."""
