"""A provider that always returns the same credentials."""

from __future__ import annotations

from kvsproducer.service.credentials.credentials import AwsCredentials

__all__ = ["StaticCredentials"]


class StaticCredentials:
    """A provider that always returns the given credentials; it cannot renew them."""

    def __init__(self, credentials: AwsCredentials) -> None:
        self._credentials = credentials

    def fetch(self) -> AwsCredentials:
        """Return the credentials."""
        return self._credentials

    def __repr__(self) -> str:
        return f"StaticCredentials({self._credentials!r})"
