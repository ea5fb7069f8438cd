"""What counts as a provider."""

from __future__ import annotations

from kvsproducer.service.credentials import (
    AwsCredentials,
    CredentialsProvider,
    StaticCredentials,
)


def test_anything_with_fetch_is_one(keys: AwsCredentials) -> None:
    """No base class is needed."""

    class Vault:
        def fetch(self) -> AwsCredentials:
            return keys

    assert isinstance(Vault(), CredentialsProvider)
    assert isinstance(StaticCredentials(keys), CredentialsProvider)
    assert not isinstance(keys, CredentialsProvider)
