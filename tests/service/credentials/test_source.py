"""The types of `credentials=` and the providers for them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.credentials import Credentials

from kvsproducer import KvsError, StatusCode
from kvsproducer.service.credentials import AwsCredentials, FileCredentials, StaticCredentials
from kvsproducer.service.credentials.own import OwnCredentials
from kvsproducer.service.credentials.session import BotocoreCredentials
from kvsproducer.service.credentials.source import bind_to_loop, fresh_credentials, provider_of

KEYS = AwsCredentials("A", "S")


class Vault:
    """A user's provider."""

    def fetch(self) -> AwsCredentials:
        return KEYS


class AsyncVault:
    """A user's provider with a coroutine."""

    async def fetch(self) -> AwsCredentials:
        await asyncio.sleep(0)
        return KEYS


async def coroutine() -> dict[str, object]:
    return {"access_key_id": "A", "secret_access_key": "S"}


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (KEYS, StaticCredentials),
        (StaticCredentials(KEYS), StaticCredentials),
        (Vault(), OwnCredentials),
        (AsyncVault(), OwnCredentials),
        (lambda: KEYS, OwnCredentials),
        (coroutine, OwnCredentials),
        (Credentials("A", "S"), BotocoreCredentials),
        (boto3.Session("A", "S").get_credentials(), BotocoreCredentials),
    ],
)
def test_accepted_types(given: Any, kind: type) -> None:
    """Each becomes a provider that returns the same credentials."""
    provider = provider_of(given)
    assert type(provider) is kind
    assert provider.fetch() == KEYS
    session = botocore.session.Session()
    assert fresh_credentials(given, session).get() == KEYS


def test_providers_of_this_package_are_not_wrapped(tmp_path: Path) -> None:
    """They raise statuses of their own already."""
    path = tmp_path / "keys"
    path.write_text("CREDENTIALS A S")
    provider = FileCredentials(path)
    assert provider_of(provider) is provider


@pytest.mark.parametrize(
    "given", ["AKID:secret", 7, {"access_key_id": "A"}, boto3.Session("A", "S")]
)
def test_anything_else_is_refused(given: Any) -> None:
    """The error comes at once and names the type."""
    with pytest.raises(ValueError, match=type(given).__name__) as caught:
        provider_of(given)
    assert isinstance(caught.value, KvsError)
    assert caught.value.status is StatusCode.INVALID_ARG
    assert "AKID" not in str(caught.value)


def test_default_is_the_session() -> None:
    """botocore's credentials are requested each time, because they renew themselves."""
    session = botocore.session.Session()
    session.set_credentials("A", "S")
    fresh = fresh_credentials(None, session)
    assert fresh.get() == KEYS
    session.set_credentials("B", "S")
    assert fresh.get().access_key_id == "B"


def test_bind_to_loop() -> None:
    """A user's coroutines run on the given loop."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[object] = []

        async def where() -> AwsCredentials:
            seen.append(asyncio.get_running_loop())
            return KEYS

        assert await asyncio.to_thread(bind_to_loop(loop, where).fetch) == KEYS
        assert seen == [loop]
        assert bind_to_loop(loop, KEYS).fetch() == KEYS

    asyncio.run(main())
