"""Credentials that nobody renews."""

from __future__ import annotations

from kvsproducer.service.credentials import AwsCredentials, StaticCredentials


def test_they_stay_what_they_are(keys: AwsCredentials) -> None:
    """Each time the same, and none of it in the repr."""
    static = StaticCredentials(keys)
    assert static.fetch() is keys
    assert static.fetch() is keys
    assert "secret" not in repr(static)
