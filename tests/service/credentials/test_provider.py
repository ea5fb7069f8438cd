"""The protocol of credentials providers."""

from __future__ import annotations

from kvsproducer.service.credentials import (
    AwsCredentials,
    CredentialsProvider,
    StaticCredentials,
)


def test_any_object_with_fetch_is_a_provider(keys: AwsCredentials) -> None:
    """No base class is needed."""

    class Vault:
        def fetch(self) -> AwsCredentials:
            return keys

    assert isinstance(Vault(), CredentialsProvider)
    assert isinstance(StaticCredentials(keys), CredentialsProvider)
    assert not isinstance(keys, CredentialsProvider)
