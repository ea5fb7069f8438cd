"""Chains for the device: its certificate, its fingerprint, its creation and tags.

KVS has no such operations, and the core does not have them either: `Chains` calls the functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.compat.conftest import NOBODY, PATIENT, Frames, provider_of, put_all
from tests.waiting import until

import kvsproducer as kvs
from kvsproducer import StatusCode
from kvsproducer import client as core
from kvsproducer.compat import DeviceCertToToken
from kvsproducer.compat.chains import Chains
from kvsproducer.endpoint import Credentials, local_endpoint
from kvsproducer.service.credentials import AwsCredentials

S = StatusCode
KEYS = AwsCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
AUTH = core.GetSecurityToken(1, None, 0, 0, 0, None)


@pytest.fixture
def guarded() -> Iterator[str]:
    """Run an endpoint that accepts only requests signed with KEYS."""
    known = {KEYS.access_key_id: Credentials(KEYS.secret_access_key)}
    with local_endpoint(verify_signatures=known) as endpoint:
        yield endpoint.url


def creation(tags: tuple[tuple[str, str], ...] = ()) -> core.CreateDevice:
    return core.CreateDevice(2, None, 0, 0, 0, None, "camera", tags)


def asked(call: core.Call, *sets: Any) -> object:
    """Return the answer of the chains, or None if they do not handle the call."""
    chains = Chains(provider_of(*sets), 4)
    return chains.ask(call) if chains.handles(call) else None


def refused(call: core.Call, *sets: Any) -> kvs.KvsError:
    with pytest.raises(kvs.KvsError) as caught:
        asked(call, *sets)
    return caught.value


def test_certificate_is_exchanged_for_credentials(
    guarded: str, info: kvs.StreamInfo, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control plane and the uploads use them instead of the environment's credentials."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    exchanged: list[DeviceCertToToken] = []

    def exchange(question: DeviceCertToToken) -> AwsCredentials:
        exchanged.append(question)
        return KEYS

    put_all(
        guarded,
        info,
        frames(10),
        kvs.AuthCallbacks(get_security_token=lambda _: None, device_cert_to_token=exchange),
        kvs.AuthCallbacks(get_device_certificate=lambda _: b"certificate"),
    )
    assert exchanged == [
        DeviceCertToToken(b"certificate", None),
        DeviceCertToToken(b"certificate", "door"),
    ]


def test_failed_exchange_is_reported_and_repeated(
    guarded: str, info: kvs.StreamInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a failure to get credentials like any other: the next attempt may succeed."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    answers: Iterator[object] = iter([S.IOT_FAILED, None])  # then KEYS
    events: list[kvs.Event] = []
    provider = provider_of(
        kvs.AuthCallbacks(
            get_device_certificate=lambda _: b"certificate",
            device_cert_to_token=lambda _: next(answers, KEYS),  # type: ignore[arg-type, return-value]
        )
    )
    producer = kvs.Producer(endpoint_url=guarded, callbacks=provider, on_event=events.append)
    producer.open_stream("door", info).wait_ready(PATIENT)
    producer.close(0)
    observed = [event for event in events if isinstance(event, kvs.ClientErrorReported)]
    assert [event.status for event in observed] == [S.GET_CLIENT_TOKEN_CALL_FAILED] * 2
    assert "IOT_FAILED" in observed[0].detail
    assert not any(event.fatal for event in observed)


def test_order_of_token_certificate_and_fingerprint() -> None:
    """A token, then a certificate, then a fingerprint; without all three the producer's own."""
    device = kvs.AuthCallbacks(
        get_device_certificate=lambda _: b"certificate",
        device_cert_to_token=lambda _: KEYS,
        get_device_fingerprint=lambda _: "finger",
    )
    other = AwsCredentials("AKIDOTHER", "secret")
    token = kvs.AuthCallbacks(get_security_token=lambda _: other)
    assert asked(AUTH, device, token) is other
    assert asked(AUTH, device) is KEYS
    nothing = kvs.AuthCallbacks(get_device_certificate=lambda _: None)
    assert asked(AUTH, nothing) is None
    fingerprint = kvs.AuthCallbacks(get_device_fingerprint=lambda _: "finger")
    assert refused(AUTH, nothing, fingerprint).status is S.CLIENT_PROVISION_CALL_FAILED


@pytest.mark.parametrize(
    ("functions", "status"),
    [
        ({"get_device_fingerprint": lambda _: "f" * 32}, S.CLIENT_PROVISION_CALL_FAILED),
        ({"get_device_fingerprint": lambda _: None}, S.CLIENT_PROVISION_CALL_FAILED),
        ({"get_device_fingerprint": lambda _: "f" * 33}, S.DEVICE_FINGERPRINT_LENGTH),
        ({"get_device_fingerprint": lambda _: S.NOT_FOUND}, S.NOT_FOUND),
        ({"get_device_fingerprint": lambda _: 7}, S.INVALID_ARG),
        ({"get_device_certificate": lambda _: b"c"}, S.SERVICE_CALL_CALLBACKS_MISSING),
        ({"get_device_certificate": lambda _: "text"}, S.INVALID_ARG),
        ({"get_device_certificate": lambda _: S.NOT_FOUND}, S.NOT_FOUND),
    ],
)
def test_invalid_answers_have_their_status(functions: Any, status: StatusCode) -> None:
    """The status is the result of the call for credentials."""
    assert refused(AUTH, kvs.AuthCallbacks(**functions)).status is status


@pytest.mark.parametrize(
    "exchange", [lambda _: None, lambda _: S.SUCCESS, lambda _: S.IOT_FAILED, lambda _: 7]
)
def test_exchange_without_credentials_has_one_status(exchange: Any) -> None:
    device = kvs.AuthCallbacks(
        get_device_certificate=lambda _: b"certificate", device_cert_to_token=exchange
    )
    assert refused(AUTH, device).status is S.GET_CLIENT_TOKEN_CALL_FAILED


def test_device_can_be_created_and_tagged() -> None:
    """It is tagged after it was created, and only if it has tags."""
    seen: list[str] = []
    api = kvs.ApiCallbacks(
        create_device=lambda call: seen.append("create") or f"arn:{call.device_name}",  # type: ignore[func-returns-value]
        tag_device=lambda call: seen.append(f"tag {call.tags}"),  # type: ignore[func-returns-value]
    )
    assert asked(creation(), api) == "arn:camera"
    assert asked(creation((("room", "hall"),)), api) == "arn:camera"
    assert seen == ["create", "create", "tag (('room', 'hall'),)"]
    only_tags = kvs.ApiCallbacks(tag_device=lambda _: S.SUCCESS)
    assert asked(creation((("room", "hall"),)), only_tags) is None
    fails = kvs.ApiCallbacks(tag_device=lambda _: S.NOT_FOUND)
    assert asked(creation(), fails) is None
    failed = refused(creation((("room", "hall"),)), fails)
    assert failed.status is S.TAG_CLIENT_CALL_FAILED
    assert "NOT_FOUND" in failed.detail


def test_too_long_device_arn_fails_the_producer() -> None:
    """The core checks an entry's answer as it checks the service's."""
    provider = provider_of(kvs.ApiCallbacks(create_device=lambda _: "a" * 2049))
    producer = kvs.Producer(region_name="us-west-2", endpoint_url=NOBODY, callbacks=provider)
    stream = producer.open_stream("door", kvs.StreamInfo.video("h264"))
    until(lambda: stream.failure is not None)
    producer.close(0)
    assert stream.failure is not None
    assert stream.failure.status is S.INVALID_CREATE_DEVICE_RESPONSE
