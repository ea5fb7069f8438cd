"""Chains that know the device: its certificate, its fingerprint, its creation and tags.

KVS has no operations for these. The core does not know them; `Chains` calls the functions.
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
    """An endpoint that wants requests signed with KEYS."""
    known = {KEYS.access_key_id: Credentials(KEYS.secret_access_key)}
    with local_endpoint(verify_signatures=known) as endpoint:
        yield endpoint.url


def creation(tags: tuple[tuple[str, str], ...] = ()) -> core.CreateDevice:
    return core.CreateDevice(2, None, 0, 0, 0, None, "camera", tags)


def asked(call: core.Call, *sets: Any) -> object:
    """What the chains answer; None also when they are not to be asked."""
    chains = Chains(provider_of(*sets), 4)
    return chains.ask(call) if chains.asks(call) else None


def refused(call: core.Call, *sets: Any) -> kvs.KvsError:
    with pytest.raises(kvs.KvsError) as caught:
        asked(call, *sets)
    return caught.value


def test_a_certificate_is_exchanged_for_credentials(
    guarded: str, info: kvs.StreamInfo, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They serve the control plane and the uploads, in place of what the environment has."""
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


def test_an_exchange_that_fails_is_reported_and_repeated(
    guarded: str, info: kvs.StreamInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As any failure to get credentials: the next attempt may cure it."""
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
    told = [event for event in events if isinstance(event, kvs.ClientErrorReported)]
    assert [event.status for event in told] == [S.GET_CLIENT_TOKEN_CALL_FAILED] * 2
    assert "IOT_FAILED" in told[0].detail
    assert not any(event.fatal for event in told)


def test_the_order_of_what_a_device_has() -> None:
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
def test_what_cannot_be_used_has_its_status(functions: Any, status: StatusCode) -> None:
    """It is the result of the call for credentials."""
    assert refused(AUTH, kvs.AuthCallbacks(**functions)).status is status


@pytest.mark.parametrize(
    "exchange", [lambda _: None, lambda _: S.SUCCESS, lambda _: S.IOT_FAILED, lambda _: 7]
)
def test_an_exchange_without_credentials_has_one_status(exchange: Any) -> None:
    device = kvs.AuthCallbacks(
        get_device_certificate=lambda _: b"certificate", device_cert_to_token=exchange
    )
    assert refused(AUTH, device).status is S.GET_CLIENT_TOKEN_CALL_FAILED


def test_the_device_may_be_created_and_tagged() -> None:
    """Tagged only when there are tags, after it was created."""
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


def test_a_device_arn_that_is_too_long_fails_the_producer() -> None:
    """The core checks an entry's answer as it checks the service's."""
    provider = provider_of(kvs.ApiCallbacks(create_device=lambda _: "a" * 2049))
    producer = kvs.Producer(region_name="us-west-2", endpoint_url=NOBODY, callbacks=provider)
    stream = producer.open_stream("door", kvs.StreamInfo.video("h264"))
    until(lambda: stream.failure is not None)
    producer.close(0)
    assert stream.failure is not None
    assert stream.failure.status is S.INVALID_CREATE_DEVICE_RESPONSE
