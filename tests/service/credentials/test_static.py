"""Static credentials."""

from __future__ import annotations

from kvsproducer.service.credentials import AwsCredentials, StaticCredentials


def test_same_credentials_each_time(keys: AwsCredentials) -> None:
    """The repr does not show them."""
    static = StaticCredentials(keys)
    assert static.fetch() is keys
    assert static.fetch() is keys
    assert "secret" not in repr(static)
