"""Chains that return credentials, for the control plane and for uploads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.compat.conftest import (
    PATIENT,
    SECOND,
    Frames,
    provider_of,
    put_all,
)
from tests.waiting import why_not_ready

import kvsproducer as kvs
from kvsproducer import StatusCode
from kvsproducer import client as core
from kvsproducer.endpoint import Credentials, local_endpoint
from kvsproducer.service.credentials import AwsCredentials

S = StatusCode
KEYS = AwsCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


@pytest.fixture
def guarded() -> Iterator[str]:
    """Run an endpoint that accepts only requests signed with KEYS."""
    known = {KEYS.access_key_id: Credentials(KEYS.secret_access_key)}
    with local_endpoint(verify_signatures=known) as endpoint:
        yield endpoint.url


def test_entries_supply_credentials(
    guarded: str, info: kvs.StreamInfo, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control plane and the uploads use them instead of the environment's credentials."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    asked: list[str] = []

    def undecided(call: core.Call) -> None:
        asked.append(type(call).__name__)

    put_all(
        guarded,
        info,
        frames(10),
        kvs.AuthCallbacks(get_security_token=undecided, get_streaming_token=undecided),
        kvs.AuthCallbacks(get_security_token=lambda call: KEYS),
        kvs.AuthCallbacks(get_security_token=undecided),
    )
    # The chain for uploads returns None, so the other chain is called.
    assert asked == ["GetSecurityToken", "GetStreamingToken", "GetStreamingToken"]


def test_entry_without_further_credentials(guarded: str, info: kvs.StreamInfo) -> None:
    """Credentials are requested again when they expire, and then the producer's own are used."""
    asked: list[int] = []
    offset = 0

    def give(call: core.Call) -> AwsCredentials | None:
        asked.append(offset)
        if len(asked) > 1:
            return None
        return AwsCredentials(
            KEYS.access_key_id, KEYS.secret_access_key, expiration=kvs.now() + 120 * SECOND
        )

    platform = kvs.PlatformCallbacks(get_current_time=lambda: kvs.now() + offset)
    provider = provider_of(kvs.AuthCallbacks(get_security_token=give), platform=platform)
    producer = kvs.Producer(endpoint_url=guarded, callbacks=provider)
    producer.open_stream("gate", info).wait_ready(PATIENT)
    offset = 130 * SECOND
    producer.open_stream("door", info).wait_ready(PATIENT)
    assert [*dict.fromkeys(asked)] == [0, offset]
    producer.close(0)


def test_refused_credentials_are_requested_again(guarded: str, info: kvs.StreamInfo) -> None:
    """The chain is called again although its credentials have not expired."""
    answers = iter([AwsCredentials("AKIDEXAMPLE", "wrong")])
    provider = provider_of(kvs.AuthCallbacks(get_security_token=lambda call: next(answers, KEYS)))
    producer = kvs.Producer(endpoint_url=guarded, callbacks=provider)
    producer.open_stream("door", info).wait_ready(PATIENT)
    producer.close(0)


def test_credentials_for_uploads_only(guarded: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """The control plane uses the producer's own credentials. A wrong token fails the upload."""
    wrong = AwsCredentials("AKIDEXAMPLE", "wrong")
    answers = iter([wrong])
    put_all(
        guarded,
        info,
        frames(10),
        kvs.AuthCallbacks(get_streaming_token=lambda call: next(answers, KEYS)),
    )
    assert next(answers, None) is None


def test_failing_entry_returns_no_credentials(endpoint_url: str, info: kvs.StreamInfo) -> None:
    """The error of waiting for the stream names the failure of the entry."""
    refuse = kvs.AuthCallbacks(get_security_token=lambda call: S.SERVICE_CALL_NOT_AUTHORIZED_ERROR)
    producer = kvs.Producer(endpoint_url=endpoint_url, callbacks=provider_of(refuse))
    stream = producer.open_stream("door", info)
    why_not_ready(stream, "get_security_token of entry 1")
    producer.close(0)
