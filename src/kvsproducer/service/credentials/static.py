"""The same credentials for ever, or until they expire."""

from __future__ import annotations

from kvsproducer.service.credentials.credentials import AwsCredentials

__all__ = ["StaticCredentials"]


class StaticCredentials:
    """Gives what it was given; nobody can renew it."""

    def __init__(self, credentials: AwsCredentials) -> None:
        self._credentials = credentials

    def fetch(self) -> AwsCredentials:
        """The credentials."""
        return self._credentials

    def __repr__(self) -> str:
        return f"StaticCredentials({self._credentials!r})"
